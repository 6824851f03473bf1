"""`aioxide.coroutines` is `asyncio.coroutines`."""

from asyncio.coroutines import *  # noqa: F403
