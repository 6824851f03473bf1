"""`aioxide.tasks` is `asyncio.tasks`."""

from asyncio.tasks import *  # noqa: F403
