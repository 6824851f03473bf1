"""What `ClusterExecutor` runs on the scheduler and on the workers of a cluster.

The text of this file is sent there, so that nothing but distributed and cloudpickle has to be installed
there: it imports nothing of aioxide, and of distributed only inside functions. Its functions are pickled by
reference, which is why it has the same module name in all processes (`calls.remote_module`).

The scheduler is the arbiter. Before a worker runs a call it claims it there; a call that nobody has claimed
can be withdrawn. Both happen in the scheduler's event loop, one after the other: so `cancel()` tells the
truth, and a call is started no more often than was said.
"""

import importlib
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

# The prefix of the task groups that are ours. A task's key is (group, number); one group a pool lets the
# scheduler hold tasks back until a worker has room.
PREFIX = "aioxide-"

# Out-of-band buffers that are smaller travel inside the pickle, in bytes.
MIN_BUFFER = 64 * 1024

# A worker's death counts against the tasks that it had, also against those that it had not begun. With so
# much credit these are never blamed.
_NEVER = 1 << 40

_running: set[tuple[str, int]] = set()
_running_lock = threading.Lock()


class Ledger:
    """The scheduler's record of our calls: how often each was started, and which were withdrawn.

    Args:
        scheduler: the `distributed.Scheduler`.
        name: what the names of its handlers begin with; clients and workers use them in their requests.
    """

    def __init__(self, scheduler: Any, name: str) -> None:
        self._scheduler = scheduler
        # What the client is told of each call that was started: `number`, `worker`, `starts`, `stoppable`.
        self._started: dict[tuple[str, int], dict[str, Any]] = {}
        self._withdrawn: set[tuple[str, int]] = set()
        # At a worker and not begun, in the order of their coming there.
        self._unclaimed: dict[tuple[str, int], None] = {}
        self._is_going_to_look = False
        # Of a scheduler that was told not to balance loads: it can still move a task, if not by itself.
        if "stealing" not in scheduler.extensions:
            stealing: Any = importlib.import_module("distributed.stealing")
            scheduler.extensions["stealing"] = stealing.WorkStealing(scheduler)
        scheduler.handlers[f"{name}_claim"] = self.claim
        scheduler.handlers[f"{name}_withdraw"] = self.withdraw

    def transition(self, key: Any, start: str, finish: str) -> None:
        """A task, anybody's, has changed its state."""
        if start == "processing":
            self.look_for_idle_workers()
        if not (type(key) is tuple and isinstance(key[0], str) and key[0].startswith(PREFIX)):
            return
        if start == "processing":
            self._unclaimed.pop(key, None)
        if finish == "waiting":
            # Hold it back until a worker has room, whatever the estimates: they come from other calls, and a call
            # must not wait behind a long one while another worker is idle.
            self._scheduler.tasks[key].run_spec._data_producer = True
        elif finish == "processing":
            self._scheduler.tasks[key].suspicious = -_NEVER
            self._unclaimed[key] = None
        elif finish == "forgotten":
            self._started.pop(key, None)
            self._withdrawn.discard(key)

    def look_for_idle_workers(self) -> None:
        """Soon, when the scheduler has given out what it has."""
        if self._unclaimed and not self._is_going_to_look:
            self._is_going_to_look = True
            self._scheduler.loop.call_later(0.01, self._move_to_idle_workers)

    def _move_to_idle_workers(self) -> None:
        # By its defaults a scheduler gives each worker one call ahead, and takes it back only once it has noticed, a
        # second or two later, that the call before it is long; or never, if it was told not to balance loads.
        self._is_going_to_look = False
        stealing = self._scheduler.extensions["stealing"]
        free = {ws: ws.nthreads - len(ws.processing) for ws in self._scheduler.running}
        for key in list(self._unclaimed):
            task = self._scheduler.tasks[key]
            victim = task.processing_on
            if victim is None or free.get(victim, 0) >= 0:
                continue
            valid = self._scheduler.valid_workers(task)
            thieves = [ws for ws, room in free.items() if room > 0 and (valid is None or ws in valid)]
            if thieves:
                free[thieves[0]] -= 1
                free[victim] += 1
                stealing.move_task_request(task, victim, thieves[0])

    def claim(
        self, group: str, number: int, worker: str, client: str, topic: str, retries: int
    ) -> dict[str, Any]:
        """A worker asks whether it shall run the call that it has been sent.

        Returns: `{"run": True}`, or `{"run": False, "reason": ...}`: `"withdrawn"`, `"moved"` (it is another worker's
            by now), or `"died"` (it was started as often as it may be, last by `"worker"`).
        """
        key = (group, number)
        task = self._scheduler.tasks.get(key)
        if task is None or key in self._withdrawn:
            return {"run": False, "reason": "withdrawn"}
        state = task.processing_on
        if state is None or state.address != worker:
            return {"run": False, "reason": "moved"}
        before = self._started.get(key, {"starts": 0})
        starts = before["starts"]
        if starts > retries:
            return {"run": False, "reason": "died", **before}
        # One death more than allowed_failures ends the task: as many as `retries` says are survived.
        task.suspicious = self._scheduler.allowed_failures - retries + starts
        event = {
            "number": number,
            "worker": worker,
            "starts": starts + 1,
            # What it takes to stop the call without touching another: somebody who restarts the worker, and
            # nobody beside it.
            "stoppable": state.nanny is not None and state.nthreads == 1,
        }
        self._started[key] = event
        self._unclaimed.pop(key, None)
        message = {"op": "event", "topic": topic, "event": (time.time(), event)}
        self._scheduler.client_send(client, message)
        return {"run": True}

    def withdraw(self, group: str, numbers: list[int]) -> dict[str, list[Any]]:
        """A client wants calls back, also such as have not arrived yet.

        Returns: the numbers of those that will not be run (`"withdrawn"`), and what is known of those that were
            begun (`"started"`).
        """
        withdrawn = [number for number in numbers if (group, number) not in self._started]
        self._withdrawn.update((group, number) for number in withdrawn)
        started = [self._started[group, number] for number in numbers if (group, number) in self._started]
        return {"withdrawn": withdrawn, "started": started}


