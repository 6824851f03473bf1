"""Runs a scenario on stock asyncio and on aioxide, and compares the two histories.

A scenario is a function of one `Run`. It does its worst to `run.loop` and logs what it sees; asyncio's
history is the expectation, so a scenario needs no list of expected events, only something that proves it
took place (`reached`).
"""

import asyncio
import contextlib
import difflib
import gc
import os
import re
import socket
import subprocess
import sys

import aioxide

# False as long as aioxide.EventLoop is asyncio's loop under our name.
NATIVE = aioxide.EventLoop.__mro__[1] is not asyncio.SelectorEventLoop

FACTORIES = {"asyncio": asyncio.SelectorEventLoop, "aioxide": aioxide.new_event_loop}

# What user code may raise from a callback: the two that must leave the loop, and three that must not.
EXCEPTIONS = [ValueError, asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit]

# In 3.13.0 a run_forever() inside a running loop forgets that stop() was called on the outer one, which then goes on.
NESTED_RUN_HANGS = sys.version_info[:3] == (3, 13, 0)

# What stands in asyncio's history when asyncio itself has broken down.
TRIPPED = "'NoneType' object "

# Full size in `make test-hard`, a fraction of it elsewhere.
HARD = os.environ.get("AIOXIDE_HARD") == "1"


class Run:
    """One scenario on one loop, with all that was seen of it.

    Events are kept by actor. Between actors (the two ends of a connection, say) no order is promised by
    anybody, so none is compared.
    """

    def __init__(self, factory):
        self.loop = factory()
        self.history = {}
        self.opened = contextlib.ExitStack()
        self.loop.set_exception_handler(self.on_unhandled)

    def log(self, actor, *event):
        self.history.setdefault(actor, []).append(tuple(map(plain, event)))

    def on_unhandled(self, loop, context):
        self.log("handler", context.get("message"), context.get("exception"), sorted(context))

    def attempt(self, actor, function, *arguments):
        """Call `function` and log what came of it, also where it raises; return its result or None."""
        try:
            result = function(*arguments)
        except BaseException as error:
            self.log(actor, "raises", error)
            return None
        self.log(actor, "returns", result)
        return result

    def settle(self, turns=6):
        """Let the loop do all that it can without waiting; what comes out of run_forever is logged, not
        raised.
        """
        for _ in range(turns):
            if self.loop.is_closed():
                self.log("loop", "closed")
                return
            self.loop.call_soon(self.loop.stop)
            try:
                self.loop.run_forever()
            except BaseException as error:
                self.log("loop", "out of run_forever", error)

    def complete(self, awaitable):
        """`run_until_complete`, its result or exception logged."""
        return self.attempt("main", self.loop.run_until_complete, awaitable)

    def tcp_pair(self):
        """Two connected, non-blocking TCP sockets over loopback; they are closed with the run."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            near = self.opened.enter_context(socket.create_connection(listener.getsockname()))
            far = self.opened.enter_context(listener.accept()[0])
        for each in (near, far):
            each.setblocking(False)
            # Fixed sizes: by itself the kernel lets them grow until even a large write fits, or just not.
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 17)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)
        return near, far


def plain(value):
    """`value` as something that compares equal over two runs: addresses and instances go, types and texts
    stay.
    """
    if isinstance(value, BaseException):
        return (type(value).__name__, plain_text(str(value)))
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, list | tuple):
        return tuple(map(plain, value))
    if value is None or isinstance(value, bool | int | float | bytes):
        return value
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, asyncio.BaseTransport):
        return "a transport"  # its class is private
    return f"a {type(value).__name__}"


def plain_text(text):
    """`text` without addresses and numbers of tasks, with one name for every event loop class, and without
    the name of what raised in a callback: where that is the transport's own method, the name is private.
    """
    text = re.sub(r"^Exception in callback .*", "Exception in callback", text, flags=re.DOTALL)
    text = re.sub(r"\b\w*EventLoop\b", "EventLoop", text)
    text = re.sub(r"\bTask-\d+", "Task-N", text)
    return re.sub(r"\b0?x[0-9a-f]{6,}", "0x", text)


def open_fds():
    return set(os.listdir("/proc/self/fd"))


def play(scenario, factory, *arguments):
    """The history of `scenario(run, *arguments)` on a fresh loop, with its end and the fds left over."""
    # Collections are many, and should look only at what the scenario makes: the test run's own heap is large.
    gc.freeze()
    try:
        before = open_fds()
        history = perform(scenario, factory, arguments)
        gc.collect()
        # Listing the folder opens an fd of its own, which has whatever number was free.
        leaked = {fd for fd in open_fds() - before if os.path.lexists(f"/proc/self/fd/{fd}")}
        history["leaked fds"] = [os.readlink(f"/proc/self/fd/{fd}") for fd in leaked]
        return history
    finally:
        gc.unfreeze()


def perform(scenario, factory, arguments):
    run = Run(factory)
    with run.opened:
        try:
            scenario(run, *arguments)
        except BaseException as error:
            run.log("scenario", "raises", error)
        if not run.loop.is_closed():
            run.settle(2)
            run.loop.close()
    return run.history


def assert_same(scenario, *arguments, reached, ignore=()):
    """Assert that `scenario` leaves the same history on both loops.

    `reached` is a string that must stand somewhere in asyncio's own history: the proof that the scenario
    came to its point, without which two equal histories say nothing. Actors in `ignore` are not compared.
    """
    expected = play(scenario, FACTORIES["asyncio"], *arguments)
    assert reached in str(expected), expected
    got = play(scenario, FACTORIES["aioxide"], *arguments)
    if TRIPPED in str(expected):
        # Its own code trips over what is gone (some writes after the end do that to 3.12 to 3.14): not to be copied.
        assert reached in str(got), got
        assert TRIPPED not in str(got), got
        return got
    for actor in ignore:
        expected.pop(actor, None)
        got.pop(actor, None)
    assert got == expected, difference(expected, got)
    return expected


def difference(expected, got):
    """Both histories line by line, where they part."""
    lines = ["the histories differ (- asyncio, + aioxide)"]
    for actor in sorted({*expected, *got}):
        events = [[repr(event) for event in history.get(actor, [])] for history in (expected, got)]
        if events[0] != events[1]:
            lines += [f"{actor}:", *difflib.ndiff(*events)]
    return "\n".join(lines)


def start_child(program, *arguments, env=None, **options):
    """Start `program` (source text) in a fresh interpreter that can import aioxide and this package."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    package = os.path.dirname(os.path.dirname(os.path.abspath(aioxide.__file__)))
    path = os.pathsep.join([package, root, *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path, "PYTHONFAULTHANDLER": "1", **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def child(program, *arguments, timeout=60, **options):
    """Run such a program to its end; a `subprocess.CompletedProcess`."""
    with start_child(program, *arguments, **options) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)
