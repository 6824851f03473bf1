"""`aioxide.trsock` is `asyncio.trsock`."""

from asyncio.trsock import *  # noqa: F403
