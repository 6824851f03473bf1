"""add_reader, add_writer and signals: errors, replacement, order, removal."""

import asyncio
import os
import signal
import socket
import tempfile

from .harness import Recorder, parity


@parity
def test_reader_and_its_removal(h):
    near, far = h.socket_pair()
    h.log(h.loop.add_reader(near, lambda: h.log("readable", near.recv(10))))
    h.turns()
    far.send(b"one")
    h.turns(2)
    h.log(h.loop.remove_reader(near), h.loop.remove_reader(near))
    far.send(b"two")
    h.turns(2)
    h.log(near.recv(10))


@parity
def test_writer_and_its_removal(h):
    near, _ = h.socket_pair()
    calls = []
    h.log(h.loop.add_writer(near, calls.append, 1))
    h.turns(3)
    h.log(2 <= len(calls) <= 3)
    h.log(h.loop.remove_writer(near), h.loop.remove_writer(near))
    count = len(calls)
    h.turns(2)
    h.log(len(calls) == count)


@parity
def test_level_triggered(h):
    near, far = h.socket_pair()
    h.loop.add_reader(near, lambda: h.log("readable", near.recv(1)))
    far.send(b"abc")
    h.turns(5)
    h.loop.remove_reader(near)


@parity
def test_reader_before_writer(h):
    near, far = h.socket_pair()
    far.send(b"x")
    h.loop.add_writer(near, lambda: (h.log("writer"), h.loop.remove_writer(near)))
    h.loop.add_reader(near, lambda: (h.log("reader", near.recv(1)), h.loop.remove_reader(near)))
    h.turns(3)


@parity
def test_replacement(h):
    near, far = h.socket_pair()
    far.send(b"x")
    h.loop.add_reader(near, h.log, "the first")
    h.loop.add_reader(near, lambda: (h.log("the second"), h.loop.remove_reader(near)))
    h.turns(3)
    h.loop.add_reader(near, h.log, "removed in the same turn")
    h.loop.call_soon(h.loop.remove_reader, near)
    h.turns(3)


@parity
def test_replaced_from_within(h):
    near, far = h.socket_pair()
    far.send(b"x")

    def first():
        h.log("first")
        h.loop.add_reader(near, second)

    def second():
        h.log("second", near.recv(1))
        h.loop.remove_reader(near)

    h.loop.add_reader(near, first)
    h.turns(4)


@parity
def test_remove_the_writer_from_the_reader(h):
    near, far = h.socket_pair()
    far.send(b"x")
    h.loop.add_reader(near, lambda: h.log("reader", near.recv(1), h.loop.remove_writer(near)))
    h.loop.add_writer(near, h.log, "not called: cancelled in the same turn")
    h.turns(3)
    h.loop.remove_reader(near)


@parity
def test_wrong_file_descriptors(h):
    for wrong in (-1, "text", None, 3.5, object()):
        h.attempt(h.loop.add_reader, wrong, print)
        h.attempt(h.loop.add_writer, wrong, print)
        h.attempt(h.loop.remove_reader, wrong)
        h.attempt(h.loop.remove_writer, wrong)


@parity
def test_closed_file_descriptor(h):
    near, far = h.socket_pair()
    number = near.fileno()
    near.close()
    h.attempt(h.loop.add_reader, near, print)
    h.attempt(h.loop.add_reader, number, print)
    h.log(h.loop.remove_reader(number))
    far.close()


@parity
def test_regular_file(h):
    with tempfile.TemporaryFile() as file:
        h.attempt(h.loop.add_reader, file, print)
        h.attempt(h.loop.add_writer, file.fileno(), print)


@parity
def test_an_object_with_fileno(h):
    near, far = h.socket_pair()

    class HasFileno:
        def fileno(self):
            return near.fileno()

    class Wrong:
        def fileno(self):
            return "three"

    far.send(b"x")
    h.loop.add_reader(HasFileno(), lambda: h.log("readable", near.recv(1)))
    h.turns(2)
    h.log(h.loop.remove_reader(near.fileno()))
    h.attempt(h.loop.add_reader, Wrong(), print)


@parity
def test_on_a_closed_loop(h):
    near, _ = h.socket_pair()
    h.loop.add_reader(near, print)
    h.loop.close()
    h.attempt(h.loop.add_reader, near, print)
    h.attempt(h.loop.add_writer, near, print)
    h.log(h.loop.remove_reader(near), h.loop.remove_writer(near))


@parity
def test_callback_that_fails_or_is_none(h):
    near, far = h.socket_pair()
    far.send(b"x")

    def fails():
        near.recv(1)
        raise ValueError("in the reader")

    h.loop.add_reader(near, fails)
    h.turns(2)
    h.loop.remove_reader(near)
    h.attempt(h.loop.add_reader, near)
    h.attempt(lambda: h.loop.add_reader(near, print, key=1))


@parity
def test_end_of_file_and_reset(h):
    near, far = h.socket_pair(socket.AF_INET)
    h.loop.add_reader(near, lambda: (h.attempt(near.recv, 10), h.loop.remove_reader(near)))
    far.close()
    h.turns(3)
    near, far = h.socket_pair(socket.AF_INET)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    h.loop.add_reader(near, lambda: (h.attempt(near.recv, 10), h.loop.remove_reader(near)))
    far.close()
    h.turns(3)


