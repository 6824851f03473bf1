#!/usr/bin/env bash
# A short read does not mean that an edge-triggered stream socket is empty, though epoll(7) says so.
#
# The page (man-pages 6.03, epoll(7), questions and answers, 9): "For stream-oriented files (e.g., pipe, FIFO, stream
# socket), the condition that the read/write I/O space is exhausted can also be detected by checking the amount of data
# read from / written to the target file descriptor. For example, if you call read(2) by asking to read a certain amount
# of data and read(2) returns a lower number of bytes, you can be sure of having exhausted the read I/O space for the
# file descriptor."
#
# The kernel (seen on Linux 6.18) ends a read early, with more behind it and no other edge to come, on
# - a Unix stream: behind each message that brings descriptors (SCM_RIGHTS), and, with SO_PASSCRED, where the writer changes;
# - TCP: at the mark of urgent data (MSG_OOB), with and without SO_OOBINLINE;
# - a pipe: behind each packet of O_DIRECT.
# Who stops reading there (and not at EAGAIN) leaves the rest in the kernel until the peer happens to send again. D-Bus,
# QMP and vhost-user peers send descriptors with each message.
#
# Output seen:
#   unix, descriptors     first read b'one'  of 100 asked, then b'two', no other edge
#   unix, two writers     first read b'one'  of 100 asked, then b'two', no other edge
#   tcp, urgent           first read b'one'  of 100 asked, then b'two', no other edge
#   pipe, O_DIRECT        first read b'one'  of 100 asked, then b'two', no other edge
#
# Our users meet it wherever such a peer talks to a protocol; aioxide reads until EAGAIN (crates/aioxide/src/net/recv.rs has
# the table, tests/net/test_drained.py asks the kernel).
set -euo pipefail
exec "${PYTHON:-python3}" - <<'END'
import os, select, socket, subprocess, sys, time


def unix():
    return socket.socketpair()


def rights():
    near, far = unix()
    socket.send_fds(far, [b"one"], [0])
    far.send(b"two")
    return near.detach()


def writers():
    near, far = unix()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    far.send(b"one")
    subprocess.run(["printf", "two"], stdout=far, check=True)
    kept.append(far)
    return near.detach()


def urgent():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        far = socket.create_connection(listener.getsockname())
        near = listener.accept()[0]
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    far.send(b"one")
    far.send(b"!", socket.MSG_OOB)
    far.send(b"two")
    kept.append(far)
    time.sleep(0.1)
    return near.detach()


def packets():
    reader, writer = os.pipe2(os.O_DIRECT)
    os.write(writer, b"one")
    os.write(writer, b"two")
    return reader


kept, changed = [], False
for name, make in {
    "unix, descriptors": rights,
    "unix, two writers": writers,
    "tcp, urgent": urgent,
    "pipe, O_DIRECT": packets,
}.items():
    fd = make()
    os.set_blocking(fd, False)
    epoll = select.epoll()
    epoll.register(fd, select.EPOLLIN | select.EPOLLET)
    assert epoll.poll(5)
    first = os.read(fd, 100)
    edge = bool(epoll.poll(0.2))
    try:
        rest = os.read(fd, 100)
    except BlockingIOError:
        rest = b""
    print(f"{name:21} first read {first}  of 100 asked, then {rest}, {'another' if edge else 'no other'} edge")
    changed |= (first, rest, edge) != (b"one", b"two", False)
if changed:
    sys.exit("this has changed: the finding is no longer true")
END
