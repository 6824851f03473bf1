"""Two ends of TLS that note what happens to them, and an end that is no loop's."""

import asyncio
import contextlib
import re
import socket
import threading

from tests.certs import client_context, server_context


def plain(value):
    """What is the same in each run, of an exception or whatever was seen."""
    text = re.sub(r"_ssl\.c:\d+", "_ssl.c", repr(value))
    return re.sub(r"0x[0-9a-f]+|fd=\d+", "_", text)


class Noting(asyncio.Protocol):
    """Notes each call in `log`, under its own name; `deeds` are done in the slots of their names."""

    def __init__(self, name, log, **deeds):
        self.name, self.log, self.deeds = name, log, deeds
        self.done = asyncio.get_running_loop().create_future()
        self.size = 0

    def note(self, slot, *what):
        self.log.append(" ".join([f"{self.name}.{slot}", *what]))
        deed = self.deeds.get(slot)
        return deed(self) if deed else None

    def connection_made(self, transport):
        self.transport = transport
        self.note("made")

    def data_received(self, data):
        self.size += len(data)
        self.note("data", str(len(data)))

    def eof_received(self):
        return self.note("eof")

    def pause_writing(self):
        self.note("pause")

    def resume_writing(self):
        self.note("resume")

    def connection_lost(self, error):
        if not self.done.done():
            self.done.set_result(None)
        self.note("lost", plain(error))


@contextlib.asynccontextmanager
async def pair(log, server=None, client=None, contexts=None, **options):
    """Connect two ends; `server` and `client` are their deeds."""
    loop = asyncio.get_running_loop()
    theirs, ours = contexts or (server_context(), client_context())
    made = loop.create_future()

    def factory():
        end = Noting("s", log, **(server or {}))
        made.set_result(end)
        return end

    listening = await loop.create_server(factory, "127.0.0.1", 0, ssl=theirs)
    address = listening.sockets[0].getsockname()
    try:
        _, far = await loop.create_connection(
            lambda: Noting("c", log, **(client or {})),
            *address,
            ssl=ours,
            server_hostname="localhost",
            **options,
        )
        near = await made
        while not hasattr(near, "transport"):
            await asyncio.sleep(0)
        yield near, far
        for end in (near, far):
            end.transport.abort()
            await asyncio.wait_for(end.done, 5)
    finally:
        listening.close()


def listening():
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)
    return listener


class Blocking(threading.Thread):
    """Does `body(sock)` with a connection that it accepts; `join` gives what came of it."""

    def __init__(self, body, tls=True, context=None):
        super().__init__(daemon=True)
        self.listener, self.body, self.tls = listening(), body, tls
        self.context = context or server_context()
        self.address = self.listener.getsockname()
        self.result = None
        self.start()

    def run(self):
        sock, _ = self.listener.accept()
        self.listener.close()
        sock.settimeout(10)
        try:
            if self.tls:
                sock = self.context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False)
            self.result = self.body(sock)
        except OSError as error:
            self.result = plain(error)
        finally:
            sock.close()

    async def outcome(self):
        await asyncio.get_running_loop().run_in_executor(None, self.join, 10)
        return self.result


def dialled(address, context, body):
    """What a blocking client makes of a server: run in an executor."""
    with socket.create_connection(address, 10) as raw:
        try:
            with context.wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=False) as sock:
                return body(sock)
        except OSError as error:
            return plain(error)


class Sizes:
    """Sizes of the records of TLS 1.3 application data that went over a socket, by the bytes that went."""

    def __init__(self):
        self.rest = b""

    def feed(self, data):
        data, found = self.rest + data, []
        while len(data) >= 5 and len(data) >= 5 + int.from_bytes(data[3:5], "big"):
            size = int.from_bytes(data[3:5], "big")
            # Behind the data are its kind and a tag.
            if data[0] == 23:
                found.append(size - 17)
            data = data[5 + size :]
        self.rest = data
        return found
