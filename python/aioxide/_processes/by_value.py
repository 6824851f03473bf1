"""Pools of a program whose `__main__` no worker can import: a notebook, `python -c`, standard input, the REPL.

What is defined there is sent by value, by cloudpickle; `_aioxide_worker/_by_value.py` is the worker's side.
"""

from __future__ import annotations

import contextlib
import contextvars
import copyreg
import functools
import multiprocessing.spawn
import pickle
import sys
import threading
import weakref
from collections import ChainMap
from functools import partial
from multiprocessing.reduction import ForkingPickler
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# typeshed does not have it.
_EXTRA_REDUCERS: Any = ForkingPickler._extra_reducers  # type: ignore[attr-defined]


# What pickle sends by its name: functools.cache has a type of its own.
_Cached: Any = type(functools.cache(len))
_NAMED: Any = (FunctionType, type, _Cached)
_REDUCERS: Any = ChainMap(_EXTRA_REDUCERS, copyreg.dispatch_table)


def main_has_no_file() -> bool:
    """Whether a worker that is spawned cannot make the `__main__` of this process its own.

    As `multiprocessing.spawn` decides it: by the module's name, but for a `__main__.py`; otherwise by its file. A
    program on standard input has the file name "<stdin>". A frozen one has a name that is no file's either, but its
    workers run it again from its start.
    """
    main = sys.modules["__main__"]
    if getattr(sys, "frozen", False) or "__compiled__" in vars(main):  # the latter is Nuitka's
        return False
    name = getattr(getattr(main, "__spec__", None), "name", None)
    if name is not None:
        return bool(name == "__main__" or name.endswith(".__main__"))
    path = getattr(main, "__file__", None)
    # Of a descriptor's name, a child would read what is left, or what its own descriptor is.
    return not isinstance(path, str) or path.startswith(("<", "/dev/", "/proc/"))


class Snapshot:
    """The functions and classes of `__main__` that a forked worker has, too: those need not be sent."""

    def __init__(self) -> None:
        self._found: dict[str, Any] = {}
        for name, value in list(vars(sys.modules["__main__"]).items()):
            if isinstance(value, _NAMED):
                self._found[name] = weakref.ref(value)

    def has(self, value: Any) -> bool:
        """Whether a worker finds this very function or class by its name."""
        first, *rest = value.__qualname__.split(".")
        reference = self._found.get(first)
        found = None if reference is None else reference()
        if found is None or vars(sys.modules["__main__"]).get(first) is not found:
            return False
        for name in rest:
            found = getattr(found, name, None)
        return found is value


def pickler(snapshot: Snapshot | None, failed: bool = False) -> Callable[..., pickle.Pickler] | None:
    """Return what makes a pickler that sends what is in `__main__` by value: `(file, protocol, buffer_callback=...)`.

    Without cloudpickle, one that raises `pickle.PicklingError` where something would have to be.

    Args:
        snapshot: what workers that were forked have in their `__main__`.
        failed: plain pickle has failed: return None where only that is left.
    """
    try:
        kind = _cloud_pickler()
    except ImportError:
        if failed:
            return None
        kind = _Refusing
    return partial(kind, snapshot)


class Sent:
    """Stands for a value that is sent by value when it is pickled: an initializer, on its way to a spawned worker.

    Args:
        value: what arrives.
    """

    def __init__(self, value: Any) -> None:
        self._value = value

    def __reduce__(self) -> tuple[Any, ...]:
        from io import BytesIO

        make, file = pickler(None), BytesIO()
        assert make is not None
        make(file, pickle.HIGHEST_PROTOCOL).dump(self._value)
        return pickle.loads, (file.getvalue(),)


def _is_of_main(value: Any, snapshot: Snapshot | None) -> bool:
    return getattr(value, "__module__", None) == "__main__" and not (snapshot and snapshot.has(value))


class _Reducing:
    """Arrays and, up to 3.13, all that is reduced by a protocol's number go as in the plain way: its file knows how."""

    dispatch_table: Any

    def __init__(self, snapshot: Snapshot | None, file: Any, *args: Any, **kwargs: Any) -> None:
        self._snapshot = snapshot
        self._reduce = getattr(file, "reduce", None) if sys.version_info < (3, 14) else None
        numpy, reduce_array = sys.modules.get("numpy"), getattr(file, "reduce_array", None)
        if numpy is not None and reduce_array is not None:
            self.dispatch_table = ChainMap({numpy.ndarray: reduce_array}, type(self).dispatch_table)
        super().__init__(file, *args, **kwargs)  # type: ignore[call-arg]

    def _reduced(self, value: Any, found: Any = NotImplemented) -> Any:
        if found is NotImplemented and self._reduce is not None and type(value) not in self.dispatch_table:
            return self._reduce(value)
        return found


