"""What runs in a worker of `aioxide.ProcessPoolExecutor`. It imports neither asyncio nor aioxide.

A package of its own, so that a worker that is spawned loads this and no more.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as a worker must not wait for `typing`
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, ModuleType
    from typing import Any

# What is defined in `__main__` comes and goes by value: see `_by_value.py`.
_sends_by_value = False


class TaskCancelled(BaseException):
    """Raised in a task that is being cancelled, in a pool with `cancel_running=True`; and in one whose time is up.

    A task may catch it to clean up; if it has not ended when the grace period is over, its process is killed.
    """

    __module__ = "aioxide"  # where users import it from

    def __reduce__(self) -> tuple[Any, ...]:
        made: tuple[Any, ...] = super().__reduce__()  # type: ignore[assignment]
        # Not by its class: to look that up, a worker would have to import aioxide.
        return (_task_cancelled, *made[1:]) if type(self) is TaskCancelled else made


def _task_cancelled(*args: object) -> TaskCancelled:
    return TaskCancelled(*args)


class Endpoint:
    """The three descriptors of a worker on their way to it, however `multiprocessing` starts it.

    Args:
        sock: the worker's end of the socket pair.
        page: the memory of the control page.
        lifeline: the reading end of the pipe whose writing end the parent holds.
        reduction: the `reduction` module of whose context starts the worker: multiprocessing's, or that of a package
            which has copied it (`multiprocess`).
    """

    def __init__(self, sock: int, page: int, lifeline: int, *, reduction: Any = None) -> None:
        self.descriptors = (sock, page, lifeline)
        self._reduction = reduction

    def __reduce__(self) -> tuple[Any, ...]:
        from multiprocessing import reduction

        dup_fd = getattr(self._reduction, "DupFd", reduction.DupFd)
        return _arrived, tuple(dup_fd(fd) for fd in self.descriptors)


def _arrived(*descriptors: Any) -> Endpoint:
    sock, page, lifeline = (fd.detach() for fd in descriptors)
    return Endpoint(sock, page, lifeline)


def main(
    endpoint: Endpoint,
    library: str,
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
    options: dict[str, int],
) -> None:
    """Serve a pool until it says that it is enough; the target of the worker's `multiprocessing.Process`.

    Args:
        endpoint: the `Endpoint`.
        library: the path of the extension module.
        initializer: called first with `initargs`, if it is not None.
        options: `max_rss` in bytes (0 for no limit); `stop_signal`, a number; `spin`, ticks of the processor's counter;
            `by_value`: what is defined in `__main__` comes and goes by value.
    """
    import signal

    global _sends_by_value
    _sends_by_value = bool(options["by_value"])

    # In a forked child, a signal would otherwise wake the loop of the parent (python/cpython#94454).
    signal.set_wakeup_fd(-1)
    native = _load(library)
    if not native.connect(*endpoint.descriptors, failure, options["max_rss"], options["spin"]):
        return
    _stop_by_signal(native, options["stop_signal"])
    if initializer is not None:
        _let_interrupts_through()
        try:
            initializer(*initargs)
        except BaseException as error:
            import logging

            logging.getLogger("concurrent.futures").critical("Exception in initializer:", exc_info=True)
            native.initializer_failed(failure(error)[1])
            return
    serve(native)


def serve(native: Any) -> None:
    """Run tasks until the pool says that it is enough, or is gone.

    Ctrl-C interrupts tasks only. What else it is for, the pool's process decides, and with it what becomes of this one.
    """
    import signal

    while True:
        try:
            _let_interrupts_through()
            native.serve(_forget)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        except KeyboardInterrupt:
            continue
        return


def _let_interrupts_through() -> None:
    import signal

    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    except KeyboardInterrupt:
        pass  # came while this worker started


def _load(library: str) -> ModuleType:
    name = f"{__name__}._native"
    if name not in sys.modules:
        from importlib.machinery import ExtensionFileLoader, ModuleSpec
        from importlib.util import module_from_spec

        loader = ExtensionFileLoader(name, library)
        module = module_from_spec(ModuleSpec(name, loader, origin=library))
        loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]


def _stop_by_signal(native: Any, number: int) -> None:
    import signal

    def stop(_number: int, _frame: FrameType | None) -> None:
        if native.stop_wanted():
            raise TaskCancelled

    signal.signal(number, stop)


def failure(error: BaseException) -> tuple[BaseException, str]:
    """Return what is sent of an exception: itself without its frames, and its traceback as text."""
    import traceback

    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    error.__traceback__ = None
    return error, f'\n"""\n{text}"""'


# Objects of `pool.share()` that this process has unpickled, by the number of the slab in which they lie.
_unshared: dict[int, Any] = {}


def _forget(slab: int) -> None:
    _unshared.pop(slab, None)


def unshare(memory: Any, slab: int, parts: list[int]) -> Any:
    """Return the object that `pool.share()` has put into `memory`; made once in each process.

    Args:
        memory: the bytes.
        slab: the number under which the object is kept.
        parts: sizes of the pickle and of each buffer behind it, each at a multiple of 64 bytes.
    """
    if slab not in _unshared:
        _unshared[slab] = make_of_parts(memory, parts)
    return _unshared[slab]


def make_of_parts(memory: Any, parts: list[int]) -> Any:
    """Unpickle what `unshare` says, afresh."""
    import pickle

    view = memoryview(memory).toreadonly()
    pieces, at = [], 0
    for size in parts:
        pieces.append(view[at : at + size])
        at += -(-size // 64) * 64
    return pickle.loads(pieces[0], buffers=pieces[1:])


def array_of(buffer: Any, dtype: Any, shape: tuple[int, ...], order: Any) -> Any:
    """Return the numpy array whose memory is `buffer`: writable, as pickle's protocol 4 makes it.

    Args:
        buffer: exactly its bytes.
        dtype: its type.
        shape: its shape.
        order: "C" or "F".
    """
    import numpy

    if isinstance(buffer, memoryview) and buffer.readonly:
        # That of the sender was. The memory here is this array's own.
        buffer = buffer.obj
    return numpy.ndarray(shape, dtype, buffer, order=order)


def call_in_context(
    values: list[tuple[str, str, Any]],
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Call `fn(*args, **kwargs)` with context variables set: one task of `schedule(context=...)`.

    Args:
        values: a (module, attribute, value) for each variable.
    """
    import contextvars

    def call() -> Any:
        for module, attribute, value in values:
            _variable(module, attribute).set(value)
        return fn(*args, **kwargs)

    return contextvars.copy_context().run(call)


