"""What cannot work says so at once: what a native loop would never call, and waits that are somebody else's."""

import asyncio
import select
import selectors
import subprocess
import sys
import textwrap
import warnings
from unittest import mock

import aioxide
import pytest
from aioxide._loop import patched


@pytest.fixture
def loop():
    loop = aioxide.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture(autouse=True)
def _forget_what_was_told(monkeypatch):
    monkeypatch.setattr(patched, "_told", set())


def turns(loop):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(3):
            loop.call_soon(loop.stop)
            loop.run_forever()
    assert all(warning.category is RuntimeWarning and warning.filename == __file__ for warning in seen), seen
    return [str(warning.message) for warning in seen]


def test_a_loop_as_it_is_says_nothing(loop):
    assert turns(loop) == []
    derived = type("Derived", (aioxide.EventLoop,), {"time": lambda self: 1.0})()
    assert turns(derived) == []
    derived.close()


@pytest.mark.parametrize("name", ["select", "register", "close", "anything"])
def test_a_method_put_into_the_selector_is_refused(loop, name):
    with pytest.raises(RuntimeError, match=r"override time\(\) and call_at\(\)"):
        setattr(loop._selector, name, lambda timeout: [])


def test_another_selector_is_refused(loop):
    with selectors.DefaultSelector() as selector, pytest.raises(RuntimeError, match="no selector"):
        loop._selector = selector
    assert loop._selector.get_map() is not None


@pytest.mark.parametrize("name", ["_ready", "_scheduled"])
def test_another_queue_is_refused(loop, name):
    with pytest.raises(RuntimeError, match=name):
        setattr(loop, name, [])


@pytest.mark.parametrize("name", ["_run_once", "_process_events", "_read_from_self", "_write_to_self"])
def test_a_step_of_the_loop_that_was_replaced_is_told_once(loop, monkeypatch, name):
    def replaced(*arguments):
        raise AssertionError("called")

    setattr(loop, name, replaced)
    (told,) = turns(loop)
    assert name in told
    assert "asyncio.SelectorEventLoop()" in told
    delattr(loop, name)

    derived = type("Derived", (aioxide.EventLoop,), {name: replaced})()
    (told,) = turns(derived)
    assert f"Derived.{name}()" in told
    delattr(type(derived), name)
    derived.close()

    monkeypatch.setattr(asyncio.SelectorEventLoop, name, replaced)
    (told,) = turns(loop)
    assert f"asyncio's BaseEventLoop.{name}()" in told


def test_a_class_of_handles_that_was_replaced_is_told(loop, monkeypatch):
    monkeypatch.setattr(asyncio.events, "TimerHandle", type("Own", (asyncio.TimerHandle,), {}))
    (told,) = turns(loop)
    assert "asyncio.events.TimerHandle" in told


@pytest.mark.parametrize(
    ("owner", "name"),
    [(selectors, "DefaultSelector"), (selectors.EpollSelector, "select"), (asyncio.base_events, "time")],
    ids=str,
)
def test_what_was_replaced_for_all_loops_is_told(loop, monkeypatch, owner, name):
    monkeypatch.setattr(owner, name, type("Own", (), {}))
    (told,) = turns(loop)
    assert name in told


@pytest.mark.parametrize("name", patched._METHODS)
def test_a_method_that_was_wrapped_on_asyncios_class_is_told_once(loop, monkeypatch, name):
    standard = getattr(asyncio.BaseEventLoop, name)

    class Wrapper:  # passes for what it wraps, as wrapt's do
        __globals__ = standard.__globals__

        def __get__(self, *_):
            return self

        def __call__(self, *arguments, **named):
            raise AssertionError("called")

    def wrapper(*arguments, **named):
        raise AssertionError("called")

    for wrapped in (Wrapper(), wrapper):
        patched._told.clear()
        monkeypatch.setattr(asyncio.BaseEventLoop, name, wrapped)
        (told,) = turns(loop)
        assert f"asyncio's BaseEventLoop.{name}()" in told
        assert "replace that of aioxide.EventLoop" in told


def test_mock_patch_of_the_selector_says_why_it_cannot_be(loop):
    with pytest.raises(RuntimeError, match="no selector"), mock.patch.object(loop._selector, "select"):
        pass


def test_a_patched_select_is_refused(monkeypatch):
    """gevent and eventlet take `select.epoll` away."""
    before = aioxide.new_event_loop()
    monkeypatch.delattr(select, "epoll")
    for make in (aioxide.EventLoop, aioxide.new_event_loop):
        with pytest.raises(RuntimeError, match=r"monkey-patched.*asyncio\.SelectorEventLoop\(\)"):
            make()
    with pytest.raises(RuntimeError, match="monkey-patched"):
        before.run_forever()
    before.close()


def test_under_install_a_patched_select_is_refused_without_noise():
    program = """
        import select
        del select.epoll
        import asyncio, sys, aioxide

        aioxide.install()
        try:
            asyncio.new_event_loop()
        except RuntimeError as error:
            assert "monkey-patched" in str(error)
        loop = asyncio.SelectorEventLoop(__import__("selectors").PollSelector())
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    """
    done = subprocess.run(
        # A loop that is not ours makes an installed aioxide warn.
        [sys.executable, "-X", "dev", "-W", "ignore::RuntimeWarning", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