class _Refusing(_Reducing, pickle.Pickler):
    dispatch_table = _REDUCERS

    def reducer_override(self, value: Any) -> Any:
        """Refuse what a worker would not find."""
        if isinstance(value, _NAMED) and _is_of_main(value, self._snapshot):
            raise pickle.PicklingError(
                f"Can't pickle {value!r}: it is defined in a __main__ that has no file which a worker process could "
                "import (a notebook, python -c, standard input, the REPL). It can be sent where cloudpickle is "
                "installed, which it is not here: pip install cloudpickle. Or define it in a module, and import that"
            )
        return self._reduced(value)


class _Globals:
    """Stands for the globals of a function of `__main__`: in a worker, all share one dictionary."""

    def __init__(self, in_main: bool) -> None:
        self._in_main = in_main

    def __reduce__(self) -> tuple[Any, ...]:
        from _aioxide_worker import _by_value

        return _by_value.names, (self._in_main,)


class _Sending(_Reducing):
    """What goes before cloudpickle's own pickler."""

    globals_ref: dict[int, Any]

    def reducer_override(self, value: Any) -> Any:
        """Let cloudpickle do it, but for what workers have, and for whose globals a function gets."""
        if isinstance(value, contextvars.ContextVar):
            return _reduced_variable(value)
        usual: Any = super().reducer_override  # type: ignore[misc]
        if not isinstance(value, _NAMED):
            return self._reduced(value, usual(value))
        if self._snapshot and value.__module__ == "__main__" and self._snapshot.has(value):
            return NotImplemented
        if isinstance(value, _Cached):
            return _reduced_cache(value) if value.__module__ == "__main__" else NotImplemented
        if not isinstance(value, FunctionType) or value.__globals__.get("__name__") != "__main__":
            return usual(value)
        in_main = value.__globals__ is vars(sys.modules["__main__"])
        self.globals_ref.setdefault(id(value.__globals__), _Globals(in_main))
        found = usual(value)
        if isinstance(found, tuple) and len(found) == 6:
            from _aioxide_worker import _by_value

            found = (*found[:5], _by_value.set_state)
        return found


_made: list[Any] = []


def _cloud_pickler() -> Any:
    if _made:
        return _made[0]
    import cloudpickle  # type: ignore[import-untyped,import-not-found,unused-ignore]

    # multiprocessing's reducers first, as in the plain way.
    table = ChainMap(_EXTRA_REDUCERS, cloudpickle.Pickler.dispatch_table)
    _made.append(type("CloudPickler", (_Sending, cloudpickle.Pickler), {"dispatch_table": table}))
    return _made[0]


def _reduced_cache(value: Any) -> Any:
    """A function with a cache goes by its name in cloudpickle, too."""
    from _aioxide_worker import _by_value

    return _by_value.cached, (value.__wrapped__, *value.cache_parameters().values())


def _reduced_variable(variable: contextvars.ContextVar[Any]) -> Any:
    """A context variable of `__main__` goes by its name: it has no other way."""
    from _aioxide_worker import _by_value

    names = [name for name, value in list(vars(sys.modules["__main__"]).items()) if value is variable]
    if not names:
        return NotImplemented
    default: list[Any] = []
    with contextlib.suppress(LookupError):
        default.append(contextvars.Context().run(variable.get))
    return _by_value.variable, (names[0], True, *default)


# By start of a worker that must not look for the file of `__main__`: its thread. Not by thread alone, for a `with`
# block that was cut short may end late, in the middle of the next start.
_without_main: dict[object, int] = {}
_patching = threading.Lock()
_patched: list[tuple[Any, Any]] = []


@contextlib.contextmanager
def no_main(by_value: bool) -> Iterator[None]:
    """For the time of a `with` block, children that this thread starts are not told to import `__main__`.

    They would end with an error: there is no file "<stdin>". multiprocessing builds what it tells a child in one
    function, and has no other way to leave that out.

    Args:
        by_value: False for a pool that does nothing of it.
    """
    if not by_value:
        yield
        return
    spawn: Any = multiprocessing.spawn
    start = object()
    with _patching:
        current = spawn.get_preparation_data
        if not _patched or _patched[0][0] is not current:
            ours = _preparation(current)
            _patched[:] = [(ours, current)]
            spawn.get_preparation_data = ours
        _without_main[start] = threading.get_ident()
    try:
        yield
    finally:
        with _patching:
            _without_main.pop(start, None)
            # What somebody has wrapped meanwhile stays.
            if not _without_main and _patched and spawn.get_preparation_data is _patched[0][0]:
                spawn.get_preparation_data = _patched.pop()[1]


def _preparation(standard: Callable[[str], dict[str, Any]]) -> Callable[[str], dict[str, Any]]:
    def get_preparation_data(name: str) -> dict[str, Any]:
        data = standard(name)
        if threading.get_ident() in list(_without_main.values()):
            data.pop("init_main_from_path", None)
        return data

    return get_preparation_data
