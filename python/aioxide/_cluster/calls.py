"""The calls of a `ClusterExecutor` on their way: sent, watched, withdrawn, stopped, answered.

All of it runs in the event loop of the `distributed.Client`, which has a thread of its own, except what other
threads ask for: `post`, `cancel`, `begin_closing`, `join`. distributed has no types, hence the many `Any`s and
`import_module`s.
"""

import asyncio
import concurrent.futures
import contextlib
import functools
import hashlib
import importlib
import inspect
import itertools
import os
import pickle
import sys
import threading
import types
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from .._pools.futures import AwaitableFuture
from . import remote

_T = TypeVar("_T")

# What is bigger than this in one call, in bytes, is scattered to the workers and not put into the task graph.
SCATTER_ABOVE = 1 << 20

# Seconds that a cancel() which may wait waits for the scheduler's answer. Then nothing is withdrawn.
CANCEL_TIMEOUT = 10.0

# Seconds after which a worker that does not end itself (it holds the GIL, say) is ended by its nanny.
STOP_TIMEOUT = 5.0

# The version that the workers must have as well: major and minor.
PYTHON = sys.version_info[:2]

# Two threads may cancel the same future; waiters are to be told once. No user code runs under it.
_notifying = threading.RLock()


class BrokenCluster(concurrent.futures.BrokenExecutor):
    """The cluster has not carried a call out: the scheduler was lost, or the worker (`BrokenClusterWorker`)."""

    __module__ = "aioxide"  # where users import it from, and what pickles name


class BrokenClusterWorker(BrokenCluster):
    """A worker ended while it ran this call, once more than `retries` allows. Other calls are not affected.

    Attributes:
        worker: the address of the last worker that ended.
        starts: how often the call had been started.
    """

    __module__ = BrokenCluster.__module__

    def __init__(self, worker: str, starts: int) -> None:
        super().__init__(worker, starts)
        self.worker = worker
        self.starts = starts

    def __str__(self) -> str:
        times = "once" if self.starts == 1 else f"{self.starts} times"
        return (
            f"the worker {self.worker} ended while it ran this call or before it had handed over the result; the "
            f"call was started {times} (retries={self.starts - 1}). The usual reasons: it ran out of memory, crashed "
            "in native code, or was killed; its log tells more. Other calls are not affected. schedule(..., "
            "retries=N) starts such a call again."
        )


class ClusterFuture(AwaitableFuture[_T]):
    """A `concurrent.futures.Future` that can be awaited too, and whose `cancel()` asks the cluster.

    It is RUNNING from when a worker has begun the call. `cancel()` withdraws a call that no worker has begun;
    True then means that the function is not run. In a thread without an event loop it waits for the
    scheduler's answer. In the thread of an event loop it must not wait and goes by what the client knows, which
    is some milliseconds behind: True then means that the result is dropped, and that the function is not run
    unless it had begun in these milliseconds.
    """

    __module__ = BrokenCluster.__module__
    call: "Call"

    def cancel(self) -> bool:
        """Withdraw the call. A running one is only stopped if the pool was made with `cancel_running=True`."""
        if self.done():
            return self.cancelled()
        return self.call.calls.cancel(self.call)


class Call:
    """One call: what is sent, and what is known of it."""

    def __init__(self, calls: "Calls", parts: list[bytes], retries: int, options: dict[str, Any]) -> None:
        self.calls = calls
        self.parts = parts
        self.retries = retries
        self.options = options
        self.future: ClusterFuture[Any] = ClusterFuture()
        self.future.call = self
        # Of the task that carries it out. There is another task once scattered arguments were lost, whose
        # starts the scheduler counts from 0.
        self.number = -1
        self.group = calls.group
        self.task: Any = None  # the distributed.Future
        # Another, for big arguments. Here and in no frame, as a traceback keeps those, and with them the arguments.
        self.scattered: Any = None
        self.earlier_starts = 0
        self.sent = False
        self.withdrawn = False
        self.starts = 0
        self.worker: str | None = None
        self.stoppable = False

    def set_started(self, event: dict[str, Any]) -> None:
        """A worker has begun it."""
        self.starts = self.earlier_starts + event["starts"]
        self.worker = event["worker"]
        self.stoppable = event["stoppable"]
        with _notifying:
            if self.future._state in ("PENDING", "CANCELLED"):
                self.future.set_running_or_notify_cancel()


