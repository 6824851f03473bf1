"""What the tests of `sock_*` share: a loop's run, and a program's own sockets, which do not block."""

import asyncio

import aioxide
import pytest

from tests.support.scenarios import FACTORIES

from .pairs import tcp_pair, unix_pair

# More bytes than the kernel keeps for a socket that nobody reads.
BIG = 3 << 20


def both(function):
    """The test runs on asyncio's loop too: it is what asyncio does."""
    return pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)(function)


def run(main, factory=aioxide.new_event_loop, debug=False):
    with asyncio.Runner(loop_factory=factory, debug=debug) as runner:
        return runner.run(asyncio.wait_for(main(), 30))


def pair(make=unix_pair):
    ours, theirs = make()
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


def over_tcp():
    return pair(tcp_pair)


async def turns(count=3):
    for _ in range(count):
        await asyncio.sleep(0)


def fill(sock):
    sent = 0
    try:
        while True:
            sent += sock.send(bytes(65_536))
    except BlockingIOError:
        return sent
