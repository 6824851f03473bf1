"""`aioxide.timeouts` is `asyncio.timeouts`."""

from asyncio.timeouts import *  # noqa: F403
