"""What a process pool was asked to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, eq=False)
class Settings:
    """See `ProcessPoolExecutor`, whose life they have.

    The manager must not keep them: what the user has given (a bound method as the initializer, say) may have the pool.
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
