"""`aioxide.taskgroups` is `asyncio.taskgroups`."""

from asyncio.taskgroups import *  # noqa: F403
