"""aioxide under uvloop's name, so that uvloop's own tests run on it. For tests only."""

import warnings

import aioxide
from aioxide import EventLoop as Loop, install, new_event_loop, run

__all__ = ["EventLoopPolicy", "Loop", "install", "new_event_loop", "run"]

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # looking it up warns from 3.14 on, as asyncio's does
    EventLoopPolicy = aioxide.EventLoopPolicy