def _variable(module: str, attribute: str) -> Any:
    from importlib import import_module

    try:
        return getattr(import_module(module), attribute)
    except AttributeError:
        if module != "__main__" or not _sends_by_value:
            raise
    from ._by_value import variable

    return variable(attribute, True)


def call_chunk(fn: Callable[..., Any], chunk: list[tuple[Any, ...]]) -> list[Any]:
    """Call `fn` with each tuple of arguments in turn: one task of `map(chunksize=...)`."""
    return [fn(*args) for args in chunk]


class ByCloudpickle:
    """Stands for what only cloudpickle can send.

    Args:
        data: what `cloudpickle.dumps` made of it.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> tuple[Any, ...]:
        return _by_cloudpickle, (self.data,)


def _by_cloudpickle(data: bytes) -> Any:
    import cloudpickle

    return cloudpickle.loads(data)


def portable(value: object, error: object) -> ByCloudpickle | None:
    """Return what stands for a result or failure that pickle could not send, for a pool whose `__main__` has no file.

    Args:
        value: what could not be sent.
        error: why.

    Returns:
        None where there is nothing, and the error stands.
    """
    if not _sends_by_value or not isinstance(error, Exception):
        return None
    try:
        import cloudpickle

        data = cloudpickle.dumps(value)
    except Exception:
        return None
    # What has nothing of that module in it is refused as elsewhere.
    return ByCloudpickle(data) if b"__main__" in data else None
