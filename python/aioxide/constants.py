"""`aioxide.constants` is `asyncio.constants`."""

from asyncio.constants import *  # noqa: F403
from asyncio.constants import _SendfileMode as _SendfileMode
