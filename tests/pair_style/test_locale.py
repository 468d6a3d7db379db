"""Numbers do not depend on the decimal sign that a host program has set."""

import sys
from pathlib import Path

import pytest
from processes import run_process

from nequip_legato.native.installed import find_compiler

SOURCE = """
#include <clocale>
#include <locale>
struct Comma : std::numpunct<char> {
  char do_decimal_point() const override { return ','; }
  char do_thousands_sep() const override { return '.'; }
  std::string do_grouping() const override { return "\\3"; }
};
extern "C" {
int of_c() { return setlocale(LC_ALL, "de_DE.UTF-8") != nullptr; }
int of_cpp() { std::locale::global(std::locale(std::locale::classic(), new Comma)); return 1; }
int both() { return of_c() && of_cpp(); }
void back() { setlocale(LC_ALL, "C"); std::locale::global(std::locale::classic()); }
}
"""
# LAMMPS itself reads no numbers with a decimal comma, so there it is set for the pair style alone.
IN_LAMMPS = """
import ctypes, sys
from lammps import lammps
host = ctypes.CDLL(sys.argv[1])
lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
lmp.commands_string("units metal\\natom_style atomic\\nread_data data.lammps")
lmp.command("pair_style allegro_legato")
for way in ("back", "of_c", "of_cpp", "both"):
    assert getattr(host, way)() or way == "back"
    lmp.command(f"pair_coeff * * {sys.argv[2]} H N")
    host.back()
    lmp.command("run 0")
    host.back()
    print(lmp.get_thermo("pe"))
"""
IN_PYTHON = """
import ctypes, sys
import ase.io
from nequip_legato import LegatoCalculator
from nequip_legato.deploy import info
host = ctypes.CDLL(sys.argv[1])
atoms = ase.io.read("start.extxyz")
for way in ("back", "of_c", "of_cpp", "both"):
    assert getattr(host, way)() or way == "back"
    atoms.calc = LegatoCalculator(sys.argv[2])
    result = atoms.get_potential_energy(), float(abs(atoms.get_forces()).max())
    cutoff = info(sys.argv[2]).cutoff
    host.back()
    print(*result, cutoff)
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """A library that sets locales, and an environment in which a German one exists."""
    folder = tmp_path_factory.mktemp("locale")
    made = folder / "de_DE.UTF-8"
    done = run_process("localedef", "-i", "de_DE", "-f", "UTF-8", made, check=False)
    if not (made / "LC_NUMERIC").is_file():
        pytest.skip(f"localedef makes no German locale here: {done.stderr.strip()}")
    (folder / "host.cpp").write_text(SOURCE)
    library = folder / "host.so"
    run_process(find_compiler(), "-shared", "-fPIC", "-o", library, folder / "host.cpp")
    return library, {"LOCPATH": str(folder)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "suffix", [".nequip.pth", pytest.param(".nequip.pt2", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("code", [IN_LAMMPS, IN_PYTHON], ids=["LAMMPS", "Python"])
def test_decimal_comma(code, suffix, host, deployed, tmp_path, data_file, ammonia):
    ammonia.write(tmp_path / "start.extxyz")
    library, environment = host
    command = [sys.executable, "-c", code, library, deployed(suffix)]
    done = run_process(*command, cwd=tmp_path, environment=environment)
    rows = done.stdout.split("\n")[:-1]
    assert len(rows) == 4, done.stderr[-2000:]
    assert len(set(rows)) == 1, rows
