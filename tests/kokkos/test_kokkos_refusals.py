"""A plugin made for another LAMMPS is refused when its style is used, with both values named.

The plugins are really compiled, from copies of the build's headers and settings in which one value
is changed, as if two builds had been mixed up.
"""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from build_lammps import BUILD_VARIABLE
from filelock import FileLock
from lammps_run import Program, run_lammps, using
from processes import run_process

from nequip_legato.lammps import tree
from nequip_legato.native import installed
from nequip_legato.native.sources import source_folder

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Copy:
    """What the plugin is compiled from, copied from the LAMMPS that will load it.

    Attributes:
        settings: LAMMPS' CMakeCache.txt, in a folder of its own.
        version: LAMMPS' version.h.
        config: Kokkos' KokkosCore_config.h.
    """

    settings: Path
    version: Path
    config: Path


def _cached(cache: str, name: str) -> str:
    line = next(line for line in cache.splitlines() if line.startswith(f"{name}:"))
    return line.partition("=")[2]


def _copy(build: Path, folder: Path) -> Copy:
    """Copy settings and headers to ``folder``; the settings name the copies."""
    cache = (build / "CMakeCache.txt").read_text()
    if "EXTERNAL_KOKKOS:BOOL=ON" not in cache:
        pytest.skip(f"the LAMMPS in {build} has no external Kokkos whose headers could be copied")
    home = Path(_cached(cache, "CMAKE_HOME_DIRECTORY"))
    lammps, kokkos = folder / "lammps", folder / "kokkos"
    for part in ("src", "third_party"):
        if (home.parent / part).is_dir():
            shutil.copytree(home.parent / part, lammps / part, ignore=_all_but_headers)
    found = Path(_cached(cache, "Kokkos_DIR"))
    prefix = found.parents[2]
    shutil.copytree(prefix, kokkos, symlinks=True)
    settings = folder / "build" / "CMakeCache.txt"
    settings.parent.mkdir()
    cache = cache.replace(str(home), str(lammps / "cmake"))
    settings.write_text(cache.replace(str(found), str(kokkos / found.relative_to(prefix))))
    config = next(kokkos.rglob("KokkosCore_config.h"))
    return Copy(settings, lammps / "src" / "version.h", config)


def _all_but_headers(folder: str, names: list[str]) -> list[str]:
    headers = (".h", ".hpp")
    return [n for n in names if (Path(folder) / n).is_file() and not n.endswith(headers)]


def _change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    if old not in text and BUILD_VARIABLE in os.environ:
        pytest.skip(f"the LAMMPS that {BUILD_VARIABLE} names has no {old.strip()!r}")
    assert text.count(old) == 1, f"{path} has {old!r} {text.count(old)} times"
    path.write_text(text.replace(old, new))


@pytest.fixture
def compiled(shared_folder: Path, tmp_path: Path) -> Callable[[Copy], Path]:
    """Function: copy -> folder of the plugin compiled from it, without optimization.

    All are compiled in one folder: of the core, which knows no LAMMPS, nothing has to be done anew.
    """
    scratch = shared_folder / "refused-plugins"

    def compile_plugin(copy: Copy) -> Path:
        wanted = tree.plugin_for(copy.settings.parent)
        values = {
            **wanted.settings,
            "CMAKE_BUILD_TYPE": "None",
            "CMAKE_CXX_COMPILER": installed.find_compiler(),
            "CMAKE_MAKE_PROGRAM": installed.find_program("ninja"),
        }
        cmake = installed.find_program("cmake")
        with FileLock(f"{scratch}.lock"):
            run_process(
                *(cmake, "-G", "Ninja", "-S", source_folder(), "-B", scratch),
                *("-U", "Kokkos_DIR", *(f"-D{name}={value}" for name, value in values.items())),
            )
            run_process(cmake, "--build", scratch)
            for name in (wanted.file_name, wanted.companion):
                shutil.copy(scratch / name, tmp_path)
        return tmp_path

    return compile_plugin


def _refusal(folder: Path, plugin: Path, plain_program: Program) -> str:
    """What LAMMPS with Kokkos says when an input names the style, and not before."""
    environment = {**plain_program.environment, "LAMMPS_PLUGIN_PATH": str(plugin)}
    with using(Program(plain_program.path, 1, environment)):
        run = run_lammps(folder, "units metal\nprint alive\npair_style allegro_legato\n")
    assert run.returncode != 0, run.text
    assert run.text.splitlines().count("alive") == 1
    assert "Unrecognized" not in run.text
    return run.error


def _version_number(header: str) -> str:
    """Such as 20260704, from what version.h says: "4 Jul 2026"."""
    (words,) = re.findall(r'LAMMPS_VERSION "(.+)"', header)
    return datetime.strptime(words, "%d %b %Y").strftime("%Y%m%d")


def _lammps_version(copy: Copy) -> None:
    copy.version.write_text('#define LAMMPS_VERSION "10 Sep 2025"\n')


def _kokkos_version(copy: Copy) -> None:
    _change(copy.config, "#define KOKKOS_VERSION 50002\n", "#define KOKKOS_VERSION 50001\n")


def _backends(copy: Copy) -> None:
    _change(copy.config, "#define KOKKOS_ENABLE_OPENMP\n", "")


def _precision(copy: Copy) -> None:
    _change(copy.settings, "KOKKOS_PREC:STRING=double", "KOKKOS_PREC:STRING=mixed")


def _layout(copy: Copy) -> None:
    _change(copy.settings, "KOKKOS_LAYOUT:STRING=legacy", "KOKKOS_LAYOUT:STRING=default")


@pytest.mark.parametrize(
    ("change", "built", "running"),
    [
        pytest.param(
            *(_lammps_version, "for LAMMPS 20250910,", "this is LAMMPS {version}"), id="lammps"
        ),
        pytest.param(
            *(_kokkos_version, "for Kokkos version 5.0.1,", "this LAMMPS has 5.0.2"), id="kokkos"
        ),
        pytest.param(
            *(_backends, "for Kokkos backends serial,", "this LAMMPS has openmp serial"),
            id="backends",
        ),
        pytest.param(
            *(_precision, "for Kokkos precision mixed,", "this LAMMPS has double"), id="precision"
        ),
        pytest.param(
            *(_layout, "for Kokkos view layout default,", "this LAMMPS has legacy"), id="layout"
        ),
    ],
)
def test_refused(
    change, built, running, tmp_path, steady_folder, kokkos_build, plain_program, compiled
):
    copy = _copy(kokkos_build, steady_folder)
    running = running.format(version=_version_number(copy.version.read_text()))
    change(copy)
    problem = _refusal(tmp_path / "run", compiled(copy), plain_program)
    assert f"The nequip-legato plugin was built {built}" in problem
    assert running in problem


def test_the_copy_itself_is_accepted(
    tmp_path, steady_folder, kokkos_build, plain_program, compiled
):
    """What the others are refused for is what was changed."""
    plugin = compiled(_copy(kokkos_build, steady_folder))
    environment = {**plain_program.environment, "LAMMPS_PLUGIN_PATH": str(plugin)}
    with using(Program(plain_program.path, 1, environment)):
        run = run_lammps(
            tmp_path / "run", "units metal\ninfo styles pair\npair_style allegro_legato\n"
        )
    assert run.returncode == 0, run.text
    assert "allegro_legato/kk" in run.text
