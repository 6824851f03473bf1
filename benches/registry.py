"""All cases: a group registers its own, and here they are found again by name."""

import importlib
import pkgutil
from collections.abc import Callable

from . import groups
from .case import Case, InLoop
from .pooled import Pooled
from .series import Series

GROUPS = (
    "callbacks",
    "timers",
    "tasks",
    "memory",
    "echo",
    "sockets",
    "accept",
    "beside",
    "http",
    "executors",
)


class Group:
    """The cases of one file, which registers them by calling or decorating with these methods.

    Each registers a family: one case for each size of `series`, and for each state of malloc that it names.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.cases: dict[str, Case] = {}

    def add(
        self, kind: type[Case], family: str, title: str, operation: str, series: Series, **options
    ) -> None:
        for point in series.points(family):
            self.cases[point.name] = kind(point, self.name, title, operation, **options)

    def in_loop(
        self,
        title: str,
        series: Series,
        *,
        n: int = 0,
        operation: str,
        kind: type[InLoop] = InLoop,
        **options,
    ):
        """Register `body(aio, loop, n, size)`, a plain function that runs the loop itself."""

        def register(body: Callable):
            self.add(kind, body.__name__, title, operation, series, n=n, body=body, **options)
            return body

        return register

    def pooled(self, title: str, series: Series, *, pool: str | None, n: int, operation: str, **options):
        """Register `body(aio, loop, pools, n, size)`, a plain function; see `Pooled` for the options."""

        def register(body: Callable):
            options.setdefault("kind", Pooled)
            kind = options.pop("kind")
            self.add(kind, body.__name__, title, operation, series, pool=pool, n=n, body=body, **options)
            return body

        return register

    def coroutine(
        self,
        title: str,
        series: Series,
        *,
        n: int = 0,
        operation: str,
        kind: type[InLoop] = InLoop,
        **options,
    ):
        """Register `body(aio, n, size)`, a coroutine function that is the loop's main task."""

        def register(body: Callable):
            def run(aio, loop, n, size):
                return loop.run_until_complete(body(aio, n, size))

            self.add(kind, body.__name__, title, operation, series, n=n, body=run, **options)
            return body

        return register


def load_group(name: str) -> dict[str, Case]:
    return importlib.import_module(f"{groups.__name__}.{name}").GROUP.cases


def load_all() -> dict[str, Case]:
    """All cases by name, in the order of the groups; a file without its line in GROUPS is an error."""
    files = {module.name for module in pkgutil.iter_modules(groups.__path__)}
    if files != set(GROUPS):
        raise RuntimeError(
            f"the groups {sorted(files ^ set(GROUPS))} are not both a file and a line of GROUPS"
        )
    return {case.name: case for group in GROUPS for case in load_group(group).values()}


def smallest(cases: dict[str, Case]) -> list[Case]:
    """The first case of each family: its smallest size, with malloc as a fresh process has it."""
    first: dict[str, Case] = {}
    for case in cases.values():
        first.setdefault(case.family, case)
    return list(first.values())
