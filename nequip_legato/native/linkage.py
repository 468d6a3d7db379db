"""Undefined symbols of a shared library, and libraries that it uses without naming them.

Only the dynamic section (ELF) is read and nothing is loaded, so GPU libraries can be checked on
machines without a GPU or driver.
"""

import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from nequip_legato.errors import LegatoError

__all__ = ["Library", "Unresolved", "linkage_faults", "readable", "unresolved"]

# Libraries that come with a GPU driver, which a build machine may lack, and their functions.
_DRIVERS = {
    "libcuda.so": re.compile(r"cu[A-Z]\w+"),
    "libnvidia-ml.so": re.compile(r"nvml[A-Z]\w+"),
    "libamdhip64.so": re.compile(r"hip[A-Z]\w+"),
    "libhsa-runtime64.so": re.compile(r"hsa_\w+"),
}
_OWNERS = {**_DRIVERS, "libcudart.so": re.compile(r"cuda[A-Z]\w+")}
_SYSTEM = ("/lib", "/usr/lib", "/lib64", "/usr/lib64")


class Library:
    """A shared library or an executable.

    Args:
        path: the file.

    Raises:
        LegatoError: if it is not an ELF file with a dynamic section.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._elf = ELFFile.load_from_path(str(path))
            segments = self._elf.iter_segments()
            dynamic: Any = next(s for s in segments if s.header.p_type == "PT_DYNAMIC")
        except (OSError, ELFError, StopIteration) as problem:
            reason = getattr(problem, "strerror", None) or "it is not a shared library"
            raise LegatoError(f"cannot read {path}: {reason}") from problem
        tags = list(dynamic.iter_tags())
        origin = str(path.resolve().parent)
        #: Names of the libraries that it asks for (NEEDED).
        self.needed = [tag.needed for tag in tags if tag.entry.d_tag == "DT_NEEDED"]
        folders = {"DT_RPATH": "", "DT_RUNPATH": ""}
        for tag in tags:
            if tag.entry.d_tag in folders:
                text = tag.rpath if tag.entry.d_tag == "DT_RPATH" else tag.runpath
                folders[tag.entry.d_tag] = re.sub(r"\$\{?ORIGIN\}?", lambda _: origin, text)
        #: Folders that it names for them; unlike RUNPATH, RPATH also counts for what these load.
        self.runpath = [f for f in folders["DT_RUNPATH"].split(":") if f]
        self.rpath = [] if self.runpath else [f for f in folders["DT_RPATH"].split(":") if f]

    @property
    def kind(self) -> tuple[int, str]:
        """Word size and processor; the dynamic linker skips libraries of another kind."""
        return self._elf.elfclass, self._elf["e_machine"]

    @cached_property
    def undefined(self) -> list[str]:
        """Symbols that other libraries have to define, except weak ones, which may be missing."""
        section: Any = self._elf.get_section_by_name(".dynsym")
        return [
            symbol.name
            for symbol in (section.iter_symbols() if section else ())
            if symbol["st_shndx"] == "SHN_UNDEF"
            and symbol["st_info"]["bind"] == "STB_GLOBAL"
            and symbol.name
        ]

    @cached_property
    def _hash(self) -> Any:
        for name in (".gnu.hash", ".hash"):
            section: Any = self._elf.get_section_by_name(name)
            if section is not None:
                return section
        return None

    def defines(self, symbol: str) -> bool:
        """Whether it defines a symbol."""
        found = self._hash.get_symbol(symbol) if self._hash is not None else None
        return found is not None and found["st_shndx"] != "SHN_UNDEF"

    def __iter__(self) -> Iterator[str]:
        """Names of all its dynamic symbols, defined or not."""
        section: Any = self._elf.get_section_by_name(".dynsym")
        return (s.name for s in section.iter_symbols()) if section else iter(())

    @cached_property
    def compiler(self) -> str:
        """The compiler, as noted in the file, such as ``GCC: (Debian 12.2.0) 12.2.0``."""
        section: Any = self._elf.get_section_by_name(".comment")
        notes = section.data().decode(errors="replace").split("\0") if section is not None else []
        return ", ".join(sorted({note for note in notes if note}))


@dataclass
class Unresolved:
    """What a library needs that is missing.

    Attributes:
        symbols: those that no library found here defines.
        absent: name of each library that is not found -> the file that names it.
    """

    symbols: list[str] = field(default_factory=list)
    absent: dict[str, Path] = field(default_factory=dict)


def readable(symbol: str) -> str:
    """A symbol as a C++ programmer would write it."""
    if not symbol.startswith("_Z"):  # else ``f`` would be read as the type float
        return symbol
    try:
        demangle = ctypes.CDLL("libstdc++.so.6").__cxa_demangle
    except (OSError, AttributeError):
        return symbol
    demangle.restype = ctypes.c_void_p
    text = demangle(symbol.encode(), None, None, None)
    if not text:
        return symbol
    name = ctypes.string_at(text).decode()
    ctypes.CDLL(None).free(ctypes.c_void_p(text))
    long = "std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >"
    return name.replace(long, "std::string")


@cache
def _system_libraries() -> dict[str, list[str]]:
    program = shutil.which("ldconfig") or shutil.which("ldconfig", path="/sbin:/usr/sbin")
    libraries: dict[str, list[str]] = {}
    if program:
        done = subprocess.run([program, "-p"], capture_output=True, text=True, check=False)
        for name, path in re.findall(r"^\s*(\S+) \(.*\) => (.+)$", done.stdout, re.MULTILINE):
            libraries.setdefault(name, []).append(path)
    return libraries


def _candidates(name: str, user: Library, inherited: Sequence[str]) -> Iterator[str]:
    """Where the dynamic linker looks for a library, in its order (``man ld.so``)."""
    if "/" in name:
        yield name
        return
    library_path = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    rpath = [] if user.runpath else [*user.rpath, *inherited]
    folders = [*rpath, *library_path, *user.runpath]
    yield from (f"{folder}/{name}" for folder in folders if folder)
    yield from _system_libraries().get(name, [])
    yield from (f"{folder}/{name}" for folder in _SYSTEM)


def _with_its_libraries(first: Library) -> tuple[list[Library], dict[str, Path]]:
    """A library with all that it loads, and the libraries that are not found; see `Unresolved`."""
    found = {first.path.name: first}
    absent: dict[str, Path] = {}
    waiting: list[tuple[Library, list[str]]] = [(first, [])]
    while waiting:
        user, inherited = waiting.pop(0)
        for name in user.needed:
            if name in found or name in absent:
                continue
            for candidate in _candidates(name, user, inherited):
                if not os.path.isfile(candidate):
                    continue
                library = Library(Path(candidate))
                if library.kind == first.kind:
                    found[name] = library
                    waiting.append((library, [*user.rpath, *inherited]))
                    break
            else:
                absent[name] = user.path
    return list(found.values()), absent


def unresolved(path: Path, hosts: Iterable[Path] = ()) -> Unresolved:
    """Symbols of a library that neither its own libraries nor those of its hosts define.

    Args:
        path: the library.
        hosts: programs or libraries that load it as a plugin and whose symbols it uses.

    Raises:
        LegatoError: if a file is not a shared library.
    """
    library = Library(path)
    providers, absent = _with_its_libraries(library)
    for host in hosts:
        more, missing = _with_its_libraries(Library(host))
        providers += more
        absent = {**missing, **absent}
    symbols = [s for s in library.undefined if not any(p.defines(s) for p in providers)]
    return Unresolved(symbols, absent)


def linkage_faults(
    path: Path, hosts: Iterable[Path] = (), *, gpu_only: bool = False, part_of: Path | None = None
) -> list[str]:
    """Libraries that a shared library uses without naming them, one line each.

    Libraries of a GPU driver only have to be named; they may be missing here.

    Args:
        path: the library.
        hosts: programs or libraries that load it as a plugin and whose symbols it uses.
        gpu_only: check functions of GPU libraries only, for a plugin whose LAMMPS is not compiled.
        part_of: folder with a part of a package, such as torch for another machine; what the
            libraries in it need is not checked.

    Raises:
        LegatoError: if a file is not a shared library.
    """
    result = unresolved(path, hosts)
    part = None if part_of is None else part_of.resolve()
    named = {_plain(name) for name in result.absent}
    faults = [
        f"{user} needs {name}, which is not found"
        for name, user in result.absent.items()
        if _plain(name) not in _DRIVERS and user.resolve().parent != part
    ]
    missing: dict[str, list[str]] = {}
    for symbol in result.symbols:
        owner = next((lib for lib, form in _OWNERS.items() if form.fullmatch(symbol)), "")
        if owner not in named and (owner or not gpu_only):
            missing.setdefault(owner, []).append(symbol)
    for owner, symbols in missing.items():
        what = readable(symbols[0])
        if len(symbols) > 1:
            what += f" and {len(symbols) - 1} more functions"
        faults.append(
            f"{path} uses {what} of {owner} but does not name that library (no NEEDED entry)"
            if owner
            else f"{path} uses {what}, which no library that it names has"
        )
    return faults


def _plain(name: str) -> str:
    """``libcuda.so.1`` -> ``libcuda.so``."""
    return name.partition(".so")[0] + ".so"
