"""`aioxide.threads` is `asyncio.threads`."""

from asyncio.threads import *  # noqa: F403
