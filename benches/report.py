"""The report: docs/benchmarks.md and the picture beside it."""

from . import machine
from .lanes import BASELINE, LANES, LIMIT, NAMESPACE, OURS
from .results import Entry, Results, human, verdict
from .targets import TARGETS

DOCS = machine.ROOT / "docs"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def number(value: float | None, why: str = "") -> str:
    return why or "-" if value is None else f"{value:.2f}"


def _short(why: str) -> str:
    return why.split(":")[0].split(" (")[0]


def _lanes(entries: list[Entry]) -> list[str]:
    """The lanes that ran anywhere, in their usual order."""
    return [lane for lane in [*LANES, LIMIT] if any(lane in entry.lanes for entry in entries)]


def targets_table(entries: list[Entry]) -> str:
    rows = []
    for entry in entries:
        result = verdict(entry)
        figure = "-"
        if result.figure is not None:
            forms = {"bytes": human(result.figure, "B"), "ideal": f"{result.figure:.1%}"}
            figure = forms.get(result.target.against, f"{result.figure:.2f} x")
        if result.spread:
            figure += " ({:.2f} to {:.2f})".format(*sorted(result.spread))
        word = result.word() if result.met else f"**{result.word()}**"
        target = str(result.target).replace("best peer", f"best peer ({result.other or 'none ran'})")
        rows.append([entry.title, target, figure, word, number(entry.ratio(NAMESPACE, OURS))])
    return table(
        ["case", "target", "aioxide (quartiles of the rounds)", "verdict", "`as asyncio` / aioxide"], rows
    )


def ratios_table(entries: list[Entry]) -> str:
    lanes = _lanes(entries)
    rows = []
    for entry in entries:
        best = entry.best_peer()
        cells = []
        for lane in lanes:
            cell = number(entry.ratio(lane), _short(entry.failed.get(lane, "")))
            cells.append(
                f"**{cell}**" if lane == OURS else f"*{cell}*" if lane == best and lane != BASELINE else cell
            )
        rows.append([entry.title, *cells])
    return table(["case", *lanes], rows)


def costs_table(entries: list[Entry]) -> str:
    lanes = _lanes(entries)
    rows = []
    for entry in entries:
        costs = [entry.cost(lane) for lane in lanes]
        cells = ["-" if cost is None else human(cost, entry.unit) for cost in costs]
        rows.append([entry.title, entry.operation, *cells])
    return table(["case", "a", *lanes], rows)


def busy_table(entries: list[Entry]) -> str:
    """How far each server filled its core: a rate is only the server's own where that is near 1."""
    entries = [entry for entry in entries if any(entry.busy(lane) for lane in entry.lanes)]
    lanes = _lanes(entries)
    rows = [[entry.title, *(number(entry.busy(lane)) for lane in lanes)] for entry in entries]
    return table(["case", *lanes], rows) if rows else ""


def pools_table(entries: list[Entry]) -> str:
    """What calls in pools cost the calling process in CPU time, which spinning raises."""
    entries = [entry for entry in entries if entry.group == "executors" and entry.unit == "s"]
    lanes = _lanes(entries)
    rows = []
    for entry in entries:
        costs = [entry.cpu(lane) for lane in lanes]
        rows.append([entry.title, *("-" if cost is None else human(cost, "s") for cost in costs)])
    return table(["case", *lanes], rows) if rows else ""


def failures(entries: list[Entry]) -> str:
    lines = [f"- {entry.title}: {lane} {why}" for entry in entries for lane, why in entry.failed.items()]
    lines += [f"- {entry.title}: {lane}, {note}" for entry in entries for lane, note in entry.notes.items()]
    return "\n".join(lines)


