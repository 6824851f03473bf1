"""`aioxide.base_events` is `asyncio.base_events`."""

from asyncio.base_events import *  # noqa: F403
