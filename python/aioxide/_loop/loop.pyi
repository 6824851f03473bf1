"""The loop as a type checker sees it.

The module itself works on asyncio's private names, which typeshed leaves out: checking it against them would
take a declaration for each, and prove nothing. What users get is compared with it by stubtest.
"""

import asyncio
from typing import Any, Self

from .._aioxide import Loop

# On 3.13, typeshed has create_task(eager_start=...), which came with 3.13.3; ours goes by the running one.
class EventLoop(Loop, asyncio.SelectorEventLoop):  # type: ignore[misc,unused-ignore]
    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def __init__(self, selector: None = None) -> None: ...

def new_event_loop() -> EventLoop: ...
