"""Who runs: one lane for each event loop, and how a loop of it is made and known again."""

import importlib
import importlib.util
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Lane:
    """One competitor.

    `module` has `new_event_loop()`; `namespace` is the module whose names a case uses as `asyncio`; a loop
    whose class does not come from the package `module` is not this lane's. `pools` is the module whose
    executors go with the loop, `transports` the package that replaces the loop's transports, if one does. A
    lane that is not `everywhere` is there for these alone.
    """

    name: str
    module: str
    namespace: str = "asyncio"
    peer: bool = True
    pools: str = "concurrent.futures"
    transports: str = ""
    everywhere: bool = True

    def new_event_loop(self):
        loop = importlib.import_module(self.module).new_event_loop()
        if self.transports:
            importlib.import_module(self.transports).patch_loop(loop)
        return loop

    def import_namespace(self):
        return importlib.import_module(self.namespace)

    def owns(self, loop_class: str) -> bool:
        return loop_class.startswith(f"{self.module}.")

    def owns_transports(self, method: str) -> bool:
        """`method` is where the loop's create_server() comes from."""
        return not self.transports or method.startswith(f"{self.transports}.")

    def pool_class(self, name: str) -> type:
        return getattr(importlib.import_module(self.pools), name)

    def owns_pool(self, pool_class: str) -> bool:
        return pool_class.startswith(f"{self.pools}.")

    def missing(self) -> str | None:
        """Why this lane can't run on this Python, or None when it can."""
        if self.name == FLOOR:
            return without_compiler()
        modules = [self.module, self.pools, *([self.transports] if self.transports else [])]
        if None in map(importlib.util.find_spec, modules):
            return "not installed (no wheel for this Python and libc, or `python -m benches install` not run)"
        # Only our own is tried in this process: some of the others change asyncio or start threads.
        if self.name == OURS:
            try:
                self.new_event_loop().close()
            except Exception as error:
                return f"does not work here ({type(error).__name__}: {error})"
        return None

    def version(self) -> str:
        import importlib.metadata

        package = self.transports or (self.module if self.everywhere else self.pools)
        if package == "asyncio":
            return "of this Python"
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return "from the source tree"


def without_compiler() -> str | None:
    """Why the bare interpreter's loop, a C file, can't be built here."""
    if sys.version_info < (3, 12):
        return "its C code wants CPython 3.12 or newer"
    if shutil.which("cc") is None:
        return "there is no C compiler"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "this Python has no headers"
    return None


BASELINE = "uvloop"
OURS = "aioxide"
NAMESPACE = "aioxide as asyncio"
# An older build of ours, for a table of before and after.
BEFORE = "aioxide before"
# What cannot be undercut: the kernel's part by a native server, the interpreter's by native/floor.c.
LIMIT = "native epoll"
FLOOR = "interpreter"

LANES = {
    lane.name: lane
    for lane in (
        Lane("asyncio", "asyncio"),
        Lane(BASELINE, "uvloop"),
        Lane("aiofastnet", "uvloop", transports="aiofastnet", everywhere=False),
        Lane("zuvloop", "zuvloop"),
        Lane("rloop", "rloop"),
        Lane("rsloop", "rsloop"),
        Lane("blazio", "blazio"),
        Lane("loky", "asyncio", pools="loky", everywhere=False),
        Lane(OURS, "aioxide", peer=False, pools="aioxide"),
        Lane(NAMESPACE, "aioxide", namespace="aioxide", peer=False, pools="aioxide"),
        Lane(BEFORE, "aioxide", peer=False, pools="aioxide"),
        Lane(FLOOR, "benches.floor", peer=False, everywhere=False),
    )
}

PEERS = [lane.name for lane in LANES.values() if lane.peer]
# The order of columns.
COLUMNS = [*(name for name in LANES if name != FLOOR), FLOOR, LIMIT]
# A peer that crashes or hangs is a finding; one of these that does is our own failure.
MUST_RUN = ("asyncio", BASELINE, OURS, NAMESPACE, FLOOR, LIMIT)
