"""`aioxide.base_tasks` is `asyncio.base_tasks`."""

from asyncio.base_tasks import *  # noqa: F403
from asyncio.base_tasks import (
    _task_get_stack as _task_get_stack,
    _task_print_stack as _task_print_stack,
    _task_repr as _task_repr,
    _task_repr_info as _task_repr_info,
)
