"""Handing `install()` on to the children that `multiprocessing` starts by spawn or forkserver."""

import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

# What a child does first, before it imports the parent's main module. It is source text because the child may
# not be able to import aioxide at all (another interpreter, by multiprocessing.set_executable): it then says
# so and goes on. sys.path is what multiprocessing itself sets a moment later: without it, an aioxide that the
# parent found through a changed sys.path would not be found here.
_IN_CHILD = """
import sys
sys.path = sys_path
try:
    import aioxide
except ImportError as error:
    import warnings
    warnings.warn(
        f"aioxide.install() is not in force in this child process, its loops are asyncio's own: {error}",
        RuntimeWarning,
    )
else:
    aioxide.install(**options)
"""


class _InstallWhenUnpickled:
    """Pickles as a call of `exec`: unpickling the message that prepares a child then installs there."""

    def __init__(self, sys_path: list[str], options: dict[str, bool]) -> None:
        self._globals = {"sys_path": list(sys_path), "options": options}

    def __reduce__(self) -> tuple[Any, tuple[str, dict[str, Any]]]:
        return exec, (_IN_CHILD, self._globals)


# The name by which multiprocessing's fork server asks for what it shall do itself.
_FORKSERVER = "ignore"

# The module whose function builds what a child is told.
MODULE = "multiprocessing.spawn"


def replacements(spawn: Any, options: Callable[[], dict[str, bool]]) -> Iterator[tuple[Any, str, Any]]:
    """The attributes to replace, as (owner, name, value), so that spawned children install too.

    multiprocessing offers no hook for this. Both start methods build the message that prepares a child with
    `multiprocessing.spawn.get_preparation_data`, and the child ignores keys that it does not know: so one
    more key carries ours. It has been so since 3.4; should it change, the user is told in place of being let
    down in silence.

    Args:
        spawn: the module `MODULE`, which is not imported for this: at its import, multiprocessing takes what
            `__main__` is at that moment for the program, and one that `runpy` runs later is not there yet.
        options: asked when a child is started: the keyword arguments for its `install()`.
    """
    prepare = getattr(spawn, "get_preparation_data", None)
    if prepare is None:
        warnings.warn(
            "children that multiprocessing spawns will run on asyncio's own event loops: "
            f"{MODULE} has no get_preparation_data",
            RuntimeWarning,
            stacklevel=_frames_of_ours() + 1,
        )
        return

    def get_preparation_data(name: str) -> dict[str, Any]:
        data: dict[str, Any] = prepare(name)
        if name == _FORKSERVER and options().get("replace_uvloop"):
            # From 3.13.1 on the server imports the program's main module ahead of its children, unprepared: `import
            # uvloop` in it would fail, or give them uvloop's own names. So each child imports it by itself.
            data.pop("init_main_from_path", None)
        data["aioxide"] = _InstallWhenUnpickled(data["sys_path"], options())
        return data

    yield spawn, "get_preparation_data", get_preparation_data


def _frames_of_ours() -> int:
    """How many frames of this package stand above that of the user; `warnings` does not count importlib's."""
    frame, count = sys._getframe(1), 0
    while frame.f_back is not None:
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package not in ("aioxide", "importlib"):
            break
        count += package == "aioxide"
        frame = frame.f_back
    return count
