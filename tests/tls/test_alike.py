"""Where asyncio is right, TLS does as asyncio: the same programs, on asyncio and on both engines."""

import functools
import json
import os
import subprocess
import sys

import pytest

from . import alike, mended

ENGINES = ("direct", "memory-bio")


@functools.cache
def histories(which, module):
    env = os.environ | ({} if which == "asyncio" else {"AIOXIDE_TLS_ENGINE": which})
    command = [sys.executable, "-m", "tests.tls.child", which, module]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def by_actor(history):
    """Events by who noted them: of two ends nobody promises an order."""
    actors = {}
    for event in history["log"]:
        actor = event.split(".")[0] if event[1:2] == "." else ""
        actors.setdefault(actor, []).append(event)
    return actors, history["unhandled"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", [program.__name__ for program in alike.PROGRAMS])
def test_as_asyncio(name, engine):
    stock, ours = (by_actor(histories(which, "alike")[name]) for which in ("asyncio", engine))
    assert stock[0]
    assert ours == stock


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", mended.EXPECTED)
def test_what_was_meant(name, engine):
    assert histories(engine, "mended")[name]["log"] == mended.EXPECTED[name]
    assert histories(engine, "mended")[name]["unhandled"] == []
