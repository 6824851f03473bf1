"""Programs that get Ctrl-C, as a terminal sends it: to the pool's process and to its workers. Run as

    python -m tests.processes.interrupt_programs PHASE HANDLER METHOD

A program prints what it noticed, line by line. No line may go to stderr.
"""

import asyncio
import multiprocessing
import os
import signal
import sys
import threading
import time

import aioxide


def nap(seconds):
    time.sleep(seconds)
    return "rested"


def busy(path):
    """Say that this call runs; take a moment to end when it is interrupted."""
    with open(path, "w"):
        pass
    try:
        time.sleep(3)
    except KeyboardInterrupt:
        time.sleep(0.05)
        raise


def interrupt():
    os.killpg(0, signal.SIGINT)


def outcome(future):
    try:
        return future.result()
    except BaseException as error:
        return type(error).__name__


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.005)


def phases(pool, path, submit):
    """What the program does in each phase: returns the futures whose outcome counts."""
    phase = sys.argv[1]
    if phase == "starting":
        future = submit(nap, 0.1)
        interrupt()
        return [future]
    if phase == "idle":
        interrupt()
        time.sleep(0.05)
        return [submit(nap, 0)]
    if phase == "running":
        future = submit(busy, path)
        wait_for(path)
        interrupt()
        return [future]
    if phase == "ending":
        future = submit(busy, path)
        wait_for(path)
        pool.shutdown(wait=False)
        interrupt()
        return [future]
    futures = [submit(nap, 0.002) for _ in range(100)]
    threading.Timer(0.1, interrupt).start()
    return futures


def tell(futures):
    print(*sorted({outcome(future) for future in futures}), flush=True)


async def in_a_loop(pool, path, handled):
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    if handled:
        loop.add_signal_handler(signal.SIGINT, stop.set)
    if sys.argv[1] != "starting":
        await loop.run_in_executor(pool, nap, 0)
    futures = []
    try:
        futures += phases(pool, path, lambda *call: loop.run_in_executor(pool, *call))
        await asyncio.wait_for(stop.wait(), 20)
        print("stopped")
    except asyncio.CancelledError:
        print("cancelled")
        raise
    finally:
        await asyncio.sleep(0.01)
        await asyncio.wait(futures)
        tell(futures)


def without_a_loop(pool, path):
    if sys.argv[1] != "starting":
        pool.submit(nap, 0).result()
    futures = []
    try:
        futures += phases(pool, path, pool.submit)
        time.sleep(20)
    except KeyboardInterrupt:
        print("interrupted")
    if futures:
        tell(futures)
    raise KeyboardInterrupt


def main():
    path = os.path.join(os.getcwd(), "began")
    _, _, handler, method = sys.argv
    try:
        with aioxide.ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
            if handler == "none":
                without_a_loop(pool, path)
            else:
                aioxide.run(in_a_loop(pool, path, handler == "own"))
    except KeyboardInterrupt:
        print("KeyboardInterrupt")
    print("pool ended:", pool._manager.finished.is_set())


if __name__ == "__main__":
    main()
