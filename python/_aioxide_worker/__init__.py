"""What runs in a worker of `aioxide.ProcessPoolExecutor`. It imports neither asyncio nor aioxide.

A package of its own, so that a worker that is spawned loads this and no more.
"""

import sys

# What is defined in `__main__` comes and goes by value: see `_by_value.py`.
_sends_by_value = False


class TaskCancelled(BaseException):
    """Raised in a task that is being cancelled, in a pool with `cancel_running=True`; and in one whose time is up.

    A task may catch it to clean up; if it has not ended when the grace period is over, its process is killed.
    """


class Endpoint:
    """The three descriptors of a worker on their way to it, however `multiprocessing` starts it.

    Args:
        sock: the worker's end of the socket pair.
        page: the memory of the control page.
        lifeline: the reading end of the pipe whose writing end the parent holds.
        reduction: the `reduction` module of whose context starts the worker: multiprocessing's, or that of a package
            which has copied it (`multiprocess`).
    """

    def __init__(self, sock, page, lifeline, *, reduction=None):
        self.descriptors = (sock, page, lifeline)
        self._reduction = reduction

    def __reduce__(self):
        from multiprocessing import reduction

        dup_fd = getattr(self._reduction, "DupFd", reduction.DupFd)
        return _arrived, tuple(dup_fd(fd) for fd in self.descriptors)


def _arrived(*descriptors):
    return Endpoint(*(fd.detach() for fd in descriptors))


def main(endpoint, library, initializer, initargs, options):
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
    _sends_by_value = options["by_value"]

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


def serve(native):
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


def _let_interrupts_through():
    import signal

    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    except KeyboardInterrupt:
        pass  # came while this worker started


def _load(library):
    name = f"{__name__}._native"
    if name not in sys.modules:
        from importlib.machinery import ExtensionFileLoader, ModuleSpec
        from importlib.util import module_from_spec

        loader = ExtensionFileLoader(name, library)
        module = module_from_spec(ModuleSpec(name, loader, origin=library))
        loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]


def _stop_by_signal(native, number):
    import signal

    def stop(_number, _frame):
        if native.stop_wanted():
            raise TaskCancelled

    signal.signal(number, stop)


def failure(error):
    """Return what is sent of an exception: itself without its frames, and its traceback as text."""
    import traceback

    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    error.__traceback__ = None
    return error, f'\n"""\n{text}"""'


# Objects of `pool.share()` that this process has unpickled, by the number of the slab in which they lie.
_unshared = {}


def _forget(slab):
    _unshared.pop(slab, None)


def unshare(memory, slab, parts):
    """Return the object that `pool.share()` has put into `memory`; made once in each process.

    Args:
        memory: the bytes.
        slab: the number under which the object is kept.
        parts: sizes of the pickle and of each buffer behind it, each at a multiple of 64 bytes.
    """
    if slab not in _unshared:
        _unshared[slab] = make_of_parts(memory, parts)
    return _unshared[slab]


def make_of_parts(memory, parts):
    """Unpickle what `unshare` says, afresh."""
    import pickle

    view = memoryview(memory).toreadonly()
    pieces, at = [], 0
    for size in parts:
        pieces.append(view[at : at + size])
        at += -(-size // 64) * 64
    return pickle.loads(pieces[0], buffers=pieces[1:])


def array_of(buffer, dtype, shape, order):
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


def call_in_context(values, fn, args, kwargs):
    """Call `fn(*args, **kwargs)` with context variables set: one task of `schedule(context=...)`.

    Args:
        values: a (module, attribute, value) for each variable.
    """
    import contextvars

    def call():
        for module, attribute, value in values:
            _variable(module, attribute).set(value)
        return fn(*args, **kwargs)

    return contextvars.copy_context().run(call)


def _variable(module, attribute):
    from importlib import import_module

    try:
        return getattr(import_module(module), attribute)
    except AttributeError:
        if module != "__main__" or not _sends_by_value:
            raise
    from ._by_value import variable

    return variable(attribute, True)


def call_chunk(fn, chunk):
    """Call `fn` with each tuple of arguments in turn: one task of `map(chunksize=...)`."""
    return [fn(*args) for args in chunk]


class ByCloudpickle:
    """Stands for what only cloudpickle can send.

    Args:
        data: what `cloudpickle.dumps` made of it.
    """

    def __init__(self, data):
        self.data = data

    def __reduce__(self):
        return _by_cloudpickle, (self.data,)


def _by_cloudpickle(data):
    import cloudpickle

    return cloudpickle.loads(data)


def portable(value, error):
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
