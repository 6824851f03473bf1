"""`python -m benches malloc`: what reads cost in a fresh process under other allocators than the C library's own.

Each is preloaded. musl's is linked here, from the objects of its C library (Debian: musl-dev) and native/musl_malloc.c.
"""

import argparse
import copy
import ctypes.util
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from . import machine, readme, tables
from .case import Case, Sample, Settings
from .lanes import LANES
from .processes import Wrong, build_native
from .registry import load_all
from .results import Results, human
from .runner import Runner
from .series import FREED, FRESH

PAGE = machine.ROOT / "docs" / "explanation" / "where-the-time-goes.md"
MARKS = (
    "<!-- reads by allocator: written by `python -m benches malloc --write` -->",
    "<!-- end of reads -->",
)
CASES = "echo@1024 echo@102400 sock_echo@102400 datagrams@200 pipe_echo@200 pipe_echo@20000".split()
LOOPS = ("asyncio", "uvloop", "aioxide")
EXPORTED = (
    "malloc calloc realloc free aligned_alloc memalign posix_memalign malloc_usable_size reallocarray".split()
)


class Missing(Exception):
    """An allocator can't be had here; the text says why."""


def shared(name: str) -> str:
    """The shared library of that name, as the loader finds it."""
    if found := ctypes.util.find_library(name):
        return found
    raise Missing(f"lib{name} is not installed")


def musl() -> str:
    """musl's malloc as a library for processes of glibc's: its objects, and what they need of their C library."""
    archive = next(iter(sorted(Path("/usr/lib").glob("*-linux-musl/libc.a"))), None)
    if archive is None or not (compiler := shutil.which("cc")):
        raise Missing("there is no musl to link (Debian: musl-dev), or no C compiler")
    library = machine.ROOT / "target" / "bench" / "libmuslmalloc.so"
    library.parent.mkdir(parents=True, exist_ok=True)
    exports = library.with_suffix(".map")
    exports.write_text(f"{{ global: {'; '.join(EXPORTED)}; local: *; }};\n")
    # Else the linker would take glibc's malloc for what nobody has asked for yet.
    wanted = [f"-Wl,-u,{name}" for name in (*EXPORTED, "__libc_malloc_impl")]
    source = machine.ROOT / "benches" / "native" / "musl_malloc.c"
    command = [compiler, "-O2", "-fPIC", "-shared", "-o", library, source, *wanted, "-Wl,-Bsymbolic"]
    done = subprocess.run(
        [*map(str, command), f"-Wl,--version-script={exports}", str(archive)], capture_output=True, text=True
    )
    if done.returncode:
        raise Missing(f"musl's objects do not link here: {done.stderr.strip().splitlines()[-1]}")
    return str(library)


@dataclass(frozen=True)
class Allocator:
    """`library` finds what is preloaded, or raises `Missing`; None: glibc's own malloc, in a `state`."""

    name: str
    library: Callable[[], str] | None = None
    state: str = FRESH


ALLOCATORS = (
    Allocator("glibc, fresh"),
    Allocator("glibc, one block freed", state=FREED),
    Allocator("jemalloc", partial(shared, "jemalloc")),
    Allocator("mimalloc", partial(shared, "mimalloc")),
    Allocator("tcmalloc", partial(shared, "tcmalloc_minimal")),
    Allocator("musl", musl),
)


def loaded(process, library: str) -> bool:
    return os.path.basename(library) in Path(f"/proc/{process.pid}/maps").read_text()


def under(case: Case, allocator: Allocator) -> Case:
    """The same case with a process of its own for each sample, under that allocator, and all rounds of the settings."""
    changed = copy.copy(case)
    changed.fresh, changed.limit, changed.share, changed.least = True, None, 1.0, 1
    if allocator.library is None:
        changed.point = replace(case.point, state=allocator.state)
        return changed
    library = allocator.library()
    # No state: what a read costs before a loop is made is no test of these.
    changed.point = replace(case.point, state="")
    changed.environment = {"LD_PRELOAD": library}

    def sample(process, settings) -> Sample:
        if not loaded(process, library):
            raise Wrong(f"ran without {library}")
        return case.sample(process, settings)

    changed.sample = sample
    return changed


def measured(allocators: list[Allocator], cases: list[Case], loops: list[str], settings: Settings):
    """The results for each allocator that is there; what went wrong; why the others are not there."""
    found, problems, missing = {}, [], {}
    for allocator in allocators:
        runner = Runner(loops, settings, Results())
        print(f"\n{allocator.name}", flush=True)
        try:
            runner.run([under(case, allocator) for case in cases])
        except Missing as why:
            missing[allocator.name] = str(why)
            continue
        found[allocator.name] = runner.results
        problems += [f"{allocator.name}: {problem}" for problem in runner.problems]
    return found, problems, missing


def table(found: dict[str, Results], cases: list[Case], loops: list[str]) -> str:
    """Page faults, and CPU time, of a message: a row for each case and loop, a column for each allocator."""

    def cell(results: Results, name: str, lane: str) -> str:
        entry = results.entries[name]
        faults, cpu = (entry.column(lane, what) for what in ("faults", "cpu"))
        return "-" if faults is None or cpu is None else f"{tables.few(faults)}; {human(cpu, 's')}"

    rows = [
        [case.title, lane, *(cell(results, case.name, lane) for results in found.values())]
        for case in cases
        for lane in loops
    ]
    return tables.table(["page faults and CPU time of a message", "loop", *found], rows)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benches malloc", description=__doc__)
    parser.add_argument("--short", action="store_true", help="loads of a quarter of the time")
    parser.add_argument("--rounds", type=int, default=3, help="samples of each (default: 3)")
    parser.add_argument(
        "--write", action="store_true", help=f"write the table into {PAGE.relative_to(machine.ROOT)}"
    )
    options = parser.parse_args(arguments)
    build_native()
    cases = [load_all()[name] for name in CASES]
    loops = [name for name in LOOPS if not LANES[name].missing()]
    settings = Settings(rounds=options.rounds, short=options.short)
    found, problems, missing = measured(list(ALLOCATORS), cases, loops, settings)
    written = table(found, cases, loops)
    facts = machine.describe()
    under_it = f"{facts['processor']}, {facts['libc']}, {facts['python']}; {facts['aioxide_build']}; {facts['date']}."
    lines = [written, under_it, *(f"Left out: {name}: {why}." for name, why in missing.items())]
    print("\n" + "\n\n".join(lines))
    for problem in problems:
        print(f"PROBLEM {problem}")
    if options.write and not problems:
        readme.update(PAGE, "\n\n".join(lines), MARKS)
    return 1 if problems else 0
