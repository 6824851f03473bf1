"""Every public callable, with arguments that do not fit: asyncio's error in its words, or one that says what is wrong.

Where ours differs, it is here and in docs/explanation/differences.md. `tests/all_rooms/test_wrong_arguments.py` has
what is ours alone.
"""

import asyncio
import concurrent.futures
import sys
import types
from asyncio import selector_events, sslproto, trsock

import aioxide
import pytest

from . import wrong_rows as rows
from .wrong_calls import faults, plan, walk

# When a loop is given a time that is no number.
DELAY = {("call_later", "delay"): "delay", ("call_at", "when"): "when"}


class Names:
    """The names of the module under test."""

    def __init__(self, world):
        self.world = world

    def __getattr__(self, name):
        return getattr(self.world.namespace, name)


def runner(world):
    made = world.namespace.Runner()
    world.opened.callback(made.close)
    return made


def loop(world):
    async def not_started(*args, **kwargs):
        raise RuntimeError("a process would be started")

    world.loop._make_subprocess_transport = not_started
    return world.loop


class Subject:
    """What is walked: an object that `make` makes, of the class `of` in asyncio, by the rows `table`."""

    def __init__(self, make, of, *tables, inside=False, debug=(False,), differs=()):
        self.make, self.of, self.inside, self.debug = make, of, inside, debug
        self.differs = dict(differs)
        self.tables = tables

    def rows(self):
        """The rows that this version has a method for."""
        both = {name: row for table in self.tables for name, row in table.items()}
        return {name: row for name, row in both.items() if hasattr(self.of, name.split()[0])}


# A subject may differ in a call (method, argument or label): see `wrong_calls.faults`.
LATE = {
    (name, "no_such_argument alone"): r"TypeError\(\S+ missing \d required positional"
    for name in ("create_connection", "create_unix_connection", "connect_accepted_socket")
}
LATE["start_tls", "ssl_handshake_timeout=10**400"] = "delay must be a number of seconds that a float can hold"
# 3.12 and 3.13 do not look for the current loop there, nor at the context, and say so from the inside.
EAGER = {
    ("Task", "eager_start"): None,
    ("eager_task_factory", "loop=None"): "returned NoneType",
    ("eager_task_factory", "context"): r"TypeError\(an instance of Context was expected",
}
EAGER = {} if sys.version_info >= (3, 14) else EAGER
PYTHON_FUNCTION = {
    ("get_event_loop", label): r"TypeError\(get_event_loop\(\) (takes 0 pos|got an unexp)"
    for label in ("30 arguments", "no_such_argument", "no_such_argument alone")
}
# Where the time is up at once, it is chance whether the thread has ended by then, and there is a warning only if not.
ENDED_BY_CHANCE = {("shutdown_default_executor", f"timeout={time}"): None for time in ("-1", "0", "-2**63")}
AsyncioLoop = asyncio.SelectorEventLoop
SUBJECTS = {
    "a loop's calls": Subject(
        loop,
        AsyncioLoop,
        rows.LOOP_CALLS,
        debug=(False, True),
        differs={
            **DELAY,
            ("set_debug", "enabled"): r"LookupError\(the object's own words",
            # In debug mode asyncio's handle of a task's step has a traceback.
            ("create_task", "context"): r"has no attribute 'run'\)$",
        },
    ),
    "a loop's life": Subject(loop, AsyncioLoop, rows.LOOP_LIFE, differs=ENDED_BY_CHANCE),
    "a loop's sockets": Subject(loop, AsyncioLoop, rows.LOOP_SOCKETS),
    "a loop's connections": Subject(loop, AsyncioLoop, rows.LOOP_CONNECTIONS, differs=LATE),
    "future": Subject(rows.future, asyncio.Future, rows.FUTURE),
    "finished future": Subject(rows.done, asyncio.Future, rows.FUTURE),
    "task": Subject(rows.task, asyncio.Task, rows.TASK),
    "handle": Subject(lambda w: w.loop.call_soon(id, 1), asyncio.Handle, rows.HANDLE),
    "handle of a thread": Subject(lambda w: w.loop.call_soon_threadsafe(id, 1), asyncio.Handle, rows.HANDLE),
    "timer": Subject(
        lambda w: w.loop.call_later(9, id, 1), asyncio.TimerHandle, rows.HANDLE, {"when": rows.none}
    ),
    "awaited future": Subject(
        lambda w: iter(rows.future(w)), type(iter(asyncio.Future(loop=AsyncioLoop()))), rows.FUTURE_ITERATOR
    ),
    "transport": Subject(rows.transport, selector_events._SelectorSocketTransport, rows.TRANSPORT),
    "datagram transport": Subject(
        rows.datagram_transport, selector_events._SelectorDatagramTransport, rows.DATAGRAM_TRANSPORT
    ),
    "TLS transport": Subject(
        rows.tls_transport,
        sslproto._SSLProtocolTransport,
        rows.TRANSPORT,
        # After the end of a connection asyncio trips over the transport that is no more.
        differs={("set_read_buffer_limits", label): "returned NoneType" for label in ("high=0", "low=0")},
    ),
    "server": Subject(rows.server, asyncio.Server, rows.SERVER),
    "socket of a transport": Subject(rows.transport_socket, trsock.TransportSocket, rows.TRANSPORT_SOCKET),
    "runner": Subject(runner, asyncio.Runner, rows.RUNNER),
    "names": Subject(Names, asyncio, rows.NAMES, differs=PYTHON_FUNCTION),
    "names in a task": Subject(
        Names,
        asyncio,
        rows.NAMES_IN_A_TASK,
        inside=True,
        differs={**PYTHON_FUNCTION, **EAGER},
    ),
    "thread pool": Subject(
        rows.Calls,
        concurrent.futures.ThreadPoolExecutor,
        rows.POOL,
        differs={
            ("map", "timeout"): "timeout",
            ("map", "timeout=10**400"): "returned list",
            ("map", "timeout by name"): "timeout must be a number of seconds or None, not list",
            ("map", "buffersize=10**400"): "buffersize must be at most",
        },
    ),
    "finished call in a pool": Subject(rows.finished_call, concurrent.futures.Future, rows.CALL),
}


