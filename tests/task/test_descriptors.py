"""Futures and tasks inherit from `_asyncio`'s, whose own fields stay empty: nothing of the base may be reached."""

import _asyncio
import inspect

import aioxide
import pytest

from .child import run
from .walk import NOT_WALKED

PAIRS = [(_asyncio.Future, aioxide.Future), (_asyncio.Task, aioxide.Task)]
NAMES = [
    pytest.param(ours, name, id=f"{base.__name__}.{name}")
    for base, ours in PAIRS
    for name in vars(base)
    if name not in NOT_WALKED
]


@pytest.mark.parametrize(("ours", "name"), NAMES)
def test_every_descriptor_of_the_base_is_overridden(ours, name):
    assert name in vars(ours)


@pytest.mark.parametrize("whose", ["base", "ours"])
def test_unbound_use_never_crashes(whose):
    uses = int(run("walk", whose))
    assert uses > 7 * sum(len(vars(base)) - 6 for base, _ in PAIRS)


@pytest.mark.parametrize(("base", "ours"), PAIRS, ids=["Future", "Task"])
def test_methods_are_of_the_same_kind(base, ours):
    for name, descriptor in vars(base).items():
        if name not in NOT_WALKED:
            assert type(vars(ours)[name]) is type(descriptor), name
            assert callable(vars(ours)[name]) == callable(descriptor), name


@pytest.mark.parametrize(("base", "ours"), PAIRS, ids=["Future", "Task"])
def test_signatures_are_the_bases(base, ours):
    for name, descriptor in vars(base).items():
        if name.startswith("__") or not callable(descriptor):
            continue
        try:
            expected = inspect.signature(descriptor)
        except ValueError:
            continue
        assert str(inspect.signature(vars(ours)[name])) == str(expected), name
