"""Compiles a LAMMPS with Kokkos (Serial and OpenMP) for the tests, once, into the user's cache.

    python tests/kokkos/build_lammps.py [--jobs N]

The sources are those of ``../shared/third_party`` beside the repository, or of the folder that
``NEQUIP_LEGATO_THIRD_PARTY`` names; where there are none, it says so and does nothing.
``NEQUIP_LEGATO_KOKKOS_BUILD`` names a LAMMPS build folder to test instead.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from importlib import metadata
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

sys.path.insert(0, str(Path(__file__).parent))
from lammps_sources import leave_out

__all__ = ["BUILD_VARIABLE", "SOURCES_VARIABLE", "archives", "build", "existing_build", "extract"]

SOURCES_VARIABLE = "NEQUIP_LEGATO_THIRD_PARTY"
BUILD_VARIABLE = "NEQUIP_LEGATO_KOKKOS_BUILD"
_PROGRAMS = Path(sys.executable).parent
_MPI = "mpich"  # package with MPI; not needed where there is a LAMMPS already
_KOKKOS = "kokkos-5.0.2.tar.gz"
_LAMMPS = "lammps-4Jul2026-kokkos.tar.xz"
_PACKAGES = ["KOKKOS", "MOLECULE", "PLUGIN"]
_KOKKOS_SETTINGS = [
    "-DCMAKE_BUILD_TYPE=Release",
    "-DCMAKE_CXX_FLAGS_RELEASE=-O2",
    "-DCMAKE_CXX_STANDARD=20",
    "-DCMAKE_POSITION_INDEPENDENT_CODE=ON",
    # shared: the plugin has to use the same Kokkos as LAMMPS
    "-DBUILD_SHARED_LIBS=ON",
    "-DKokkos_ENABLE_SERIAL=ON",
    "-DKokkos_ENABLE_OPENMP=ON",
    "-DKokkos_ENABLE_IMPL_VIEW_LEGACY=ON",
]
_LAMMPS_SETTINGS = [
    "-DCMAKE_BUILD_TYPE=Release",
    "-DCMAKE_CXX_FLAGS_RELEASE=-O1",
    "-DCMAKE_CXX_STANDARD=20",
    "-DBUILD_SHARED_LIBS=ON",
    "-DBUILD_MPI=ON",
    "-DBUILD_OMP=ON",
    "-DEXTERNAL_KOKKOS=ON",
    "-DWITH_JPEG=OFF",
    "-DWITH_PNG=OFF",
    *(f"-DPKG_{name}=ON" for name in _PACKAGES),
]


def archives() -> tuple[Path, Path, str]:
    """Archives of Kokkos and LAMMPS, and why they cannot be had, if so."""
    beside = Path(__file__).parents[3] / "shared" / "third_party"
    folder = Path(os.environ.get(SOURCES_VARIABLE, beside))
    kokkos, lammps = folder / _KOKKOS, folder / _LAMMPS
    missing = [path.name for path in (kokkos, lammps) if not path.is_file()]
    reason = (
        f"the sources of LAMMPS with Kokkos are absent ({', '.join(missing)}); name their "
        f"folder in {SOURCES_VARIABLE}"
    )
    return kokkos, lammps, reason if missing else ""


def _target() -> Path:
    """Folder of the build: another one for other sources, settings or another MPI.

    It does not depend on this Python's environment: the build has an MPI of its own, so that
    checkouts share it and it outlives them.
    """
    digest = hashlib.sha256()
    for path in (*archives()[:2], Path(__file__).with_name("lammps_sources.py")):
        digest.update(path.read_bytes())
    digest.update(repr([_KOKKOS_SETTINGS, _LAMMPS_SETTINGS, metadata.version(_MPI)]).encode())
    return user_cache_path("nequip-legato-tests") / f"lammps-kokkos-{digest.hexdigest()[:16]}"


def existing_build() -> tuple[Path | None, str]:
    """LAMMPS' build folder, or None and why there is none."""
    named = os.environ.get(BUILD_VARIABLE)
    if named:
        path = Path(named)
        return (path, "") if (path / "lmp").is_file() else (None, f"there is no {path / 'lmp'}")
    reason = archives()[2]
    if reason:
        return None, reason
    path = _target() / "lammps-build"
    if (path / "lmp").is_file():
        return path, ""
    return None, "LAMMPS with Kokkos is not built; run python tests/kokkos/build_lammps.py"


