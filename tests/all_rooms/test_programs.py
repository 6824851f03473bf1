"""Random programs leave the same history on our classes as on CPython's."""

import gc
import os
import sys
import unittest.mock
import warnings

import aioxide
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.support.scenarios import FACTORIES, HARD

from . import programs

WORLDS = programs.worlds(aioxide)
EXAMPLES = int(os.environ.get("AIOXIDE_EXAMPLES", 20_000 if HARD else 300))


def examples(count):
    return settings(
        max_examples=count,
        deadline=None,
        # The same programs on every run of the gate; `make test-hard` looks for new ones.
        derandomize=not HARD,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(autouse=True)
def leftovers():
    """Coroutines that a program leaves behind in the middle of something complain when they are closed, on asyncio as
    here; that is to happen now, unheard, and not in whatever test runs when they are collected.
    """
    with unittest.mock.patch.object(sys, "unraisablehook", lambda unraisable: None):
        yield
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gc.collect()
            gc.collect()


@pytest.mark.parametrize("world", [name for name in WORLDS if name != "asyncio"])
@examples(EXAMPLES)
@given(program=programs.programs)
def test_same_history(world, program):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = programs.play(program, *WORLDS["asyncio"])
        assert programs.play(program, *WORLDS[world]) == expected


def test_programs_reach_what_they_are_for():
    """The strategy is worth its time only if its programs come to these points, on asyncio itself."""
    seen = set()

    @examples(1000)
    @given(program=programs.programs)
    def collect(program):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _, *event in programs.play(program, *WORLDS["asyncio"]):
                seen.update(
                    [event[0], (event[0], event[1] if len(event) > 1 and isinstance(event[1], str) else None)]
                )

    collect()
    wanted = {"unhandled", "out of run_forever", "callback", "enters", "remove", "uncancel", "tasks", "final"}
    wanted |= {(name, outcome) for name in programs.WAITS for outcome in ("gives", "raises") if name != "nap"}
    assert wanted <= seen, wanted - seen


timers = st.lists(
    st.tuples(st.integers(0, 50), st.sampled_from(["keep", "cancel", "cancel in a callback"])), max_size=300
)


@pytest.mark.parametrize("name", FACTORIES)
@examples(EXAMPLES // 3)
@given(plan=timers)
def test_timers_fire_in_order_and_never_early(name, plan):
    loop = FACTORIES[name]()
    try:
        base, fired, doomed = loop.time() - 1, [], []
        expected = sorted(
            (milliseconds, index) for index, (milliseconds, fate) in enumerate(plan) if fate == "keep"
        )

        def fire(handle_index, milliseconds):
            assert loop.time() >= base + milliseconds / 1000
            fired.append((milliseconds, handle_index))

        loop.call_at(base - 1, lambda: [handle.cancel() for handle in doomed])
        for index, (milliseconds, fate) in enumerate(plan):
            # Times that differ by their index too: asyncio promises nothing about equal ones.
            handle = loop.call_at(base + milliseconds / 1000 + index * 1e-7, fire, index, milliseconds)
            if fate == "cancel":
                handle.cancel()
            elif fate == "cancel in a callback":
                doomed.append(handle)
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert fired == expected
    finally:
        loop.close()
