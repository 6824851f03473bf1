"""What a case is: the work that a loop does, and how the driver turns it into one sample.

A sample is a *cost*, so that less is better everywhere: seconds an operation, seconds of CPU a message, bytes
an object. The half named `body` or `serve` runs in the worker process, under the loop; the half named
`start`, `sample` and `finish` runs in the driver. Both halves are the same object, found by its name, so no
code travels over the pipe.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

from .processes import Failed, Wrong, on_server_core
from .series import FREED, FRESH, Point

PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Settings:
    """How much is done: `rounds` of the full size, or one small round each when `quick`.

    `clock` is `wall` or `cpu`: by which of the two the cases that run inside a loop are timed; `cpu` is the
    steadier one on a machine that others use too. `short` halves the operations, and loads a
    server for a quarter of the time.
    """

    quick: bool = False
    rounds: int = 15
    clock: str = "wall"
    short: bool = False

    def count(self, full: int, step: int = 1) -> int:
        """How many operations, in whole steps of `step`."""
        wanted = max(full // 20, 1) if self.quick else full // 2 if self.short else full
        return max(step, wanted // step * step)

    def objects(self, full: int) -> int:
        """For memory, which fewer objects would not show: they would fit in what the process had free."""
        return full // 2 if self.quick and full > 20 else full

    def seconds(self, full: float) -> float:
        return full / 5 if self.quick else full / 4 if self.short else full

    @property
    def timeout(self) -> float:
        return 10.0 if self.quick else 30.0


@dataclass(frozen=True)
class Sample:
    """`extra` has what else was measured, for one operation: `wall`, `cpu` in seconds, `faults` (page faults)."""

    cost: float
    extra: dict[str, float]

    def __post_init__(self) -> None:
        # Something is always the price: without one, no ratio means anything.
        if self.cost <= 0:
            raise Failed(f"fails: a cost of {self.cost} was measured")


def window_sample(window: dict[str, float], cost: str = "seconds") -> Sample:
    """The sample of a load's window; `cost` is what of it is the price: `seconds` or `server_cpu`."""
    count, seconds = window["count"], window["seconds"]
    if not count:
        raise Wrong("nothing came back within the measured window")
    extra = {
        "wall": seconds / count,
        "cpu": window["server_cpu"] / count,
        "faults": window["server_faults"] / count,
        "busy": window["server_cpu"] / seconds,
        "client_busy": window["client_cpu"] / seconds,
        "p99": window["p99"],
    }
    return Sample(window[cost] / count, extra)


class Case:
    """One point of a series. `unit` is that of the cost (`s` or `B`) and `operation` what it is the cost of.

    A case has a process of its own for each loop, which has served no other; a `fresh` one has another for each
    sample: what happens once, such as memory that is got for the first time, does not happen a second time.
    That holds for a fresh malloc too: the end of a connection is a read of nothing, and frees the large block
    that it was for.
    """

    unit = "s"
    fresh = False
    # The lane that shows what cannot be undercut: the native server, or the bare interpreter.
    limit: str | None = None
    # Does the code of the case name asyncio at all, so that `import aioxide as asyncio` could change it?
    namespace = True
    # The only lanes that it is for; None: those that are for every case. `with_transports`: also the lanes that only
    # replace a loop's transports.
    lanes: tuple[str, ...] | None = None
    with_transports = False
    # Rounds of this case, as a share of those of the settings, and at least so many: the costly ones make do
    # with fewer.
    share = 1.0
    least = 3
    # Is a round thrown away before the first that counts?
    warm_up = True
    # By which cores its process runs, and with what in its environment.
    place: Callable = staticmethod(on_server_core)
    environment: dict[str, str] | None = None
    # Why the machine can't run it, or None.
    needs: Callable[[], str | None] | None = None

    def __init__(self, point: Point, group: str, title: str, operation: str, **options: object) -> None:
        self.point, self.group, self.operation = point, group, operation
        self.name, self.family, self.size = point.name, point.family, point.size
        self.heading = title
        self.title = f"{title}: {point.words}"
        for option, value in options.items():
            if not hasattr(type(self), option):
                raise TypeError(f"a case has no option {option}")
            setattr(self, option, value)
        if point.state == FRESH:
            self.fresh = True

    @property
    def freed(self) -> bool:
        return self.point.state == FREED

    def rounds(self, settings: Settings) -> int:
        return 1 if settings.quick else max(self.least, round(settings.rounds * self.share))

    def unavailable(self) -> str | None:
        """Why the machine can't run this case, or None."""
        return self.needs() if self.needs else None

    def start(self, stage, lane: str, settings: Settings):
        raise NotImplementedError

    def sample(self, process, settings: Settings) -> Sample:
        raise NotImplementedError

    def finish(self, process, settings: Settings) -> None:
        """Come to an end, as a program does; the process is killed afterwards."""


