"""`aioxide.unix_events` is `asyncio.unix_events`."""

import sys
from asyncio.unix_events import *  # noqa: F403
from asyncio.unix_events import (
    _UnixDefaultEventLoopPolicy as _UnixDefaultEventLoopPolicy,
    _UnixSelectorEventLoop as _UnixSelectorEventLoop,
)

if sys.version_info >= (3, 14):
    from asyncio.unix_events import _DefaultEventLoopPolicy as _DefaultEventLoopPolicy
else:
    from asyncio.unix_events import BaseChildWatcher as BaseChildWatcher
