"""`aioxide.streams` is `asyncio.streams`."""

from asyncio.streams import *  # noqa: F403
from asyncio.streams import FlowControlMixin as FlowControlMixin
