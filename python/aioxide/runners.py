"""`aioxide.runners` is `asyncio.runners`."""

from asyncio.runners import *  # noqa: F403
