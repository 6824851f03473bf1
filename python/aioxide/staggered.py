"""`aioxide.staggered` is `asyncio.staggered`."""

from asyncio.staggered import *  # noqa: F403