def call(name: str, spec: bytes, scattered: list[Any] | None) -> list[Any]:
    """Run one call on a worker: claim it, unpickle it, call it, pickle what comes of it.

    Args:
        name: what the names of the ledger's handlers begin with.
        spec: a pickled dict with `group`, `number`, `client`, `topic`, `retries`, `python` (the client's version,
            major and minor) and `parts`: the pickled function and arguments, and their out-of-band buffers.
        scattered: the `parts`, if they are not in the dict.

    Returns: `["value" | "error", pickle, *buffers]`, or `["refused", the answer to the claim]`.
    """
    # Neither has types, and this file is read by type checkers that do not have it.
    sync: Any = importlib.import_module("distributed.utils").sync
    worker: Any = importlib.import_module("distributed").get_worker()
    request = pickle.loads(spec)
    key = (request["group"], request["number"])
    asked = {each: request[each] for each in ("group", "number", "client", "topic", "retries")}
    with _running_lock:
        _running.add(key)
    try:
        claim = getattr(worker.scheduler, f"{name}_claim")
        answer = sync(worker.loop, claim, worker=worker.address, **asked)
        if not answer["run"]:
            return ["refused", answer]
        try:
            parts = request["parts"] if scattered is None else scattered
            return ["value", *_dumps(_run(request["python"], parts, worker.address))]
        except BaseException as error:  # whatever it is, it belongs to the future, not to the worker's thread
            return ["error", *_dumps_error(error)]
    finally:
        with _running_lock:
            _running.discard(key)


def run_chunk(function: Callable[..., Any], chunk: tuple[Any, ...]) -> tuple[list[Any], list[Any] | None]:
    """Several calls of `map()` in one: the values up to the first exception, and that, pickled."""
    values: list[Any] = []
    for args in chunk:
        try:
            values.append(function(*args))
        except BaseException as error:
            return values, _dumps_error(error)
    return values, None


def stop(group: str, number: int) -> bool:
    """End this worker's process if it runs the call right now. Its nanny starts another.

    Returns: False, if it does not run it.
    """
    with _running_lock:
        if (group, number) not in _running:
            return False
        os.kill(os.getpid(), signal.SIGKILL)
    return True


def _run(python: tuple[int, ...], parts: list[Any], address: str) -> Any:
    if sys.version_info[:2] != tuple(python):
        raise RuntimeError(version_mismatch(address, sys.version_info[:2], python))
    try:
        function, args, kwargs = loads(parts[0], parts[1:])
    except ModuleNotFoundError as error:
        error.add_note(
            f"The worker {address} has to unpickle the function and cannot import {error.name!r}. Install it "
            "there, or name it in ClusterExecutor(pickle_by_value=[...]), which sends its code along."
        )
        raise
    return function(*args, **kwargs)


def version_mismatch(address: str, theirs: tuple[int, ...], ours: tuple[int, ...]) -> str:
    """What is wrong with a worker whose Python is not the client's."""
    return (
        f"the worker {address} runs Python {theirs[0]}.{theirs[1]}, and this client {ours[0]}.{ours[1]}: "
        "functions are sent as bytecode, so they must be the same version. Start the workers with the client's "
        "Python."
    )


def loads(payload: Any, buffers: Any) -> Any:
    """Unpickle with out-of-band buffers, into copies of them.

    What comes of it may write to them, and data in a worker's store may be used again, by a second try.
    """
    return pickle.loads(payload, buffers=[bytearray(buffer) for buffer in buffers])


def dumps(value: Any, dump: Callable[..., bytes]) -> list[Any]:
    """Pickle `value` by `dump`, cloudpickle's or pickle's: `[pickle, *out-of-band buffers]`."""
    buffers: list[memoryview] = []

    def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if raw.nbytes < MIN_BUFFER:
            return True
        buffers.append(raw)
        return False

    return [dump(value, protocol=5, buffer_callback=keep_in_band), *buffers]


def _dumps(value: Any) -> list[Any]:
    try:
        return dumps(value, pickle.dumps)
    except Exception:
        # What pickle cannot send, a lambda or a class of the main module: by value.
        return dumps(value, importlib.import_module("cloudpickle").dumps)


class RemoteTraceback(Exception):
    """The cause of an exception that came from a worker: where it was raised there."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def _dumps_error(error: BaseException) -> list[Any]:
    # The frames of this file have nothing to say.
    entry = error.__traceback__
    while entry is not None and entry.tb_frame.f_code.co_filename == __file__:
        entry = entry.tb_next
    text = "".join(traceback.format_exception(type(error), error, entry or error.__traceback__))
    error.__cause__ = error.__context__ = error.__traceback__ = None
    failure: Exception | None = None
    for sent in (error, _Rebuilt(error)):
        try:
            pickled = _dumps((sent, text))
            loads(pickled[0], pickled[1:])
            return pickled
        except Exception as why:
            failure = failure or why
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    return _dumps((RuntimeError(f"{kind}, which cannot be pickled ({failure!r}): {error}"), text))


class _Rebuilt:
    """Pickles as the exception, which is made again without its `__init__`: that may not accept its own `args`."""

    def __init__(self, error: BaseException) -> None:
        self._parts = type(error), error.args, vars(error)

    def __reduce__(self) -> Any:
        return _rebuild, self._parts


def _rebuild(kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    error = kind.__new__(kind, *args)
    error.args = args
    vars(error).update(state)
    return error
