"""A process pool's timers: called by whoever serves the pool, again where an interrupt cuts them short."""

from __future__ import annotations

import heapq
import itertools
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from . import _aioxide
    from ._process_waits import Flag

# How often a timer's callback is called that raises.
TRIES = 5


class Timers:
    """The part of a pool's manager that has callbacks called later."""

    pool: _aioxide.ProcessPool
    finished: Flag

    def __init__(self) -> None:
        self._due: list[_Timer] = []
        self._order = itertools.count()

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        """Call `callback()` in `delay` seconds, in whichever thread serves the pool; again where it is cut short."""
        heapq.heappush(self._due, _Timer((time.monotonic() + delay, next(self._order), callback)))
        self._arm()

    def _arm(self) -> None:
        if not self.finished.is_set():
            self.pool.set_timer(max(self._due[0][0] - time.monotonic(), 0.0) if self._due else None)

    def on_timer(self) -> None:
        """Run what is due."""
        try:
            while self._due and self._due[0][0] <= time.monotonic():
                timer = self._due[0]
                if timer.attempts < TRIES:
                    timer.attempts += 1
                    timer[2]()
                # The first still: what was added meanwhile is due later.
                timer.attempts = TRIES
                if self._due and self._due[0] is timer:
                    heapq.heappop(self._due)
        finally:
            # Whatever one of them raises, the others have their turn.
            self._arm()


class _Timer(tuple[float, int, "Callable[[], None]"]):
    """When it is due, its number, and what is called."""

    attempts = 0
