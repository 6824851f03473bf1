"""The report: docs/project/benchmarks.md and the pictures beside it; and the READMEs' figures."""

from pathlib import Path

from . import readme, tables
from .lanes import FLOOR, LIMIT, NAMESPACE, OURS
from .registry import GROUPS, load_all
from .results import NEAR, Entry, Results, human, verdicts

DOCS = readme.REPORT.parent
# Each README, and the words of its block.
READMES = {readme.README: readme.ENGLISH_WORDS, readme.CHINESE: readme.CHINESE_WORDS}

NAMES = {
    "callbacks": "Callbacks",
    "timers": "Timers",
    "tasks": "Tasks and futures",
    "memory": "Memory of what waits",
    "echo": "Echo",
    "sockets": "sock_recv, datagrams and pipes",
    "accept": "Connections that come and go",
    "beside": "Beside a computing thread",
    "http": "HTTP servers",
    "executors": "Pools of threads and processes",
}

BUSY = """\
Share of its core that the server used. A server that waits for its clients also pays for going to sleep and
waking up with every message, and handles fewer messages in one turn. So costs and rates compare well only
between servers that use their core about equally. (On a machine where nothing else runs, nearly all of them
do.)"""

POOLS = """\
CPU time here is that of all threads of the calling process, its thread pool included, without the processes of
a process pool. Between two calls aioxide spins for up to 50 microseconds before it sleeps, on either side. That
is the price of a faster answer. `AIOXIDE_SPIN=0`, which the case "without spinning" sets, saves it."""

STATES = """\
asyncio, and loops made like it, allocate 256 KiB for each read and then shrink the block. glibc maps and unmaps
such a block each time, which costs page faults, until the program has once freed a large block at its full
size. From then on glibc keeps such blocks. Importing numpy, uvicorn or aiohttp frees one, so does compiling
modules where no `.pyc` is kept, and so does the first connection that its peer closes, because a read of
nothing frees its block whole. Hence each case of I/O is run in both states: in a fresh process, and in one that
has freed one block of 4 MB before its loop was made. A gain over asyncio that only the first column shows is
malloc's. Messages (or connections) a second, fresh / after one freed block:"""

BESIDE = """\
A thread of the server's process counts in Python without end. A loop that releases the GIL gets it back after
the switch interval, 5 ms, if the other thread computes on another core. "Two cores": the server, its thread and
the client have both. "One core": all three share one, as in a container with one CPU."""

LIMITS = f"""\
Some targets cannot be reached by any loop, because the time is spent elsewhere. `{LIMIT}` is a server that does
epoll, recv and send and nothing else. `{FLOOR}` is a loop in C that makes only the interpreter's own calls
(`benches/native/floor.c`: a queue, contexts, coroutines; no descriptors, timers or cancelling). A target is "at
the limit" if the limit itself does not reach it, aioxide's cost is at most {NEAR} times the limit's, and no
peer is ahead."""

METHOD = f"""\
Each case has its own process for each loop, pinned to one core. The driver, the native clients and wrk run on
the other core. (Cases of threads, pools and computing threads use both where they say so.) A round is one turn
of every loop, one after the other; from round to round another loop begins. Within one process the round before
the first is thrown away; the load of a server has a warm-up. The garbage collector runs before each turn and
stays on. A ratio is taken within a round, and the tables have the median over the rounds. All cases run
unchanged code with the standard library's names; `{NAMESPACE}` is the same code with `import aioxide as
asyncio`. aiofastnet is uvloop with aiofastnet's transports. Importing rsloop replaces `asyncio.open_connection`
and `asyncio.start_server` by its own: in its process these are measured.

Small echoes are compared by the server's CPU time (user and system) for each message, marked "by CPU"; large
ones by rate, while a native client keeps one message of each connection under way. Page faults are those of the
measured process that need no disk. Memory is growth of the resident set in a fresh process, after half as many
objects had filled what was free. The CPU time of a framework itself is measured in the server's process before
it listens: its protocol gets the bytes of wrk's request without a socket; the lowest value of all loops counts.
"Best peer" is the best of all other loops in that case and run, asyncio's own included. "At least 1 x" is also
met if two loops differ by less than 2 % and the rounds go either way.

Calls in pools use all cores. Each loop has its own pool: that of the standard library, or aioxide's. `loky` is
its pool of processes on asyncio's loop. asyncio, uvloop and zuvloop stand for all loops that use the standard
library's pools. `python -m benches profile CASE` shows where the time of a case goes; [Where the time
goes](../explanation/where-the-time-goes.md) does so for the targets that are hard to reach."""


