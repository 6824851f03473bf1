"""`aioxide.transports` is `asyncio.transports`."""

from asyncio.transports import *  # noqa: F403
from asyncio.transports import _FlowControlMixin as _FlowControlMixin
