"""Every slot of a stream protocol, and in each of them every deed that user code may do there."""

import asyncio
import gc
import os
import threading

import pytest

from tests.support.scenarios import EXCEPTIONS, NESTED_RUN_HANGS, assert_same

STREAM_SLOTS = [
    "factory",
    "connection_made",
    "data_received",
    "pause_writing",
    "resume_writing",
    "eof_received",
    "connection_lost",
]
BUFFERED_SLOTS = ["connection_made", "get_buffer", "buffer_updated", "eof_received", "connection_lost"]

BIG = b"0123456789abcdef" * (1 << 17)  # 2 MiB: more than the socket buffers take, so writing pauses


class Deeds:
    """What is done in a slot, by name; `end` is the protocol, whose transport may still be None."""

    def close(self, run, end):
        end.transport.close()

    def close_twice(self, run, end):
        end.transport.close()
        end.transport.close()

    def abort(self, run, end):
        end.transport.abort()

    def close_then_abort(self, run, end):
        end.transport.close()
        end.transport.abort()

    def abort_then_write(self, run, end):
        end.transport.abort()
        for _ in range(7):  # from the fifth on asyncio logs that it was warned
            end.transport.write(b"never sent")

    def write(self, run, end):
        end.transport.write(b"from the slot")

    def write_empty(self, run, end):
        end.transport.write(b"")
        end.transport.writelines([])
        end.transport.writelines([b"", bytearray(), memoryview(b"")])

    def write_wrong_type(self, run, end):
        end.transport.write("a string")

    def writelines(self, run, end):
        end.transport.writelines([b"a", bytearray(b"b"), memoryview(b"c")])

    def write_eof_and_write(self, run, end):
        end.transport.write_eof()
        end.transport.write(b"too late")

    def write_eof_twice(self, run, end):
        end.transport.write_eof()
        end.transport.write_eof()

    def pause_and_resume(self, run, end):
        end.transport.pause_reading()
        end.transport.pause_reading()
        run.log(end.name, end.transport.is_reading())
        end.transport.resume_reading()
        end.transport.resume_reading()
        run.log(end.name, end.transport.is_reading())

    def pause_then_resume_later(self, run, end):
        end.transport.pause_reading()
        run.loop.call_soon(end.transport.resume_reading)

    def change_limits(self, run, end):
        end.transport.set_write_buffer_limits(high=0)
        run.log(end.name, end.transport.get_write_buffer_limits())

    def impossible_limits(self, run, end):
        end.transport.set_write_buffer_limits(high=1, low=2)

    def set_protocol(self, run, end):
        other = type(end)(run, "another protocol", None, None)
        other.transport = end.transport
        end.transport.set_protocol(other)
        run.log(end.name, end.transport.get_protocol() is other)

    def set_plain_protocol(self, run, end):
        end.transport.set_protocol(asyncio.Protocol())

    def stop(self, run, end):
        run.loop.stop()

    def close_loop(self, run, end):
        run.loop.close()

    def run_loop(self, run, end):
        run.loop.run_forever()

    def run_another_loop(self, run, end):
        other = type(run.loop)()
        nap = asyncio.sleep(0)
        try:
            other.run_until_complete(nap)
        finally:
            nap.close()
            other.close()

    def collect_garbage(self, run, end):
        gc.collect()

    def forget_transport(self, run, end):
        end.transport = None
        gc.collect()

    def close_from_thread(self, run, end):
        thread = threading.Thread(target=run.loop.call_soon_threadsafe, args=(end.transport.close,))
        thread.start()
        thread.join()

    def close_fd_behind_its_back(self, run, end):
        # The number must not go to another file of this process: put a dead pipe's end in its place.
        reader, writer = os.pipe()
        os.dup2(reader, end.transport.get_extra_info("socket").fileno())
        os.close(reader)
        os.close(writer)

    def call_own_slots(self, run, end):
        end.connection_lost(None)

    def ask_everything(self, run, end):
        names = ["socket", "sockname", "peername", "sslcontext", "nothing"]
        run.log(end.name, [type(end.transport.get_extra_info(name, "default")).__name__ for name in names])
        run.log(end.name, end.transport.is_closing(), end.transport.can_write_eof())
        run.log(end.name, end.transport.get_protocol() is end)
        run.log(end.name, end.transport.get_write_buffer_limits(), type(repr(end.transport)))


def raising(exception):
    def deed(self, run, end):
        raise exception("from a slot")

    return deed


for exception in EXCEPTIONS:
    setattr(Deeds, f"raise_{exception.__name__}", raising(exception))

DEEDS = sorted(name for name in vars(Deeds) if not name.startswith("_"))


