"""`aioxide.locks` is `asyncio.locks`."""

from asyncio.locks import *  # noqa: F403
from asyncio.locks import _ContextManagerMixin as _ContextManagerMixin
