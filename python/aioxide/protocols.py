"""`aioxide.protocols` is `asyncio.protocols`."""

from asyncio.protocols import *  # noqa: F403
