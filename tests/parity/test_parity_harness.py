"""The harness itself: a loop that deviates must be caught, and a program that leaves no history too."""

import asyncio

import pytest

from . import harness


def said_of(monkeypatch, factory, body, debug=False):
    """What `compare` reports if the loop under test is made by `factory`; None if it is content."""
    monkeypatch.setitem(harness.SIDES, "aioxide", (factory, asyncio))
    try:
        harness.compare(body, debug)
    except pytest.fail.Exception as failure:
        return str(failure)
    return None


def test_asyncio_equals_itself(monkeypatch):
    def body(h):
        h.loop.call_soon(h.log, "soon", h.loop)
        h.turns()

    assert said_of(monkeypatch, asyncio.SelectorEventLoop, body) is None


def test_another_order_is_seen(monkeypatch):
    class LastFirst(asyncio.SelectorEventLoop):
        def call_soon(self, callback, *args, context=None):
            handle = super().call_soon(callback, *args, context=context)
            self._ready.rotate(1)
            return handle

    def body(h):
        h.loop.call_soon(h.log, "one")
        h.loop.call_soon(h.log, "two")
        h.turns()
        h.turns()

    assert "+two\n one\n" in said_of(monkeypatch, LastFirst, body)


def test_another_message_is_seen(monkeypatch):
    class Terse(asyncio.SelectorEventLoop):
        def _check_closed(self):
            if self.is_closed():
                raise RuntimeError("closed")

    def body(h):
        h.loop.close()
        h.attempt(h.loop.call_soon, print)

    assert "+raised RuntimeError(closed)" in said_of(monkeypatch, Terse, body)


def test_a_missing_log_record_is_seen(monkeypatch):
    class Silent(asyncio.SelectorEventLoop):
        def default_exception_handler(self, context):
            pass

    def body(h):
        h.loop.call_soon(lambda: 1 / 0)
        h.turns()

    assert "-log ERROR Exception in callback" in said_of(monkeypatch, Silent, body)


def test_a_missing_warning_is_seen(monkeypatch):
    class Careless(asyncio.SelectorEventLoop):
        def __del__(self):
            pass

    def body(h):
        loop = h.factory()
        h.opened.callback(loop._selector.close)
        h.log("made", loop.time() > 0)
        del loop

    assert "-warning ResourceWarning unclosed event loop" in said_of(monkeypatch, Careless, body)


def test_a_program_without_history_fails():
    with pytest.raises(AssertionError, match="left no history"):
        harness.compare(lambda h: None, False)


def test_what_differs_by_nature_is_made_equal():
    plain = harness.Normaliser()
    assert plain.text("Task-17 Task-18 Task-17") == "Task-1 Task-2 Task-1"
    assert plain.text("<_UnixSelectorEventLoop running=False>") == plain.text("<EventLoop running=False>")
    assert plain.text("at 0x7f1234567890") == "at 0x"
    origin = "<Future pending cb=[<lambda>() at f.py:1] created at a.py:1>"
    assert plain.text(f"<Task wait_for={origin} created at b.py:2>") == (
        "<Task wait_for=<Future pending cb=[<lambda>() at f.py:1] created somewhere> created at b.py:2>"
    )