class Calls:
    """All calls of one pool, over a `distributed.Client` that is only ours.

    Args:
        client: the client; its event loop runs in a thread of its own.
        cancel_running: whether `cancel()` stops a call that is running.
    """

    def __init__(self, client: Any, cancel_running: bool) -> None:
        self.client = client
        self.group = f"{remote.PREFIX}{uuid.uuid4().hex[:16]}"
        self.cancel_running = cancel_running
        self.loop: asyncio.AbstractEventLoop = client.loop.asyncio_loop
        self._address = client.scheduler.address
        self._loops_thread: int = client.sync(_identify_thread)
        self._name, self.remote = remote_module()
        self._numbers = itertools.count()
        # Guards what follows; taken by itself, as an interrupt in a condition's Python would leave it locked.
        self._guard = threading.RLock()
        self._changed = threading.Condition(self._guard)
        self._open: dict[int, Call] = {}
        self._outbox: deque[Call] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        # Another connection is to a scheduler that knows nothing of our calls, be it the same one.
        self._connection = client.scheduler_comm
        self._broken = False
        self._closing = False
        self._pid = os.getpid()
        for plugin in _plugins(self._name, _source()):
            client.register_plugin(plugin)
        client.subscribe_topic(self.group, self._on_started)
        self._left = asyncio.Event()
        self._start(self._note_the_loops_end())

    # What any thread may ask for.

    def post(self, parts: list[bytes], retries: int, options: dict[str, Any]) -> ClusterFuture[Any]:
        """Send a call.

        Args:
            parts: the pickled (function, args, kwargs), and its out-of-band buffers.
            retries: how often it may be started again after its worker has died.
            options: keywords for `distributed.Client.submit`.
        """
        with self._guard:
            self.check_open()
            call = Call(self, parts, retries, options)
            self._renumber(call)
            self._outbox.append(call)
            first = len(self._outbox) == 1
        if first:
            try:
                self.loop.call_soon_threadsafe(self._send_outbox)
            except RuntimeError as error:  # closed since
                self._fail_all()
                raise BrokenCluster(f"{self._lost_text()}: make a new ClusterExecutor") from error
        return call.future

    def check_open(self) -> None:
        """Raise what `post()` would."""
        if self._closing:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if self._pid != os.getpid():
            raise RuntimeError(
                "this ClusterExecutor belongs to the process that this one was forked from: make one here"
            )
        lost = self.client.status != "running" or self.client.scheduler_comm is not self._connection
        if self._broken or lost:
            raise BrokenCluster(f"{self._lost_text()}: make a new ClusterExecutor")

    def cancel(self, call: Call) -> bool:
        """What `ClusterFuture.cancel` does and returns."""
        future = call.future
        if self._pid != os.getpid():
            return False  # in a forked child: the parent's call goes on
        if future.running():
            return self.cancel_running and self._cancel_running(call)
        with self._guard:
            unsent = not call.sent
            call.withdrawn = call.withdrawn or unsent
        if unsent:
            return _cancel_pending(future)
        if _may_wait():
            self._ask_back([call])
            if future.running():
                return self.cancel_running and self._cancel_running(call)
            return future.cancelled()
        if _cancel_pending(future):
            self._start(self._withdraw([call]))
            return True
        return bool(self.cancel_running and future.running() and self._cancel_running(call))

    def begin_closing(self, cancel: bool) -> None:
        """No more calls from now on.

        Args:
            cancel: withdraw those that are not running.
        """
        with self._guard:
            self._closing = True
            pending = [call for call in self._open.values() if not call.future.running()] if cancel else []
            for call in pending:
                call.withdrawn = call.withdrawn or not call.sent
        for call in pending:
            if call.withdrawn or not _may_wait():
                self.cancel(call)
        sent = [call for call in pending if not call.future.done()]
        if sent and _may_wait():
            self._ask_back(sent)

    def join(self) -> None:
        """Wait until every call is answered."""
        with self._guard:
            while not self._changed.wait_for(lambda: not self._open, timeout=1):
                if self.loop.is_closed():  # by somebody who did not wait for its tasks
                    break
            else:
                return
        self._fail_all()

    def leave(self) -> None:
        """After `join()`: nothing of this pool is left in the loop, which may go on, with a cluster object's."""
        with contextlib.suppress(RuntimeError):  # it has ended
            self.loop.call_soon_threadsafe(self._left.set)

    def is_own_thread(self) -> bool:
        """Whether the caller runs in the client's event loop, the one that answers calls."""
        return threading.get_ident() == self._loops_thread

    def _ask_back(self, calls: list[Call]) -> None:
        """Withdraw calls and wait for the scheduler's answer. If there is none in time, nothing is withdrawn."""
        question = self._withdraw(calls)
        try:
            answer = asyncio.run_coroutine_threadsafe(question, self.loop)
        except RuntimeError:  # the client is closed, and has dropped all that it had
            question.close()
            return
        try:
            answer.result(CANCEL_TIMEOUT)
        except (OSError, TimeoutError, concurrent.futures.CancelledError):  # CommClosedError is an OSError
            answer.cancel()

    def _renumber(self, call: Call) -> None:
        # Under the lock.
        self._open.pop(call.number, None)
        call.number = next(self._numbers)
        self._open[call.number] = call

    def _cancel_running(self, call: Call) -> bool:
        future = call.future
        if not call.stoppable:
            return False
        with future._condition:
            if future._state != "RUNNING":
                return future._state in ("CANCELLED", "CANCELLED_AND_NOTIFIED")
            future._state = "CANCELLED"
            future._condition.notify_all()
        future._invoke_callbacks()  # type: ignore[attr-defined]
        _cancel_pending(future)
        self._start(self._stop(call))
        return True

    def _start(self, work: Any) -> None:
        try:
            self.loop.call_soon_threadsafe(self._keep_task, work)
        except RuntimeError:  # the client is closed, and has dropped all that it had
            work.close()

    # What runs in the client's event loop.

    def _keep_task(self, work: Any) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._drop_task)

    def _drop_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        # A lost connection is told to the calls.
        if error is not None and not isinstance(error, OSError):
            self.loop.call_exception_handler(
                {"message": "aioxide.ClusterExecutor failed", "exception": error, "task": task}
            )

    async def _note_the_loops_end(self) -> None:
        """A loop that ends cancels its tasks; those that have not begun then never do."""
        try:
            await self._left.wait()
        finally:
            self._fail_all()

    def _fail_all(self) -> None:
        """The client's event loop has ended."""
        with self._guard:
            self._broken = True
            calls = list(self._open.values())
            self._open.clear()
            self._outbox.clear()
            self._changed.notify_all()
        for call in calls:
            _fail(call.future, asyncio.CancelledError())

    def _send_outbox(self) -> None:
        while True:
            with self._guard:
                if not self._outbox:
                    return
                call = self._outbox.popleft()
            self._keep_task(self._carry_out(call))

    async def _carry_out(self, call: Call) -> None:
        try:
            settle = await self._outcome(call)
            settle(call.future)
        except concurrent.futures.InvalidStateError:
            pass  # it was cancelled meanwhile
        except (Exception, asyncio.CancelledError) as error:
            _fail(call.future, error)
        finally:
            call.task = call.scattered = None
            call.parts = []
            with self._guard:
                self._open.pop(call.number, None)
                self._changed.notify_all()

    async def _outcome(self, call: Call) -> Callable[[ClusterFuture[Any]], object]:
        """Send the call, again if need be, until there is an answer: what to do with its future."""
        killed_worker: Any = importlib.import_module("distributed").KilledWorker
        while True:
            with self._guard:
                if call.withdrawn:
                    return _cancel_pending
                if call.sent:
                    self._renumber(call)
                call.sent = True
            await self._scatter(call)
            if call.withdrawn:
                return _cancel_pending
            self._submit(call)
            try:
                answer = await self.client.gather(call.task, asynchronous=True)
            except killed_worker as error:
                raise BrokenClusterWorker(error.last_worker.address, call.starts) from None
            except (Exception, asyncio.CancelledError) as error:
                if call.withdrawn or call.future.cancelled():
                    return _cancel_pending
                if call.task.status != "cancelled":
                    raise
                if call.scattered is None or self.client.status != "running":
                    raise self._lost(error) from None
                # The worker that held the scattered arguments is gone. It may have begun the call, or not.
                if call.starts > call.retries:
                    raise BrokenClusterWorker(str(call.worker), call.starts) from None
                continue
            if answer[0] != "refused":
                return functools.partial(_settle, answer)
            refusal = answer[1]
            if refusal["reason"] == "withdrawn":
                return _cancel_pending
            if refusal["reason"] == "died":
                raise BrokenClusterWorker(refusal["worker"], call.earlier_starts + refusal["starts"])

    async def _scatter(self, call: Call) -> None:
        """Bring big arguments to a worker."""
        call.scattered = None
        is_big = sum(map(len, call.parts)) > SCATTER_ABOVE
        while is_big and not call.withdrawn:
            try:
                [call.scattered] = await self.client.scatter([call.parts], hash=False, asynchronous=True)
                return
            except TimeoutError:
                # There is no worker yet. Small calls wait for one as well.
                if self.client.status != "running":
                    raise

    def _submit(self, call: Call) -> None:
        # Tasks with data of their own are another group: to the scheduler they are not all of one kind.
        call.group = self.group if call.scattered is None else f"{self.group}-scattered"
        call.earlier_starts = call.starts
        request = {
            "group": call.group,
            "number": call.number,
            "client": self.client.id,
            "topic": self.group,
            "retries": call.retries - call.earlier_starts,
            "python": PYTHON,
            "parts": call.parts if call.scattered is None else None,
        }
        spec = pickle.dumps(request, protocol=5)
        key = (call.group, call.number)
        call.task = self.client.submit(
            self.remote.call, self._name, spec, call.scattered, key=key, pure=False, **call.options
        )

    def _on_started(self, event: tuple[float, dict[str, Any]]) -> None:
        call = self._open.get(event[1]["number"])
        if call is not None:
            call.set_started(event[1])

    async def _withdraw(self, calls: list[Call]) -> None:
        groups: dict[str, dict[int, Call]] = {}
        withdrawn = []
        for call in calls:
            if call.task is not None:
                groups.setdefault(call.group, {})[call.number] = call
            else:
                withdrawn.append(call)
        started = []
        for group, sent in groups.items():
            ask = getattr(self.client.scheduler, f"{self._name}_withdraw")
            answer = await ask(group=group, numbers=list(sent))
            withdrawn += [sent[number] for number in answer["withdrawn"]]
            for event in answer["started"]:
                sent[event["number"]].set_started(event)
                started.append(sent[event["number"]])
        for call in withdrawn:
            call.withdrawn = True
            _cancel_pending(call.future)
        await self._forget(withdrawn)
        for call in started:
            # Cancelled in the thread of an event loop, which could not wait to hear that it was running.
            if call.future.cancelled() and self.cancel_running and call.stoppable:
                await self._stop(call)

    async def _forget(self, calls: list[Call]) -> None:
        tasks = [call.task for call in calls if call.task is not None]
        if tasks:
            await self.client.cancel(tasks, asynchronous=True)

    async def _stop(self, call: Call) -> None:
        """End the worker that runs the call, if it still does."""
        # First, or the scheduler would start it again elsewhere.
        await self._forget([call])
        stopped = self.client.run(
            self.remote.stop,
            call.group,
            call.number,
            workers=[call.worker],
            on_error="ignore",  # it does not live to answer
            asynchronous=True,
        )
        try:
            await asyncio.wait_for(stopped, STOP_TIMEOUT)
        except TimeoutError:
            await self.client.restart_workers([call.worker], raise_for_error=False)

    def _lost(self, error: BaseException) -> BrokenCluster:
        """What it means that distributed has cancelled a task by itself."""
        if self.client.status == "running" and getattr(error, "reason", None) != "scheduler-connection-lost":
            return BrokenCluster(f"the cluster has dropped this call: {error}")
        self._broken = True
        return BrokenCluster(f"{self._lost_text()}, and with it the calls under way")

    def _lost_text(self) -> str:
        return f"the connection to the scheduler {self._address} was lost or closed"


