"""What a user meets can be imported from `aioxide`, and says so: in its repr, in tracebacks and in pickles."""

import asyncio
import builtins
import concurrent.futures.process
import contextlib
import inspect
import os
import pickle
import re
import sys
import typing

import aioxide
import pytest
from aioxide._entry import namespace

# By `from aioxide import ...`: what is there at once, and what is loaded when it is first asked for.
EAGER = [name for name, value in vars(aioxide).items() if getattr(value, "__module__", None) == "aioxide"]
OURS = sorted({*EAGER, *namespace._LAZY, "EventLoopPolicy"} - {"shared"})


def ours(name):
    return getattr(aioxide, name) if name != "EventLoopPolicy" else aioxide._entry.policy.EventLoopPolicy


def where_it_says(kind):
    """What is imported from where a class says that it is; None if nothing is."""
    module = sys.modules.get(kind.__module__)
    return getattr(module, kind.__qualname__, None)


def test_there_are_names_to_look_at():
    assert {"EventLoop", "Runner", "run", "install", "Task", "Future"} <= set(EAGER)
    assert {"ThreadPoolExecutor", "ProcessPoolExecutor", "ClusterExecutor"} <= set(OURS)
    assert {"WorkerDied", "TaskCancelled", "TransferError", "BrokenCluster", "BrokenClusterWorker"} <= set(
        OURS
    )
    assert {"ThreadPoolStats", "ProcessPoolStats", "WorkerInfo", "Histogram", "PoolFuture"} <= set(OURS)


@pytest.mark.parametrize("name", OURS)
def test_each_says_that_it_is_aioxides(name):
    assert ours(name).__module__ == "aioxide"
    if isinstance(ours(name), type):
        assert ours(name).__qualname__ == name and repr(ours(name)) == f"<class 'aioxide.{name}'>"


@pytest.mark.filterwarnings("ignore:'aioxide.EventLoopPolicy' is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", OURS)
def test_pickles_name_what_users_import(name):
    """Another process may run another version, in which the rooms and files are others."""
    assert pickle.dumps(ours(name), 0).startswith(f"caioxide\n{name}\n".encode())
    assert pickle.loads(pickle.dumps(ours(name))) is ours(name)


@pytest.mark.parametrize("room", ["_loop", "_threads", "_processes", "_cluster"])
def test_pickles_of_earlier_versions_are_still_read(room):
    pool = {
        "_loop": "EventLoop",
        "_threads": "ThreadPoolExecutor",
        "_processes": "WorkerDied",
        "_cluster": "BrokenCluster",
    }
    assert pickle.loads(f"caioxide.{room}\n{pool[room]}\n.".encode()) is getattr(aioxide, pool[room])


def test_every_class_that_a_public_call_names_in_its_annotations_is_public():
    seen = set()
    for name in OURS:
        owner = ours(name)
        calls = (
            [owner]
            if not isinstance(owner, type)
            else [value for key, value in vars(owner).items() if not key.startswith("_") and callable(value)]
        )
        for call in filter(inspect.isfunction, calls):
            text = str(inspect.signature(call))
            seen.update(re.findall(r"\b(?:[A-Z]\w+)\b", text))
    private = {
        name
        for module in list(sys.modules.values())
        if module.__name__.startswith("aioxide._") and "." in module.__name__[9:]
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__.startswith("aioxide.")
    }
    assert "ThreadPoolStats" in seen and "WorkerInfo" in seen
    assert not seen & private


RAISES = re.compile(r"^ *(?:Raises|Warns):(.*?)(?=\n *\n|\Z)", re.DOTALL | re.MULTILINE)
# The start of a row: names of classes and a colon.
ROW = re.compile(r"^ *(\w+(?:, \w+)*): ", re.MULTILINE)


def told(text):
    """The names of the exceptions that a docstring says are raised."""
    return {name for part in RAISES.findall(text) for row in ROW.findall(part) for name in row.split(", ")}


def test_every_exception_that_a_docstring_tells_of_can_be_imported():
    seen = set()
    for name in OURS:
        owner = ours(name)
        for each in [owner, *(vars(owner).values() if isinstance(owner, type) else [])]:
            seen |= told(inspect.getdoc(each) or "") if callable(each) else set()
    homes = (builtins, aioxide, concurrent.futures, concurrent.futures.process)
    assert {"BrokenProcessPool", "BrokenCluster", "RuntimeError", "TimeoutError"} <= seen
    assert not {name for name in seen if not any(hasattr(home, name) for home in homes)}


