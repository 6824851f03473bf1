"""Which sections an extension has: whether debug information is in it."""

import struct


def sections(data: bytes) -> set[str]:
    """The names of the sections of a 64-bit little-endian ELF file, which all our machines have (see elf(5))."""
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF file")
    at, size, count, names = struct.unpack_from("<Q10xHHH", data, 0x28)
    headers = [struct.unpack_from("<I20xQQ", data, at + number * size) for number in range(count)]
    _, start, length = headers[names]
    table = data[start : start + length]
    return {table[name : table.index(b"\0", name)].decode() for name, _, _ in headers}


def is_stripped(data: bytes) -> bool:
    return not any(name.startswith(".debug_") or name == ".symtab" for name in sections(data))