def _may_wait() -> bool:
    return asyncio._get_running_loop() is None


def _cancel_pending(future: ClusterFuture[Any]) -> bool:
    """Cancel what has not begun: what `Future.cancel` does, and what a pool has to do after it."""
    if not concurrent.futures.Future.cancel(future):
        return False
    with _notifying:
        if future._state == "CANCELLED":
            future.set_running_or_notify_cancel()
    return True


def _settle(answer: list[Any], future: ClusterFuture[Any]) -> None:
    status, payload, *buffers = answer
    value = remote.loads(payload, buffers)
    if status == "value":
        future.set_result(value)
    else:
        future.set_exception(_with_remote_traceback(value))


def rebuild_error(parts: list[Any]) -> BaseException:
    """The exception that a worker has pickled, with where it was raised as its cause."""
    return _with_remote_traceback(remote.loads(parts[0], parts[1:]))


def _with_remote_traceback(pair: tuple[BaseException, str]) -> BaseException:
    error, text = pair
    error.__cause__ = remote.RemoteTraceback(text)
    return error


def _fail(future: ClusterFuture[Any], error: BaseException) -> None:
    if isinstance(error, asyncio.CancelledError):
        error = BrokenCluster("the client's event loop has ended with this call under way")
    with contextlib.suppress(concurrent.futures.InvalidStateError):
        future.set_exception(error)


