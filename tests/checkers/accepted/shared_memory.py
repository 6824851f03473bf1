"""Memory that worker processes get without a copy."""

import aioxide.shared
from aioxide.shared import Buffer, Handle, buffer


def total(view: Buffer) -> int:
    return sum(memoryview(view))


if __name__ == "__main__":
    memory: Buffer = buffer(4)
    memoryview(memory)[0] = 7
    with aioxide.ProcessPoolExecutor(1) as pool:
        assert pool.submit(total, memory).result() == 7
        kept: Handle = pool.share([1, 2])
        assert kept.get() == [1, 2]
    assert memoryview(aioxide.shared.buffer(2)).nbytes == 2
