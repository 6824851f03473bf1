"""Handing `install()` on to the children that `multiprocessing` starts by spawn or forkserver."""

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
    aioxide.install(namespace=namespace)
"""


class _InstallWhenUnpickled:
    """Pickles as a call of `exec`: unpickling the message that prepares a child then installs there."""

    def __init__(self, sys_path: list[str], namespace: bool) -> None:
        self._globals = {"sys_path": list(sys_path), "namespace": namespace}

    def __reduce__(self) -> tuple[Any, tuple[str, dict[str, Any]]]:
        return exec, (_IN_CHILD, self._globals)


def replacements(namespace: Callable[[], bool]) -> Iterator[tuple[Any, str, Any]]:
    """The attributes to replace, as (owner, name, value), so that spawned children install too.

    multiprocessing offers no hook for this. Both start methods build the message that prepares a child with
    `multiprocessing.spawn.get_preparation_data`, and the child ignores keys that it does not know: so one
    more key carries ours. It has been so since 3.4; should it change, the user is told in place of being let
    down in silence.

    Args:
        namespace: asked when a child is started: whether it should `install(namespace=True)`.
    """
    try:
        from multiprocessing import spawn

        prepare = spawn.get_preparation_data
    except (ImportError, AttributeError) as error:
        warnings.warn(
            f"children that multiprocessing spawns will run on asyncio's own event loops: {error}",
            RuntimeWarning,
            stacklevel=_STACKLEVEL_OF_INSTALL,
        )
        return

    def get_preparation_data(name: str) -> dict[str, Any]:
        data = prepare(name)
        data["aioxide"] = _InstallWhenUnpickled(data["sys_path"], namespace())
        return data

    yield spawn, "get_preparation_data", get_preparation_data


# warn() > replacements() > _loop_replacements() > _change_to() > install() > the caller.
_STACKLEVEL_OF_INSTALL = 5
