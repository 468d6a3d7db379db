"""Whether a shared library asks for an executable stack."""

import struct

__all__ = ["needs_executable_stack"]

_PT_GNU_STACK = 0x6474E551
_PF_X = 1


def needs_executable_stack(library: bytes) -> bool:
    """Whether a 64-bit little-endian ELF library asks for an executable stack.

    glibc 2.41 and later refuse to load such a library at run time. The stack's permissions are in
    the flags of the program header PT_GNU_STACK; without that header it is executable (System V
    ABI, gABI chapter 5; GNU extension). Anything that is not such a library asks for nothing.
    """
    if library[:6] != b"\x7fELF\x02\x01" or len(library) < 64:
        return False
    (offset,) = struct.unpack_from("<Q", library, 32)
    size, count = struct.unpack_from("<HH", library, 54)
    for k in range(count):
        kind, flags = struct.unpack_from("<II", library, offset + k * size)
        if kind == _PT_GNU_STACK:
            return bool(flags & _PF_X)
    return True