def summary(results: Results) -> str:
    entries = list(results.entries.values())
    found = [(entry, result) for entry in entries for result in verdicts(entry)]
    met = sum(result.met for _, result in found)
    limited = sum(result.at_limit for _, result in found)
    missed = list(
        dict.fromkeys(entry.title for entry, result in found if not (result.met or result.at_limit))
    )
    text = f"{met} of {len(found)} targets met, {limited} at the limit, {len(found) - met - limited} missed."
    if missed:
        text += f" Missed: {'; '.join(missed)}."
    if unrun := not_run(results):
        text += f" Not run: {', '.join(unrun)}."
    return text


def not_run(results: Results) -> list[str]:
    """The cases without figures; of a family that has none at all, its name alone."""
    ran = {entry.family for entry in results.entries.values()}
    missing = [case for case in load_all().values() if case.name not in results.entries]
    return list(dict.fromkeys(case.name if case.family in ran else case.family for case in missing))


def conditions(results: Results) -> str:
    meta, entries = results.meta, list(results.entries.values())
    versions = ", ".join(f"{name} {version}" for name, version in meta["versions"].items())
    tools = ", ".join(f"{name} {version}" for name, version in meta["tools"].items())
    rounds = sorted({entry.rounds for entry in entries})
    spread = str(rounds[0]) if len(rounds) == 1 else f"{rounds[0]} to {rounds[-1]}"
    runs = {entry.run for entry in entries}
    lines = [
        f"- {meta['processor']}, {meta['cores']} cores; Linux {meta['kernel']}, {meta['libc']}; "
        f"TCP congestion control: {meta['congestion']}.",
        f"- {meta['python']} ({meta['python_build']}); {versions}; {tools}.",
        f"- aioxide: {meta['aioxide_build']}.",
        f"- {meta['date']}; {spread} rounds a case{', shortened' if meta.get('short') else ''}; "
        f"cases within one process by {meta['clock']} clock."
        + (f" The cases are of {len(runs)} runs." if len(runs) > 1 else ""),
    ]
    if note := tables.probes(entries):
        lines.append(f"- {note}")
    lines += [f"- Left out: {name}: {why}." for name, why in meta["missing"].items()]
    return "\n".join(lines)


def _beside(entries: list[Entry]) -> list[str]:
    return [
        BESIDE,
        "![Rate, latest answers and the computing thread's speed](beside.png)",
        "Milliseconds within which 99 of 100 answers came:",
        tables.late_table(entries),
        "The computing thread's speed under load / beside the idle loop, in percent of its own in a process that does "
        "nothing else:",
        tables.thread_table(entries),
    ]


def group_section(group: str, entries: list[Entry]) -> list[str]:
    """All tables of one group of cases."""
    parts = [f"## {NAMES[group]}"]
    if group == "beside":
        parts += _beside(entries)
    by_cpu = sorted({entry.heading for entry in entries if tables.by_cpu(entry) and entry.axis})
    sizes = sorted(
        {(entry.size, entry.label) for entry in entries if tables.by_cpu(entry) and not entry.axis}
    )
    by_cpu += [label for _, label in sizes]
    note = f" By CPU: {', '.join(by_cpu)}." if by_cpu else ""
    what = "Times as small as uvloop's" if group == "memory" else "Times as fast as uvloop"
    parts += [f"{what}; in italics: the best peer.{note}", tables.ratios_table(entries)]
    if group in tables.SERVED:
        parts += ["A second:", tables.rates_table(entries)]
    else:
        parts += ["Cost of one operation:", tables.costs_table(entries)]
    if cpu := tables.cpu_table(entries):
        parts += [POOLS] if group == "executors" else []
        parts += ["CPU time of one operation; its page faults:", cpu]
    if group == "http" and (without := tables.without_loop_table(entries)):
        parts += ["CPU time of a request in times of what it costs without a loop:", without]
    if group == "executors" and (warm := tables.warm_table(entries)):
        parts += ["The first calls with much data, in times of a warm one:", warm]
    if group in ("echo", "sockets", "accept", "http") and (busy := tables.busy_table(entries)):
        parts += [BUSY, busy]
    return parts


