"""No deed leaves a reference behind (debug builds of CPython) or an object (all others)."""

import json

import aioxide
import pytest

from .child import run
from .deeds import DEEDS
from .measure import CYCLES


@pytest.mark.parametrize("name", DEEDS)
def test_nothing_is_left_behind(name):
    # Without freelists: an object that waits in one for its next use is none that was left behind.
    growth = json.loads(run("measure", name, AIOXIDE_FREELIST="0"))[name]
    # Caches fill in some batches; a leak is in every one, and in every cycle of it.
    assert min(growth) < CYCLES, growth


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [{"PYTHONMALLOC": "debug"}, {"PYTHONASYNCIODEBUG": "1"}],
    ids=["debug malloc", "debug mode"],
)
def test_the_deeds_are_done_under_harder_conditions(environment):
    assert set(json.loads(run("measure", **environment))) == set(DEEDS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", DEEDS)
def test_deed(name):
    """In this process, for the runs that collect garbage at each allocation."""
    loop = aioxide.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    try:
        for _ in range(3):
            DEEDS[name](loop)
    finally:
        loop.close()
