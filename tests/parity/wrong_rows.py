"""How each public method is called rightly: a row makes the arguments, of a `World`, that a wrong call is made of.

`tests/parity/test_parity_wrong_calls.py` has what they are walked with, and fails for a public method without a row.
"""

import asyncio
import concurrent.futures
import functools
import os
import socket
import ssl
import tempfile

import aioxide

from .wrong_calls import VALUES, Inline

SIGNAL = 10


async def nothing():
    await asyncio.sleep(0)


def none(world):
    return ()


def few(row):
    """Tried with a few values only: each accepted one is slow, or does the same."""
    row.values = {name: VALUES[name] for name in ("None", "object", "-1", "nan", "10**400", "str", "list")}
    return row


def without(argument, row):
    """Not tried with other values of one argument, with which asyncio itself waits for ever."""
    row.without = {argument}
    return row


# ------------------------------------------------------------------------------------------- what arguments are made of


def near(world):
    return world.socket_pair()[0]


def with_data(world):
    pair = world.socket_pair()
    pair[1].send(b"data")
    return pair[0]


def opened(world, thing):
    world.opened.callback(thing.close)
    return thing


def listener(world):
    made = opened(world, socket.create_server(("127.0.0.1", 0)))
    made.setblocking(False)
    return made


def one_to_accept(world):
    made = listener(world)
    opened(world, socket.create_connection(made.getsockname()))
    return made


def unbound(world, kind=socket.SOCK_STREAM):
    made = opened(world, socket.socket(socket.AF_INET, kind))
    made.setblocking(False)
    return made


def datagrams(world):
    made = unbound(world, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    made.sendto(b"x", made.getsockname())
    return made


def pipe_end(world, end):
    descriptors = os.pipe()
    files = open(descriptors[0], "rb", 0), open(descriptors[1], "wb", 0)
    return [opened(world, file) for file in files][end]


def file(world):
    made = opened(world, tempfile.TemporaryFile())
    made.write(b"content")
    made.seek(0)
    return made


def path(world):
    return os.path.join(world.opened.enter_context(tempfile.TemporaryDirectory()), "socket")


def transport(world, protocol=asyncio.Protocol):
    made = world.loop.run_until_complete(world.loop.create_connection(protocol, sock=near(world)))[0]
    world.opened.callback(made.abort)
    return made


def protocol(world):
    return asyncio.Protocol()


def server(world):
    made = world.loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    return opened(world, world.loop.run_until_complete(made))


def transport_socket(world):
    world.kept = transport(world)  # which its socket does not keep
    return world.kept.get_extra_info("socket")


def datagram_transport(world):
    made = world.loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0))
    made = world.loop.run_until_complete(made)[0]
    world.opened.callback(made.abort)
    return made


def tls_transport(world):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made = world.loop._make_ssl_transport(near(world), protocol(world), context, server_hostname="localhost")
    world.opened.callback(made.abort)
    return made


def future(world):
    return world.Future(loop=world.loop)


def done(world):
    made = future(world)
    made.set_result(1)
    return made


def task(world):
    made = world.Task(nothing(), loop=world.loop)
    world.opened.callback(world.turns, 2)
    return made


# ------------------------------------------------------------------------------------------------------------ the rows

