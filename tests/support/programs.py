"""Programs in processes of their own, and waiting for something without a guess at how long it takes."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Longer than anything here takes on a slow machine; only a hang comes to it.
DEADLINE = 60.0

# Seconds for anything that is certain to come, so that only what never comes takes as long.
WAIT = 30.0


def run_program(program, *args, timeout=DEADLINE, **environment):
    """Run source text in a fresh interpreter; a hang is a failure."""
    return subprocess.run(
        [sys.executable, "-c", program, *args],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def output_of(program, *args, **options):
    """What a program that must succeed prints."""
    done = run_program(program, *args, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def wait_until(condition, timeout=DEADLINE):
    """Wait for something that another thread brings about."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)


def until(condition, complaint, timeout=WAIT):
    """Wait until `condition()` is true, and return what it returned."""
    end = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(complaint() if callable(complaint) else complaint)
        time.sleep(0.01)
    return found


@contextlib.contextmanager
def then_set(event):
    """Set what calls of a pool wait for, however the block ends: inside `with pool:`, whose end waits for them."""
    try:
        yield
    finally:
        event.set()
