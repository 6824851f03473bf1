"""The worker's side of a `__main__` that no worker can import: its functions and classes arrive by value.

`aioxide/_processes/by_value.py` is the other side, and says when.
"""

from __future__ import annotations

import contextvars
import dis
import functools
import sys

from cloudpickle import cloudpickle

TYPE_CHECKING = False  # as a worker must not wait for `typing`
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FunctionType
    from typing import Any

# Where functions live whose globals were not those of the module `__main__` itself (the asyncio REPL's, say).
_elsewhere: dict[str, Any] = {}

# Names that functions which have arrived assign (`global x`): what they assigned here is kept.
_assigned: set[str] = set()

_STORE = (dis.opmap["STORE_GLOBAL"], dis.opmap["DELETE_GLOBAL"])


def names(in_main: bool) -> dict[str, Any]:
    """Return the globals of all functions of `__main__` that arrive: an initializer and a call share them.

    Args:
        in_main: these were the parent's `__main__.__dict__`. Then they are ours here, so that what is in them can
            go back by its name.
    """
    return vars(sys.modules["__main__"]) if in_main else _elsewhere


def set_state(function: FunctionType, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Fill a function that has arrived, as cloudpickle does it.

    The globals that came with it replace those that came earlier, but for what a function has assigned here: a
    counter or a connection of the worker's own would begin anew with every call.
    """
    slots = state[1]
    _assigned.update(_assigns(function.__code__))
    here = function.__globals__
    came = slots["__globals__"]
    slots["__globals__"] = {
        name: value for name, value in came.items() if name not in _assigned or name not in here
    }
    cloudpickle._function_setstate(function, state)


def _assigns(code: CodeType) -> set[str]:
    """The global names that a code object assigns or deletes, and the functions in it."""
    found = set()
    if _STORE[0] in code.co_code[::2] or _STORE[1] in code.co_code[::2]:
        found = {each.argval for each in dis.get_instructions(code) if each.opcode in _STORE}
    for constant in code.co_consts:
        if isinstance(constant, type(code)):
            found |= _assigns(constant)
    return found


# Caches of functions that have arrived, by their names: what they hold is kept from call to call, as in a module.
_caches: dict[str, tuple[Any, Callable[..., Any]]] = {}


def cached(function: FunctionType, maxsize: int | None, typed: bool) -> Callable[..., Any]:
    """Return `functools.lru_cache(maxsize, typed)(function)`: the one that is there, while the function is the same."""
    same = function.__code__, function.__defaults__, function.__kwdefaults__, maxsize, typed
    before = _caches.get(function.__qualname__)
    if before is not None and before[0] == same and function.__closure__ is None:
        return before[1]
    made: Callable[..., Any] = functools.lru_cache(maxsize, typed)(function)
    _caches[function.__qualname__] = same, made
    return made


def variable(attribute: str, in_main: bool, *default: Any) -> Any:
    """Return the context variable that stands for one of the parent's `__main__`.

    Args:
        attribute: its name there.
        in_main: as for `names`.
        default: its default value, if it has one.
    """
    here = names(in_main)
    if attribute not in here:
        here[attribute] = contextvars.ContextVar(attribute, **dict(zip(("default",), default, strict=False)))
    return here[attribute]