@pytest.mark.parametrize("name", SUBJECTS)
def test_wrong_calls(name):
    subject = SUBJECTS[name]
    table = subject.rows()
    planned = plan(subject.make, table)
    for debug in subject.debug:
        stock, ours = (
            walk(side, planned, subject.make, table, debug, subject.inside) for side in ("asyncio", "aioxide")
        )
        assert len(stock) >= 4 * len(table)
        found = faults(stock, ours, subject.differs)
        assert not found, f"{len(found)} faults (debug={debug}):\n" + "\n".join(found)


# What takes nothing and does not end, what is no method, and what is of a class and inherited (from 3.14 on).
NOT_WALKED = {"run_forever", "BROKEN", "max_size", "sockets", "family", "proto", "type", "prepare_context"}
CLASSES = {subject.of for subject in SUBJECTS.values()} - {asyncio}


@pytest.mark.parametrize("of", sorted(CLASSES, key=str), ids=lambda of: of.__name__)
def test_every_public_method_has_a_row(of):
    named = {name.split()[0] for subject in SUBJECTS.values() if subject.of is of for name in subject.rows()}
    assert {name for name in dir(of) if not name.startswith("_")} - NOT_WALKED - named == set()


# Those of which `tests/all_rooms/test_wrong_arguments.py` has the arguments, and exceptions.
OURS_ALONE = {
    "AwaitableFuture",
    "BrokenCluster",
    "BrokenClusterWorker",
    "ClusterExecutor",
    "ClusterFuture",
    "EventLoop",
    "Histogram",
    "PoolFuture",
    "ProcessPoolExecutor",
    "ProcessPoolStats",
    "TaskCancelled",
    "ThreadPoolExecutor",
    "ThreadPoolStats",
    "TransferError",
    "WorkerDied",
    "WorkerInfo",
    "build_info",
    "install",
    "installed",
    "uninstall",
}


def test_every_public_name_has_a_row_or_is_asyncios_own():
    public = {name for name in {*aioxide.__all__, *dir(aioxide)} if not name.startswith("_")}
    other = {
        name
        for name in public - {"EventLoopPolicy", "AbstractEventLoopPolicy", "DefaultEventLoopPolicy"}
        if getattr(aioxide, name) is not getattr(asyncio, name, None)
        and not isinstance(getattr(aioxide, name), types.ModuleType)
    }
    assert other - rows.NAMES_IN_A_TASK.keys() - OURS_ALONE == set()


def test_a_loop_that_runs_takes_no_arguments_for_it():
    for side in (asyncio.SelectorEventLoop, aioxide.new_event_loop):
        loop = side()
        with pytest.raises(
            TypeError, match=r"^BaseEventLoop.run_forever\(\) takes 1 positional argument but 2 were"
        ):
            loop.run_forever(None)
        loop.close()
