"""`install(replace_uvloop=True)`: uvloop's public names over aioxide, for programs that ask for uvloop by name.

uvloop itself need not be installed. Its documentation is the source of the names and of what they do; `tests/uvloop`
runs its own tests on them.
"""

import asyncio
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from .._loop import EventLoop as Loop, new_event_loop
from . import policy, runner

# The release whose names these are; `__version__` where no uvloop is installed.
_VERSION = "0.23.0"


def run(
    main: Any,
    *,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = new_event_loop,
    debug: bool | None = None,
    **more: Any,
) -> Any:
    """Run an awaitable on a new loop and return its result, as `uvloop.run` does.

    Args:
        main: a coroutine.
        loop_factory: makes the loop.
        debug: as for `asyncio.run`.

    Raises:
        TypeError: the loop that the factory made is another one.
    """

    async def wrapper() -> Any:
        if not isinstance(asyncio.get_running_loop(), Loop):
            raise TypeError("uvloop.run() uses a non-uvloop event loop")
        return await main

    return runner.run(wrapper(), loop_factory=loop_factory, debug=debug, **more)


def install() -> None:
    """Set the policy, as `uvloop.install` does; deprecated there, and so is this.

    The warning names this module, and is hidden by default, as uvloop's own.
    """
    if sys.version_info >= (3, 12):
        warnings.warn(
            "uvloop.install() is deprecated in favor of uvloop.run() starting with Python 3.12.",
            DeprecationWarning,
            stacklevel=1,
        )
    asyncio.set_event_loop_policy(policy.EventLoopPolicy())


_NAMES: dict[str, Any] = {
    "EventLoopPolicy": policy.EventLoopPolicy,
    "Loop": Loop,
    "install": install,
    "new_event_loop": new_event_loop,
    "run": run,
}


def replacements() -> Iterator[tuple[Any, str, Any]]:
    """The attributes to replace, as (owner, name, value), so that `import uvloop` gives a module over aioxide.

    Where uvloop has been imported already, whoever has the module keeps it, with our objects under its names.
    """
    present: Any = sys.modules.get("uvloop")
    if present is None:
        yield sys.modules, "uvloop", (package := _module("uvloop", __all__=tuple(sorted(_NAMES)), **_NAMES))
        yield sys.modules, "uvloop.loop", (loop := _module("uvloop.loop", Loop=Loop))
        yield sys.modules, "uvloop._version", (version := _module("uvloop._version", __version__=_version()))
        package.__path__ = []
        package.__version__, package.loop, package._version = version.__version__, loop, version
        return
    yield from ((present, name, value) for name, value in _NAMES.items())
    if (loop := sys.modules.get("uvloop.loop")) is not None:
        yield loop, "Loop", Loop


def _module(name: str, **names: Any) -> Any:
    module = ModuleType(name, "aioxide under uvloop's name: aioxide.install(replace_uvloop=True)")
    module.__spec__ = ModuleSpec(name, None, origin="aioxide", is_package="." not in name)
    vars(module).update(names)
    return module


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("uvloop")
    except metadata.PackageNotFoundError:
        return _VERSION
