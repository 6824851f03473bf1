"""Whatever can be handed to write(), and whatever get_buffer() can return."""

import array
import asyncio
import contextlib
import ctypes
import mmap
import sys

import pytest

from tests.support.scenarios import FACTORIES, NATIVE, TRIPPED, Run, assert_same, play


class Changed(bytes):
    """A bytes subclass that lies about itself."""

    def __len__(self):
        return 2

    def __iter__(self):
        raise ValueError("from __iter__")


class ClosingBuffer:
    """Closes the transport while its memory is asked for, and again while it is given back."""

    def __init__(self, run, transport, deed):
        self.run, self.transport, self.deed = run, transport, deed

    def act(self):
        getattr(self.transport, self.deed)()

    def __buffer__(self, flags):
        self.run.log("buffer", self.deed)
        self.act()
        return memoryview(b"from __buffer__")

    def __release_buffer__(self, view):
        # When the memory is given back is the transport's affair: asyncio's may do it as late as when all is
        # collected, this object's attributes first.
        with contextlib.suppress(AttributeError):
            self.act()
        view.release()


class RaisingBuffer:
    def __buffer__(self, flags):
        raise ValueError("from __buffer__")


def released():
    view = memoryview(b"released")
    view.release()
    return view


def closed_map():
    area = mmap.mmap(-1, 10)
    area[:] = b"a map, 10b"
    return area


def data():
    """One of each kind, fresh: some can be read only once."""
    return {
        "bytes": b"bytes",
        "bytearray": bytearray(b"bytearray"),
        "memoryview": memoryview(b"view"),
        "part of a view": memoryview(b"0123456789")[2:5],
        "wide items": memoryview(array.array("i", [1, 2, 3])),
        "two dimensions": memoryview(bytes(12)).cast("B", [3, 4]),
        "ctypes": memoryview((ctypes.c_char * 4)(*b"type")),
        "released": released(),
        "array": array.array("b", [1, 2, 3]),
        "map": closed_map(),
        "bytes subclass": Changed(b"subclass"),
        "text": "text",
        "number": 7,
        "list of numbers": [1, 2],
        "none": None,
        "iterator": iter([b"x"]),
    }


class Receiver(asyncio.Protocol):
    def __init__(self, run):
        self.run = run

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, error):
        self.run.log("protocol", "lost", error)


def connected(run, factory=Receiver):
    near, far = run.tcp_pair()
    transport, protocol = run.loop.run_until_complete(
        run.loop.create_connection(lambda: factory(run), sock=near)
    )
    return transport, protocol, far


def read_all(run, far):
    data = b""
    while True:
        run.settle(2)
        try:
            chunk = far.recv(1 << 20)
        except BlockingIOError:
            return data
        if not chunk:
            return data + b"<end>"
        data += chunk


def attempt_type(run, function, *arguments):
    """Log whether it raises, and which class: texts for what is no buffer at all change with every version."""
    try:
        function(*arguments)
    except Exception as error:
        run.log("main", type(error), str(error) if TRIPPED in str(error) else "")
    else:
        run.log("main", "accepted")


def write_each(run, method):
    transport, _, far = connected(run)
    for name, each in data().items():
        # 3.12 began to return at once when there is nothing to write, and None is nothing too.
        if not (method == "writelines" and name == "none"):
            run.log("main", name)
            attempt_type(run, getattr(transport, method), each)
    run.log("far end", read_all(run, far))
    transport.close()
    run.settle()


@pytest.mark.parametrize("method", ["write", "writelines"])
def test_write_takes_what_asyncio_takes(method):
    # Of several buffers, one of them wrong, 3.15 sends those before it.
    ignore = ["far end"] if method == "writelines" else []
    assert_same(write_each, method, reached="'TypeError'", ignore=ignore)


def write_scattered(run):
    """A view that is not contiguous is taken, and then can't be sent: a fatal error, reported once."""
    transport, _, _ = connected(run)
    for _ in range(3):
        run.loop.call_soon(transport.write, memoryview(b"0123456789")[::2])
        run.settle()
    run.attempt("main", transport.write, memoryview(b"0123456789")[::-1])
    run.settle()


def test_write_of_what_can_not_be_sent():
    assert_same(write_scattered, reached="Fatal write error")


def write_lists(run):
    transport, _, far = connected(run)

    def stops_half_way():
        yield b"one "
        raise ValueError("half way")

    def closes_half_way():
        yield b"two "
        transport.close()
        yield b"three"

    lists = [
        [b"a", bytearray(b"b"), memoryview(b"c")],
        (b"tuple",),
        [b"good", "bad", b"never"],
        [b"", b"", bytearray()],
        [[b"nested"]],
        {b"key": 1},
        range(3),
        stops_half_way(),
        closes_half_way(),
    ]
    for lines in lists:
        attempt_type(run, transport.writelines, lines)
    run.log("far end", read_all(run, far))


