"""A compiler that puts its own copy of the C++ library into all that it makes.

This is how files for a GPU crashed or hung in the check on two machines.
"""

import os
import zipfile
from pathlib import Path

import pytest
from kept import compiled_from, kept_folder
from processes import PROGRAMS, run_process

from nequip_legato.native.cache import CACHE_VARIABLE
from nequip_legato.native.installed import find_program
from nequip_legato.native.linkage import Library

SHARED = "libstdc++.so.6"
A_FUNCTION = "_ZNSo9_M_insertImEERSoT_"  # std::ostream::_M_insert<unsigned long>


@pytest.fixture
def compiler(tmp_path) -> Path:
    """A compiler that links the static library, and does not optimize."""
    real = find_program(os.environ.get("CXX", "g++"))
    path = tmp_path / "g++"
    path.write_text(
        "#!/bin/sh\n"
        f'case " $* " in *" -shared "*) exec {real} "$@" -O0 -static-libstdc++ ;; esac\n'
        f'exec {real} "$@" -O0\n'
    )
    path.chmod(0o755)
    (tmp_path / "a.cpp").write_text("#include <iostream>\nvoid f() { std::cout << 1ul; }\n")
    library = tmp_path / "liba.so"
    words = ("-shared", "-fPIC", "-o", library, tmp_path / "a.cpp")
    done = run_process(path, *words, check=False)
    if done.returncode != 0 or SHARED in Library(library).needed:
        pytest.skip(f"{real} has no static C++ library: {done.stderr.strip()[-200:]}")
    return path


@pytest.mark.slow
def test_such_files_can_be_checked(tmp_path, compiler, checkpoint):
    source = checkpoint(dtype="float32", layers=1)

    def make(folder: Path) -> None:
        done = run_process(
            *(PROGRAMS / "nequip-deploy", "build", source, folder / "m.nequip.pt2"),
            *("--check-limit", 120),
            environment={"CXX": str(compiler), CACHE_VARIABLE: str(folder / "cache")},
        )
        assert "wrote" in done.stdout

    folder = kept_folder("static-library", [*compiled_from(source), Path(__file__)], make)
    # the engine shares torch's library all the same, and offers nobody a copy of its own
    (engine,) = (folder / "cache").glob("binding-*/*.so")
    assert SHARED in Library(engine).needed
    assert not Library(engine).defines(A_FUNCTION)
    # the model has one, which Python would use if nothing was done about it
    with zipfile.ZipFile(folder / "m.nequip.pt2") as package:
        (name,) = (n for n in package.namelist() if n.endswith(".so"))
        model = Library(Path(package.extract(name, tmp_path)))
    assert SHARED not in model.needed
    assert model.defines("_ZNSt6locale7classicEv")
