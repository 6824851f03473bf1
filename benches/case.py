"""What a case is: the work that a loop does, and how the driver turns it into one sample.

A sample is a *cost*, so that less is better everywhere: seconds an operation, seconds of CPU a message, bytes
an object. The half named `body` or `serve` runs in the worker process, under the loop; the half named
`start`, `sample` and `finish` runs in the driver. Both halves are the same object, found by its name, so no
code travels over the pipe.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from . import groups
from .lanes import LANES, OURS
from .processes import Failed, Wrong, check_loop, on_all_cores


@dataclass(frozen=True)
class Settings:
    """How much is done: `rounds` of the full size, or one small round each when `quick`.

    `clock` is `wall` or `cpu`: by which of the two the cases that run inside a loop are timed; `cpu` is the
    steadier one on a machine that others use too.
    """

    quick: bool = False
    rounds: int = 15
    clock: str = "wall"

    def size(self, full: int) -> int:
        return max(full // 20, 1) if self.quick else full

    def objects(self, full: int) -> int:
        """For memory, which fewer objects would not show: they would fit in what the process had free."""
        return full // 4 if self.quick else full

    def seconds(self, full: float) -> float:
        return full / 5 if self.quick else full

    @property
    def timeout(self) -> float:
        return 10.0 if self.quick else 30.0


@dataclass(frozen=True)
class Sample:
    cost: float
    extra: dict[str, float]

    def __post_init__(self) -> None:
        # Something is always the price: without one, no ratio means anything.
        if self.cost <= 0:
            raise Failed(f"fails: a cost of {self.cost} was measured")


class Case:
    """`unit` is that of the cost (`s` or `B`) and `operation` what it is the cost of."""

    unit = "s"
    # A process that is used for one sample only: memory that was freed once is not resident a second time.
    fresh = False
    # Also run on the native epoll server?
    limit = False
    # Does the code of the case name asyncio at all, so that `import aioxide as asyncio` could change it?
    namespace = True
    # The only lanes that it is for; None: those that are for every case.
    lanes: tuple[str, ...] | None = None
    # Rounds of this case, as a share of those of the settings: the costly ones make do with fewer.
    share = 1.0

    def __init__(self, name: str, group: str, title: str, operation: str) -> None:
        self.name, self.group, self.title, self.operation = name, group, title, operation

    def rounds(self, settings: Settings) -> int:
        return 1 if settings.quick else max(3, round(settings.rounds * self.share))

    def unavailable(self) -> str | None:
        """Why the machine can't run this case, or None."""
        return None

    def start(self, stage, lane: str, settings: Settings):
        raise NotImplementedError

    def sample(self, process, settings: Settings) -> Sample:
        raise NotImplementedError

    def finish(self, process, settings: Settings) -> None:
        """Leave the process as `start` found it."""


class InLoop(Case):
    """Work inside one loop and one process: `body(aio, loop, n)` does `n` operations and returns how many it
    did.
    """

    def __init__(self, *names: str, n: int, body: Callable) -> None:
        super().__init__(*names)
        self.n, self.body = n, body

    # How the worker is started, if not as usual: keywords of `Process`.
    how: Mapping[str, object] = MappingProxyType({})

    def prepare(self, lane, loop):
        """In the worker, once: what `perform` is given besides the loop."""

    def perform(self, aio, loop, prepared, n: int) -> int:
        return self.body(aio, loop, n)

    def clear(self, prepared) -> None:
        """In the worker, when the case is done, and before its loop is closed."""

    def start(self, stage, lane, settings):
        process = stage.worker(lane, self.group, fresh=self.fresh, **self.how)
        check_loop(LANES[lane], process.request({"open": self.name}, settings.timeout))
        return process

    def sample(self, process, settings):
        n = settings.size(self.n)
        reply = process.request({"run": n}, settings.timeout)
        if reply["done"] != n:
            raise Wrong(f"did {reply['done']} operations instead of {n}")
        return Sample(reply[settings.clock] / n, {"wall": reply["wall"] / n, "cpu": reply["cpu"] / n})

    def finish(self, process, settings):
        process.request({"close": self.name}, settings.timeout)


class Resident(InLoop):
    """Memory: `body(aio, loop, n)` makes `n` objects and returns by how many bytes the resident set grew."""

    unit = "B"
    fresh = True
    share = 0.2

    def sample(self, process, settings):
        n = settings.objects(self.n)
        return Sample(process.request({"run": n}, settings.timeout)["done"] / n, {})

    def finish(self, process, settings):
        # What a loop does with 100,000 tasks that never end is not the question here.
        process.kill()


# The executors of the other loops are the standard library's too: these are enough to find the best.
WITH_POOLS = ("asyncio", "uvloop", "zuvloop", "loky", OURS)


