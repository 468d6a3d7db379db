"""Runs LAMMPS as a library; see library_session.py.

    python library_child.py LIBRARY[:LIBRARY...] SWITCH...

Reads a JSON list of lines from session.json: commands, or ``= EXPRESSION``. Prints a JSON list: the
error of each command ("" for none), the value of each expression.
"""

import ctypes
import json
import os
import sys
from pathlib import Path


class _Lammps:
    """LAMMPS' C interface, which is the same in all releases."""

    def __init__(self, libraries: list[str], switches: list[str]) -> None:
        *needed, library = libraries
        self._needed = [ctypes.CDLL(path, ctypes.RTLD_GLOBAL) for path in needed]
        self._c = ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
        self._c.lammps_open_no_mpi.restype = ctypes.c_void_p
        self._c.lammps_extract_variable.restype = ctypes.POINTER(ctypes.c_double)
        words = ["lammps", "-log", "log.session", "-screen", "none", *switches]
        argv = (ctypes.c_char_p * (len(words) + 1))(*[w.encode() for w in words], None)
        self._lmp = ctypes.c_void_p(self._c.lammps_open_no_mpi(len(words), argv, None))

    def error_of(self, command: str) -> str:
        self._c.lammps_command(self._lmp, command.encode())
        if not self._c.lammps_has_error(self._lmp):
            return ""
        text = ctypes.create_string_buffer(4096)
        self._c.lammps_get_last_error_message(self._lmp, text, len(text))
        return text.value.decode()

    def value_of(self, expression: str) -> float:
        error = self.error_of(f"variable session_value equal {expression}")
        found = self._c.lammps_extract_variable(self._lmp, b"session_value", None)
        if error or not found:
            raise RuntimeError(f"{expression}: {error}")
        return found[0]

    def close(self) -> None:
        self._c.lammps_close(self._lmp)
        self._c.lammps_mpi_finalize()


def _main(libraries: str, switches: list[str]) -> None:
    lines = json.loads(Path("session.json").read_text())
    lammps = _Lammps(libraries.split(":"), switches)
    answers = []
    for line in lines:
        if line.startswith("="):
            answers.append(lammps.value_of(line[1:].strip()))
        else:
            answers.append(lammps.error_of(line))
    lammps.close()
    if os.environ.get("PMI_RANK", "0") == "0":
        print(json.dumps(answers), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2:])
