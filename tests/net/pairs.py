"""Two sockets that are connected, to have a plain one at the far end."""

import socket


def tcp_pair(protocol=0):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        far = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)
        far.connect(listener.getsockname())
        near = listener.accept()[0]
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return near, far


def unix_pair(kind=socket.SOCK_STREAM):
    return socket.socketpair(socket.AF_UNIX, kind)
