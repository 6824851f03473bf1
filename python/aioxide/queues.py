"""`aioxide.queues` is `asyncio.queues`."""

from asyncio.queues import *  # noqa: F403
