"""Calls on a cluster, here one of this machine's."""

import asyncio
from typing import assert_type

import aioxide


def power(base: int, exponent: int = 2) -> int:
    return base**exponent


async def main() -> None:
    pool = await asyncio.to_thread(aioxide.ClusterExecutor, max_workers=1)
    async with pool:
        assert_type(await pool.submit(power, 3), int)
        future: aioxide.ClusterFuture[int] = pool.schedule(power, (2,), {"exponent": 5}, retries=1)
        same: aioxide.AwaitableFuture[int] = future
        try:
            assert await same == 32
        except aioxide.BrokenClusterWorker as broken:
            print(broken.worker, broken.starts)
        except aioxide.BrokenCluster as broken:
            print(broken)


if __name__ == "__main__":
    aioxide.run(main())