@parity
def test_pipe_whose_reader_goes(h):
    read, write = os.pipe()
    h.loop.add_writer(
        write, lambda: (h.log("writable"), h.attempt(os.write, write, b"x"), h.loop.remove_writer(write))
    )
    os.close(read)
    h.turns(3)
    os.close(write)


@parity
async def test_a_transport_s_socket(h):
    near, _far = h.socket_pair()
    transport, protocol = await h.loop.create_connection(lambda: Recorder(h), sock=near)
    for call in (h.loop.add_reader, h.loop.add_writer):
        h.attempt(call, near, print)
        h.attempt(call, near.fileno(), print)
    h.attempt(h.loop.remove_reader, near)
    h.attempt(h.loop.remove_writer, near)
    await h.wait(h.loop.sock_recv(near, 1))
    await h.wait(h.loop.sock_sendall(near, b"x"))
    transport.close()
    await protocol.lost


@parity
def test_signal(h):
    h.log(h.loop.add_signal_handler(signal.SIGUSR1, h.log, "got", "arguments"))
    h.loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
    h.turns(3)
    os.kill(os.getpid(), signal.SIGUSR1)
    h.turns(3)
    h.log(h.loop.remove_signal_handler(signal.SIGUSR1), h.loop.remove_signal_handler(signal.SIGUSR1))
    h.log(signal.getsignal(signal.SIGUSR1))


@parity
def test_signal_errors(h):
    async def coroutine_function():
        pass

    for wrong in (0, -1, 65, "SIGUSR1", None, 1.5, signal.SIGKILL, signal.SIGSTOP):
        h.attempt(h.loop.add_signal_handler, wrong, print)
    for wrong in (0, "SIGUSR1", signal.SIGKILL):
        h.attempt(h.loop.remove_signal_handler, wrong)
    h.attempt(h.loop.add_signal_handler, signal.SIGUSR1, coroutine_function)
    coroutine = coroutine_function()
    h.attempt(h.loop.add_signal_handler, signal.SIGUSR1, coroutine)
    coroutine.close()
    h.log(signal.getsignal(signal.SIGUSR1))


@parity
def test_signal_replaced_and_sigint(h):
    h.loop.add_signal_handler(signal.SIGUSR2, h.log, "the first")
    h.loop.add_signal_handler(signal.SIGUSR2, h.log, "the second")
    h.loop.call_soon(os.kill, os.getpid(), signal.SIGUSR2)
    h.turns(3)
    h.loop.remove_signal_handler(signal.SIGUSR2)
    before = signal.getsignal(signal.SIGINT)
    h.loop.add_signal_handler(signal.SIGINT, h.log, "no KeyboardInterrupt")
    h.loop.call_soon(os.kill, os.getpid(), signal.SIGINT)
    h.turns(3)
    h.loop.remove_signal_handler(signal.SIGINT)
    h.log(
        signal.getsignal(signal.SIGINT) is before,
        signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    )


@parity
def test_signals_end_with_the_loop(h):
    h.loop.add_signal_handler(signal.SIGUSR1, h.log, "never")
    h.loop.close()
    h.log(signal.getsignal(signal.SIGUSR1))
    h.log(signal.set_wakeup_fd(-1))
    h.attempt(h.loop.add_signal_handler, signal.SIGUSR1, print)


@parity
def test_signal_from_another_thread(h):
    async def main():
        def work():
            h.attempt(h.loop.add_signal_handler, signal.SIGUSR1, print)

        await asyncio.to_thread(work)

    h.complete(main())


@parity
def test_several_signals_come_in_order_after_what_is_ready(h):
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        h.loop.add_signal_handler(number, h.log, "signal", number)

    def kill():
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR2)
        h.loop.call_soon(h.log, "scheduled after the kill")

    h.loop.call_soon(kill)
    h.turns(4)
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        h.loop.remove_signal_handler(number)


@parity
def test_keyboard_interrupt_while_it_waits(h):
    import threading

    def kill():
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.02, kill)
    h.loop.call_soon(timer.start)
    h.loop.call_later(5, h.log, "not reached")
    h.attempt(h.loop.run_forever)
    timer.join()
    h.log(h.loop.is_running())
    h.turns()


@parity
def test_a_plain_python_signal_handler_runs_while_it_waits(h):
    import threading

    before = signal.signal(signal.SIGUSR1, lambda *a: h.loop.call_soon_threadsafe(h.loop.stop))
    timer = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1))
    h.loop.call_soon(timer.start)
    h.loop.call_later(5, h.log, "not reached")
    # asyncio sets the wake-up fd with its first own handler: without one, a signal interrupts the wait alone.
    h.loop.add_signal_handler(signal.SIGUSR2, print)
    h.loop.run_forever()
    h.log("stopped")
    timer.join()
    signal.signal(signal.SIGUSR1, before)
    h.loop.remove_signal_handler(signal.SIGUSR2)
