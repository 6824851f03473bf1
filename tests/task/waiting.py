"""Run as a program: waits in a few tasks until a line comes, to be looked at from outside meanwhile."""

import asyncio
import sys

import aioxide


async def leaf(event):
    await event.wait()


async def middle(event):
    async with asyncio.TaskGroup() as group:
        group.create_task(leaf(event), name="leaf one")
        group.create_task(leaf(event), name="leaf two")


async def main():
    event = asyncio.Event()
    task = asyncio.create_task(middle(event), name="middle")
    asyncio.current_task().set_name("main")
    await asyncio.sleep(0.02)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    event.set()
    await task


if __name__ == "__main__":
    (aioxide if sys.argv[1] == "aioxide" else asyncio).run(main())
