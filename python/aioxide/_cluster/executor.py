"""`ClusterExecutor`: the interface of `concurrent.futures` over a cluster of Dask's `distributed`."""

import asyncio
import collections
import concurrent.futures
import contextlib
import importlib
import itertools
import json
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType, TracebackType
from typing import Any, ParamSpec, TypeVar

from .._pools.checks import (
    checked_addresses,
    checked_arguments,
    checked_buffersize,
    checked_callable,
    checked_chunksize,
    checked_count,
    checked_iterable,
    checked_mapping,
    checked_number,
    checked_resources,
    checked_seconds,
    optional_count,
    refuse,
    refuse_item,
)
from . import calls, remote
from .calls import BrokenCluster, BrokenClusterWorker, Calls, ClusterFuture, rebuild_error

__all__ = ["BrokenCluster", "BrokenClusterWorker", "ClusterExecutor"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class ClusterExecutor(concurrent.futures.Executor):
    """A pool whose workers may be on other machines: Dask's `distributed` behind the interface of
    `concurrent.futures`.

    Needs `pip install aioxide[cluster]`. The cluster's own machines need distributed, not aioxide. Functions
    and arguments are pickled by cloudpickle, so that lambdas and what the main module defines can be sent. A
    call costs milliseconds: give it work for longer than that, or use `map()`, which sends items in chunks.

    Making a pool and shutting it down waits for the cluster. In a coroutine use `await
    asyncio.to_thread(aioxide.ClusterExecutor, ...)` and `async with pool:`.

    Args:
        address: the scheduler's address (`"tcp://10.0.0.1:8786"`), the path of a scheduler file (as a
            `pathlib.Path`), or one of Dask's cluster objects. None starts workers on this machine, which end with
            the pool; the program then needs `if __name__ == "__main__":`, as for processes that are spawned.
        max_workers: how many workers to start on this machine, a process each; by default as many as there are
            processors that this process may use. Only without an address.
        scheduler_file: the path of the file that `dask scheduler --scheduler-file` writes; it may be about to.
        security: a `distributed.Security` with the certificates for `tls://` addresses. Without one, whoever can
            reach the scheduler's port can run code there: of our own workers, all users of this machine. True makes
            temporary certificates for our own (needs the package cryptography).
        timeout: seconds to wait for the scheduler's file, and then for the scheduler.
        retries: how often a call may be started again after the worker that ran it has died. With 0 a call is
            started at most once.
        cancel_running: let `cancel()` of a running call stop it, by ending its worker, whose nanny starts
            another. Only where a worker has a nanny and one thread, so that no other call is hit; elsewhere
            `cancel()` of a running call stays False.
        direct: whether big arguments and results go straight to and from the workers, not through the scheduler.
            By default only with workers of our own.
        pickle_by_value: modules that the workers do not have: functions and classes of theirs are sent with their
            code. cloudpickle notes this for the whole process, until the pool is shut down.
        memory_limit: bytes that a worker of our own may use before its nanny ends it; None is no limit.
        dashboard_address: where the dashboard listens (`":8787"`); None is nowhere. Only without an address.
        cluster_options: more keywords for `distributed.LocalCluster`.
        client_options: more keywords for `distributed.Client`.

    Raises:
        ImportError: distributed is not installed.
        OSError: the scheduler was not reached in time (TimeoutError), or refused us.
        RuntimeError: a worker runs another version of Python (major or minor); or the cluster object has been closed,
            or its event loop runs in this thread.
        TypeError, ValueError: arguments that are wrong, or do not go together.
    """

    __module__ = "aioxide"  # where users import it from, and what pickles name

    def __init__(
        self,
        address: Any = None,
        *,
        max_workers: int | None = None,
        scheduler_file: "str | os.PathLike[str] | None" = None,
        security: Any = None,
        timeout: float = 30.0,
        retries: int = 0,
        cancel_running: bool = False,
        direct: bool | None = None,
        pickle_by_value: Iterable[ModuleType] = (),
        memory_limit: int | None = None,
        dashboard_address: str | None = None,
        cluster_options: Mapping[str, Any] | None = None,
        client_options: Mapping[str, Any] | None = None,
    ) -> None:
        distributed = _import_distributed()
        if isinstance(address, os.PathLike) and scheduler_file is None:
            address, scheduler_file = None, address
        if address is not None and scheduler_file is not None:
            raise TypeError("address and scheduler_file both name a scheduler: leave one of them out")
        self._retries = _check_retries(retries)
        timeout = checked_seconds("timeout", timeout, optional=False) or 0.0
        cluster_options = _options("cluster_options", cluster_options)
        client_options = _options("client_options", client_options)
        pickle_by_value = _check_modules(pickle_by_value)
        _check_names(scheduler_file, dashboard_address)
        local = address is None and scheduler_file is None
        _check_local(local, max_workers, memory_limit, dashboard_address, cluster_options)
        if not local:
            _check_joining(address, security)
        if scheduler_file is not None:
            address = _read_scheduler_file(os.fspath(scheduler_file), timeout)
        cluster = None
        if local:
            options = {
                "n_workers": max_workers or _processors(),
                "threads_per_worker": 1,
                "processes": True,
                "host": "127.0.0.1",
                "memory_limit": memory_limit or 0,
                # There always is a web server, by default on one port for all: then at least on any port here.
                "dashboard_address": dashboard_address or "127.0.0.1:0",
                "scheduler_kwargs": {"dashboard": dashboard_address is not None},
                "security": security,
            }
            security = None  # the client takes the cluster's
            # A call shall not wait at a busy worker while another has nothing to do.
            with importlib.import_module("dask.config").set({"distributed.scheduler.worker-saturation": 1.0}):
                address = cluster = distributed.LocalCluster(**{**options, **(cluster_options or {})})
        options = {
            "address": address,
            "security": security,
            "timeout": timeout,
            # Not the default for Dask's collections in this process: that is for the user to choose.
            "set_as_default": False,
            # Its event loop has a thread of its own, also where this thread is running one.
            "asynchronous": False,
            "direct_to_workers": local if direct is None else direct,
        }
        self._session = _Session(cluster, pickle_by_value)
        try:
            self._session.open(distributed, {**options, **(client_options or {})}, cancel_running)
        except BaseException:
            with contextlib.suppress(Exception):
                self._session.close()
            raise
        # A pool that is dropped finishes what it has begun, as the standard ones do.
        weakref.finalize(self, self._session.close_later).atexit = False

    @property
    def _calls(self) -> Calls:
        assert self._session.calls is not None
        return self._session.calls

    @property
    def client(self) -> Any:
        """The `distributed.Client` underneath: for plugins, uploads, and what is known of the workers."""
        return self._session.client

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> ClusterFuture[_T]:
        """Send the call `fn(*args, **kwargs)`; all keywords are the function's.

        Returns: a `concurrent.futures.Future`, which can be awaited too. What cannot be pickled is its exception.

        Raises:
            BrokenCluster: the scheduler was lost.
            RuntimeError: the pool is shut down, or belongs to the process that this one was forked from.
        """
        return self._post(fn, args, kwargs, self._retries, {})

    def schedule(
        self,
        fn: Callable[..., _T],
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        retries: int | None = None,
        workers: str | Iterable[str] | None = None,
        allow_other_workers: bool = False,
        resources: Mapping[str, float] | None = None,
        priority: float = 0,
    ) -> ClusterFuture[_T]:
        """Send the call `fn(*args, **kwargs)`, and say how it is to be carried out.

        Args:
            retries: how often it may be started again after its worker has died; by default the pool's.
            workers: the addresses or host names of the workers that may run it.
            allow_other_workers: others may, if none of these is there.
            resources: how much it takes of what workers were given (`dask worker --resources "GPU=2"`).
            priority: calls with a higher one go first.

        Raises: as `submit()`; TypeError for an argument of the wrong type; ValueError for `retries` below 0, or
            `allow_other_workers` without `workers`.
        """
        retries = self._retries if retries is None else _check_retries(retries)
        if allow_other_workers and workers is None:
            raise ValueError(
                "allow_other_workers is about workers that are named: name them, or leave it out"
            )
        values, names = checked_arguments(args, kwargs)
        if workers is not None and not isinstance(workers, str):
            workers = checked_addresses(workers)
        options = {
            "workers": workers,
            "allow_other_workers": allow_other_workers,
            "resources": None if resources is None else checked_resources(resources),
            "priority": checked_number("priority", priority),
        }
        return self._post(checked_callable("fn", fn), values, names, retries, options)

    def map(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
    ) -> Iterator[_T]:
        """An iterator like that of the built-in `map(fn, *iterables)`, over calls that run at the same time.

        Args:
            timeout: seconds from now on, after which the iterator raises TimeoutError.
            chunksize: how many items are sent as one call. By default so many that each worker gets four calls,
                and one with `buffersize`. A worker's death fails all items of its call.
            buffersize: how many calls may be under way or unread; then no more items are taken from the
                iterables. By default all are taken at once.
        """
        chunksize = None if chunksize is None else checked_chunksize(chunksize)
        buffersize = checked_buffersize(buffersize)
        if timeout is not None:
            timeout = checked_number("timeout", timeout, "a number of seconds or None")
        self._calls.check_open()
        end = None if timeout is None else time.monotonic() + timeout
        items: Iterator[Any] = zip(*iterables)  # noqa: B905  (as the built-in: up to the shortest)
        if buffersize is None:
            everything = list(items)
            items = iter(everything)
            chunksize = chunksize or max(1, -(-len(everything) // (4 * max(1, self._count_workers()))))
        chunks = _batched(items, chunksize or 1)
        run = self._calls.remote.run_chunk
        # All of them now, or as many as the buffer holds: before anybody asks for the first result.
        futures = collections.deque(
            self.submit(run, fn, chunk) for chunk in itertools.islice(chunks, buffersize)
        )
        pool = weakref.ref(self)

        def next_future() -> ClusterFuture[Any] | None:
            executor = pool()
            chunk = None if executor is None else next(chunks, None)
            return None if executor is None or chunk is None else executor.submit(run, fn, chunk)

        return _results(futures, next_future, end)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; and when all that were taken are answered, leave the cluster, or end our own.

        Args:
            wait: return only then. Otherwise a thread sees to it.
            cancel_futures: withdraw the calls that no worker has begun.
        """
        if self._session.pid != os.getpid():
            return  # in a forked child: the parent's pool goes on
        self._calls.begin_closing(cancel_futures)
        if wait and not self._calls.is_own_thread():
            self._session.close()
        else:
            self._session.close_later()

    async def __aenter__(self) -> "ClusterExecutor":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.shutdown)

    def _post(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        retries: int,
        options: dict[str, Any],
    ) -> ClusterFuture[Any]:
        self._calls.check_open()
        try:
            # Copies: what the caller does with an array after submit() does not change what is sent.
            parts = [bytes(part) for part in remote.dumps((fn, args, kwargs), _cloudpickle().dumps)]
        except Exception as error:
            failed: ClusterFuture[Any] = ClusterFuture()
            failed.set_exception(error)
            return failed
        return self._calls.post(parts, retries, options)

    def _count_workers(self) -> int:
        return len(self._session.client.scheduler_info(n_workers=-1)["workers"])


class _Session:
    """What outlives a pool that is dropped: the connection, the cluster if it is our own, and how they end."""

    def __init__(self, cluster: Any, by_value: tuple[ModuleType, ...]) -> None:
        self.pid = os.getpid()
        self.client: Any = None
        self.calls: Calls | None = None
        self._cluster = cluster
        self._by_value = by_value
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None

    def open(self, distributed: Any, options: dict[str, Any], cancel_running: bool) -> None:
        for module in self._by_value:
            _register(module)
        # Held before it is made: one that cannot connect has a thread and a loop by then, and has to be closed, or
        # the garbage collector does it in any thread, and deadlocks with the next one's start.
        self.client = distributed.Client.__new__(distributed.Client)
        self.client.__init__(**options)
        _check_versions(self.client)
        self.calls = Calls(self.client, cancel_running)
        _note_open(self)

    def close(self) -> None:
        """Wait for the calls, and leave."""
        if self.pid != os.getpid():
            return
        if self.calls is not None:
            self.calls.join()
            self.calls.leave()
        with self._lock:
            cluster, self._cluster = self._cluster, None
            by_value, self._by_value = self._by_value, ()
            try:
                if self.client is not None:
                    self.client.close()
                    # One that could not connect counts as closed, and leaves its thread running.
                    self.client._loop_runner.stop()
            finally:
                if cluster is not None:
                    cluster.close()
                for module in by_value:
                    _unregister(module)
                _open_sessions.discard(self)

    def close_later(self) -> None:
        """`close()` in a thread of its own, which the interpreter waits for at its end."""
        if self.pid != os.getpid() or self not in _open_sessions:
            return
        assert self.calls is not None
        self.calls.begin_closing(False)
        with self._lock:
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self.close, name="aioxide-cluster-close")
        try:
            self._thread.start()
        except RuntimeError:
            pass  # the interpreter is ending, and sees to it itself


_open_sessions: set[_Session] = set()


def _finish_at_exit() -> None:
    for session in list(_open_sessions):
        if session.calls is not None and session.pid == os.getpid():
            session.calls.begin_closing(False)
            session.close()


_at_exit_is_registered = False


def _note_open(session: _Session) -> None:
    global _at_exit_is_registered
    if not _at_exit_is_registered:
        # As concurrent.futures does, and run before it: distributed needs threads of its pools until the last
        # result.
        threading._register_atexit(_finish_at_exit)  # type: ignore[attr-defined]
        _at_exit_is_registered = True
    _open_sessions.add(session)


def _import_distributed() -> Any:
    try:
        _cloudpickle()
        return importlib.import_module("distributed")
    except ImportError as error:
        raise ImportError(
            f"aioxide.ClusterExecutor needs Dask's distributed: pip install aioxide[cluster] ({error})"
        ) from error


def _cloudpickle() -> Any:
    return importlib.import_module("cloudpickle")


# How many pools want a module by value, if it was not the user who said so to cloudpickle.
_by_value: collections.Counter[str] = collections.Counter()
_by_value_lock = threading.Lock()


def _register(module: ModuleType) -> None:
    name = module.__name__
    with _by_value_lock:
        if _by_value[name] or name not in _cloudpickle().list_registry_pickle_by_value():
            _by_value[name] += 1
            _cloudpickle().register_pickle_by_value(module)


def _unregister(module: ModuleType) -> None:
    with _by_value_lock:
        if _by_value[module.__name__]:
            _by_value[module.__name__] -= 1
            if not _by_value[module.__name__]:
                _cloudpickle().unregister_pickle_by_value(module)


def _check_modules(modules: Iterable[ModuleType]) -> tuple[ModuleType, ...]:
    given, modules = modules, tuple(checked_iterable("pickle_by_value", modules, "an iterable of modules"))
    for module in modules:
        if not isinstance(module, ModuleType) or module.__name__ not in sys.modules:
            refuse_item("pickle_by_value", "an iterable of modules that were imported", given, module)
    return modules


def _check_retries(retries: int) -> int:
    return checked_count("retries", retries, least=0)


def _options(name: str, options: Any) -> dict[str, Any] | None:
    return None if options is None else checked_mapping(name, options)


def _check_names(scheduler_file: Any, dashboard_address: Any) -> None:
    """What names a scheduler or a port; distributed itself says what is wrong with a name that is one."""
    if scheduler_file is not None and not isinstance(scheduler_file, str | os.PathLike):
        refuse("scheduler_file", "a path or None", scheduler_file)
    if dashboard_address is not None and not isinstance(dashboard_address, str):
        refuse("dashboard_address", 'an address such as ":8787" or None', dashboard_address)


def _check_local(local: bool, max_workers: int | None, memory_limit: int | None, *others: object) -> None:
    if not local and any(given is not None for given in (max_workers, memory_limit, *others)):
        raise ValueError(
            "max_workers, memory_limit, dashboard_address and cluster_options are for workers that the pool starts "
            "itself, without an address; a cluster that is there already has its own"
        )
    if max_workers is not None:
        optional_count("max_workers", max_workers)
    optional_count("memory_limit", memory_limit, "an integer (bytes)")


def _check_joining(address: Any, security: Any) -> None:
    if security is True:
        raise ValueError(
            "security=True makes certificates for workers that the pool starts itself; a cluster that is there "
            "already has its own: pass a distributed.Security with their paths"
        )
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        return
    if getattr(getattr(address, "loop", None), "asyncio_loop", None) is running:
        raise RuntimeError(
            f"the event loop of {address!r} runs in this thread, which must not wait for it: use await "
            "asyncio.to_thread(aioxide.ClusterExecutor, ...)"
        )


def _read_scheduler_file(path: str, timeout: float) -> str:
    """The scheduler's address. distributed itself would wait for the file for ever."""
    end = time.monotonic() + timeout
    while True:
        try:
            with open(path, encoding="utf-8") as file:
                return str(json.load(file)["address"])
        except FileNotFoundError:
            problem = f"no scheduler has written its file {path!r} within {timeout:g} seconds"
        except (ValueError, KeyError, TypeError) as error:
            # Or it is being written just now.
            problem = f"{path!r} is not the file of a scheduler: {error!r}"
        if time.monotonic() >= end:
            raise TimeoutError(problem)
        time.sleep(0.02)


def _check_versions(client: Any) -> None:
    for address, versions in client.get_versions()["workers"].items():
        theirs = tuple(map(int, versions["host"]["python"].split(".")[:2]))
        if theirs != calls.PYTHON:
            raise RuntimeError(remote.version_mismatch(address, theirs, calls.PYTHON))


def _processors() -> int:
    return len(os.sched_getaffinity(0))


def _batched(items: Iterator[Any], size: int) -> Iterator[tuple[Any, ...]]:
    # itertools.batched is there from 3.12 on.
    while chunk := tuple(itertools.islice(items, size)):
        yield chunk


def _results(
    futures: collections.deque[ClusterFuture[Any]],
    next_future: Callable[[], ClusterFuture[Any] | None],
    end: float | None,
) -> Iterator[Any]:
    """What `map()` returns. Once it is dropped, what is still under way is cancelled."""
    try:
        while futures:
            values, error = futures[0].result(None if end is None else end - time.monotonic())
            futures.popleft()
            if error is None and (following := next_future()) is not None:
                futures.append(following)
            yield from values
            if error is not None:
                raise rebuild_error(error)
    finally:
        for future in futures:
            future.cancel()
