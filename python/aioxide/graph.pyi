"""`aioxide.graph` is `asyncio.graph`, from 3.14 on."""

import sys

if sys.version_info >= (3, 14):
    from asyncio.graph import *  # noqa: F403
