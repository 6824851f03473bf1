"""Runs one program on stock asyncio and on aioxide, in normal and in debug mode, and compares what was seen.

A case is a function of one `Run` (plain, or ``async def``: then it runs as a task of the loop) that is
decorated with `parity`. All that the program logs, and all that asyncio says meanwhile (log records from INFO
up, warnings, exception-handler contexts, unraisable errors), goes into one history of text lines, in order.
asyncio's history is the expectation; no case states it by hand.

With `PARITY_CONTROL=1` in the environment asyncio is compared with itself: a failure is then the case's own.
"""

import asyncio
import contextlib
import contextvars
import difflib
import gc
import inspect
import logging
import os
import re
import socket
import sys
import threading
import traceback
import warnings

import pytest

if os.environ.get("PARITY_CONTROL") == "1":
    OURS = asyncio.SelectorEventLoop, asyncio
else:
    import aioxide

    OURS = aioxide.new_event_loop, aioxide

# What is compared: a loop factory, and the module that Task, Future and the rest are taken from.
SIDES = {"asyncio": (asyncio.SelectorEventLoop, asyncio), "aioxide": OURS}


def without_future_origins(text):
    """`text` without " created at ..." in the reprs of futures (see `Normaliser.text`)."""
    out = []
    position = 0
    while (start := text.find("<Future ", position)) >= 0:
        depth, end = 0, start
        for end in range(start, len(text)):
            depth += {"<": 1, ">": -1}.get(text[end], 0)
            if depth == 0:
                break
        body = without_future_origins(text[start + 1 : end])
        out += [text[position:start], "<", re.sub(r" created at \S+$", " created somewhere", body)]
        position = end
    return "".join([*out, text[position:]])


class Normaliser:
    """Turns values into text that is equal over two runs: what is counted gets a running number."""

    def __init__(self):
        self.seen = {}

    def number(self, kind, text):
        known = self.seen.setdefault(kind, {})
        return known.setdefault(text, len(known) + 1)

    def text(self, text):
        numbered = [
            (r"\bTask-(\d+)\b", "task", "Task-{}"),
            (r"\bfd=(\d+)", "fd", "fd={}"),
            (r"\b[Ff]ile descriptor (\d+)", "fd", "file descriptor {}"),
            (r"(?<=\('127\.0\.0\.\d', )(\d+)", "port", "{}"),
            (r"\bpid=(\d+)", "pid", "pid={}"),
        ]
        for pattern, kind, replacement in numbered:
            text = re.sub(pattern, lambda m, k=kind, r=replacement: r.format(self.number(k, m[1])), text)
        fixed = [
            (r"\b0x[0-9a-fA-F]{4,}", "0x"),
            (r"\bwhen=[0-9.]+", "when=T"),
            (r"took [0-9.]+ seconds", "took T seconds"),
            # The class's own name is what the user chose by the factory; all else of the repr must be equal.
            (r"<(?:\w+\.)*\w*EventLoop\b", "<Loop"),
            (r"<(?:\w+\.)*(?:_Selector)?SocketTransport\b", "<Transport"),
            (r"\b(?:_Selector)?SocketTransport\.(?=\w+\()", "Transport."),
            (r"<(?:_SelectorSoc|SocketTransp)\.\.\.", "<..."),
            (r"<_ThreadSafeHandle\b", "<Handle"),
            # The line that called in stands in a file of asyncio's or of ours, where it is not the program's.
            (r" created at \S*/(?:asyncio|aioxide)/(?:\w+/)?\w+\.py:\d+", " created at asyncio"),
            (r"\.\.\.[\w.]*\.py:\d+>", "...>"),
            (r"\[<FrameSummary [^\]]*\]", "[frames]"),
            # Error messages name a C type with its module and a Python class without.
            (r"\b_?(?:asyncio|aioxide)\.(?=(?:Task|Future|Handle|TimerHandle)\b)", ""),
        ]
        for pattern, replacement in fixed:
            text = re.sub(pattern, replacement, text)
        return without_future_origins(text)


def shown(value):
    """A value as text: exceptions by type and message, types by name, mappings in the order of their keys."""
    if isinstance(value, BaseException):
        return f"{type(value).__qualname__}({value})"
    if isinstance(value, traceback.StackSummary):
        # How many frames are kept is asyncio's affair; which of the program's lines they are is told.
        return str([f"{frame.name}:{frame.lineno}" for frame in value if "/parity/test_" in frame.filename])
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, tuple | list):
        inside = ", ".join(map(shown, value))
        return f"[{inside}]" if isinstance(value, list) else f"({inside})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {shown(value[key])}" for key in sorted(value, key=str)) + "}"
    return repr(value)