def summary(entries: list[Entry]) -> str:
    verdicts = [(entry, verdict(entry)) for entry in entries]
    met = sum(result.met for _, result in verdicts)
    missed = [entry.title for entry, result in verdicts if not result.met]
    unrun = [name for name in TARGETS if name not in {entry.name for entry in entries}]
    text = f"{met} of {len(TARGETS)} targets met."
    if missed:
        text += f" Missed: {'; '.join(missed)}."
    if unrun:
        text += f" Not run: {', '.join(unrun)}."
    return text


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
        f"- {meta['date']}; {spread} rounds a case; "
        f"cases within one process by {meta['clock']} clock."
        + (f" The cases are of {len(runs)} runs." if len(runs) > 1 else ""),
    ]
    lines += [f"- Left out: {name}: {why}." for name, why in meta["missing"].items()]
    return "\n".join(lines)


BUSY = """\
A server that waits for its clients pays for going to sleep and waking up with every message, and handles
fewer in one turn: costs and rates compare well only between servers that fill their core about equally (on a
machine where nothing else runs, all of them nearly do)."""

POOLS = """\
User and system time of all threads of the calling process, its pool of threads included, but not of the
processes of a pool. Between two calls aioxide looks at a flag for up to 50 microseconds before it sleeps in the
kernel, on either side: that is the price of answering sooner, and `AIOXIDE_SPIN=0`, which the case "without
spinning" has in its environment, saves it."""

METHOD = f"""\
Each loop has a process of its own, pinned to one core; the driver, the native clients and wrk are on the
other. A round is one turn of every loop, one after the other, and who begins moves on by one from round to
round. One round before the first is thrown away. The garbage collector runs before each turn and stays on. A
ratio is taken within a round; the tables have the median over the rounds. All cases run unchanged code with
the standard library's names; `{NAMESPACE}` is the same code with `import aioxide as asyncio`. Importing
rsloop replaces `asyncio.open_connection` and `asyncio.start_server` by its own: in its process these are
measured.

The cost of an echo is the server's CPU time (user and system) a message, from its process clock, while a
native client keeps one message of each connection under way; `{LIMIT}` is a server in Rust that does epoll,
recv and send and nothing else. Memory is growth of the resident set in a fresh process: of 100,000 tasks that
wait for one future, of 10,000 connections that have each echoed one message. "Best peer" is the best of all
other loops in that case and run, asyncio's own included.

Calls in pools use all cores, and each loop has its own pool: that of the standard library, or aioxide's. `loky`
is its pool of processes on asyncio's loop. The loops whose pools and ways to them are the standard library's
are represented by asyncio, uvloop and zuvloop.
`python -m benches profile CASE` shows where the time of a case goes;
[where-the-time-goes.md](where-the-time-goes.md) does so for the targets that are hard to reach."""


def markdown(results: Results, picture: str | None = None) -> str:
    entries = list(results.entries.values())
    parts = ["# Benchmarks", "Written by `python -m benches --write`; not by hand. " + summary(entries)]
    if picture:
        parts.append(f"![Each loop against uvloop, case by case]({picture})")
    parts += ["## Targets", targets_table(entries)]
    parts += [
        "## Times as fast as uvloop (memory: times as small)",
        "In italics: the best peer.",
        ratios_table(entries),
    ]
    parts += ["## Cost of one operation", costs_table(entries)]
    if busy := busy_table(entries):
        parts += ["## Share of its core that the server filled", BUSY, busy]
    if pools := pools_table(entries):
        parts += ["## CPU time of the caller for a call in a pool", POOLS, pools]
    if failed := failures(entries):
        parts += ["## What did not run", failed]
    return "\n\n".join([*parts, "## Conditions", conditions(results), "## Method", METHOD]) + "\n"


def write(results: Results) -> None:
    from . import plot

    DOCS.mkdir(exist_ok=True)
    plot.draw(results, DOCS / "benchmarks.png")
    (DOCS / "benchmarks.md").write_text(markdown(results, "benchmarks.png"))
    print("wrote docs/benchmarks.md and docs/benchmarks.png")
