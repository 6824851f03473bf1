"""Limits that a program of the tests sets for itself."""

import resource

MB = 2**20


def leave_memory(size):
    """Have no more than `size` bytes of addresses left from here on; what the limits were."""
    with open("/proc/self/statm") as status:
        used = int(status.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + size, before[1]))
    return before
