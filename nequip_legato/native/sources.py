"""Where the C++ sources are, in a wheel or in a source tree."""

import hashlib
from pathlib import Path

from nequip_legato.errors import LegatoError

__all__ = ["source_folder", "source_hash"]

_IN_WHEEL = Path(__file__).parent / "cpp"
_IN_TREE = Path(__file__).parents[2]


def source_folder() -> Path:
    """Folder that holds ``CMakeLists.txt`` and ``lammps_plugin/``.

    Raises:
        LegatoError: if the installation lacks them.
    """
    for folder in (_IN_WHEEL, _IN_TREE):
        if (folder / "CMakeLists.txt").is_file() and (folder / "lammps_plugin").is_dir():
            return folder
    raise LegatoError(
        "the C++ sources of nequip-legato are missing; install the package again "
        "(pip install --force-reinstall --no-deps nequip-legato)"
    )


def source_hash() -> str:
    """Hex digest over names and contents of everything that is compiled."""
    root = source_folder()
    files = [root / "CMakeLists.txt"]
    files += [
        p
        for p in (root / "lammps_plugin").rglob("*")
        if p.suffix in (".h", ".cpp", ".cmake", ".in")
    ]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.relative_to(root).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()
