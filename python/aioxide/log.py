"""`aioxide.log` is `asyncio.log`."""

from asyncio.log import *  # noqa: F403
