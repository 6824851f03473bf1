"""The loops of this process: for `asyncio.all_tasks()`, and for children of fork.

3.11 to 3.13 keep tasks in a `WeakSet`. Entering each there costs more than making it; so the loops keep lists of
their own, and the WeakSet's set of references is replaced, when the first loop is made, by one that shows them
too. From 3.14 on asyncio keeps linked lists, which native tasks join.
"""

from __future__ import annotations

import asyncio.tasks
import os
import sys
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._aioxide import Loop

_loops: weakref.WeakSet[Loop] = weakref.WeakSet()
_hooks: list[Any] = []


class _TaskReferences(set[Any]):
    """The references of asyncio's WeakSet, and behind them one to each live native task."""

    def __iter__(self) -> Iterator[Any]:
        yield from set.__iter__(self)
        for loop in list(_loops):
            yield from map(weakref.ref, loop._live_tasks())

    def copy(self) -> set[Any]:
        return set(iter(self))


def add_loop(loop: Loop) -> None:
    """Make the tasks of a loop show in `asyncio.all_tasks()`, and the loop survive a fork."""
    if not _loops and not _hooks:
        os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
        _hooks.append(_after_fork)
    _loops.add(loop)
    if sys.version_info >= (3, 14):
        return
    # The name is `_all_tasks` on 3.11. An empty WeakSet is false, so no `or` here.
    name = "_scheduled_tasks" if sys.version_info >= (3, 12) else "_all_tasks"
    tasks: Any = getattr(asyncio.tasks, name)
    if not isinstance(tasks.data, _TaskReferences):
        tasks.data = _TaskReferences(tasks.data)


def _before_fork() -> None:
    for loop in list(_loops):
        loop._before_fork()


def _after_fork() -> None:
    for loop in list(_loops):
        loop._after_fork()