class Pools:
    """The executors of one case in its worker process, of the class that goes with the lane."""

    def __init__(self, lane, name: str | None) -> None:
        self._class = lane.pool_class(name) if name else None
        self._made: list = []

    def identity(self) -> str | None:
        return self._class and f"{self._class.__module__}.{self._class.__qualname__}"

    def make(self, *arguments, **keywords):
        pool = self._class(*arguments, **keywords)
        self._made.append(pool)
        return pool

    def one(self, *arguments):
        """The one pool of the case, which its first round makes."""
        return self._made[0] if self._made else self.make(*arguments)

    def shutdown(self) -> None:
        for pool in self._made:
            pool.shutdown()
        self._made.clear()


class Pooled(InLoop):
    """Work for an executor: `body(aio, loop, pools, n)`. The pool's threads and processes use all cores.

    `pool` is the name of a class, of which each lane has its own; None: the loop's default executor.
    """

    namespace = False
    share = 0.5

    def __init__(self, *names: str, pool: str | None, **options) -> None:
        self.fresh = options.pop("fresh", False)
        self.unit = options.pop("unit", "s")
        self.needs = options.pop("needs", None)
        self.how = {"place": options.pop("place", on_all_cores)} | options.pop("environment", {})
        self.ideal = options.pop("ideal", None)
        self.share = options.pop("share", Pooled.share)
        super().__init__(*names, **options)
        self.pool = pool
        self.lanes = (
            WITH_POOLS if pool == "ProcessPoolExecutor" else tuple(x for x in WITH_POOLS if x != "loky")
        )

    def unavailable(self):
        return self.needs() if self.needs else None

    def prepare(self, lane, loop):
        return Pools(lane, self.pool)

    def perform(self, aio, loop, prepared, n):
        return self.body(aio, loop, prepared, n)

    def clear(self, prepared):
        prepared.shutdown()

    def sample(self, process, settings):
        if self.unit == "B":
            n = settings.objects(self.n)
            return Sample(process.request({"run": n}, settings.timeout)["done"] / n, {})
        sample = super().sample(process, settings)
        return Sample(sample.extra["wall"], sample.extra | ({"ideal": self.ideal} if self.ideal else {}))

    def finish(self, process, settings):
        super().finish(process, settings)
        if self.fresh:
            process.kill()


class Served(Case):
    """A server in the worker process, loaded from outside.

    `serve(aio, announce)` is a coroutine that calls `announce(port)` once it listens, and runs until it is
    killed. `load(server, settings)` runs in the driver and returns the sample; `server` has `port` and `pid`.
    """

    share = 0.5

    def __init__(self, *names: str, serve: Callable, load: Callable, **options: object) -> None:
        super().__init__(*names)
        self.serve, self.load = serve, load
        for option, value in options.items():
            if not hasattr(Case, option) and option != "needs":
                raise TypeError(f"a case has no option {option}")
            setattr(self, option, value)

    needs: Callable[[], str | None] | None = None

    def unavailable(self):
        return self.needs() if self.needs else None

    def start(self, stage, lane, settings):
        return stage.server(lane, self, settings.timeout)

    def sample(self, process, settings):
        if not process.alive():
            raise Failed("crashed between two rounds")
        return self.load(process, settings)

    def finish(self, process, settings):
        if self.fresh:
            process.kill()


class Group:
    """The cases of one file, which registers them by calling or decorating with these methods."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cases: dict[str, Case] = {}

    def add(self, case: Case) -> None:
        self.cases[case.name] = case

    def in_loop(self, title: str, *, n: int, operation: str, kind: type[InLoop] = InLoop):
        """Register `body(aio, loop, n)`, a plain function that runs the loop itself."""

        def register(body):
            self.add(kind(body.__name__, self.name, title, operation, n=n, body=body))
            return body

        return register

    def pooled(self, title: str, *, pool: str | None, n: int, operation: str, **options):
        """Register `body(aio, loop, pools, n)`, a plain function; see `Pooled` for the options."""

        def register(body):
            names = (body.__name__, self.name, title, operation)
            self.add(Pooled(*names, pool=pool, n=n, body=body, **options))
            return body

        return register

    def coroutine(self, title: str, *, n: int, operation: str, kind: type[InLoop] = InLoop):
        """Register `body(aio, n)`, a coroutine function that is the loop's main task."""

        def register(body):
            def run(aio, loop, n):
                return loop.run_until_complete(body(aio, n))

            self.add(kind(body.__name__, self.name, title, operation, n=n, body=run))
            return body

        return register


GROUPS = ("callbacks", "timers", "tasks", "memory", "echo", "accept", "http", "executors")


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