class End:
    """A protocol that logs its calls and does the deed in its slot, the first time."""

    def __init__(self, run, name, slot, deed):
        self.run, self.name, self.slot, self.deed = run, name, slot, deed
        self.transport = None
        self.ended = False

    def seen(self, slot, *event):
        if slot != "get_buffer":  # how often a buffer is asked for is the transport's own affair
            self.run.log(self.name, slot, *event)
        if slot == self.slot:
            self.slot = None
            self.run.log(self.name, "does", self.deed, "in", slot)
            try:
                getattr(Deeds(), self.deed)(self.run, self)
            except BaseException as error:
                self.run.log(self.name, "the deed raises", error)
                raise

    def connection_made(self, transport):
        self.transport = transport
        self.seen("connection_made")

    def eof_received(self):
        # asyncio reports the end again when reading is resumed after it, or when what was raised here left the
        # loop before the reader was unregistered. We report it once.
        if not self.ended:
            self.ended = True
            self.seen("eof_received")
        return True

    def connection_lost(self, error):
        self.seen("connection_lost", type(error))

    def pause_writing(self):
        self.seen("pause_writing")

    def resume_writing(self):
        self.seen("resume_writing")


class StreamEnd(End, asyncio.Protocol):
    def data_received(self, data):
        self.seen("data_received", bytes(data))


class BufferedEnd(End, asyncio.BufferedProtocol):
    def get_buffer(self, sizehint):
        self.buffer = bytearray(64)
        self.seen("get_buffer")
        return self.buffer

    def buffer_updated(self, nbytes):
        self.seen("buffer_updated", bytes(self.buffer[:nbytes]))


def drain(run, far):
    """Read what has come for `far`; the number of bytes, or the name of the exception that ended it."""
    count = 0
    for _ in range(1000):
        run.settle(1)
        try:
            data = far.recv(1 << 20)
        except BlockingIOError:
            return count, "open"
        except OSError as error:
            return count, type(error).__name__
        if not data:
            return count, "end of file"
        count += len(data)
    return count, "still coming"


def quietly(function, *arguments):
    """The deed may have closed the connection long ago: then there is nothing left to steer."""
    try:
        function(*arguments)
    except OSError:
        pass


def connection(run, end_class, slot, deed):
    """A connection's whole life, its other end steered from outside; in `slot` the deed is done."""
    near, far = run.tcp_pair()
    end = end_class(run, "near end", slot, deed)

    def factory():
        end.seen("factory")
        return end

    run.attempt("main", run.loop.run_until_complete, run.loop.create_connection(factory, sock=near))
    run.settle()
    transport = end.transport
    if transport is not None and deed == "close_fd_behind_its_back":
        # Resumed with nothing left: how much of the low mark is left after a send is the kernel's to say, and on that
        # hangs whether the bytes at the end are sent at once, over what is no socket.
        transport.set_write_buffer_limits(low=0)
    quietly(far.send, b"hello")
    run.settle()
    # From inside the loop, where user code is: pause_writing is called by write() itself.
    if transport is not None:
        run.loop.call_soon(transport.write, BIG)
    run.settle()
    taken, state = drain(run, far)
    whole = deed in {"collect_garbage", "ask_everything", "pause_and_resume"}
    run.log("far end", state, taken if whole else "some")
    quietly(far.shutdown, 1)
    run.settle()
    if transport is not None:
        run.loop.call_soon(transport.write, b"bye")
        run.loop.call_soon(transport.close)
    run.settle()
    far.close()
    run.settle()
    run.log("main", "transport", transport is not None and transport.is_closing())
    near.close()


def make_cases():
    hangs = pytest.mark.by_version(NESTED_RUN_HANGS, "asyncio 3.13.0 hangs")
    for end_class, slots in ((StreamEnd, STREAM_SLOTS), (BufferedEnd, BUFFERED_SLOTS)):
        for slot in slots:
            for deed in DEEDS:
                # Before there is a transport only what raises can be done.
                if slot == "factory" and not deed.startswith("raise_"):
                    continue
                marks = [hangs] if deed == "run_loop" else []
                yield pytest.param(
                    end_class, slot, deed, id=f"{end_class.__name__}-{slot}-{deed}", marks=marks
                )


@pytest.mark.parametrize(("end_class", "slot", "deed"), list(make_cases()))
def test_deed_in_slot(end_class, slot, deed):
    reached = f"('does', '{deed}', 'in', '{slot}')"
    assert_same(connection, end_class, slot, deed, reached=reached, ignore=weaknesses(slot, deed))


def weaknesses(slot, deed):
    """Actors whose events asyncio itself leaves to chance."""
    leaves_the_loop = deed in {"raise_KeyboardInterrupt", "raise_SystemExit"}
    if slot == "resume_writing" and leaves_the_loop:
        # From 3.12 on its writer stays registered with nothing to write, and logs an AssertionError each turn.
        return ["handler"]
    if deed == "close_fd_behind_its_back":
        # It stumbles over the descriptor when it unregisters it, where it has to.
        return ["handler"]
    return []