async def _identify_thread() -> int:
    return threading.get_ident()


# What stands on the other side.


def _source() -> str:
    try:
        return inspect.getsource(remote)
    except OSError as error:
        raise RuntimeError(
            "ClusterExecutor sends the source of aioxide/_cluster/remote.py to the cluster, and this installation "
            f"of aioxide has none: {error}"
        ) from error


def remote_module() -> tuple[str, types.ModuleType]:
    """`remote` under the name that it has in all processes of a cluster: (name, module).

    The name holds the text's hash: clients with different versions of aioxide can share a cluster.
    """
    source = _source()
    name = f"_aioxide_cluster_{hashlib.sha256(source.encode()).hexdigest()[:12]}"
    return name, _module_maker()(name, source)


def _module_maker() -> Callable[[str, str], Any]:
    """What makes the module from its text. A function in a function: cloudpickle sends it by value."""

    def make_module(name: str, source: str) -> Any:
        import sys
        import types

        if name not in sys.modules:
            module = types.ModuleType(name)
            module.__file__ = f"<{name}>"
            exec(compile(source, module.__file__, "exec"), vars(module))
            sys.modules.setdefault(name, module)
        return sys.modules[name]

    return make_module


def _plugins(name: str, source: str) -> tuple[Any, Any]:
    """For the scheduler, and for every worker, also those that come later; sent by value."""
    bases: Any = importlib.import_module("distributed.diagnostics.plugin")
    make_module = _module_maker()

    async def start(self: Any, scheduler: Any) -> None:
        self.ledger = make_module(name, source).Ledger(scheduler, name)

    def transition(self: Any, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        self.ledger.transition(key, start, finish)

    def add_worker(self: Any, scheduler: Any, worker: str) -> None:
        self.ledger.look_for_idle_workers()

    def setup(self: Any, worker: Any) -> None:
        make_module(name, source)

    common = {"name": name, "idempotent": True}
    on_scheduler = type(
        "OnScheduler",
        (bases.SchedulerPlugin,),
        {**common, "start": start, "transition": transition, "add_worker": add_worker},
    )
    on_worker = type("OnWorker", (bases.WorkerPlugin,), {**common, "setup": setup})
    return on_scheduler(), on_worker()