class Records(logging.Handler):
    """Puts asyncio's log records into the history."""

    def __init__(self, run):
        super().__init__(logging.INFO)
        self.run = run

    def emit(self, record):
        exception = record.exc_info[1] if record.exc_info else None
        lines = record.getMessage().splitlines()
        # Where a callback was scheduled from is told as a traceback; only its last frames are the program's.
        lines = [line for line in lines if not line.startswith(("  File", "    ", "handle_traceback: "))]
        self.run.add("log", record.levelname, " | ".join(lines), shown(exception))


class Run:
    """One program on one loop, with all that was seen of it; it tests `loop`, `Task` and `Future`."""

    def __init__(self, kind, debug):
        self.kind = kind
        self.debug = debug
        self.lines = []
        self.late = []
        self.minds_leaks = True
        self.plain = Normaliser()
        self.factory, self.namespace = SIDES[kind]
        self.Task = self.namespace.Task
        self.Future = self.namespace.Future
        self.loop = None
        self.opened = contextlib.ExitStack()
        self.thread = threading.get_ident()

    def new_loop(self):
        """A fresh loop of the kind under test, closed with the run."""
        loop = self.factory()
        loop.set_debug(self.debug)
        # No line must depend on how busy the machine is; the cases on slow callbacks set their own limit.
        loop.slow_callback_duration = 100.0
        self.opened.callback(self.close, loop)
        return loop

    @staticmethod
    def close(loop):
        if not loop.is_running():
            loop.close()

    def add(self, *words):
        self.lines.append(self.plain.text(" ".join(map(str, words))))

    def log(self, *values):
        """Add one line to the history; values that differ between two runs by nature are made equal."""
        self.add(*(value if isinstance(value, str) else shown(value) for value in values))

    def attempt(self, function, *arguments, **keywords):
        """Call `function`, log its result or exception (type and text), and return the result or None."""
        try:
            result = function(*arguments, **keywords)
        except BaseException as error:
            self.log("raised", error)
            return None
        self.log("returned", result)
        return result

    async def wait(self, awaitable):
        """Await it, log its result or exception, and return the result or None."""
        try:
            result = await awaitable
        except BaseException as error:
            self.log("raised", error, "from", error.__cause__, "during", error.__context__)
            return None
        self.log("returned", result)
        return result

    def complete(self, awaitable):
        """`attempt` of the loop's run_until_complete."""
        return self.attempt(self.loop.run_until_complete, awaitable)

    def turns(self, count=1):
        """Run the loop for `count` iterations; what comes out of run_forever is logged."""
        for _ in range(count):
            self.loop.call_soon(self.loop.stop)
            try:
                self.loop.run_forever()
            except BaseException as error:
                self.log("out of run_forever:", error)

    async def idle(self, count=1):
        """Let the loop turn `count` times."""
        for _ in range(count):
            await asyncio.sleep(0)

    def catch(self):
        """Send exception-handler contexts into the history in place of asyncio's log."""
        self.loop.set_exception_handler(lambda loop, context: self.log("handler", context))

    def socket_pair(self, family=socket.AF_UNIX):
        """A connected pair, the first non-blocking for the loop, the second blocking with a time limit."""
        if family == socket.AF_UNIX:
            near, far = socket.socketpair()
        else:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                near = socket.create_connection(listener.getsockname())
                far = listener.accept()[0]
        near.setblocking(False)
        far.settimeout(10)
        self.opened.callback(near.close)
        self.opened.callback(far.close)
        return near, far

    def see_warning(self, message, category, filename, lineno, file=None, line=None):
        # A destructor's warning is reported at whatever line ran just then.
        if issubclass(category, ResourceWarning):
            if self.minds_leaks:
                self.late.append(f"warning {category.__name__} {self.plain.text(str(message))}")
            return
        # A never-awaited coroutine's message goes on with the stack that made it.
        message = str(message).partition("\n")[0]
        where = "in the program" if "/parity/test_" in filename else "elsewhere"
        self.add("warning", category.__name__, message, where)

    def see_unraisable(self, unraisable):
        self.log("unraisable", unraisable.exc_value)


@contextlib.contextmanager
def watched(run):
    """Lead log records, warnings and unraisable errors into the history; no cycle is collected meanwhile."""
    logger = logging.getLogger("asyncio")
    handler = Records(run)
    saved = logger.level, logger.propagate, sys.unraisablehook
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    sys.unraisablehook = run.see_unraisable
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    gc.freeze()  # the collections below then look at the program's objects alone, not at pytest's
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = run.see_warning
        try:
            yield
            gc.collect()
        finally:
            gc.unfreeze()
            logger.removeHandler(handler)
            logger.level, logger.propagate, sys.unraisablehook = saved
            if collecting:
                gc.enable()