def markdown(results: Results, picture: str | None = None) -> str:
    entries = list(results.entries.values())
    parts = ["# Benchmarks", "Written by `python -m benches --write`; not by hand. " + summary(results)]
    if picture:
        parts.append(f"![Each loop against uvloop, curve by curve]({picture})")
    parts += ["## In short", readme.enclosed(readme.for_report(readme.figures(results)))]
    parts += readme.summary_tables(results)
    if losses := tables.losses_table(entries):
        parts += ["## Where a peer is ahead", losses]
    parts += ["## Targets", tables.targets_table(entries)]
    if limited := tables.limit_table(entries):
        parts += ["## At the limit", LIMITS, limited]
    if bent := tables.bends_list(results.curves()):
        text = (
            "The cost of an operation changes by more than a third from one size to the next. For sizes in bytes, the "
            "cost is taken in times of the native server's. After the semicolon: the factor for the other loops."
        )
        parts += ["## Where aioxide's curves bend", text, bent]
    if states := tables.states_table(entries):
        parts += ["## Both states of malloc", STATES, states]
    if before := tables.before_table(entries):
        build = results.meta.get("before") or "an older build"
        text = (
            f"Before: {build}, in the same run, turn by turn. In bold: slower by more than the rounds differ."
        )
        parts += ["## Before and after", text, before]
    for group in GROUPS:
        if of_group := [entry for entry in entries if entry.group == group]:
            parts += group_section(group, of_group)
    if failed := tables.failures(entries):
        parts += ["## What did not run", failed]
    return "\n\n".join([*parts, "## Conditions", conditions(results), "## Method", METHOD]) + "\n"


def write(results: Results, into: Path = DOCS) -> None:
    from . import plot

    into.mkdir(parents=True, exist_ok=True)
    plot.draw(results, into / "benchmarks.png")
    pictures = ["benchmarks.png"]
    if plot.draw_beside(results, into / "beside.png"):
        pictures.append("beside.png")
    if plot.draw_figures(results, into / readme.CHART):
        pictures.append(readme.CHART)
    (into / "benchmarks.md").write_text(markdown(results, "benchmarks.png"))
    print(f"wrote benchmarks.md, {', '.join(pictures)} into {into}")
    # A try that goes elsewhere changes no page of the project.
    if into == DOCS:
        for page, words in READMES.items():
            readme.update(page, readme.figures(results, words))
        print("wrote the figures of both READMEs")


def terminal(results: Results) -> str:
    """What is said at the end of a run: what was missed, and who is ahead."""
    entries = list(results.entries.values())
    missed = [
        f"  {result.word():12} {entry.title}: {result.target.words(entry.unit)}, "
        f"{'-' if result.figure is None else result.target.quantity(result.figure, entry.unit)}"
        for entry in entries
        for result in verdicts(entry)
        if not result.met
    ]
    ahead = [
        f"  {ratio:.2f} x {best:10} {entry.title}: {human(entry.cost(OURS), entry.unit)}"
        for entry in entries
        if (best := entry.best_peer()) and (ratio := entry.ratio(OURS, best)) and ratio < 0.995
    ]
    return "\n".join([summary(results).partition(" Missed:")[0], *missed, "A peer is ahead:", *ahead])
