"""`aioxide.graph` is `asyncio.graph`, from 3.14 on."""

from asyncio.graph import *  # type: ignore[import-not-found,unused-ignore]  # noqa: F403
