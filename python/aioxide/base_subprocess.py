"""`aioxide.base_subprocess` is `asyncio.base_subprocess`."""

from asyncio.base_subprocess import *  # noqa: F403
