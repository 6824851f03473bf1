"""Cases of executors: the pools of threads and processes that go with a loop."""

from .case import InLoop, Sample
from .lanes import OURS
from .processes import on_all_cores

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
    """Work for an executor: `body(aio, loop, pools, n, size)`. The pool's threads and processes use all cores.

    `pool` is the name of a class, of which each lane has its own; None: the loop's default executor. `ideal` is the
    cost that arithmetic gives, in seconds, where there is one.
    """

    namespace = False
    share = 0.34
    place = staticmethod(on_all_cores)

    def __init__(
        self, *names: object, pool: str | None, ideal: float | None = None, **options: object
    ) -> None:
        super().__init__(*names, **options)
        self.pool, self.ideal = pool, ideal
        processes = pool == "ProcessPoolExecutor"
        self.lanes = WITH_POOLS if processes else tuple(x for x in WITH_POOLS if x != "loky")

    def prepare(self, lane, loop):
        return Pools(lane, self.pool)

    def perform(self, aio, loop, prepared, n):
        return self.body(aio, loop, prepared, n, self.size)

    def clear(self, prepared):
        prepared.shutdown()

    def sample(self, process, settings):
        sample = super().sample(process, settings)
        if self.unit == "B":
            return sample
        # The wall clock decides: what a pool's processes do is not in the caller's CPU time.
        cost = sample.extra.get("wall", sample.cost)
        return Sample(cost, sample.extra | ({"ideal": self.ideal} if self.ideal else {}))
