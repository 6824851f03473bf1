"""`aioxide.mixins` is `asyncio.mixins`."""

from asyncio.mixins import *  # noqa: F403
from asyncio.mixins import _global_lock as _global_lock, _LoopBoundMixin as _LoopBoundMixin
