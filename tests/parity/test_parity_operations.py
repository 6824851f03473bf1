"""sock_* calls, datagrams, pipes, subprocesses, DNS, sendfile: one history of each, and their errors."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile

from .harness import Recorder, parity, settle


@parity
async def test_sock_recv_and_send(h):
    near, far = h.socket_pair()
    far.send(b"data")
    h.log(await h.loop.sock_recv(near, 10))
    buffer = bytearray(4)
    waiting = h.loop.create_task(h.loop.sock_recv_into(near, buffer))
    await h.idle()
    far.send(b"into")
    h.log(await waiting, buffer)
    h.log(await h.loop.sock_sendall(near, b"out"), far.recv(10))
    h.log(await h.loop.sock_sendall(near, b""))
    far.close()
    h.log(await h.loop.sock_recv(near, 10))
    await h.wait(h.loop.sock_sendall(near, b"x"))


@parity
async def test_sock_sendall_of_much(h):
    near, far = h.socket_pair()
    far.setblocking(False)
    sending = h.loop.create_task(h.loop.sock_sendall(near, b"x" * 3_000_000))
    received = 0
    while received < 3_000_000:
        received += len(await h.loop.sock_recv(far, 1_000_000))
    h.log(await sending, received)


@parity
async def test_blocking_sockets_are_refused_in_debug_mode(h):
    near, far = h.socket_pair()
    near.setblocking(True)
    if not h.debug:
        # Outside of debug mode they are taken, and the calls block: with data at hand they don't.
        far.send(b"x")
        h.log(await h.loop.sock_recv(near, 1))
        return
    for call in (
        h.loop.sock_recv(near, 1),
        h.loop.sock_recv_into(near, bytearray(1)),
        h.loop.sock_sendall(near, b"x"),
        h.loop.sock_connect(near, ("127.0.0.1", 1)),
        h.loop.sock_accept(near),
        h.loop.sock_recvfrom(near, 1),
        h.loop.sock_sendto(near, b"x", "nowhere"),
    ):
        await h.wait(call)


@parity
async def test_sock_connect_and_accept(h):
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        listener.setblocking(False)
        client.setblocking(False)
        accepting = h.loop.create_task(h.loop.sock_accept(listener))
        await h.idle()
        h.log(await h.loop.sock_connect(client, listener.getsockname()))
        accepted, peer = await accepting
        h.log(accepted.gettimeout(), peer == client.getsockname())
        accepted.close()
        address = listener.getsockname()
    with socket.socket() as client:
        client.setblocking(False)
        await h.wait(h.loop.sock_connect(client, address))


@parity
async def test_cancelled_sock_recv(h):
    near, far = h.socket_pair()
    task = h.loop.create_task(h.loop.sock_recv(near, 10))
    await h.idle()
    task.cancel("enough")
    await h.wait(task)
    h.log(h.loop.remove_reader(near))
    far.send(b"for the next")
    h.log(await h.loop.sock_recv(near, 20))


@parity
async def test_sock_datagrams(h):
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as two:
        for sock in (one, two):
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
        h.log(await h.loop.sock_sendto(one, b"datagram", two.getsockname()))
        data, source = await h.loop.sock_recvfrom(two, 100)
        h.log(data, source == one.getsockname())
        buffer = bytearray(20)
        await h.loop.sock_sendto(one, b"again", two.getsockname())
        size, source = await h.loop.sock_recvfrom_into(two, buffer)
        h.log(size, buffer[:size], source == one.getsockname())


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, run, name):
        self.run = run
        self.name = name
        self.lost = run.loop.create_future()

    def connection_made(self, transport):
        self.run.log(self.name, "made")

    def datagram_received(self, data, source):
        self.run.log(self.name, "received", data)

    def error_received(self, error):
        self.run.log(self.name, "error", error)

    def connection_lost(self, error):
        self.run.log(self.name, "lost", error)
        self.lost.set_result(None)


@parity
async def test_datagram_endpoint(h):
    server, protocol = await h.loop.create_datagram_endpoint(
        lambda: Datagrams(h, "server"), local_addr=("127.0.0.1", 0)
    )
    client, other = await h.loop.create_datagram_endpoint(
        lambda: Datagrams(h, "client"), remote_addr=server.get_extra_info("sockname")
    )
    h.log(isinstance(client, asyncio.DatagramTransport))
    client.sendto(b"one")
    if sys.version_info >= (3, 13):  # before, asyncio does not send what is empty
        client.sendto(b"")
    await settle()
    h.attempt(client.sendto, "text")
    h.attempt(client.sendto, b"x", ("127.0.0.1", 1))
    for transport in (client, server):
        transport.close()
    await other.lost
    await protocol.lost
    await h.wait(h.loop.create_datagram_endpoint(lambda: Datagrams(h, "none")))
    await h.wait(
        h.loop.create_datagram_endpoint(lambda: Datagrams(h, "none"), local_addr=("127.0.0.1", 0), family=99)
    )


@parity
async def test_pipes(h):
    read, write = os.pipe()
    _, protocol = await h.loop.connect_read_pipe(lambda: Recorder(h, "reader"), os.fdopen(read, "rb", 0))
    writing, other = await h.loop.connect_write_pipe(lambda: Recorder(h, "writer"), os.fdopen(write, "wb", 0))
    writing.write(b"through the pipe")
    await settle()
    h.attempt(writing.write, "text")
    writing.close()
    await other.lost
    await protocol.lost
    with tempfile.TemporaryFile() as file:
        await h.wait(h.loop.connect_read_pipe(lambda: Recorder(h), file))
        await h.wait(h.loop.connect_write_pipe(lambda: Recorder(h), file))


@parity(debug=[False])  # debug mode logs the end of a pipe and that of a process as they come
async def test_subprocess(h):
    process = await asyncio.create_subprocess_exec(
        "/bin/cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    h.log(await process.communicate(b"to and fro"), process.returncode, await process.wait())
    process = await asyncio.create_subprocess_shell("echo out; echo err >&2; exit 3", stdout=-1, stderr=-1)
    h.log(await process.communicate(), process.returncode)
    process = await asyncio.create_subprocess_exec("/bin/sleep", "10")
    process.terminate()
    h.log(await process.wait())
    await h.wait(asyncio.create_subprocess_exec("/no/such/program"))
    await h.wait(h.loop.subprocess_exec(asyncio.SubprocessProtocol, "/bin/true", universal_newlines=True))
    await h.wait(h.loop.subprocess_shell(asyncio.SubprocessProtocol, ["a", "list"]))
    await h.wait(h.loop.subprocess_exec(asyncio.SubprocessProtocol, 5))


@parity(debug=[False])  # debug mode logs the end of a pipe and that of a process as they come
async def test_subprocess_protocol_calls(h):
    class Calls(asyncio.SubprocessProtocol):
        def __init__(self):
            self.ended = h.loop.create_future()
            self.seen = []

        def connection_made(self, transport):
            self.seen.append("made")

        def pipe_data_received(self, fd, data):
            self.seen.append((fd, data))

        def pipe_connection_lost(self, fd, error):
            self.seen.append((fd, "lost", error))

        def process_exited(self):
            self.seen.append("exited")

        def connection_lost(self, error):
            self.seen.append(("lost", error))
            self.ended.set_result(None)

    transport, protocol = await h.loop.subprocess_exec(Calls, "/bin/echo", "said", stdin=None, stderr=None)
    await protocol.ended
    # The end of the pipe and that of the process come in either order.
    h.log(protocol.seen[0], protocol.seen[-1], sorted(map(str, protocol.seen)), transport.get_returncode())
    transport.close()


@parity
async def test_sendfile(h):
    near, far = h.socket_pair(socket.AF_INET)
    with tempfile.TemporaryFile() as file:
        file.write(b"0123456789")
        file.flush()
        transport, protocol = await h.loop.create_connection(lambda: Recorder(h), sock=near)
        h.log(await h.loop.sendfile(transport, file), file.tell())
        h.log(await h.loop.sendfile(transport, file, 3, 4), file.tell())
        h.log(far.recv(100))
        for arguments in [(-1, 5), (0, -5), (0, 1.5), (1.5, 1)]:
            await h.wait(h.loop.sendfile(transport, file, *arguments))
        transport.close()
        await h.wait(h.loop.sendfile(transport, file))
        await protocol.lost
    near, far = h.socket_pair(socket.AF_INET)
    with tempfile.TemporaryFile() as file:
        file.write(b"by socket")
        file.flush()
        h.log(await h.loop.sock_sendfile(near, file, 0), far.recv(100))


@parity
async def test_name_resolution(h):
    infos = await h.loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
    h.log([(info[0].name, info[1].name, info[4]) for info in infos])
    h.log(await h.loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV))
    await h.wait(h.loop.getaddrinfo("256.1.1.1", 80, flags=socket.AI_NUMERICHOST))


@parity
async def test_start_tls_arguments(h):
    import ssl

    near, _far = h.socket_pair()
    transport, protocol = await h.loop.create_connection(lambda: Recorder(h), sock=near)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    await h.wait(h.loop.start_tls(transport, protocol, None))
    await h.wait(h.loop.start_tls(transport, protocol, "context"))
    await h.wait(h.loop.start_tls(asyncio.Transport(), protocol, context))
    transport.abort()
    await protocol.lost
    await h.wait(h.loop.create_connection(lambda: Recorder(h), sock=_far, ssl="yes", server_hostname="x"))


@parity(debug=[False])
def test_fork_in_a_running_loop(h):
    """In the child there is no running loop, and the parent's goes on."""

    async def main():
        sys.stdout.flush()
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                running = asyncio._get_running_loop()
                os.write(write, b"none" if running is None else b"running")
            finally:
                os._exit(0)
        os.close(write)
        os.waitpid(child, 0)
        h.log(os.read(read, 100))
        os.close(read)
        await asyncio.sleep(0)
        h.log(asyncio.get_running_loop() is h.loop)

    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 on: forking a process with threads
        h.complete(main())
