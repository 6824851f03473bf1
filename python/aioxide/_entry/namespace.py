"""`import aioxide as asyncio`: which names there are, and where each comes from.

Ours where we have one, and otherwise the standard library's object itself. asyncio's submodules stand under
our name too (`aioxide.streams` is `asyncio.streams`), which is why our own modules start with an underscore.
"""

import asyncio
import concurrent.futures
import contextlib
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

from .. import _aioxide

# What the native module gives in place of asyncio's object of the same name: one line here adds one, both to
# `aioxide` and to what `install(namespace=True)` puts into asyncio. (The stub is `__init__.pyi`.)
NATIVE_NAMES = (
    "Future",
    "Task",
)

# Names that asyncio itself gives only with a warning since 3.14, and where they are kept.
_DEPRECATED = {
    "AbstractEventLoopPolicy": ("asyncio.events", "_AbstractEventLoopPolicy"),
    "DefaultEventLoopPolicy": ("asyncio.unix_events", "_DefaultEventLoopPolicy"),
    "EventLoopPolicy": ("aioxide._entry.policy", "EventLoopPolicy"),
}


def _cluster() -> ModuleType:
    import aioxide._cluster as module

    return module


def _processes() -> ModuleType:
    import aioxide._processes as module

    return module


def _threads() -> ModuleType:
    import aioxide._threads as module

    return module


def _futures() -> ModuleType:
    import aioxide._pools.futures as module

    return module


def _stats() -> ModuleType:
    import aioxide._pools.stats as module

    return module


def _shared() -> ModuleType:
    import aioxide.shared as module

    return module


def _worker() -> ModuleType:
    import _aioxide_worker as module

    return module


# Names of our own, and what imports their modules: when somebody first asks for one, as `import aioxide` must neither
# import multiprocessing nor register anything to be done when the interpreter ends. The imports are written out because
# what freezes a program (PyInstaller, cx_Freeze, Nuitka) looks for import statements.
_LAZY = {
    "AwaitableFuture": _futures,
    "BrokenCluster": _cluster,
    "BrokenClusterWorker": _cluster,
    "ClusterExecutor": _cluster,
    "ClusterFuture": _cluster,
    "Histogram": _stats,
    "PoolFuture": _futures,
    "ProcessPoolExecutor": _processes,
    "ProcessPoolStats": _stats,
    "TaskCancelled": _worker,
    "ThreadPoolExecutor": _threads,
    "ThreadPoolStats": _stats,
    "TransferError": _processes,
    "WorkerDied": _processes,
    "WorkerInfo": _stats,
    "shared": _shared,
}
_PROCESSES = "aioxide._processes"


def _native_names() -> dict[str, Any]:
    # One that is missing could not be made for this interpreter; build_info()["features"] says so.
    names = {name: getattr(_aioxide, name) for name in NATIVE_NAMES if hasattr(_aioxide, name)}
    if "Task" in names and sys.version_info >= (3, 12):
        # asyncio makes this one of its own Task when it is imported.
        names["eager_task_factory"] = asyncio.create_eager_task_factory(names["Task"])
    return names


# The native objects that stand in for asyncio's.
NATIVE = _native_names()


def other_names() -> dict[str, Any]:
    """asyncio's names that are not native: all that it makes, less what it imports and dunders."""
    return {
        name: value
        for name, value in vars(asyncio).items()
        if not name.startswith("__") and name not in NATIVE and not _is_foreign_module(value)
    }


def public_names(names: Mapping[str, Any]) -> list[str]:
    """`__all__` for `names`: what asyncio's should be (3.11 forgets a few), and what is our own."""
    public = {
        name
        for name, value in names.items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    return sorted(public.union(asyncio.__all__))


def submodules() -> dict[str, ModuleType]:
    """asyncio's submodules that are imported, by their names below asyncio."""
    return {
        name: value
        for name, value in vars(asyncio).items()
        if isinstance(value, ModuleType) and not _is_foreign_module(value)
    }


def alias_submodules(package: str) -> None:
    """Make `import aioxide.streams` and `from aioxide.streams import ...` find asyncio's module, not a second copy.

    The files of these names in our package are for type checkers, and are never run.
    """
    for name, module in submodules().items():
        sys.modules.setdefault(f"{package}.{name}", module)


def module_getattr(name: str) -> Any:
    """`aioxide.__getattr__`: what asyncio has and we did not copy (private, deprecated or newer names)."""
    if name in _DEPRECATED and sys.version_info >= (3, 14):
        # Ours, not asyncio's own __getattr__, has to warn: its warning would point at this file, not at the
        # user's line.
        owner = "aioxide" if name == "EventLoopPolicy" else "asyncio"
        message = f"'{owner}.{name}' is deprecated and slated for removal in Python 3.16"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        module, attribute = _DEPRECATED[name]
        __import__(module)
        return getattr(sys.modules[module], attribute)
    if name in _LAZY:
        found = _load(name)
        setattr(sys.modules["aioxide"], name, found)
        return found
    if name == "__version__":
        from .build import build_info

        return build_info()["version"]
    if not name.startswith("__") and hasattr(asyncio, name):
        return getattr(asyncio, name)
    raise AttributeError(f"module 'aioxide' has no attribute {name!r}")


def _load(name: str) -> Any:
    module = _LAZY[name]()
    return module if module.__name__ == f"aioxide.{name}" else getattr(module, name)


def pool_replacements() -> dict[str, Callable[[ModuleType], Iterator[tuple[Any, str, Any]]]]:
    """What `install(namespace=True)` puts in the names of `concurrent.futures`: for each module that has to be there
    first, what gives (owner, name, value) of what to replace. The process pool waits, as it imports multiprocessing.
    """
    # Its class derives from the standard ThreadPoolExecutor, and does so once it is imported.
    with contextlib.suppress(ImportError):
        importlib.import_module("concurrent.futures.interpreter")
    importlib.import_module("concurrent.futures.thread")
    return {
        "concurrent.futures.thread": lambda thread: _pool_replacements(thread, "ThreadPoolExecutor"),
        _PROCESSES: lambda _ours: _pool_replacements(
            sys.modules["concurrent.futures.process"], "ProcessPoolExecutor"
        ),
        "concurrent.futures.process": _import_our_processes,
    }


def _pool_replacements(submodule: ModuleType, pool: str) -> Iterator[tuple[Any, str, Any]]:
    ours = _load(pool)
    yield submodule, pool, ours
    # The package asks its submodule when it is first asked itself, and keeps the answer.
    yield concurrent.futures, pool, ours


def _import_our_processes(_process: ModuleType) -> Iterator[tuple[Any, str, Any]]:
    # Which may be what imports that module, and is then not complete.
    if _PROCESSES not in sys.modules:
        _load("ProcessPoolExecutor")
    return iter(())


def module_dir() -> list[str]:
    """`aioxide.__dir__`: our names and asyncio's."""
    ours = vars(sys.modules["aioxide"])
    return sorted(ours.keys() | _LAZY.keys() | {name for name in dir(asyncio) if not name.startswith("__")})


def _is_foreign_module(value: object) -> bool:
    return isinstance(value, ModuleType) and not value.__name__.startswith("asyncio.")
