"""How `sock_recv` and its kin wait: a cancellation loses nothing, and a descriptor's number may become another's."""

import asyncio
import contextlib
import os
import select
import socket
import weakref

import aioxide
import pytest

from .own_sockets import BIG, both, fill, over_tcp, pair, run, turns

FDS = "/proc/self/fd"


# ------------------------------------------------------------------------------------------------------ cancellation


def test_a_byte_that_came_with_the_cancellation_is_there_for_the_next():
    async def main(call, *args):
        loop = asyncio.get_running_loop()
        ours, theirs = pair()
        with ours, theirs:
            for late in range(4):
                task = asyncio.create_task(getattr(loop, call)(theirs, *args))
                await turns()
                ours.send(b"x")
                await turns(late)
                task.cancel()
                await asyncio.wait([task])
                if task.cancelled():
                    assert await loop.sock_recv(theirs, 1) == b"x", late
                with pytest.raises(BlockingIOError):
                    theirs.recv(1)
                assert theirs.fileno() not in loop._selector.get_map()

    for call, *args in (("sock_recv", 1), ("sock_recv_into", bytearray(1)), ("sock_recvfrom", 1)):
        run(lambda call=call, args=args: main(call, *args))


def test_a_connection_that_came_with_the_cancellation_is_accepted_by_the_next():
    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            for late in range(4):
                task = asyncio.create_task(loop.sock_accept(listener))
                await turns()
                before = len(os.listdir(FDS))
                with socket.create_connection(listener.getsockname()):
                    await turns(late)
                    task.cancel()
                    await asyncio.wait([task])
                    far, _ = await (loop.sock_accept(listener) if task.cancelled() else task)
                    far.close()
                del task
                assert len(os.listdir(FDS)) == before

    run(main)


@both
def test_who_waits_no_more_is_forgotten(factory):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = pair()
        with ours, theirs:
            fill(ours)
            for call in (loop.sock_recv(ours, 1), loop.sock_sendall(ours, bytes(BIG))):
                task = asyncio.create_task(call)
                await turns()
                assert ours.fileno() in loop._selector.get_map()
                task.cancel()
                await asyncio.wait([task])
                await turns()
                assert ours.fileno() not in loop._selector.get_map()
                assert not loop.remove_reader(ours) and not loop.remove_writer(ours)

    run(main, factory)


@both
def test_who_is_cancelled_after_the_socket_was_closed_is_cancelled(factory):
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: None)  # asyncio's own logs that the descriptor is bad
        ours, theirs = pair()
        with ours, theirs:
            fill(ours)
            calls = loop.sock_recv(ours, 1), loop.sock_sendall(ours, b"x")
            tasks = [asyncio.create_task(call) for call in calls]
            await turns()
            ours.close()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert all(task.cancelled() for task in tasks)

    run(main, factory)


# -------------------------------------------------------------------------------------------------------- descriptors


@both
def test_both_sides_of_a_descriptor_are_watched_side_by_side(factory):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = pair()
        with ours, theirs:
            waits = fill(ours)
            sending = asyncio.create_task(loop.sock_sendall(ours, b"end"))
            receiving = asyncio.create_task(loop.sock_recv(ours, 10))
            await turns()
            theirs.send(b"first")
            assert await receiving == b"first"
            assert not sending.done()
            receiving = asyncio.create_task(loop.sock_recv(ours, 10))
            await turns()
            got = b""
            while len(got) < waits + 3:
                got += await loop.sock_recv(theirs, 1 << 20)
            await sending
            assert got.endswith(b"end")
            theirs.send(b"second")
            assert await receiving == b"second"

    run(main, factory)


@both
def test_beside_a_writer_of_the_user_s_each_runs_as_it_should(factory):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = pair()
        with ours, theirs:
            count = 0

            def writable():
                nonlocal count
                count += 1

            loop.add_writer(ours, writable)
            for at in range(3):
                receiving = asyncio.create_task(loop.sock_recv(ours, 10))
                before = count
                while count < before + 3:
                    await asyncio.sleep(0.001)
                theirs.send(b"%d" % at)
                assert await receiving == b"%d" % at
            before = count
            while count < before + 3:
                await asyncio.sleep(0.001)
            assert loop.remove_writer(ours)
            await turns()
            before = count
            await asyncio.sleep(0.01)
            assert count == before

    run(main, factory)


