"""LAMMPS compiled by the user: a plugin for it, or our files among its sources."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from nequip_legato import __version__
from nequip_legato.errors import LegatoError
from nequip_legato.files import write_atomically
from nequip_legato.native import builder, installed
from nequip_legato.native.sources import source_folder

__all__ = ["build_plugin_for", "install_into", "plugin_for", "remove_from"]

# Included by LAMMPS' own CMakeLists.txt (see its second line), so no file of LAMMPS is edited.
_HOOK = Path("cmake") / "legato.cmake"
_HOOK_TEXT = """\
# Written by nequip-legato: lets LAMMPS compile pair style allegro_legato against torch.
# Used with -DCMAKE_PROJECT_lammps_INCLUDE={hook} -DCMAKE_CXX_STANDARD=20
set(LEGATO_TORCH_DIR "{torch}" CACHE PATH "installed torch package")
include_directories(${{CMAKE_CURRENT_LIST_DIR}}/../src/legato)
include_directories(SYSTEM ${{LEGATO_TORCH_DIR}}/include
                    ${{LEGATO_TORCH_DIR}}/include/torch/csrc/api/include)
# libtorch.so brings in the CUDA part, even though none of its symbols is used
link_libraries(-Wl,--no-as-needed ${{LEGATO_TORCH_DIR}}/lib/libtorch.so
               ${{LEGATO_TORCH_DIR}}/lib/libtorch_cpu.so ${{LEGATO_TORCH_DIR}}/lib/libc10.so)
"""
_FILES = (
    "pair_allegro_legato.cpp",
    "pair_allegro_legato.h",
    "pair_allegro_legato_input.cpp",
    "pair_allegro_legato_lists.cpp",
    "pair_allegro_legato_lists.h",
    "pair_allegro_legato_node.cpp",
    "pair_allegro_legato_node.h",
)
_KOKKOS_FILES = (
    "kokkos_blocks.h",
    "kokkos_types.h",
    "pair_allegro_legato_kokkos.cpp",
    "pair_allegro_legato_kokkos.h",
)


def plugin_for(build_folder: Path) -> builder.Artifact:
    """The plugin for a LAMMPS built by its own CMake, with ``allegro_legato/kk`` if it has Kokkos.

    Args:
        build_folder: where LAMMPS was built, the folder with ``CMakeCache.txt``.

    Raises:
        LegatoError: if it is not such a folder, or torch is missing.
    """
    settings = build_folder.absolute() / "CMakeCache.txt"
    if (build_folder / "include" / "lammps").is_dir():
        raise LegatoError(
            f"{build_folder} is an installed LAMMPS, which lacks the headers of its packages; name "
            "the folder in which cmake built it, or one in which cmake has configured the same "
            "sources with the same options (nothing has to be compiled there)"
        )
    if not settings.is_file():
        raise LegatoError(
            f"{build_folder} is not a build folder of LAMMPS (it has no CMakeCache.txt); name the "
            "folder in which cmake built LAMMPS"
        )
    torch = installed.find_torch()
    content = settings.read_bytes()
    # LAMMPS' compiler, which on GPUs can compile Kokkos' kernels (nvcc_wrapper, hipcc)
    compiler = re.search(rb"^CMAKE_CXX_COMPILER:\w+=(.+)$", content, re.MULTILINE)
    return builder.Artifact(
        "plugin",
        builder.PLUGIN_FILE,
        {
            "LEGATO_TORCH_DIR": str(torch.folder),
            "LEGATO_TORCH_VERSION": torch.version,
            "LEGATO_VERSION": __version__,
            "LEGATO_PLUGIN": "ON",
            "LEGATO_LAMMPS_BUILD": str(settings.parent),
            # another configuration of the same LAMMPS is another plugin
            "LEGATO_LAMMPS_SETTINGS": hashlib.sha256(content).hexdigest()[:16],
        },
        os.fsdecode(compiler[1]) if compiler else "",
        companion=builder.STYLES_FILE,
        host=_program_of(settings.parent),
        rebuild=f"nequip-legato plugin build --force --lammps {settings.parent}",
    )


def _program_of(build_folder: Path) -> Path | None:
    """LAMMPS' shared library, or its program if that is static; None if not compiled."""
    libraries = sorted(build_folder.glob("liblammps*.so"))
    programs = [p for p in sorted(build_folder.glob("lmp*")) if os.access(p, os.X_OK)]
    return next((p for p in [*libraries, *programs] if p.is_file()), None)