LOOP_CALLS = {
    "call_soon": lambda w: (id, 1),
    "call_soon_threadsafe": lambda w: (id, 1),
    "call_later": lambda w: (0.0, id, 1),
    "call_at": lambda w: (1.0, id, 1),
    "create_task": lambda w: (nothing(),),
    "create_future": none,
    "run_in_executor": lambda w: (None, id, 1),
    "add_reader": lambda w: (with_data(w).fileno(), id, 1),
    "add_writer": lambda w: (with_data(w).fileno(), id, 1),
    "remove_reader": lambda w: (near(w).fileno(),),
    "remove_writer": lambda w: (near(w).fileno(),),
    "add_signal_handler": lambda w: (SIGNAL, id, 1),
    "remove_signal_handler": lambda w: (SIGNAL,),
    "call_exception_handler": lambda w: ({"message": "m"},),
    "default_exception_handler": lambda w: ({"message": "m"},),
    "time": none,
    "stop": none,
    "is_running": none,
    "is_closed": none,
    "get_debug": none,
    "set_debug": lambda w: (True,),
    "get_exception_handler": none,
    "set_exception_handler": lambda w: (None,),
    "get_task_factory": none,
    "set_task_factory": lambda w: (None,),
}
LOOP_LIFE = {
    "run_until_complete": lambda w: (nothing(),),
    "close": none,
    "shutdown_asyncgens": none,
    "shutdown_default_executor": none,
    "set_default_executor": lambda w: (Inline(1),),
    "getaddrinfo": lambda w: ("127.0.0.1", 80),
    "getnameinfo": lambda w: (("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
    "subprocess_exec": few(lambda w: (asyncio.SubprocessProtocol, "program", "argument")),
    "subprocess_shell": few(lambda w: (asyncio.SubprocessProtocol, "command")),
}
LOOP_SOCKETS = {
    "sock_accept": lambda w: (one_to_accept(w),),
    "sock_connect": lambda w: (unbound(w), listener(w).getsockname()),
    "sock_recv": lambda w: (with_data(w), 4),
    "sock_recv_into": lambda w: (with_data(w), bytearray(4)),
    "sock_recvfrom": lambda w: (datagrams(w), 4),
    "sock_recvfrom_into": lambda w: (datagrams(w), bytearray(4)),
    "sock_sendall": lambda w: (near(w), b"x"),
    "sock_sendto": lambda w: (datagrams(w), b"x", datagrams(w).getsockname()),
    "sock_sendfile": lambda w: (near(w), file(w)),
    "sendfile": lambda w: (transport(w), file(w)),
}
LOOP_CONNECTIONS = {
    "create_connection": lambda w: (asyncio.Protocol, *listener(w).getsockname()),
    "create_server": lambda w: (asyncio.Protocol, "127.0.0.1", 0),
    "create_unix_connection": lambda w: (asyncio.Protocol, path(w)),
    "create_unix_server": lambda w: (asyncio.Protocol, path(w)),
    "create_datagram_endpoint": lambda w: (asyncio.DatagramProtocol, ("127.0.0.1", 0)),
    "connect_accepted_socket": lambda w: (asyncio.Protocol, near(w)),
    "connect_read_pipe": lambda w: (asyncio.Protocol, pipe_end(w, 0)),
    "connect_write_pipe": lambda w: (asyncio.BaseProtocol, pipe_end(w, 1)),
    "start_tls": few(lambda w: (transport(w), protocol(w), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))),
}
FUTURE = {
    "add_done_callback": lambda w: (id,),
    "remove_done_callback": lambda w: (id,),
    "cancel": none,
    "cancelled": none,
    "done": none,
    "exception": none,
    "get_loop": none,
    "result": none,
    "set_exception": lambda w: (ValueError(),),
    "set_result": lambda w: (1,),
}
TASK = {
    **FUTURE,
    "cancelling": none,
    "uncancel": none,
    "get_context": none,
    "get_coro": none,
    "get_name": none,
    "set_name": lambda w: ("a",),
    "get_stack": none,
    "print_stack": few(lambda w: ()),
}
HANDLE = {"cancel": none, "cancelled": none, "get_context": none}
FUTURE_ITERATOR = {
    "send": lambda w: (None,),
    "throw": lambda w: (ValueError(),),
    "throw of a class": lambda w: (ValueError, (1, 2), None),
    "throw of an instance": lambda w: (ValueError(), None),
    "close": none,
}
TRANSPORT = {
    "get_extra_info": lambda w: ("peername",),
    "is_closing": none,
    "close": none,
    "set_protocol": lambda w: (protocol(w),),
    "get_protocol": none,
    "abort": none,
    "get_write_buffer_size": none,
    "get_write_buffer_limits": none,
    "set_write_buffer_limits": none,
    "set_write_buffer_limits high low": lambda w: (2, 1),
    "is_reading": none,
    "pause_reading": none,
    "resume_reading": none,
    "write": lambda w: (b"x",),
    "writelines": lambda w: ([b"x"],),
    "write_eof": none,
    "can_write_eof": none,
    # Of TLS.
    "get_read_buffer_size": none,
    "get_read_buffer_limits": none,
    "set_read_buffer_limits": none,
}
DATAGRAM_TRANSPORT = {**TRANSPORT, "sendto": lambda w: (b"x", ("127.0.0.1", 9))}
SERVER = {
    "abort_clients": none,
    "close": none,
    "close_clients": none,
    "get_loop": none,
    "is_serving": none,
    "serve_forever": none,
    "start_serving": none,
    "wait_closed": none,
}
TRANSPORT_SOCKET = {
    "dup": none,
    "fileno": none,
    "get_inheritable": none,
    "getpeername": none,
    "getsockname": none,
    "getsockbyname": none,
    "getsockopt": lambda w: (socket.SOL_SOCKET, socket.SO_TYPE),
    "gettimeout": none,
    "setblocking": lambda w: (False,),
    "setsockopt": lambda w: (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    "settimeout": lambda w: (0,),
    "shutdown": lambda w: (socket.SHUT_WR,),
}
RUNNER = {"run": without("context", lambda w: (nothing(),)), "close": none, "get_loop": none}
# Of a module's names, what is ours or works with a loop; all else has to be asyncio's own object.
NAMES = {
    "Future": none,
    "Task": lambda w: (nothing(),),
    "Runner": none,
    "run": lambda w: (nothing(),),
    "new_event_loop": none,
    "get_event_loop": none,
}
NAMES_IN_A_TASK = {
    **NAMES,
    "as_completed": lambda w: ([nothing()],),
    "create_task": lambda w: (nothing(),),
    "ensure_future": lambda w: (nothing(),),
    "eager_task_factory": lambda w: (w.loop, nothing()),
    "gather": lambda w: (nothing(), nothing()),
    "open_connection": lambda w: listener(w).getsockname(),
    "open_unix_connection": few(lambda w: (path(w),)),
    "run_coroutine_threadsafe": lambda w: (nothing(), w.loop),
    "shield": lambda w: (nothing(),),
    "sleep": lambda w: (0,),
    "start_server": few(lambda w: (id, "127.0.0.1", 0)),
    "timeout": lambda w: (1,),
    "timeout_at": lambda w: (1,),
    "to_thread": lambda w: (id, 1),
    "wait": lambda w: ([task(w)],),
    "wait_for": lambda w: (nothing(), 1),
    "wrap_future": lambda w: (concurrent.futures.Future(),),
}


# ------------------------------------------------------------------------------------------------------------ the pools


def pools(world):
    """The module that the pools of this side are in."""
    return concurrent.futures if world.kind == "asyncio" else aioxide


class Calls:
    """A pool whose methods wait for what they give, so that a wrong call is seen to its end."""

    def __init__(self, world):
        pool = pools(world).ThreadPoolExecutor(1)
        world.opened.callback(pool.shutdown)
        self.shutdown = pool.shutdown
        self.submit = self.waiting(pool.submit, lambda future: future.result(10))
        self.map = self.waiting(pool.map, list)

    @staticmethod
    def waiting(method, wait):
        @functools.wraps(method)
        def call(*args, **kwargs):
            return wait(method(*args, **kwargs))

        return call


def finished_call(world):
    with pools(world).ThreadPoolExecutor(1) as pool:
        made = pool.submit(int)
    return made


POOL = {"submit": lambda w: (id, 1), "map": lambda w: (abs, [1]), "shutdown": none}
CALL = {
    "add_done_callback": lambda w: (id,),
    "cancel": none,
    "cancelled": none,
    "done": none,
    "exception": none,
    "result": none,
    "running": none,
    "set_exception": lambda w: (ValueError(),),
    "set_result": lambda w: (1,),
    "set_running_or_notify_cancel": none,
}
