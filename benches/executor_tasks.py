"""What the processes of a pool do in the cases of groups/executors.py; they import nothing else of this package."""

import os
import time


def nap(seconds):
    """The id of the process that slept."""
    time.sleep(seconds)
    return os.getpid()


def work(seconds):
    """Keep a core busy for `seconds` of its own time, however often it is taken away meanwhile."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass
    return 1
