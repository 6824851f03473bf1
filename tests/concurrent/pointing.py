"""Point ``concurrent.futures`` at aioxide's pools and Future, and count what the tests then make.

The tests reach a pool by the names of ``concurrent.futures`` and of its modules ``thread`` and ``process``, and by
``script_helper.assert_python_ok("-c", code)``, whose child is pointed before the code runs. The pool of
interpreters stays the standard library's, and inherits from the standard pool of threads.
"""

import concurrent.futures
import concurrent.futures._base
import concurrent.futures.process
import concurrent.futures.thread
import contextlib
import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.cpython.pointing import Census

STOCK = {
    "ThreadPoolExecutor": concurrent.futures.thread.ThreadPoolExecutor,
    "ProcessPoolExecutor": concurrent.futures.process.ProcessPoolExecutor,
}
HOMES = {"ThreadPoolExecutor": concurrent.futures.thread, "ProcessPoolExecutor": concurrent.futures.process}
STOCK_FUTURE = concurrent.futures._base.Future


class PoolCensus(Census):
    """Counts the pools made since the last `take`: ours, and those that should have been ours."""

    def count_other(self, cls: type) -> None:
        self.foreign[f"{cls.__module__}.{cls.__qualname__}"] += 1


census = PoolCensus()


def own_pools() -> tuple[type, ...]:
    import aioxide

    return tuple(getattr(aioxide, name) for name in STOCK)


def own_future() -> type:
    import aioxide

    return aioxide.PoolFuture


def _count(cls: type, count: Callable[[type], None]) -> None:
    original = cls.__init__

    @functools.wraps(original)
    def __init__(self, *args, **kwargs):
        count(type(self))
        original(self, *args, **kwargs)

    cls.__init__ = __init__


def _count_stock(cls: type) -> None:
    # The pool of interpreters inherits from the pool of threads.
    # By inheritance, not by issubclass: our classes let the standard ones count as theirs.
    if set(cls.__mro__).isdisjoint(own_pools()) and cls.__name__ != "InterpreterPoolExecutor":
        census.count_other(cls)


def point() -> None:
    """Lead every name of the two pools to aioxide's, for the rest of the process."""
    if sys.version_info >= (3, 14):
        importlib.import_module("concurrent.futures.interpreter")  # while its base class still has its name
    own = own_pools()
    for (name, stock), ours in zip(STOCK.items(), own, strict=True):
        _count(stock, _count_stock)
        _count(ours, lambda cls: census.count_ours())
        setattr(concurrent.futures, name, ours)
        setattr(HOMES[name], name, ours)
    prepare_child_processes("from tests.concurrent import pointing; pointing.point()")


@contextlib.contextmanager
def future_pointed() -> Iterator[None]:
    """Lead `Future` to aioxide's for test modules that are imported meanwhile.

    Not for longer: the standard library's own code, such as its pool of interpreters, makes its own.
    """
    concurrent.futures._base.Future = concurrent.futures.Future = own_future()
    try:
        yield
    finally:
        concurrent.futures._base.Future = concurrent.futures.Future = STOCK_FUTURE


def prepare_child_processes(first: str) -> None:
    """Let the programs of ``assert_python_ok`` find what this process finds, and begin with `first`."""
    from test.support import script_helper

    paths = [str(Path(__file__).parents[2]), *(p for p in sys.path if (Path(p) / "aioxide").is_dir())]
    paths += [p for p in sys.path if (Path(p) / "test" / "support").is_dir()]
    prelude = f"import sys; sys.path[:0] = {paths!r}; {first}; exec("
    original = script_helper.run_python_until_end

    def run_python_until_end(*args, **env):
        args = list(args)
        if "-c" in args:
            at = args.index("-c") + 1
            args[at] = f"{prelude}{args[at]!r})"
            census.count_ours()
        return original(*args, **env)

    script_helper.run_python_until_end = run_python_until_end


def summary() -> dict[str, object]:
    """What of aioxide was there to be tested."""
    return {"native_loop": True, "native_task": True}


def is_hooked(test_class: type) -> bool:
    """Whether the module of a test class makes its futures of aioxide's class."""
    return getattr(sys.modules[test_class.__module__], "Future", None) is own_future()