class InLoop(Case):
    """Work inside one loop and one process: `body(aio, loop, n, size)` does `n` operations, `size` at a time, and
    returns how many it did.
    """

    # Is the size a number of operations, so that n has to be a multiple of it?
    whole = True

    def __init__(self, *names: object, n: int, body: Callable, **options: object) -> None:
        super().__init__(*names, **options)
        self.n, self.body = n, body

    def prepare(self, lane, loop):
        """In the worker, once: what `perform` is given besides the loop."""

    def perform(self, aio, loop, prepared, n: int):
        """A number of operations; or, where the body measures something itself, a dict with `cost`, in the unit of the
        case, and whatever else belongs into the sample.
        """
        return self.body(aio, loop, n, self.size)

    def clear(self, prepared) -> None:
        """In the worker, when the case is done, and before its loop is closed."""

    def start(self, stage, lane, settings):
        return stage.started(lane, self, "open", settings.timeout)

    def sample(self, process, settings):
        n = settings.count(self.n, self.size if self.whole else 1)
        reply = process.request({"run": n}, settings.timeout)
        done = reply["done"]
        if isinstance(done, dict):
            return Sample(done.pop("cost"), done)
        extra = {what: reply[what] / n for what in ("wall", "cpu", "faults")}
        if done != n:
            raise Wrong(f"did {done} operations instead of {n}")
        return Sample(reply[settings.clock] / n, extra)

    def finish(self, process, settings):
        process.request({"close": self.name}, settings.timeout)


class Resident(InLoop):
    """Memory: `body(aio, loop, n, size)` makes `n` objects and returns by how many bytes the resident set grew."""

    unit = "B"
    fresh = True
    # Two samples differ by less than a percent.
    share = 0.15
    least = 1

    def sample(self, process, settings):
        n = settings.objects(self.size)
        grown = process.request({"run": n}, 3 * settings.timeout)["done"]
        # Growth of less than a page can't be told from none.
        return Sample(max(grown, PAGE) / n, {})

    def finish(self, process, settings):
        """What a loop does with 100,000 tasks that never end is not the question here."""


class Served(Case):
    """A server in the worker process, loaded from outside.

    `serve(aio, announce)` is a coroutine that calls `announce(port)` once it listens, and runs until it is
    killed. `load(case, server, settings)` runs in the driver and returns the sample; `server` has `port` and `pid`.
    """

    with_transports = True
    warm_up = False
    share = 0.2
    # Which native server is the limit, where one is, and what it is told.
    native_server = "echo-server"
    manners: tuple[str, ...] = ()

    def __init__(self, *names: object, serve: Callable, load: Callable, **options: object) -> None:
        super().__init__(*names, **options)
        self.serve, self.load = serve, load

    def start(self, stage, lane, settings):
        return stage.server(lane, self, settings.timeout)

    def sample(self, process, settings):
        if not process.alive():
            raise Failed("crashed between two rounds")
        return self.load(self, process, settings)