def build(jobs: int) -> Path:
    """Build Kokkos and LAMMPS unless they are there; returns LAMMPS' build folder."""
    target = _target()
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        found, _ = existing_build()
        if found is None:
            target.mkdir(exist_ok=True)  # an interrupted build goes on where it was
            _copy_mpi(target / "mpi")
            _build_kokkos(target, jobs)
            _build_lammps(target, jobs)
    return target / "lammps-build"


def _run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True)


def _compilers() -> list[str]:
    settings = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={_PROGRAMS / 'ninja'}"]
    ccache = shutil.which("ccache")
    return [*settings, f"-DCMAKE_CXX_COMPILER_LAUNCHER={ccache}"] if ccache else settings


def extract(archive: Path, folder: Path) -> Path:
    """Unpack an archive, whole or not at all; returns its top folder."""
    if not folder.is_dir():
        scratch = Path(tempfile.mkdtemp(dir=folder.parent))
        with tarfile.open(archive) as tar:
            tar.extractall(scratch, filter="data")
        scratch.rename(folder)
    return next(path for path in sorted(folder.iterdir()) if path.is_dir())


def _copy_mpi(folder: Path) -> None:
    """Copy the MPICH of this Python's environment, which finds its parts wherever it lies."""
    prefix = Path(sys.prefix).resolve()
    for file in metadata.files(_MPI) or []:
        source = Path(file.locate()).resolve()
        if source.is_relative_to(prefix):
            copy = folder / source.relative_to(prefix)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy)


def _build_kokkos(target: Path, jobs: int) -> None:
    cmake = _PROGRAMS / "cmake"
    source = extract(archives()[0], target / "kokkos")
    scratch, installed = target / "kokkos-build", target / "kokkos-install"
    where = ["-S", source, "-B", scratch, f"-DCMAKE_INSTALL_PREFIX={installed}"]
    _run(cmake, *where, *_compilers(), *_KOKKOS_SETTINGS)
    _run(cmake, "--build", scratch, "--parallel", jobs)
    _run(cmake, "--install", scratch)


def _build_lammps(target: Path, jobs: int) -> None:
    cmake = _PROGRAMS / "cmake"
    source = extract(archives()[1], target / "lammps")
    # LAMMPS asks for Kokkos 5.1.0, but compiles and runs with 5.0.2.
    wanted = source / "cmake" / "Modules" / "Packages" / "KOKKOS.cmake"
    text = wanted.read_text()
    relaxed = text.replace("find_package(Kokkos 5.1.0", "find_package(Kokkos 5.0")
    if relaxed != text:
        print(f"{leave_out(source / 'src', _PACKAGES)} files of LAMMPS are left out", flush=True)
        wanted.write_text(relaxed)
    scratch = target / "lammps-build"
    where = ["-S", source / "cmake", "-B", scratch]
    needs = [
        f"-DCMAKE_PREFIX_PATH={target / 'kokkos-install'}",
        f"-DMPI_CXX_COMPILER={target / 'mpi' / 'bin' / 'mpicxx'}",
    ]
    _run(cmake, *where, *_compilers(), *_LAMMPS_SETTINGS, *needs)
    _run(cmake, "--build", scratch, "--parallel", jobs)


def main() -> int:
    """Build, and say where or why not; the exit status is that of the build."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    jobs = parser.parse_args().jobs
    found, reason = existing_build()
    if found is None and "is not built" not in reason:
        print(f"LAMMPS with Kokkos is not built, and its tests are skipped: {reason}")
        return 0
    if found is None:
        started = time.perf_counter()
        found = build(jobs)
        print(f"built in {time.perf_counter() - started:.0f} s")
    print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
