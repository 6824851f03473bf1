"""`aioxide.selector_events` is `asyncio.selector_events`."""

from asyncio.selector_events import *  # noqa: F403
