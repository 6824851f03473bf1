"""Arguments that do not fit: the error says which it is, what it takes, and what it got.

What the standard library's class of the same name checks with a text of its own keeps that text.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn


def refuse(name: str, wanted: str, value: object, error: type[Exception] = TypeError) -> NoReturn:
    """Raise `error`: a TypeError tells the type of what was given, any other the value."""
    raise error(
        f"{name} must be {wanted}, not {type(value).__name__ if error is TypeError else shown(value)}"
    )


def refuse_item(name: str, wanted: str, container: object, item: object) -> NoReturn:
    """Raise a TypeError for one of the things in what was given."""
    raise TypeError(f"{name} must be {wanted}, not a {type(container).__name__} with {shown(item)} in it")


def shown(value: object) -> str:
    """Return what an error shows of a value: its repr, but for an integer that is too long to be read or written."""
    if isinstance(value, int) and value.bit_length() > 200:
        return f"an int of {value.bit_length()} bits"
    return repr(value)


def checked_number(name: str, value: Any, wanted: str = "a number") -> float:
    """Return a real number that an argument called `name` gives.

    Raises:
        TypeError: it is none (nor is a bool, which is a mistake where a number is meant).
        ValueError: it is NaN.
    """
    if isinstance(value, bool) or not (
        hasattr(type(value), "__float__") or hasattr(type(value), "__index__")
    ):
        refuse(name, wanted, value)
    try:
        number = float(value)
    except OverflowError:  # more than a float holds: more than anybody waits
        number = float("inf") if value > 0 else float("-inf")
    if number != number:
        refuse(name, wanted, value, ValueError)
    return number


def checked_seconds(
    name: str, value: Any, *, above_zero: bool = False, optional: bool = True
) -> float | None:
    """Return a duration that an argument called `name` gives, or, where that is `optional`, None.

    Raises:
        TypeError: it is no number.
        ValueError: it is negative or NaN; with `above_zero`, 0 too.
    """
    if value is None and optional:
        return None
    wanted = "a number of seconds above 0" if above_zero else "a number of seconds, 0 or more"
    if optional:
        wanted += ", or None"
    number = checked_number(name, value, wanted)
    if number < 0 or (above_zero and number == 0):
        refuse(name, wanted, value, ValueError)
    return number


def checked_count(
    name: str, value: Any, wanted: str = "an integer", *, least: int = 1, most: int = sys.maxsize
) -> int:
    """Return a whole number that an argument called `name` gives.

    Raises:
        TypeError: it is no integer.
        ValueError: it is below `least`.
        OverflowError: it is above `most`.
    """
    index = None if isinstance(value, bool) else getattr(type(value), "__index__", None)
    if index is None:
        refuse(name, wanted, value)
    number = operator.index(value)
    if number < least:
        refuse(name, f"{wanted}, {least} or more", value, ValueError)
    if number > most:
        refuse(name, f"at most {most}", value, OverflowError)
    return number


def optional_count(name: str, value: Any, wanted: str = "an integer", *, least: int = 1) -> int | None:
    """`checked_count`, where None is allowed too."""
    return None if value is None else checked_count(name, value, f"{wanted} or None", least=least)


def checked_workers(value: Any) -> Any:
    """Check `max_workers` of a pool: by the standard library's own comparison.

    Raises:
        TypeError: it is no number.
        ValueError: it is not above 0, or NaN.
    """
    try:
        too_few = value <= 0
    except TypeError:
        # Not from it: how it compares is of no use to anybody.
        too_few = None
    if too_few is None:
        refuse("max_workers", "an integer or None", value)
    if too_few:
        raise ValueError("max_workers must be greater than 0")
    if value != value:
        refuse("max_workers", "an integer or None", value, ValueError)
    return value


def checked_chunksize(value: Any) -> int:
    """Check `chunksize` of `Executor.map`, in the standard library's words where it has any."""
    if isinstance(value, int) and value < 1:
        raise ValueError("chunksize must be >= 1.")
    return checked_count("chunksize", int(value) if isinstance(value, bool) else value)


def checked_buffersize(value: Any) -> int | None:
    """Check `buffersize` of `Executor.map`, in the standard library's words where it has any."""
    if value is None:
        return None
    if not isinstance(value, int):
        raise TypeError("buffersize must be an integer or None")
    if value < 1:
        raise ValueError("buffersize must be None or > 0")
    return checked_count("buffersize", int(value))


def checked_callable(name: str, value: Any) -> Callable[..., Any]:
    """Return what can be called.

    Raises:
        TypeError: it cannot.
    """
    if not callable(value):
        refuse(name, "a callable", value)
    return value  # type: ignore[no-any-return]


def checked_arguments(args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional and the keyword arguments for a call, given as `args` and `kwargs`.

    Raises:
        TypeError: `args` is no iterable, or `kwargs` no mapping of str.
    """
    values = tuple(checked_iterable("args", args, "an iterable of the function's arguments"))
    if kwargs is None:
        return values, {}
    if not isinstance(kwargs, Mapping):
        refuse("kwargs", "a mapping of the function's keyword arguments or None", kwargs)
    names = dict(kwargs)
    for name in names:
        if not isinstance(name, str):
            refuse_item("kwargs", "a mapping of the function's keyword arguments or None", kwargs, name)
    return values, names


def checked_iterable(name: str, value: Any, wanted: str = "an iterable") -> Iterable[Any]:
    """Return what can be iterated over.

    Raises:
        TypeError: it cannot.
    """
    if not (hasattr(type(value), "__iter__") or hasattr(type(value), "__getitem__")):
        refuse(name, wanted, value)
    return value  # type: ignore[no-any-return]


def checked_addresses(value: Any) -> list[str]:
    """Return the workers of a cluster that are named.

    Raises:
        TypeError: it is no iterable of str.
    """
    wanted = "an address, an iterable of addresses or None"
    addresses = list(checked_iterable("workers", value, wanted))
    for address in addresses:
        if not isinstance(address, str):
            refuse_item("workers", wanted, value, address)
    return addresses


def checked_resources(value: Any) -> dict[str, float]:
    """Return how much of what a call takes, by name.

    Raises:
        TypeError: it is no mapping of str to numbers.
        ValueError: one of them is negative or NaN.
    """
    wanted = "a mapping of names to numbers or None"
    resources = checked_mapping("resources", value, wanted)
    for name, amount in resources.items():
        if not isinstance(name, str):
            refuse_item("resources", wanted, value, name)
        if checked_number(f"resources[{name!r}]", amount) < 0:
            refuse(f"resources[{name!r}]", "0 or more", amount, ValueError)
    return resources


def checked_mapping(name: str, value: Any, wanted: str = "a mapping or None") -> dict[Any, Any]:
    """Return a copy of a mapping; an empty one for None.

    Raises:
        TypeError: it is neither.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        refuse(name, wanted, value)
    return dict(value)
