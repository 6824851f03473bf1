"""Watched file descriptors, raw sockets, pipes and subprocesses."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile

import pytest

from .surface import Collect, calls

PAYLOAD = os.urandom(64) * 16384


def socket_pair(kind=socket.SOCK_STREAM):
    pair = socket.socketpair(socket.AF_UNIX, kind)
    for each in pair:
        each.setblocking(False)
    return pair


@calls("add_reader", "remove_reader", "add_writer", "remove_writer")
async def watches_descriptors(loop):
    near, far = socket_pair()
    with near, far:
        readable, writable = asyncio.Event(), asyncio.Event()
        loop.add_reader(near, readable.set)
        loop.add_writer(near.fileno(), writable.set)
        await writable.wait()
        assert loop.remove_writer(near)
        assert not readable.is_set()
        counted = []
        loop.add_reader(near.fileno(), counted.append, 1)  # in the place of the first
        far.send(b"x")
        while len(counted) < 3:  # nobody reads the byte: level-triggered, it keeps firing
            await asyncio.sleep(0)
        assert not readable.is_set()
        assert loop.remove_reader(near)
        assert not loop.remove_reader(near)
        assert not loop.remove_writer(near)


@calls("add_reader", "remove_reader", "create_server")
async def refuses_a_transports_descriptor(loop):
    server = await loop.create_server(Collect, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    with pytest.raises(RuntimeError, match="is used by transport"):
        loop.add_reader(writer.get_extra_info("socket").fileno(), print)
    with pytest.raises(RuntimeError, match="is used by transport"):
        loop.remove_reader(writer.get_extra_info("socket").fileno())
    writer.close()
    await writer.wait_closed()
    server.close()


@calls("sock_accept", "sock_connect", "sock_sendall", "sock_recv", "sock_recv_into")
async def speaks_over_raw_sockets(loop):
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        listener.setblocking(False)
        client.setblocking(False)
        accepting = asyncio.ensure_future(loop.sock_accept(listener))
        await loop.sock_connect(client, listener.getsockname())
        server, address = await accepting
        assert address == client.getsockname()
        with server:
            sending = asyncio.ensure_future(loop.sock_sendall(client, PAYLOAD))
            received = bytearray(await loop.sock_recv(server, 1000))
            buffer = bytearray(65536)
            while len(received) < len(PAYLOAD):
                received += buffer[: await loop.sock_recv_into(server, buffer)]
            await sending
            assert received == PAYLOAD
            waiting = asyncio.ensure_future(loop.sock_recv(server, 1))
            await asyncio.sleep(0)
            client.close()
            assert await waiting == b""


@calls("sock_sendto", "sock_recvfrom", "sock_recvfrom_into")
async def speaks_in_raw_datagrams(loop):
    with socket.socket(type=socket.SOCK_DGRAM) as near, socket.socket(type=socket.SOCK_DGRAM) as far:
        for each in (near, far):
            each.bind(("127.0.0.1", 0))
            each.setblocking(False)
        waiting = asyncio.ensure_future(loop.sock_recvfrom(far, 100))
        await asyncio.sleep(0)
        assert await loop.sock_sendto(near, b"first", far.getsockname()) == 5
        assert await waiting == (b"first", near.getsockname())
        await loop.sock_sendto(near, b"second", far.getsockname())
        buffer = bytearray(100)
        assert await loop.sock_recvfrom_into(far, buffer) == (6, near.getsockname())
        assert buffer[:6] == b"second"


@calls("sock_sendfile", "sock_recv")
async def sends_a_file_over_a_raw_socket(loop):
    near, far = socket_pair()
    with near, far, tempfile.TemporaryFile() as file:
        file.write(PAYLOAD)
        sending = asyncio.ensure_future(loop.sock_sendfile(near, file, 100, 500000))
        received = bytearray()
        while len(received) < 500000:
            received += await loop.sock_recv(far, 65536)
        assert await sending == 500000
        assert received == PAYLOAD[100:500100]
        assert file.tell() == 500100


@calls("sock_recv", "sock_sendall", "sock_accept", "sock_connect", "set_debug")
async def refuses_blocking_sockets(loop):
    loop.set_debug(True)
    with socket.socket() as blocking:
        for refused in (
            loop.sock_recv(blocking, 1),
            loop.sock_sendall(blocking, b"x"),
            loop.sock_accept(blocking),
            loop.sock_connect(blocking, ("127.0.0.1", 1)),
        ):
            with pytest.raises(ValueError, match="the socket must be non-blocking"):
                await refused
    loop.set_debug(False)


@calls("connect_read_pipe", "connect_write_pipe")
async def transports_pipes(loop):
    reader, writer = os.pipe()
    read_transport, protocol = await loop.connect_read_pipe(Collect, open(reader, "rb", 0))
    write_transport, writing = await loop.connect_write_pipe(Collect, open(writer, "wb", 0))
    assert isinstance(read_transport, asyncio.ReadTransport)
    assert isinstance(write_transport, asyncio.WriteTransport)
    write_transport.write(PAYLOAD)
    assert await protocol.receive(len(PAYLOAD)) == PAYLOAD
    write_transport.close()
    assert await writing.lost is None
    assert await protocol.lost is None
    assert protocol.got_eof.done()


class Output(asyncio.SubprocessProtocol):
    def __init__(self):
        loop = asyncio.get_running_loop()
        self.data, self.exited, self.lost = {1: b"", 2: b""}, loop.create_future(), loop.create_future()

    def pipe_data_received(self, fd, data):
        self.data[fd] += data

    def process_exited(self):
        self.exited.set_result(None)

    def connection_lost(self, error):
        self.lost.set_result(error)


@calls("subprocess_exec")
async def runs_a_program(loop):
    program = (
        "import sys; text = sys.stdin.read(); print(text.upper()); sys.stderr.write('5\\n'); sys.exit(7)"
    )
    transport, protocol = await loop.subprocess_exec(Output, sys.executable, "-c", program)
    assert transport.get_pid() > 0
    assert transport.get_returncode() is None
    stdin = transport.get_pipe_transport(0)
    stdin.write(b"shout")
    stdin.write_eof()
    await protocol.exited
    await protocol.lost
    assert transport.get_returncode() == 7
    assert protocol.data == {1: b"SHOUT\n", 2: b"5\n"}
    transport.close()


@calls("subprocess_exec")
async def kills_a_program(loop):
    transport, protocol = await loop.subprocess_exec(
        Output, "sleep", "1000", stdin=None, stdout=subprocess.DEVNULL, stderr=None, start_new_session=True
    )
    transport.kill()
    await protocol.exited
    assert transport.get_returncode() == -9
    with pytest.raises(ProcessLookupError):
        transport.send_signal(15)
    transport.close()
    with pytest.raises(FileNotFoundError):
        await loop.subprocess_exec(Output, "no-such-program-anywhere")


@calls("subprocess_shell")
async def runs_a_shell_command(loop):
    environment = {**os.environ, "WORD": "from the environment"}
    transport, protocol = await loop.subprocess_shell(
        Output, 'echo "$WORD"; echo problem >&2; exit 3', stdin=subprocess.DEVNULL, env=environment, cwd="/"
    )
    await protocol.lost
    assert transport.get_returncode() == 3
    assert protocol.data == {1: b"from the environment\n", 2: b"problem\n"}
    transport.close()
