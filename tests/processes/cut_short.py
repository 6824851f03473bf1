"""Raises at a line of a process pool's Python code, for the tests of what may be cut short."""

import linecache
import os

DEADLINE = 30
# What runs in one piece, by the core's doing. What users call themselves (`submit`) is raised to them.
IN_ONE_PIECE = {
    "begin_shutdown",
    "on_collected",
    "on_death",
    "on_hang_up",
    "on_initializer_failed",
    "on_retire",
    "on_room",
    "on_timer",
    "pickling_failed",
    "rebuild",
    "stop",
    "stop_cancelled",
    "undo_start",
    "unreadable",
    "_done",
}


class Other(Exception):
    """What a handler of a signal may raise: it is reported, as by asyncio in a callback."""


class Raises:
    """A trace function that raises at the line of that number, counted over the pool's code in `IN_ONE_PIECE`."""

    def __init__(self, kind, at=0):
        self.kind, self.at, self.count = kind, at, 0
        self.place = ""
        # Whoever is raised to is ready for it.
        self.expected = False

    def __call__(self, frame, event, arg):
        return self.look if _is_ours(frame) and _is_in_one_piece(frame) else None

    def look(self, frame, event, arg):
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        # Where a `with` block ends there is such an event, but the interpreter looks for no signal.
        if event == "line" and not line.startswith("with "):
            self.count += 1
            if self.count == self.at:
                self.place = f"{frame.f_code.co_name}:{frame.f_lineno}"
                self.strike()
        return self.look

    def expect_none(self):
        self.expected = False

    def strike(self):
        raise self.kind


def _is_ours(frame):
    folder, name = os.path.split(frame.f_code.co_filename)
    in_room = os.path.basename(folder) == "_processes" and name != "by_value.py"
    return in_room or frame.f_code.co_name == "cancel_and_tell"


def _is_in_one_piece(frame):
    while frame is not None:
        if frame.f_code.co_name in IN_ONE_PIECE and _is_ours(frame):
            return True
        frame = frame.f_back
    return False


def outcome(future):
    try:
        return future.result()
    except BaseException as error:
        return type(error).__name__


def same(value):
    return value
