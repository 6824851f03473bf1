"""Every public method of the running version's AbstractEventLoop, called for real on aioxide and on
asyncio.
"""

import asyncio
import inspect

import aioxide
import pytest

from . import calls_core, calls_files, calls_network
from .surface import REGISTRY, run

assert {calls_core, calls_files, calls_network}, "importing them fills the registry"

FACTORIES = {"aioxide": aioxide.new_event_loop, "asyncio": asyncio.SelectorEventLoop}
SURFACE = sorted(name for name in dir(asyncio.AbstractEventLoop) if not name.startswith("_"))


@pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)
@pytest.mark.parametrize(("body", "names"), REGISTRY, ids=[body.__name__ for body, _ in REGISTRY])
def test_call(body, names, factory):
    called = run(body, factory)
    assert names <= called, f"in the table, but not called: {sorted(names - called)}"


@pytest.mark.parametrize("name", SURFACE)
def test_method_has_a_call(name):
    assert any(name in names for _, names in REGISTRY), f"no function in this folder calls loop.{name}"


def parameters(function):
    # Without `self`, which no method of C code takes by name.
    own = list(inspect.signature(function).parameters.values())[1:]
    return [(p.name, p.kind, p.default) for p in own]


@pytest.mark.parametrize("name", SURFACE)
def test_method_takes_what_asyncios_takes(name):
    assert parameters(getattr(aioxide.EventLoop, name)) == parameters(
        getattr(asyncio.SelectorEventLoop, name)
    )


def test_loop_is_one_of_asyncios_own():
    loop = aioxide.new_event_loop()
    try:
        assert type(loop) is aioxide.EventLoop
        assert isinstance(loop, asyncio.SelectorEventLoop)
        assert isinstance(loop, asyncio.BaseEventLoop)
        assert isinstance(loop, asyncio.AbstractEventLoop)
    finally:
        loop.close()