def build_plugin_for(build_folder: Path, *, force: bool = False) -> Path:
    """Build the plugin for a LAMMPS built by its own CMake, unless it is there; returns its path.

    Args:
        build_folder: where cmake has built LAMMPS, or has configured the same sources with the same
            options.
        force: build even if it is there.

    Raises:
        LegatoError: if it cannot be built.
    """
    return builder.ensure(plugin_for(build_folder), force=force)


def _contents(lammps: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file that goes into a source tree: path within the tree, content."""
    ours = source_folder() / "lammps_plugin"
    for name in _FILES:
        yield Path("src") / name, (ours / name).read_bytes()
    for name in _KOKKOS_FILES:
        yield Path("src") / "KOKKOS" / name, (ours / name).read_bytes()
    for path in sorted((ours / "core").iterdir()):
        if path.suffix not in (".h", ".cpp"):
            continue
        yield Path("src") / "legato" / "core" / path.name, path.read_bytes()
        if path.suffix == ".cpp":
            # LAMMPS compiles files directly in src
            text = f'#include "legato/core/{path.name}"\n'
            yield Path("src") / f"legato_core_{path.stem}.cpp", text.encode()
    torch = installed.find_torch().folder
    text = _HOOK_TEXT.format(hook=(lammps / _HOOK).as_posix(), torch=torch.as_posix())
    yield _HOOK, text.encode()


def _checked(lammps: Path) -> Path:
    lammps = lammps.absolute()
    for needed in ("src/pair.h", "src/version.h", "cmake/CMakeLists.txt"):
        if not (lammps / needed).is_file():
            raise LegatoError(
                f"{lammps} is not a source tree of LAMMPS (it has no {needed}); name the folder "
                "that holds src and cmake"
            )
    return lammps


def install_into(lammps: Path) -> list[Path]:
    """Put the pair styles into a LAMMPS source tree, or update them there.

    Unchanged files are left alone, so that they are not compiled again. Files of an earlier
    version that this one no longer has are removed.

    Args:
        lammps: LAMMPS' folder with ``src`` and ``cmake``.

    Returns:
        Files that changed; empty if everything was in place.

    Raises:
        LegatoError: if it is not a source tree of LAMMPS, or torch is missing.
    """
    lammps = _checked(lammps)
    contents = dict(_contents(lammps))
    changed = []
    for name in sorted(set(_present(lammps)) - set(contents)):
        (lammps / name).unlink()
        changed.append(lammps / name)
    for name, content in contents.items():
        path = lammps / name
        if path.is_file() and path.read_bytes() == content:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.decode())
        changed.append(path)
    return changed


def remove_from(lammps: Path) -> list[Path]:
    """Remove the pair styles from a LAMMPS source tree; returns what was removed.

    Raises:
        LegatoError: if it is not a source tree of LAMMPS.
    """
    lammps = _checked(lammps)
    removed = [lammps / name for name in _present(lammps)]
    for path in removed:
        path.unlink()
    for folder in (lammps / "src" / "legato" / "core", lammps / "src" / "legato"):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return removed


def _present(lammps: Path) -> list[Path]:
    """Our files in a source tree, of any version."""
    patterns = ("src/pair_allegro_legato*.*", "src/legato_core_*.cpp", "src/legato/core/*.*")
    found = [path for pattern in patterns for path in lammps.glob(pattern)]
    found += [lammps / "src" / "KOKKOS" / name for name in _KOKKOS_FILES]
    found.append(lammps / _HOOK)
    return sorted(path.relative_to(lammps) for path in found if path.is_file())
