"""Calls on a cluster, here one of this machine's."""

import asyncio
from typing import assert_type

import aioxide


def times(number: int, by: int = 2) -> int:
    return number * by


async def main() -> None:
    pool = await asyncio.to_thread(aioxide.ClusterExecutor, max_workers=1)
    async with pool:
        assert_type(await pool.submit(times, 3), int)
        future: aioxide.ClusterFuture[int] = pool.schedule(times, (2,), {"by": 5}, retries=1)
        same: aioxide.AwaitableFuture[int] = future
        try:
            assert await same == 10
        except aioxide.BrokenClusterWorker as broken:
            print(broken.worker, broken.starts)
        except aioxide.BrokenCluster as broken:
            print(broken)


if __name__ == "__main__":
    aioxide.run(main())
