"""``python -m nequip_legato.native [--host FILE] FILE...``: check the libraries of plugins."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nequip_legato.errors import LegatoError
from nequip_legato.native.linkage import linkage_faults

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m nequip_legato.native",
        description="Check that shared libraries name every library that they need.",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument(
        "--host",
        action="append",
        default=[],
        type=Path,
        help="program or library that loads the files as plugins",
    )
    parser.add_argument(
        "--gpu-only",
        action="store_true",
        help="check functions of GPU libraries only, for plugins whose LAMMPS is not compiled",
    )
    parser.add_argument(
        "--part-of",
        type=Path,
        metavar="FOLDER",
        help="libraries in it belong to a package of another machine; their needs are not checked",
    )
    options = parser.parse_args(arguments)
    try:
        faults = [
            fault
            for file in options.files
            for fault in linkage_faults(
                file, options.host, gpu_only=options.gpu_only, part_of=options.part_of
            )
        ]
    except LegatoError as problem:
        faults = [str(problem)]
    for fault in faults:
        sys.stderr.write(f"{parser.prog}: error: {fault}\n")
    if not faults:
        names = ", ".join(file.name for file in options.files)
        print(f"{names}: every library that is needed is named")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
