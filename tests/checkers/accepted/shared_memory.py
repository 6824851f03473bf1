"""Memory that worker processes get without a copy."""

import aioxide.shared
from aioxide.shared import Buffer, Handle, buffer

if __name__ == "__main__":
    memory: Buffer = buffer(4)
    memoryview(memory)[0] = 7
    assert bytes(memory) == b"\x07\0\0\0"
    with aioxide.ProcessPoolExecutor(1) as pool:
        kept: Handle = pool.share([1, 2])
        assert kept.get() == [1, 2] and pool.submit(sum, pool.share([1, 2])).result() == 3
    assert memoryview(aioxide.shared.buffer(2)).nbytes == 2
