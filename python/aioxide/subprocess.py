"""`aioxide.subprocess` is `asyncio.subprocess`."""

from asyncio.subprocess import *  # noqa: F403
from asyncio.subprocess import (
    DEVNULL as DEVNULL,
    PIPE as PIPE,
    STDOUT as STDOUT,
    Process as Process,
    SubprocessStreamProtocol as SubprocessStreamProtocol,
)
