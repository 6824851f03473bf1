"""What is rare in a process pool: starting workers, their deaths, their ends, timers. The native core calls it.

Everything that happens per task is in `crates/aioxide/src/processes/`.

Each method that the core calls (`_aioxide.Manager`) may be cut short and is called again then. What has been
done is noted where it is done, by one call in C, and what says that all is done comes last.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import signal
import sys
import threading
import time
import traceback
import weakref
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any

import _aioxide_worker

from .. import _aioxide
from .._pools.futures import cancel_and_tell
from . import by_value
from .errors import Errors, WorkerDied, remote_traceback
from .signals import how_it_ended, no_interrupt, reap, restore_mask
from .timers import Timers
from .waits import Flag, Room

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.process import BaseProcess

    from .._aioxide import Native
    from .settings import Settings

# Interrupts a task that is to stop. Of the real-time signals, as those with names belong to users.
STOP_SIGNAL = signal.SIGRTMAX - 2

# Seconds that a task has to end after it was interrupted, and a worker after it was told to terminate.
GRACE = 2.0

# Workers in a row that may die before they are ready, and, by number of workers, in their first task or later with no
# other task finished in between: what is above is a crash loop.
STARTS = 3

# Seconds after each attempt at a replacement that found no fork server. Cut short in the middle of its handshake,
# multiprocessing's ends, which takes a moment, and only then is another started. Others are tried thrice, at once.
WAITS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32)

_BROKEN = "A child process terminated abruptly, the process pool is not usable anymore"
_NO_CLOUDPICKLE = (
    "A worker process has to be able to import the function by its name. Lambdas and functions that are defined in "
    "other functions can be sent where cloudpickle is installed, which it is not here: pip install cloudpickle"
)
_PENDING = "A process in the process pool was terminated abruptly while the future was running or pending."


_managers: set[Manager] = set()
_interpreter_exits = False


class Manager(Timers, Errors):
    """The part of a pool that outlives its executor: the core holds it for as long as tasks are under way.

    Args:
        settings: the pool ends when nobody has them any more.
        launched: a method, called before a worker is started, as long as its object lives.
        told_broken: a method, called with a text when the pool breaks, as long as its object lives.
    """

    def __init__(
        self, settings: Settings, launched: Callable[[], None], told_broken: Callable[[str], None]
    ) -> None:
        super().__init__()
        self._launched, self._told_broken = weakref.WeakMethod(launched), weakref.WeakMethod(told_broken)
        self._process = os.getpid()
        self.processes: dict[Any, BaseProcess] = {}
        self._workers: dict[int, BaseProcess] = {}
        # Workers that end because we want them to; of these, those that `on_retire` is at; those that we have killed.
        self._leaving: set[int] = set()
        self._retiring: set[int] = set()
        self._killed: set[int] = set()
        # Those that are dead, each with whether it was ready; and those that were counted for the crash loop.
        self._buried: dict[int, bool] = {}
        self._counted: set[int] = set()
        # Futures that `shutdown(cancel_futures=True)` is to cancel; those that are being stopped, each with how many
        # of those who wait for it were told.
        self._unwanted: dict[Any, None] = {}
        self._stopping: dict[Any, int] = {}
        self.finished = Flag()
        self.shutting_down = False
        # What is queued shall not run any more, however the workers end.
        self.forced = False
        self.broken: str | None = None
        self._has_told = False
        self._starting = threading.RLock()
        self._cause: str | None = None
        self._deaths_note: str | None = None
        self._initializer_error: str | None = None
        self._room = Room()
        self._deaths = 0
        self._answers = 0
        self.restarts = 0
        self._watching = False
        self._respawns = settings.respawns
        self.pool: Native = _aioxide.ProcessPool(self, settings.max_workers, True, settings.max_pending)
        self.pool.by_value = by_value.main_has_no_file()
        self._snapshot: by_value.Snapshot | None = None
        # Last: what it calls needs all of the above.
        self._settings = weakref.ref(settings, self.pool.collected)

    # ------------------------------------------------------------------------------------------- called per submit

    def admit(self) -> None:
        """Raise what `submit` raises, or wait for room, unless this thread runs a loop, or is the one to make room."""
        if self._process != os.getpid():
            raise RuntimeError(
                "this process pool belongs to the process that made it; a forked child has to make one of its own"
            )
        if self.broken:
            raise BrokenProcessPool(self.broken)
        if self.shutting_down:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if _interpreter_exits:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        if self.pool.full and not self.pool.in_turn and asyncio._get_running_loop() is None:
            self.pool.to_reactor()
            self._room.wait_for(lambda: self.pool.closed or not self.pool.full)
            if self.pool.closed:
                self.admit()

    def start_worker(self) -> None:
        """Start a worker; with fork, all of them, as long as there is no thread of ours."""
        settings = self._settings()
        if settings is None:
            return
        if launched := self._launched():
            launched()
        if not settings.forks:
            self._start(settings)
            return
        with self._starting:
            while len(self._staying()) < settings.max_workers:
                self._start(settings)
            self.pool.on_demand = False

    def _start(self, settings: Settings, replaces: int = 0) -> None:
        """Start a worker, in the place of that one if it is not 0; where that is cut short, nothing is left of it."""
        _managers.add(self)
        context: Any = settings.mp_context
        initializer: Any = settings.initializer
        initargs: Any = settings.initargs
        if self.pool.by_value and settings.forks:
            self._snapshot = self._snapshot or by_value.Snapshot()
        elif self.pool.by_value and initializer is not None:
            initializer, initargs = by_value.Sent(initializer), by_value.Sent(initargs)
        key, *descriptors = self.pool.prepare(settings.max_tasks_per_child, replaces)
        try:
            options = {
                "max_rss": settings.max_rss or 0,
                "stop_signal": STOP_SIGNAL,
                "spin": self.pool.spin,
                "by_value": self.pool.by_value,
            }
            endpoint = _aioxide_worker.Endpoint(*descriptors, reduction=getattr(context, "reducer", None))
            process = context.Process(
                target=_aioxide_worker.main,
                args=(endpoint, _aioxide.__file__, initializer, initargs, options),
            )
            # From here on the pool does not end without it: another thread may break the pool while this one starts it.
            self._workers[key] = process
            with by_value.no_main(self.pool.by_value), no_interrupt(context):
                process.start()
            self.processes[process.pid] = process
            if settings.idle_timeout is not None:
                self._watch_idle(settings.idle_timeout)
            # Last, and once: from here on it is a worker as any other.
            self.pool.started(key, process.pid)
        except Exception:
            # What else is raised leaves the core's call of us, which does the same.
            self.undo_start(key)
            raise
        if self.broken:
            self.pool.signal(key, signal.SIGKILL)

    def undo_start(self, key: int) -> None:
        """End what there is of a worker whose start was cut short; nothing where it has started."""
        restore_mask()
        if self.pool.is_started(key):
            return
        process = self._workers.get(key)
        if process is not None:
            if process.pid is not None:
                self.processes.pop(process.pid, None)
                with contextlib.suppress(ValueError, OSError):
                    process.kill()
                    process.join(GRACE)
                reap(process)
                process.is_alive()  # as in on_death
            self._workers.pop(key, None)
        # Without its lifeline it ends even where multiprocessing was cut short before it knew the child's number.
        self.pool.abandon(key)
        self._end_if_done()

    def pickler_by_value(self, failed: bool) -> Callable[..., Any] | None:
        """Return what makes the pickler of a call of which something is in a `__main__` that workers cannot import.

        Args:
            failed: plain pickle could not send the call: None where it would be of no use.
        """
        return by_value.pickler(self._snapshot, failed)

    def portable(self, function: Any, error: BaseException) -> Any:
        """Return what stands for a function that pickle can't send; or itself, and put a note on the error of that."""
        try:
            import cloudpickle  # type: ignore[import-untyped,import-not-found,unused-ignore]
        except ImportError:
            try:
                ForkingPickler.dumps(function)
            except Exception:
                error.add_note(_NO_CLOUDPICKLE)
            return function
        return _aioxide_worker.ByCloudpickle(cloudpickle.dumps(function))

    # --------------------------------------------------------------------------------------------- called by results

    def on_room(self) -> None:
        """Less is under way: whoever waits for room may go on, and a pool that is shut down may end."""
        self._room.notify_all()
        self._end_if_done()

    # ------------------------------------------------------------------------------------------------ lives and deaths

    def on_initializer_failed(self, key: int, text: str) -> None:
        """Have the pool break when that worker has ended: the next would not fare better."""
        self._initializer_error = text

    def on_hang_up(self, key: int) -> None:
        """A worker has closed its socket: if it has not merely died, it is of no use any more."""
        if key in self._workers:
            self.call_later(1.0, lambda: self._kill(key))

    def on_retire(self, key: int) -> None:
        """A worker has done all that it may, or has grown too large: the next starts before it goes."""
        process = self._workers.get(key)
        if process is None or (key in self._leaving and key not in self._retiring):
            return
        self._retiring.add(key)
        self._leaving.add(key)
        self.processes.pop(process.pid, None)
        self.pool.take_back(key)
        broken = None if self.broken else self._replace(key)
        self.pool.exit_worker(key)
        if broken is not None or self._is_half_broken():
            self._break(*(broken or ()))
        self._retiring.discard(key)

    def _replace(self, key: int) -> tuple[str | None, str] | None:
        """Start a worker for one that goes. Returns why the tasks that are left can never run, if that is so."""
        settings = self._settings()
        outstanding = self.pool.outstanding
        cause = None
        if self.pool.is_replaced(key):
            return None
        if settings is None:
            message = (
                "The ProcessPoolExecutor was garbage collected with work pending after its last worker process "
                "exited upon reaching max_tasks_per_child; the pending work can never be run."
            )
        elif self.forced:
            message = (
                "A worker process exited while the pool was being forcefully shut down; work that was still "
                "enqueued will not be run."
            )
        elif self.shutting_down and not outstanding:
            return None
        else:
            message = (
                "A replacement worker process could not be started, leaving the pool without workers to run the "
                "remaining work."
            )
            error = self._start_again(settings, key)
            if error is None:
                return None
            cause = "".join(traceback.format_exception(error))
        if self._staying() or not (outstanding or cause):
            return None
        return cause, message

    def _staying(self) -> set[int]:
        return self._workers.keys() - self._leaving - self._buried.keys()

    def _start_again(self, settings: Settings, key: int) -> Exception | None:
        """Start a worker in the place of that one; returns why it can't be.

        What a handler of a signal raises looks like a failure of the start, but does not come again.
        """
        first: Exception | None = None
        for wait in WAITS:
            try:
                self._start(settings, key)
            except Exception as error:
                if self.pool.is_replaced(key):
                    raise
                first = first or error
                if isinstance(error, ConnectionError | EOFError):
                    time.sleep(wait)
                elif wait >= WAITS[2]:
                    break
                continue
            self.restarts += 1
            if first is not None and not _is_of_the_system(first):
                raise first
            return None
        return first

    def on_death(self, key: int) -> None:
        """A worker is dead: what it had not begun with is queued again; the rest is the mode's."""
        process = self._workers.get(key)
        if process is None:
            self.pool.abandon(key)
            self._end_if_done()
            return
        reap(process)
        if process.exitcode is None:
            # A child of the fork server: that one learns of it, and tells us, a moment later.
            process.join(1.0)
        process.is_alive()  # takes it off multiprocessing's list of children
        self.pool.bury(key, self._buried)
        expected = key in self._leaving or key in self._killed
        if self._is_half_broken():
            self._break()
        elif self.broken is None and (self._initializer_error or not (expected or self._respawns)):
            self._break(self._initializer_error)
        else:
            self.processes.pop(process.pid, None)
        self.pool.fail_lost(lambda _future: self._died(process, key))
        if self.broken is None and key in self._killed | (set() if expected else {key}):
            self._respawn(process, key, expected)
        self._workers.pop(key, None)
        for noted in (self._leaving, self._retiring, self._killed, self._counted):
            noted.discard(key)
        self._buried.pop(key, None)
        self._end_if_done()

    def _died(self, process: BaseProcess, key: int) -> BaseException:
        if self.broken:
            return self._broken_error()
        return WorkerDied(
            f"The worker process (pid {process.pid}) that ran the call {how_it_ended(process)}.",
            process.pid,
            process.exitcode,
        )

    def _respawn(self, process: BaseProcess, key: int, killed: bool) -> None:
        answers = self.pool.counts().answers
        if key not in self._counted:
            self._counted.add(key)
            self._deaths = 1 if answers != self._answers or killed else self._deaths + 1
            self._answers = answers
        settings = self._settings()
        limit = (
            STARTS if not self._buried.get(key, True) else 10 + 5 * (settings.max_workers if settings else 1)
        )
        if self._deaths >= limit:
            self._break(
                None,
                f"The worker processes die again and again: {self._deaths} in a row without one finished call, the "
                f"last of which {how_it_ended(process)}. The process pool is not usable anymore.",
            )
            return
        if settings is None:
            if self.pool.outstanding and not self._workers.keys() - self._buried.keys():
                self._break(None, "The ProcessPoolExecutor was garbage collected, and its last worker died.")
            return
        if settings.forks or self.pool.counts().queued > 0:
            broken = self._replace(key)
            if broken is not None:
                self._break(*broken)

    def _is_half_broken(self) -> bool:
        return self.broken is not None and not self._has_told

    def _break(self, cause: str | None = None, message: str | None = None) -> None:
        if self.broken is None:
            self._say_why(cause, message)
        if self._has_told:
            return
        if told_broken := self._told_broken():
            told_broken(self.broken or _BROKEN)
        self._close()
        text = _PENDING if self.broken is None or self.broken == _BROKEN else self.broken
        self.pool.fail_all(lambda _future: self._broken_error(text))
        for process in list(self.processes.values()):
            with contextlib.suppress(ValueError, OSError):
                process.terminate()
        self.call_later(GRACE, self._kill_all)
        self._room.notify_all()
        self._stay_served()
        self._has_told = True

    def _say_why(self, cause: str | None, message: str | None) -> None:
        ended = [process for process in self.processes.values() if process.exitcode]
        if message is None and cause is None and ended:
            self._deaths_note = "\n".join(
                f"The worker process (pid {process.pid}) {how_it_ended(process)}." for process in ended
            )
            if sys.version_info >= (3, 15):  # the standard pool's words there
                cause = "\n".join(
                    f"Process {process.pid} terminated abruptly with exit code {process.exitcode}"
                    for process in ended
                )
        self._cause = cause
        self.broken = _BROKEN if message is None else message

    def _broken_error(self, message: str = _PENDING) -> BaseException:
        # One for each future: they would share a traceback otherwise (python/cpython#101267).
        error = BrokenProcessPool(message)
        if self._cause is not None:
            error.__cause__ = remote_traceback(f"\n'''\n{self._cause}'''")
        if self._deaths_note is not None:
            error.add_note(self._deaths_note)
        return error

    def _kill(self, key: int) -> None:
        if key in self._workers:
            self._killed.add(key)
            self.pool.signal(key, signal.SIGKILL)

    def _kill_all(self) -> None:
        for key in list(self._workers):
            self.pool.signal(key, signal.SIGKILL)

    # ---------------------------------------------------------------------------------------------------------- the end

    def on_collected(self) -> None:
        """Nobody has the executor any more: end as it was to be shut down."""
        if not self.finished.is_set():
            self.begin_shutdown()
            self._stay_served()

    def begin_shutdown(self, cancel_futures: bool = False) -> None:
        """Take no more tasks; end when those that there are have finished. Nothing in a forked child."""
        if self._process != os.getpid():
            return
        self._close()
        if cancel_futures:
            self.pool.take_pending(self._unwanted)
        for future in list(self._unwanted):
            _cancel(future)
            self._unwanted.pop(future, None)
        self._room.notify_all()
        self._end_if_done()

    def _close(self) -> None:
        self.shutting_down = True
        self.pool.closed = self.pool.stays = self.pool.tell_idle = True

    def _end_if_done(self) -> None:
        if self.finished.is_set():
            self.finished.set()  # whoever did it may have been cut short before all were woken
        if not self.shutting_down or self.finished.is_set():
            return
        if self.pool.outstanding == 0:
            # Also those that leave: whoever was to tell them may have been cut short.
            for key in self._workers.keys() - self._retiring:
                self._leaving.add(key)
                self.pool.exit_worker(key)
        if not self._workers:
            self._due.clear()
            self.pool.close()
            _managers.discard(self)
            # Each holds two descriptors; who looks at the executor's `_processes` still finds them there.
            self.processes = {}
            self.finished.set()

    def _stay_served(self) -> None:
        """Have somebody look after what is left, if nobody does."""
        if self._process == os.getpid() and not self.finished.is_set() and not self.pool.has_home():
            self.pool.to_reactor()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end. Serves the pool meanwhile if no other thread does: the loop of this one, say, can't.

        In a forked child it returns at once, as in the standard library.

        Raises:
            RuntimeError: a done callback of one of the pool's own futures asks, as in the standard library.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while self._process == os.getpid() and not self.finished.is_set():
                left = 3600.0 if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    break
                if self.pool.in_turn:
                    raise RuntimeError("cannot join current thread")
                if self.pool.home() == "reactor":
                    self.finished.wait(left)
                else:
                    self.pool.leave_home()
                    self.pool.wait(min(left, 1.0))
        finally:
            _aioxide._whole(self._stay_served)

    # ---------------------------------------------------------------------------------------------- stopping and idling

    def stop(self, future: Any) -> bool:
        """Cancel a future whose call a worker has: take the call back, or stop it. False if it has finished."""
        # The lock itself: the condition's way to it is Python, and an interrupt there would leave it locked.
        with future._condition._lock:
            if future not in self._stopping:
                if future.done():
                    return bool(future.cancelled())
                self._stopping[future] = 0
            future._state = "CANCELLED_AND_NOTIFIED"
            future._condition.notify_all()
            for waiter in future._waiters[self._stopping[future] :]:
                waiter.add_cancelled(future)
                self._stopping[future] += 1
        self.stop_call(future)
        self.pool.call_back(self._stopping, future)
        return True

    def stop_cancelled(self, future: asyncio.Future[Any]) -> None:
        """Stop the call of a loop's future that was cancelled; its done callback."""
        if future.cancelled() and not self.finished.is_set():
            self.stop_call(future)

    def stop_call(self, future: Any) -> None:
        """Take the call of a future back; where it runs, interrupt it, and kill its worker if that does not help."""
        where = self.pool.withdraw(future)
        if not isinstance(where, tuple):
            return

        def kill() -> None:
            if self.pool.withdraw(future) == where:
                self._kill(where[0])

        self.call_later(GRACE, kill)
        self.pool.stop_task(*where, STOP_SIGNAL)

    def _watch_idle(self, timeout: float) -> None:
        self.pool.stays = True
        if not self._watching:
            self.call_later(timeout, lambda: self._end_idle(timeout))
            self._watching = True

    def _end_idle(self, timeout: float) -> None:
        if self.shutting_down:
            return
        rows = [row for row in self.pool.workers() if row[0] in self._workers.keys() - self._retiring]
        for key, *_, idle, _rss, _ready in rows:
            if key in self._leaving or (idle is not None and idle >= timeout):
                self._leaving.add(key)
                self.processes.pop(self._workers[key].pid, None)
                self.pool.exit_worker(key)
        left = [idle for key, *_, idle, _rss, _ready in rows if key not in self._leaving]
        if left:
            soonest = min(timeout - (idle or 0.0) for idle in left)
            self.call_later(max(soonest, 0.01), lambda: self._end_idle(timeout))
        self._watching = bool(left)


def _is_of_the_system(error: Exception) -> bool:
    """Whether a failure is one that passes: no process could be started for a moment."""
    return isinstance(error, MemoryError) or bool(getattr(error, "errno", None))


def _cancel(future: Any) -> None:
    if isinstance(future, concurrent.futures.Future):
        cancel_and_tell(future)
        return
    with contextlib.suppress(RuntimeError):  # a loop that is closed
        future.get_loop().call_soon_threadsafe(future.cancel)


def _end_all() -> None:
    """Called when the interpreter exits, before it joins its threads: every pool finishes its work."""
    global _interpreter_exits
    _interpreter_exits = True
    for manager in list(_managers):
        manager.pool.begin_shutdown(False)
    for manager in list(_managers):
        manager.join()


# The reactor's threads must have ended, whatever cuts the rest short.
threading._register_atexit(_aioxide._end_process_pools, _end_all)  # type: ignore[attr-defined]
os.register_at_fork(after_in_child=_managers.clear)
os.register_at_fork(after_in_child=_aioxide._forked_pools)
