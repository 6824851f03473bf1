#!/usr/bin/env bash
# uvloop takes one connection a turn of its loop out of a listener's queue, however many wait there.
#
# uvloop 0.23.0 (libuv 1.52.1), CPython 3.13.0 and 3.14.10, Linux 6.18. asyncio accepts until the queue is empty or `backlog` connections
# were taken; libuv calls accept() once each time the listener is ready (its pull request 3696, "don't accept()
# connections in a loop"). With an idle loop nobody sees it. Where a turn takes its time (handlers that compute, a burst of
# clients), a client waits for as many turns as there are others before it: 100 clients at once, turns of 5 ms, half
# a second. And the clients do not know: connect() has succeeded, because the kernel completes it. So what
# `Server.close()` finds in the queue is thrown away, though those clients have connected and sent their request: uvloop
# answers ten of a hundred, asyncio all.
#
# Seen:
#   asyncio: after 10 turns of 5 ms accepted 100 of 100; answered although the server closes after 10 turns: 100
#   uvloop:  after 10 turns of 5 ms accepted 9 of 100; answered although the server closes after 10 turns: 10
#
# Users of aioxide meet it where they compare the two, or come from uvloop: aioxide takes the whole queue, as asyncio does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-python3}
"$python" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder/packages" uvloop==0.23.0
cat >"$folder/burst.py" <<'PROGRAM'
import asyncio
import socket
import sys
import time

import uvloop

CLIENTS, TURNS = 100, 10


class Answer(asyncio.Protocol):
    accepted = 0

    def connection_made(self, transport):
        Answer.accepted += 1
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


async def main():
    Answer.accepted = 0
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answer, "127.0.0.1", 0)
    clients = [socket.create_connection(server.sockets[0].getsockname()) for _ in range(CLIENTS)]
    for client in clients:
        client.sendall(b"request")
    for _ in range(TURNS):
        time.sleep(0.005)  # a handler that computes
        await asyncio.sleep(0)
    accepted = Answer.accepted
    server.close()
    await asyncio.sleep(0.2)
    answered = 0
    for client in clients:
        client.settimeout(0.2)
        try:
            answered += client.recv(100) == b"request"
        except OSError:
            pass
        client.close()
    return accepted, answered


found = {}
for name, factory in (("asyncio", asyncio.SelectorEventLoop), ("uvloop", uvloop.new_event_loop)):
    with asyncio.Runner(loop_factory=factory) as runner:
        accepted, answered = found[name] = runner.run(main())
    print(
        f"{name + ':':8} after {TURNS} turns of 5 ms accepted {accepted} of {CLIENTS}; "
        f"answered although the server closes after {TURNS} turns: {answered}"
    )
sys.exit(0 if found["asyncio"] == (CLIENTS, CLIENTS) and max(found["uvloop"]) <= TURNS + 2 else 1)
PROGRAM
PYTHONPATH=$folder/packages "$python" "$folder/burst.py"