def test_a_number_that_is_used_again_is_another_descriptor():
    async def main():
        loop = asyncio.get_running_loop()
        numbers = set()
        for copied in (False, True, False):
            ours, theirs = pair()
            numbers.add(ours.fileno())
            copy = [ours.dup()] if copied else []
            for _ in range(3):
                receiving = asyncio.create_task(loop.sock_recv(ours, 10))
                await turns()
                theirs.send(b"x")
                assert await receiving == b"x"
            waiting = asyncio.create_task(loop.sock_recv(ours, 10))
            await turns()
            ours.close()
            waiting.cancel()
            await asyncio.wait([waiting])
            theirs.close()
            for sock in copy:
                sock.close()
        assert len(numbers) < 3
        # As a transport, and as a user's reader.
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.close()
        server.close()
        ours, theirs = pair()
        with ours, theirs:
            seen = asyncio.Event()
            loop.add_reader(ours, seen.set)
            theirs.send(b"x")
            await seen.wait()
            loop.remove_reader(ours)

    run(main)


@both
def test_a_number_that_a_transport_had_meanwhile_keeps_nothing_of_who_waited_before(factory):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = over_tcp()
        number = ours.fileno()
        waits = asyncio.create_task(loop.sock_recv(ours, 1))
        await turns()
        ours.close()
        near, far = over_tcp()
        assert number in (near.fileno(), far.fileno())
        later = near if near.fileno() == number else far
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=later)
        waits.cancel()
        await asyncio.wait([waits])
        transport.abort()
        await turns()
        with contextlib.closing(socket.socket()) as again:
            os.dup2(theirs.fileno(), again.fileno())
            os.dup2(again.fileno(), number)
        with socket.socket(fileno=number) as last:
            gone = weakref.ref(last)
            loop.add_writer(last, print)
            assert loop.remove_writer(last) and not loop.remove_writer(last)
        del last
        assert gone() is None
        for sock in (near, far, theirs):
            with contextlib.suppress(OSError):
                sock.close()

    run(main, factory)


@both
def test_a_reader_whose_place_is_taken_keeps_no_socket_alive(factory):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = pair()
        gone = weakref.ref(ours)
        loop.add_reader(ours, print)
        receiving = asyncio.create_task(loop.sock_recv(ours, 1))
        await turns()
        theirs.send(b"x")
        assert await receiving == b"x"
        theirs.close()
        ours.close()
        del ours, receiving
        await turns()
        assert gone() is None

    run(main, factory)


@both
def test_what_came_is_not_lost_where_the_program_s_own_clock_raises(factory):
    loop = factory()
    ours, theirs = pair()
    with contextlib.closing(loop), ours, theirs:
        standard, raises = loop.time, []

        def clock():
            if raises and select.select([ours], [], [], 0)[0]:
                raise raises.pop()
            return standard()

        loop.time = clock
        loop.call_later(60, print)
        receiving = loop.create_task(loop.sock_recv(ours, 1))
        loop.run_until_complete(turns())
        theirs.send(b"x")
        raises.append(KeyboardInterrupt())
        with contextlib.suppress(KeyboardInterrupt):
            loop.run_until_complete(asyncio.wait_for(asyncio.shield(receiving), 5))
        assert loop.run_until_complete(asyncio.wait_for(receiving, 5)) == b"x"


@both
def test_a_descriptor_of_a_transport_is_refused(factory):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = over_tcp()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        with theirs, pytest.raises(RuntimeError, match=r"is used by transport"):
            await loop.sock_recv(ours, 1)
        transport.close()
        messages = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        messages.bind(("127.0.0.1", 0))
        messages.setblocking(False)
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=messages)
        with pytest.raises(RuntimeError, match=r"is used by transport"):
            await loop.sock_recv(messages, 1)
        transport.close()

    run(main, factory)


@both
def test_the_later_of_two_takes_the_place_of_the_first(factory):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = pair()
        with ours, theirs:
            first, second = (asyncio.create_task(loop.sock_recv(ours, 1)) for _ in range(2))
            await turns()
            theirs.send(b"x")
            assert await second == b"x"
            await turns()
            assert not first.done()
            first.cancel()

    run(main, factory)


@both
def test_a_closed_socket_is_refused_in_its_own_words(factory):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = pair()
        ours.close()
        theirs.close()
        for call in (loop.sock_recv(ours, 1), loop.sock_sendall(ours, b"x"), loop.sock_accept(ours)):
            with pytest.raises(OSError, match="Bad file descriptor"):
                await call

    run(main, factory)


@pytest.mark.filterwarnings("ignore:.*use of fork")
def test_a_loop_is_run_again_in_a_child_of_fork():
    ours, theirs = pair()
    with ours, theirs, contextlib.closing(aioxide.new_event_loop()) as loop:

        async def there_and_back():
            receiving = loop.create_task(loop.sock_recv(ours, 10))
            await turns()
            theirs.send(b"x")
            return await receiving

        assert loop.run_until_complete(there_and_back()) == b"x"
        child = os.fork()
        if child == 0:
            try:
                os._exit(loop.run_until_complete(asyncio.wait_for(there_and_back(), 5)) != b"x")
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert loop.run_until_complete(there_and_back()) == b"x"
