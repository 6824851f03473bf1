"""`aioxide.exceptions` is `asyncio.exceptions`."""

from asyncio.exceptions import *  # noqa: F403
