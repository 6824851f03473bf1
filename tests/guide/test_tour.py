"""examples/guide.py, the tour that `make run` shows, prints in every part what it does on plain asyncio."""

import re
from pathlib import Path

import pytest

from tests.support.interpreters import finish, start_python

TOUR = Path(__file__).parents[2] / "examples" / "guide.py"


@pytest.fixture(scope="module")
def printed():
    both = [start_python("-W", "default::ResourceWarning", *how, TOUR) for how in ([], ["-m", "aioxide"])]
    done = [finish(process) for process in both]
    for each in done:
        assert (each.returncode, each.stderr) == (0, "")
    return [each.stdout for each in done]


def told(text):
    """The tour's lines up to the timing, less those that tell how long something took or which loop it is."""
    return [
        line for line in text.split("\n12. ")[0].splitlines() if not re.search(r"naps?\b|loop's class", line)
    ]


def test_the_tour_tells_what_plain_asyncio_tells(printed):
    plain, ours = printed
    assert told(ours) == told(plain)
    assert [line for line in told(ours) if re.match(r"\d+\. ", line)][-1].startswith("11. ")


def test_the_tour_runs_on_our_loop(printed):
    plain, ours = printed
    assert "this loop's class is aioxide.EventLoop\n" in ours
    assert "this loop's class is asyncio._UnixSelectorEventLoop\n" in plain


def test_the_tour_ends_with_a_timing_of_every_case(printed):
    timed = re.findall(r"^  \S.*? ms +\d+\.\d ms +\d+\.\d times as fast$", printed[1], re.MULTILINE)
    assert len(timed) == 6
