"""`aioxide.base_futures` is `asyncio.base_futures`."""

from asyncio.base_futures import *  # noqa: F403
from asyncio.base_futures import (
    _CANCELLED as _CANCELLED,
    _FINISHED as _FINISHED,
    _PENDING as _PENDING,
    _format_callbacks as _format_callbacks,
    _future_repr_info as _future_repr_info,
    isfuture as isfuture,
)
