"""What a process holds: descriptors, memory, references, objects."""

import ctypes
import gc
import os
import resource
import sys


def mapped():
    "Bytes of data, the allocator's and others."
    with open("/proc/self/statm") as status:
        return int(status.read().split()[5]) * resource.getpagesize()


def measure():
    for _ in range(3):
        gc.collect()

    class Info(ctypes.Structure):
        _fields_ = [
            (name, ctypes.c_size_t)
            for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
        ]

    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = Info
    info = mallinfo()
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "bytes": info.uordblks + info.hblkhd,
        "mapped": mapped() - info.arena - info.hblkhd,
        "references": getattr(sys, "gettotalrefcount", int)(),
        "objects": len(gc.get_objects()),
    }