def test_writelines_over_odd_iterables():
    # Of a list that turns out wrong half way, 3.15 sends what comes before.
    assert_same(write_lists, reached="ValueError", ignore=["far end"])


@pytest.mark.skipif(
    not NATIVE, reason="from 3.12 on asyncio itself keeps the caller's buffer until it is sent"
)
def test_write_takes_a_snapshot():
    """A mutable buffer belongs to its owner again as soon as write() returns."""
    run = Run(FACTORIES["aioxide"])
    with run.opened:
        transport, _, far = connected(run)
        transport.write(b"." * (8 << 20))
        data = bytearray(b"before")
        transport.write(data)
        transport.writelines([data, memoryview(data)])
        data[:] = b"AFTER!"
        data.clear()
        data.extend(b"resized, so nobody holds on to its memory")
        assert read_all(run, far)[8 << 20 :] == b"before" * 3
        transport.close()
        run.settle()
        run.loop.close()


@pytest.mark.by_version(sys.version_info < (3, 12), "buffers in Python code came with 3.12")
@pytest.mark.parametrize("act", ["close", "abort", "write_eof", "pause_reading"])
def test_buffer_that_acts_on_its_transport(act):
    """Not compared: asyncio looks into a buffer before or after other checks, as the version has it."""

    def scenario(run):
        transport, _, far = connected(run)
        wraps = (("write", lambda b: b), ("writelines", lambda b: [b"first ", b]), ("write", memoryview))
        for method, wrap in wraps:
            for buffer in (ClosingBuffer(run, transport, act), RaisingBuffer()):
                run.attempt("main", lambda m=method, w=wrap, b=buffer: getattr(transport, m)(w(b)))
        read_all(run, far)
        transport.abort()
        run.complete(asyncio.sleep(0, "others run"))

    for name in FACTORIES:
        history = play(scenario, FACTORIES[name])
        assert "scenario" not in history, history
        assert len(history["buffer"]) >= 1
        raised = {event[1][0] for event in history["main"] if event[0] == "raises"}
        assert raised <= {"TypeError", "ValueError", "RuntimeError"}, history
        assert history["main"][-1] == ("returns", "others run")
        assert history["leaked fds"] == []


class Buffered(asyncio.BufferedProtocol):
    """Returns `answers` one after the other from get_buffer, then plain good ones."""

    def __init__(self, run, answers, after):
        self.run, self.answers, self.after = run, list(answers), after
        self.good = bytearray(16)

    def connection_made(self, transport):
        self.transport = transport

    def get_buffer(self, sizehint):
        self.run.log("protocol", "get_buffer", sizehint)
        self.buffer = self.answers.pop(0)(self) if self.answers else self.good
        return self.buffer

    def buffer_updated(self, nbytes):
        self.run.log("protocol", "updated", nbytes, bytes(self.buffer)[:nbytes])
        self.after(self)

    def connection_lost(self, error):
        self.run.log("protocol", "lost", error)


def raise_from_get_buffer(protocol):
    raise ValueError("no buffer")


def close_in_get_buffer(protocol):
    protocol.transport.close()
    return bytearray(8)


def abort_in_get_buffer(protocol):
    protocol.transport.abort()
    return bytearray(8)


ANSWERS = {
    "read-only": lambda protocol: b"0123456789",
    "empty": lambda protocol: bytearray(),
    "released": lambda protocol: released(),
    "text": lambda protocol: "text",
    "none": lambda protocol: None,
    "one byte": lambda protocol: bytearray(1),
    "part of a view": lambda protocol: memoryview(bytearray(20))[5:9],
    "every second byte": lambda protocol: memoryview(bytearray(20))[::2],
    "wide items": lambda protocol: array.array("i", [0, 0, 0]),
    "raise": raise_from_get_buffer,
    "close": close_in_get_buffer,
    "abort": abort_in_get_buffer,
}


def resize(protocol):
    """Whoever exports its memory can't be resized: in buffer_updated nobody may still hold it."""
    protocol.run.attempt("protocol", protocol.good.extend, b"more room")
    protocol.run.attempt("protocol", protocol.good.clear)
    protocol.good.extend(bytes(8))


def replace_protocol(protocol):
    protocol.transport.set_protocol(Receiver(protocol.run))


def fill_buffers(run, answer, after):
    protocol = Buffered(run, [ANSWERS[answer]] if answer else [], after)
    transport, _, far = connected(run, lambda run: protocol)
    for _ in range(3):
        try:
            far.send(b"0123456789")
        except OSError as error:
            run.log("far end", error)
        run.settle()
    transport.close()
    run.settle()


@pytest.mark.parametrize("answer", ANSWERS)
def test_get_buffer_may_return_anything(answer):
    assert_same(fill_buffers, answer, lambda protocol: None, reached="get_buffer")


@pytest.mark.parametrize("after", [resize, replace_protocol], ids=lambda f: f.__name__)
def test_buffer_is_free_again_in_buffer_updated(after):
    assert_same(fill_buffers, None, after, reached="updated")
