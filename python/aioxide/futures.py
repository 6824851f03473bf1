"""`aioxide.futures` is `asyncio.futures`."""

from asyncio.futures import *  # noqa: F403
