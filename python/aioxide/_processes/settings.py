"""What a process pool was asked to be: its arguments, checked."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import _aioxide_worker

from .._pools.checks import checked_count, checked_seconds, checked_workers, optional_count, refuse, shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import BaseContext

# More processes than any system has.
_MOST_WORKERS = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Settings:
    """What a pool was asked to be: see `ProcessPoolExecutor`, whose life it has.

    The manager must not keep it: what the user has given (a bound method as the initializer, say) may have the pool.
    """

    max_workers: int
    mp_context: Any
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    max_tasks_per_child: int | None
    idle_timeout: float | None
    max_pending: int | None
    max_rss: int | None
    forks: bool  # a worker begins as a copy of this process
    respawns: bool  # a worker's death fails its own call alone


def checked_settings(
    max_workers: int | None,
    mp_context: BaseContext | None,
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
    max_tasks_per_child: int | None,
    on_worker_death: str,
    idle_timeout: float | None,
    max_pending: int | None,
    max_rss: int | None,
) -> Settings:
    """Return the settings that these arguments of `ProcessPoolExecutor` mean.

    Raises:
        OverflowError, TypeError, ValueError: as said there.
    """
    if max_workers is None:
        max_workers = getattr(os, "process_cpu_count", os.cpu_count)() or 1
    max_workers = checked_count(
        "max_workers", checked_workers(max_workers), "an integer or None", most=_MOST_WORKERS
    )
    _check_context(mp_context)
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")
    if not isinstance(on_worker_death, str) or on_worker_death not in ("break", "respawn"):
        raise ValueError(f'on_worker_death must be "break" or "respawn", not {shown(on_worker_death)}')
    _check_tasks_per_child(max_tasks_per_child)
    max_pending = optional_count("max_pending", max_pending)
    max_rss = optional_count("max_rss", max_rss, "an integer (bytes)")
    idle_timeout = checked_seconds("idle_timeout", idle_timeout, above_zero=True)
    replaced = {
        "max_tasks_per_child": max_tasks_per_child,
        "idle_timeout": idle_timeout,
        "max_rss": max_rss,
    }
    given = [name for name, value in replaced.items() if value is not None]
    context: Any = mp_context if mp_context is not None else _default_context(given)
    method = context.get_start_method(allow_none=False)
    forks = method == "fork"
    if given and forks:
        raise ValueError(
            f"{given[0]} is incompatible with the 'fork' multiprocessing start method; "
            "supply a different mp_context."
        )
    if method == "forkserver":
        _preload_worker(context)
    return Settings(
        max_workers=max_workers,
        mp_context=context,
        initializer=initializer,
        initargs=initargs,
        max_tasks_per_child=max_tasks_per_child,
        idle_timeout=idle_timeout,
        max_pending=max_pending,
        max_rss=max_rss,
        forks=forks,
        respawns=on_worker_death == "respawn",
    )


def _default_context(given: list[str]) -> Any:
    """The interpreter's own, but where workers must be started later one that can."""
    if "max_tasks_per_child" in given:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context()
    if given and context.get_start_method() == "fork":
        return multiprocessing.get_context("spawn")
    return context


def _check_context(context: Any) -> None:
    """Refuse what is no context of multiprocessing, nor of a package that is like it (torch.multiprocessing)."""
    if context is None or callable(getattr(context, "get_start_method", None)):
        return
    method = context if context in multiprocessing.get_all_start_methods() else "spawn"
    wanted = f"a context (multiprocessing.get_context({method!r})) or None"
    refuse("mp_context", wanted, context, ValueError if isinstance(context, str) else TypeError)


def _check_tasks_per_child(value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, int):
        raise TypeError("max_tasks_per_child must be an integer")
    if value <= 0:
        raise ValueError("max_tasks_per_child must be >= 1")
    checked_count("max_tasks_per_child", int(value))


def _preload_worker(context: Any) -> None:
    """Have the context's fork server import what every worker needs, beside what the user wants of it."""
    from importlib import import_module

    # Packages that have copied multiprocessing (`multiprocess`) have a server of their own.
    package = getattr(getattr(context, "reducer", None), "__package__", None) or "multiprocessing"
    forkserver = import_module(f"{package}.forkserver")
    modules = getattr(forkserver._forkserver, "_preload_modules", None)
    if isinstance(modules, list) and _aioxide_worker.__name__ not in modules:
        modules.append(_aioxide_worker.__name__)