def history(body, kind, debug):
    """The lines that `body` leaves on a loop of `kind`."""
    run = Run(kind, debug)
    asyncio.set_event_loop(None)  # below 3.14 the first get_event_loop() of a thread would make one
    with watched(run):
        with run.opened:
            run.loop = run.new_loop()
            _play(body, run)
        if run.loop is not None:
            run.log("end: closed", run.loop.is_closed(), "running", run.loop.is_running())
        run.loop = None
        gc.collect()
    return run.lines + sorted(run.late)


def _play(body, run):
    context = contextvars.Context()
    if inspect.iscoroutinefunction(body):
        context.run(run.loop.run_until_complete, body(run))
    else:
        context.run(body, run)


def compare(body, debug):
    """Run `body` on both and fail with a diff unless the histories are equal and not empty."""
    stock, ours = (history(body, kind, debug) for kind in SIDES)
    assert len(stock) > 1, "the program left no history: nothing is compared"
    if stock != ours:
        diff = "\n".join(difflib.unified_diff(stock, ours, "asyncio", "aioxide", lineterm="", n=4))
        pytest.fail(f"the histories differ (debug={debug}):\n{diff}", pytrace=False)


def parity(body=None, *, debug=(False, True)):
    """Make a pytest test of `body`: compared on both loops, in each of the modes `debug`."""
    if body is None:
        return lambda function: parity(function, debug=debug)

    @pytest.mark.timeout(90, method="signal")  # a program that hangs fails alone, not the whole run
    @pytest.mark.parametrize("debug", debug, ids=["debug" if mode else "normal" for mode in debug])
    def test(debug):
        compare(body, debug)

    for name in ("__name__", "__qualname__", "__doc__", "__module__"):
        setattr(test, name, getattr(body, name))
    test.pytestmark = [*test.pytestmark, *getattr(body, "pytestmark", [])]
    return test


def since(*version):
    """Leave the test out on a CPython older than `version`, which has no such thing."""
    text = ".".join(map(str, version))
    return pytest.mark.by_version(sys.version_info < version, f"CPython {text} is the first that has it")


def but_not(version, reason):
    """Leave the test out on exactly this CPython, whose asyncio itself fails it."""
    return pytest.mark.by_version(sys.version_info[: len(version)] == version, reason)


class Recorder(asyncio.Protocol):
    """A stream protocol that logs each of its calls."""

    def __init__(self, run, name="protocol"):
        self.run = run
        self.name = name
        self.transport = None
        self.lost = run.loop.create_future()
        self.hooks = {}

    def _see(self, what, *values):
        self.run.log(f"{self.name}.{what}", *values)
        if what in self.hooks:
            return self.hooks[what](*values)
        return None

    def connection_made(self, transport):
        self.transport = transport
        self._see("connection_made")
        if "made" in self.hooks:
            self.hooks["made"](transport)

    def data_received(self, data):
        self._see("data_received", data if len(data) < 100 else len(data))

    def eof_received(self):
        return self._see("eof_received")

    def pause_writing(self):
        self._see("pause_writing")

    def resume_writing(self):
        self._see("resume_writing")

    def connection_lost(self, exc):
        self._see("connection_lost", exc)
        if not self.lost.done():
            self.lost.set_result(None)


class Quiet(Recorder):
    """A protocol that keeps its calls in `seen`: of two ends on one loop, only each one's order is sure."""

    def __init__(self, run, name="protocol"):
        super().__init__(run, name)
        self.seen = []

    def _see(self, what, *values):
        self.seen.append((what, *values))
        return self.hooks[what](*values) if what in self.hooks else None


class BufferedRecorder(asyncio.BufferedProtocol):
    """A protocol that receives into a buffer of its own of `size` bytes, and logs each of its calls."""

    def __init__(self, run, size=64):
        self.run = run
        self.buffer = bytearray(size)
        self.lost = run.loop.create_future()

    def connection_made(self, transport):
        self.run.log("buffered.connection_made")

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, nbytes):
        self.run.log("buffered.buffer_updated", nbytes, bytes(self.buffer[:nbytes]))

    def eof_received(self):
        self.run.log("buffered.eof_received")

    def connection_lost(self, exc):
        self.run.log("buffered.connection_lost", exc)
        if not self.lost.done():
            self.lost.set_result(None)


async def connect(h, family=socket.AF_UNIX, protocol=None):
    """A transport with `protocol` (or a fresh `Recorder`), and the blocking socket at its other end."""
    near, far = h.socket_pair(family)
    transport, protocol = await h.loop.create_connection(lambda: protocol or Recorder(h), sock=near)
    return transport, protocol, far


async def settle():
    """Turns enough for what a peer did to arrive, each with a look at the descriptors; no bet on time."""
    for _ in range(6):
        await asyncio.sleep(0.001)
