"""An exception that must leave the loop comes while results of a process pool are read: the others are not lost."""

import asyncio
import os

import aioxide
import pytest

DEADLINE = 60


def made_by(parent):
    if os.getpid() == parent:
        raise KeyboardInterrupt
    return parent


class Interrupts:
    """Cannot be read in the process whose number it has."""

    def __init__(self, parent):
        self.parent = parent

    def __reduce__(self):
        return made_by, (self.parent,)


def same(value):
    return value


@pytest.mark.parametrize("at", [0, 2, 5])
def test_results_behind_one_that_is_interrupted_arrive(at):
    loop = aioxide.new_event_loop()
    with aioxide.ProcessPoolExecutor(1, on_worker_death="respawn") as pool:

        def call(function, value):
            return loop.run_in_executor(pool, function, value)

        async def warm():
            for _ in range(5):  # until the worker is trusted with several calls at a time
                await asyncio.gather(*[call(same, number) for number in range(500)])

        async def main():
            for number in range(6):
                futures.append(call(*((Interrupts, os.getpid()) if number == at else (same, number))))
            # Busy for so long that all of them have come when the loop looks.
            blocked = loop.time() + 0.3
            while loop.time() < blocked:
                pass
            await asyncio.sleep(DEADLINE)

        futures: list[asyncio.Future[int]] = []
        loop.run_until_complete(warm())
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(main())
        loop.run_until_complete(asyncio.wait(futures, timeout=DEADLINE))
        assert [future.done() for future in futures] == [True] * 6
        assert isinstance(futures.pop(at).exception(), KeyboardInterrupt)
        assert [future.result() for future in futures] == [number for number in range(6) if number != at]
        assert pool.submit(same, 7).result(DEADLINE) == 7
    loop.close()
