"""Descriptors, memory and references stay flat, however often a thing is done."""

import itertools
import json
import sys

import pytest

from tests.support.scenarios import FACTORIES, HARD, NATIVE, child

BATCHES = 4

# Operations a batch, here and in the hard run, which measures over 100,000 connections and 1,000,000 tasks and
# handles of each kind (and makes as many again before, to fill caches).
SIZES = {
    "connections": (300, 25_000),
    "protocols": (300, 25_000),
    "reset_connections": (100, 5_000),
    "refused_connections": (300, 5_000),
    "cancelled_connects": (150, 5_000),
    "tls_connections": (40, 500),
    "datagrams": (300, 25_000),
    "tasks": (5_000, 250_000),
    "failing_tasks": (2_000, 100_000),
    "timeouts": (2_000, 100_000),
    "futures": (5_000, 250_000),
    "handles": (8_000, 250_000),
    "cancelled_timers": (10_000, 250_000),
    "readers": (1_000, 50_000),
    "threads": (2_000, 100_000),
    "processes": (400, 50_000),
    "generators": (2_000, 50_000),
    "loops": (100, 2_000),
    "forgotten_memory": (2_000, 2_000),
    "forgotten_objects": (2_000, 2_000),
}
REAL = [activity for activity in SIZES if not activity.startswith("forgotten_")]

PROGRAM = (
    "import sys; from tests.all_rooms.activities import main; main(*sys.argv[1:3], *map(int, sys.argv[3:]))"
)


def measurements(name, activity):
    count = SIZES[activity][HARD]
    # With malloc for everything, malloc's own account is exact to the byte, for our Rust as for CPython.
    result = child(PROGRAM, name, activity, count, BATCHES, timeout=3500, env={"PYTHONMALLOC": "malloc"})
    assert result.returncode == 0, result.stderr
    print(name, activity, count, result.stdout, sep="\n")  # for `pytest -rP`
    return count, [json.loads(line) for line in result.stdout.splitlines()]


def limits(count):
    """What may be more after a batch of `count` operations. Full size tells a leak in one operation of a thousand; the
    constants are what asyncio's own loop gains in the first batches.
    """
    if HARD:
        return {"references": 150, "objects": 20, "bytes": 20_000}
    # One thing forgotten in each operation would be a reference and an object, and some tens of bytes.
    return {"references": 50 + count / 20, "objects": 20 + count / 100, "bytes": 8192 + 16 * count}


def growth(measured, what):
    """The least growth from one batch to the next. A leak is in every one; caches fill in some, and then
    are full.
    """
    return min(later[what] - earlier[what] for earlier, later in itertools.pairwise(measured))


@pytest.mark.parametrize("activity", REAL)
@pytest.mark.parametrize("name", ["aioxide"] if NATIVE else FACTORIES)
def test_nothing_grows(name, activity):
    count, measured = measurements(name, activity)
    assert len(measured) == BATCHES + 1
    assert measured[-1]["descriptors"] == measured[0]["descriptors"], measured
    most = limits(count)
    assert growth(measured, "references") < most["references"], measured
    assert growth(measured, "objects") < most["objects"], measured
    assert growth(measured, "bytes") < most["bytes"], measured
    if hasattr(sys, "gettotalrefcount"):
        assert measured[0]["references"] > 0


@pytest.mark.parametrize(
    ("activity", "kept"), [("forgotten_memory", "bytes"), ("forgotten_objects", "objects")]
)
def test_a_leak_would_be_seen(activity, kept):
    if kept == "objects" and hasattr(sys, "gettotalrefcount"):
        kept = "references"  # a debug build counts them, and they are looked at first
    with pytest.raises(AssertionError, match=rf"growth\(.*'{kept}'\)"):
        test_nothing_grows("asyncio", activity)