@pytest.mark.parametrize("name", ["Histogram", "ProcessPoolStats", "ThreadPoolStats", "WorkerInfo"])
def test_annotations_of_what_is_told_can_be_read(name):
    hints = typing.get_type_hints(getattr(aioxide, name))
    assert hints and set(hints.values()) & {int, aioxide.Histogram}


async def made_by_a_loop():
    loop = asyncio.get_running_loop()
    yield loop
    yield loop.create_future()
    task = loop.create_task(asyncio.sleep(0))
    yield task
    await task
    for handle in (loop.call_soon(int), loop.call_soon_threadsafe(int), loop.call_later(9, int)):
        yield handle
        handle.cancel()
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    yield server
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    yield writer.transport
    yield writer.get_extra_info("socket")
    writer.close()
    server.close()
    yield loop.run_in_executor(None, int)
    with contextlib.closing(socketpair_end()) as end:
        yield await loop.connect_read_pipe(asyncio.Protocol, end)


def socketpair_end():
    reading, writing = os.pipe()
    os.close(writing)
    return open(reading, "rb", buffering=0)


def made_by_threads():
    with aioxide.ThreadPoolExecutor(1) as pool:
        yield pool
        yield pool.submit(int)
        yield from (pool.stats(), pool.stats().wait)


def made_by_processes():
    with aioxide.ProcessPoolExecutor(1, on_worker_death="respawn", cancel_running=True) as pool:
        yield pool
        yield pool.submit(int)
        yield pool.schedule(int, timeout=60)
        yield pool.submit(int).result(60)
        yield from (pool.stats(), pool.stats().run, pool.workers()[0])
        yield pool.share([1])
        yield aioxide.shared.buffer(1)
        yield pool.submit(os._exit, 3).exception(60)
        yield pool.submit(Unreadable).exception(60)
        slow = pool.submit(cancelled_by_itself)
        yield slow.exception(60)


class Unreadable:
    def __reduce__(self):
        return int, ("no number",)


def cancelled_by_itself():
    raise aioxide.TaskCancelled("why", 1)


def says_where_it_is_from(made):
    """The types of ours among those of what was made whose own name does not lead to them."""
    wrong = []
    for each in made:
        for kind in {type(each), each.__class__}:
            found = where_it_says(kind)
            if kind.__module__.partition(".")[0] == "aioxide" and not (
                found is kind or isinstance(each, found or ())
            ):
                wrong.append(kind)
    return wrong


def test_what_a_loop_makes():
    async def collect():
        return [each async for each in made_by_a_loop()]

    made = aioxide.run(collect())
    assert not says_where_it_is_from(made)
    shown = {str(type(each)) for each in made}
    assert {"<class 'aioxide.EventLoop'>", "<class 'aioxide.Future'>", "<class 'aioxide.Task'>"} <= shown
    assert "<class 'aioxide.trsock.TransportSocket'>" in shown
    assert not [name for name in shown if re.search(r"'aioxide\._\w+\.", name)]


@pytest.mark.parametrize("make", [made_by_threads, made_by_processes])
def test_what_a_pool_makes(make):
    made = list(make())
    assert len(made) > 3 and not says_where_it_is_from(made)
    shown = {str(type(each)) for each in made}
    assert "<class 'aioxide.PoolFuture'>" in shown
    if make is made_by_processes:
        names = (
            "WorkerDied",
            "TransferError",
            "TaskCancelled",
            "ProcessPoolStats",
            "WorkerInfo",
            "Histogram",
        )
        assert {f"<class 'aioxide.{name}'>" for name in names} <= shown
        assert not any(str(type(each)).startswith("<class 'aioxide._") for each in made)
        [cancelled] = [each for each in made if isinstance(each, aioxide.TaskCancelled)]
        assert cancelled.args == ("why", 1)


def test_a_type_whose_name_leads_nowhere_is_seen():
    hidden = type("Hidden", (), {"__module__": "aioxide._rooms"})
    assert says_where_it_is_from([hidden(), asyncio.Event()]) == [hidden]
