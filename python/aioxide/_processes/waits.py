"""What a pool's threads wait on: nothing that an interrupt can leave locked.

`threading.Condition` and `Event` are Python, and keep a lock for the time of a call: Ctrl-C between two of their
bytecodes leaves it locked for ever. Here each step is one call in C, and may be repeated.
"""

from __future__ import annotations

import _thread
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Room:
    """Where threads wait until something is so."""

    def __init__(self) -> None:
        self._waiting: list[_thread.LockType] = []

    def wait_for(self, is_so: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait until `is_so()` at a `notify_all()`, for at most `timeout` seconds; returns whether it is."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not is_so():
            left = -1.0 if deadline is None else deadline - time.monotonic()
            if deadline is not None and left <= 0:
                return is_so()
            bell = _thread.allocate_lock()
            bell.acquire()
            self._waiting.append(bell)
            try:
                # Asked again: now it is sure that whoever changes it rings.
                if not is_so():
                    bell.acquire(True, left)
            finally:
                if bell in self._waiting:
                    self._waiting.remove(bell)
        return True

    def notify_all(self) -> None:
        """Have those who wait look again."""
        for bell in list(self._waiting):
            try:
                bell.release()
            except RuntimeError:
                pass  # rung before


class Flag:
    """Set once: as `threading.Event`."""

    def __init__(self) -> None:
        self._is_set = False
        self._room = Room()

    def is_set(self) -> bool:
        """Return True if it is set."""
        return self._is_set

    def set(self) -> None:
        """Set it, and wake those who wait for that."""
        self._is_set = True
        self._room.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, for at most `timeout` seconds; returns whether it is."""
        return self._room.wait_for(self.is_set, timeout)
