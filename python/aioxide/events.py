"""`aioxide.events` is `asyncio.events`."""

import sys
from asyncio.events import *  # noqa: F403

if sys.version_info >= (3, 14):
    from asyncio.events import (
        _AbstractEventLoopPolicy as _AbstractEventLoopPolicy,
        _BaseDefaultEventLoopPolicy as _BaseDefaultEventLoopPolicy,
        _get_event_loop_policy as _get_event_loop_policy,
        _set_event_loop_policy as _set_event_loop_policy,
    )
else:
    from asyncio.events import BaseDefaultEventLoopPolicy as BaseDefaultEventLoopPolicy
