"""`run` and `Runner`: asyncio's own, on our loop unless another factory is given."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias, TypeVar

from .._loop import new_event_loop

_T = TypeVar("_T")

# What asyncio.run() takes, which is more since 3.14.
if sys.version_info >= (3, 14):
    _Main: TypeAlias = Awaitable[_T]
else:
    _Main: TypeAlias = Coroutine[Any, Any, _T]


class Runner(asyncio.Runner):  # type: ignore[misc]  # final for typing only: the class allows it
    """`asyncio.Runner` of the running CPython, whose loops are `aioxide.EventLoop`s.

    Args:
        debug: passed to `loop.set_debug()` unless it is None (then the loop decides, as PYTHONASYNCIODEBUG
            says).
        loop_factory: makes the loop in place of `aioxide.new_event_loop`. As with asyncio's Runner, a loop
            that a factory made is not made the thread's current event loop, and the default one is.

    Source: asyncio.Runner.
    """

    def __init__(
        self,
        *,
        debug: bool | None = None,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    ) -> None:
        factory = self._default_loop if loop_factory is None else loop_factory
        super().__init__(debug=debug, loop_factory=factory)

    def _default_loop(self) -> asyncio.AbstractEventLoop:
        loop = new_event_loop()
        asyncio.set_event_loop(loop)
        # asyncio's Runner.close() reads this flag, and then takes the loop back from the thread.
        self._set_event_loop = True
        # A runner makes one loop; keeping our bound method would only make it a reference cycle.
        self._loop_factory = new_event_loop
        return loop


def run(
    main: _Main[_T],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> _T:
    """Run the coroutine on a new `aioxide.EventLoop`, close the loop, and return the result.

    `asyncio.run` in every other respect, `loop_factory` included, which asyncio has since 3.12 only.

    Args:
        main: a coroutine; from 3.14 on any awaitable.
        debug: as for `Runner`.
        loop_factory: as for `Runner`.

    Raises:
        RuntimeError: an event loop is running in this thread.
        ValueError, TypeError: `main` is not what `asyncio.Runner.run` takes (the first before 3.14).

    Source: asyncio.run.
    """
    if asyncio._get_running_loop() is not None:
        # The name in the text is asyncio's: programs that say `import aioxide as asyncio` look for it.
        raise RuntimeError("asyncio.run() cannot be called from a running event loop")
    with Runner(debug=debug, loop_factory=loop_factory) as runner:
        return runner.run(main)
