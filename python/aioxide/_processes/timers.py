"""A process pool's timers: called by whoever serves the pool, again where an interrupt cuts them short."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._aioxide import Native
    from .waits import Flag

# How often a timer's callback is called that raises.
TRIES = 5


class Timers:
    """The part of a pool's manager that has callbacks called later."""

    pool: Native
    finished: Flag

    def __init__(self) -> None:
        self._due: list[_Timer] = []
        self._order = itertools.count()

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        """Call `callback()` in `delay` seconds, in whichever thread serves the pool; again where it is cut short."""
        heapq.heappush(self._due, _Timer((time.monotonic() + delay, next(self._order), callback)))
        self._arm()

    def _arm(self) -> None:
        # Another thread may do the same, or run what is due: whoever sets the timer last sees that it is right.
        while not self.finished.is_set():
            first = self._due[:1]
            self.pool.set_timer(max(first[0][0] - time.monotonic(), 0.0) if first else None)
            if self._due[:1] == first:
                break

    def on_timer(self) -> None:
        """Run what is due."""
        try:
            while (first := self._due[:1]) and first[0][0] <= time.monotonic():
                timer = first[0]
                if timer.attempts < TRIES:
                    timer.attempts += 1
                    timer[2]()
                # The first still: what was added meanwhile is due later.
                timer.attempts = TRIES
                with contextlib.suppress(IndexError):  # another thread has ended the pool
                    if self._due[0] is timer:
                        heapq.heappop(self._due)
        finally:
            # Whatever one of them raises, the others have their turn.
            self._arm()


class _Timer(tuple[float, int, "Callable[[], None]"]):
    """When it is due, its number, and what is called."""

    attempts = 0
