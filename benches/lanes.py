"""Who runs: one lane for each event loop, and how a loop of it is made and known again."""

import importlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass


@dataclass(frozen=True)
class Lane:
    """One competitor.

    `module` has `new_event_loop()`; `namespace` is the module whose names a case uses as `asyncio`; a loop
    whose class does not come from the package `module` is not this lane's. `pools` is the module whose
    executors go with the loop; a lane that is not `everywhere` is there for them alone.
    """

    name: str
    module: str
    namespace: str = "asyncio"
    peer: bool = True
    pools: str = "concurrent.futures"
    everywhere: bool = True

    def new_event_loop(self):
        return importlib.import_module(self.module).new_event_loop()

    def import_namespace(self):
        return importlib.import_module(self.namespace)

    def owns(self, loop_class: str) -> bool:
        return loop_class.split(".")[0] == self.module

    def pool_class(self, name: str) -> type:
        return getattr(importlib.import_module(self.pools), name)

    def owns_pool(self, pool_class: str) -> bool:
        return pool_class.startswith(f"{self.pools}.")

    def missing(self) -> str | None:
        """Why this lane can't run on this Python, or None when it can."""
        if None in (importlib.util.find_spec(self.module), importlib.util.find_spec(self.pools)):
            return "not installed (no wheel for this Python and libc, or `python -m benches install` not run)"
        # Only our own is tried in this process: some of the others change asyncio or start threads.
        if self.module == OURS:
            try:
                self.new_event_loop().close()
            except Exception as error:
                return f"does not work here ({type(error).__name__}: {error})"
        return None

    def version(self) -> str:
        package = self.module if self.everywhere else self.pools
        if package == "asyncio":
            return "of this Python"
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return "from the source tree"


BASELINE = "uvloop"
OURS = "aioxide"
NAMESPACE = "aioxide as asyncio"
LIMIT = "native epoll"

LANES = {
    lane.name: lane
    for lane in (
        Lane("asyncio", "asyncio"),
        Lane(BASELINE, "uvloop"),
        Lane("zuvloop", "zuvloop"),
        Lane("rloop", "rloop"),
        Lane("rsloop", "rsloop"),
        Lane("loky", "asyncio", pools="loky", everywhere=False),
        Lane(OURS, "aioxide", peer=False, pools="aioxide"),
        Lane(NAMESPACE, "aioxide", namespace="aioxide", peer=False, pools="aioxide"),
    )
}

PEERS = [lane.name for lane in LANES.values() if lane.peer]
# A peer that crashes or hangs is a finding; one of these that does is our own failure.
MUST_RUN = ("asyncio", BASELINE, OURS, NAMESPACE, LIMIT)
