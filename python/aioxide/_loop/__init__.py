"""The event loop: the class over the Rust core and asyncio's own loop, and what stands where asyncio's insides were."""

from .loop import EventLoop as EventLoop, new_event_loop as new_event_loop
