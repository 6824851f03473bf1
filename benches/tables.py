"""The tables of the report, each from the entries of a run."""

from collections.abc import Callable

from .lanes import BASELINE, BEFORE, COLUMNS, FLOOR, LIMIT, NAMESPACE, OURS
from .results import Entry, Verdict, bends, human, verdicts
from .series import FREED, FRESH, STATES

SERVED = ("echo", "sockets", "accept", "beside", "http")


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def number(value: float | None, why: str = "") -> str:
    return why or "-" if value is None else f"{value:.2f}"


def few(value: float | None) -> str:
    """Page faults: less than one in a hundred operations is none."""
    return (
        "-" if value is None else "0" if value < 0.005 else f"{value:.2f}" if value < 100 else f"{value:,.0f}"
    )


def _short(why: str) -> str:
    return why.split(":")[0].split(" (")[0]


def lanes_of(entries: list[Entry]) -> list[str]:
    """The lanes that ran anywhere, in their usual order."""
    return [lane for lane in COLUMNS if any(lane in entry.lanes for entry in entries)]


def _grid(entries: list[Entry], cell: Callable[[Entry, str], str], lanes: list[str] | None = None) -> str:
    lanes = lanes or lanes_of(entries)
    return table(
        ["case", *lanes], [[entry.title, *(cell(entry, lane) for lane in lanes)] for entry in entries]
    )


def by_cpu(entry: Entry) -> bool:
    """Is the cost of this case the server's CPU time, and not its rate?"""
    return (
        entry.unit == "s"
        and entry.group in SERVED
        and entry.cost(OURS) == entry.column(OURS, "cpu") is not None
    )


def _figure(entry: Entry, result: Verdict) -> str:
    if result.figure is None:
        return "-"
    figure = result.target.quantity(result.figure, entry.unit)
    return figure + (" ({:.2f} to {:.2f})".format(*sorted(result.spread)) if result.spread else "")


def targets_table(entries: list[Entry]) -> str:
    """All targets but those at the limit."""
    rows = []
    for entry in entries:
        for result in verdicts(entry):
            if result.at_limit:
                continue
            word = result.word() if result.met else f"**{result.word()}**"
            target = result.target.words(entry.unit)
            target = target.replace("best peer", f"best peer ({result.other or 'none ran'})")
            rows.append(
                [entry.title, target, _figure(entry, result), word, number(entry.ratio(NAMESPACE, OURS))]
            )
    head = ["case", "target", "aioxide (quartiles of the rounds)", "verdict", "`as asyncio` / aioxide"]
    return table(head, rows)


def limit_table(entries: list[Entry]) -> str:
    """Targets that the limit itself does not reach either."""
    rows = []
    for entry in entries:
        for result in verdicts(entry):
            if result.at_limit:
                target = result.target.words().replace("best peer", f"best peer ({result.other})")
                limit, ours = entry.limit, human(entry.cost(OURS), entry.unit)
                reach = f"{result.reach:.2f} x ({limit}, {human(entry.cost(limit), entry.unit)})"
                rows.append(
                    [
                        entry.title,
                        target,
                        f"{_figure(entry, result)}, {ours}",
                        reach,
                        f"{result.distance:.2f}",
                    ]
                )
    head = ["case", "target", "aioxide", "the limit's own figure", "aioxide's cost / the limit's"]
    return table(head, rows) if rows else ""


def losses_table(entries: list[Entry]) -> str:
    """Every case in which a peer is ahead, whatever the target."""
    rows = []
    for entry in entries:
        best = entry.best_peer()
        ratio = best and entry.ratio(OURS, best)
        if ratio and ratio < 0.995:
            low, high = sorted(entry.quartiles(OURS, best) or (ratio, ratio))
            costs = [human(entry.cost(lane), entry.unit) for lane in (OURS, best)]
            rows.append((ratio, [entry.title, best, f"{ratio:.2f} ({low:.2f} to {high:.2f})", *costs]))
    head = ["case", "best peer", "aioxide, times as fast", "aioxide", "the peer"]
    return table(head, [row for _, row in sorted(rows, key=lambda pair: pair[0])]) if rows else ""


def ratios_table(entries: list[Entry]) -> str:
    best = {entry.name: entry.best_peer() for entry in entries}

    def cell(entry: Entry, lane: str) -> str:
        text = number(entry.ratio(lane), _short(entry.failed.get(lane, "")))
        if lane == OURS:
            return f"**{text}**"
        return f"*{text}*" if lane == best[entry.name] and lane != BASELINE else text

    return _grid(entries, cell)


def costs_table(entries: list[Entry]) -> str:
    def cell(entry: Entry, lane: str) -> str:
        cost = entry.cost(lane)
        return "-" if cost is None else human(cost, entry.unit)

    lanes = lanes_of(entries)
    rows = [[entry.title, entry.operation, *(cell(entry, lane) for lane in lanes)] for entry in entries]
    return table(["case", "a", *lanes], rows)


def rates_table(entries: list[Entry]) -> str:
    def cell(entry: Entry, lane: str) -> str:
        wall = entry.column(lane, "wall")
        if wall is None:
            return "-"
        rate = 1 / wall
        return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"

    return _grid(entries, cell)


def cpu_table(entries: list[Entry]) -> str:
    """CPU time and page faults of one operation."""
    entries = [entry for entry in entries if entry.column(OURS, "cpu") is not None]

    def cell(entry: Entry, lane: str) -> str:
        cpu, faults = entry.column(lane, "cpu"), entry.column(lane, "faults")
        return "-" if cpu is None else f"{human(cpu, 's')}; {few(faults)}"

    return _grid(entries, cell) if entries else ""


def busy_table(entries: list[Entry]) -> str:
    """How far each server filled its core: a rate is only the server's own where that is near 1."""
    entries = [entry for entry in entries if any(entry.column(lane, "busy") for lane in entry.lanes)]
    return _grid(entries, lambda entry, lane: number(entry.column(lane, "busy"))) if entries else ""


def late_table(entries: list[Entry]) -> str:
    """The 99th percentile of the answers' delays."""

    def cell(entry: Entry, lane: str) -> str:
        late = entry.column(lane, "p99")
        return "-" if late is None else f"{late * 1e3:.3g}"

    return _grid(entries, cell)


def thread_table(entries: list[Entry]) -> str:
    """The computing thread's speed under load, and beside the idle loop, as shares of its own."""

    def cell(entry: Entry, lane: str) -> str:
        shares = [entry.column(lane, what) for what in ("thread", "idle")]
        return "-" if None in shares else " / ".join(f"{share:.0%}" for share in shares)

    lanes = [lane for lane in lanes_of(entries) if lane != LIMIT]
    return _grid(entries, cell, lanes)


def without_loop_table(entries: list[Entry]) -> str:
    """CPU of a request against what it costs without a loop."""
    rows = []
    lanes = [lane for lane in lanes_of(entries) if lane != LIMIT]
    for entry in entries:
        if base := entry.without_loop():
            own = min(entry.column(lane, "framework") for lane in lanes if entry.column(lane, "framework"))
            parts = f"{human(own, 's')} + {human(base - own, 's')}"
            cells = [entry.column(lane, "cpu") for lane in lanes]
            rows.append([entry.title, parts, *("-" if cpu is None else f"{cpu / base:.2f}" for cpu in cells)])
    return table(["case", "the framework itself + native epoll", *lanes], rows) if rows else ""


def warm_table(entries: list[Entry]) -> str:
    """The first calls of a pool in times of a warm one."""
    entries = [entry for entry in entries if entry.column(OURS, "warm")]

    def cell(entry: Entry, lane: str) -> str:
        cost, warm = entry.cost(lane), entry.column(lane, "warm")
        return "-" if not cost or not warm else f"{human(cost, 's')} ({cost / warm:.1f} x)"

    return _grid(entries, cell) if entries else ""


def states_table(entries: list[Entry]) -> str:
    """Messages a second in a fresh process, and after one freed block."""
    found = {(entry.family, entry.size, entry.state): entry for entry in entries}
    pairs = [
        (entry, found[entry.family, entry.size, FREED])
        for entry in entries
        if entry.state == FRESH and (entry.family, entry.size, FREED) in found
    ]
    lanes = lanes_of([entry for entry, _ in pairs])
    lanes = [lane for lane in lanes if lane not in (NAMESPACE, BEFORE, FLOOR)]

    def cell(pair: tuple[Entry, Entry], lane: str) -> str:
        walls = [entry.column(lane, "wall") for entry in pair]
        if None in walls:
            return "-"
        return " / ".join(f"{1 / wall:,.0f}" if wall < 0.01 else f"{1 / wall:.3g}" for wall in walls)

    titles = [entry.title.replace(f" ({STATES[FRESH]})", "") for entry, _ in pairs]
    rows = [[title, *(cell(pair, lane) for lane in lanes)] for title, pair in zip(titles, pairs, strict=True)]
    return table(["case", *lanes], rows) if rows else ""


def before_table(entries: list[Entry]) -> str:
    """The older build against this one, both in the same run."""
    rows = []
    for entry in entries:
        if (ratio := entry.ratio(OURS, BEFORE)) is None:
            continue
        low, high = sorted(entry.quartiles(OURS, BEFORE) or (ratio, ratio))
        costs = [human(entry.cost(lane), entry.unit) for lane in (BEFORE, OURS)]
        text = f"{ratio:.2f} ({low:.2f} to {high:.2f})"
        # Slower beyond what rounds differ by.
        rows.append([entry.title, *costs, f"**{text}**" if high < 0.98 else text])
    return table(["case", "before", "now", "times as fast"], rows) if rows else ""


def _times(factor: float) -> str:
    return f"{max(factor, 1 / factor):.1f}"


def bends_list(curves: list[list[Entry]]) -> str:
    """Every bend of ours, and beside each those that the others have at the same place."""
    lines = []
    for curve in curves:
        if len(curve) < 2:
            continue
        ours = bends(curve, OURS)
        if not ours:
            continue
        state = f" ({STATES[curve[0].state]})" if curve[0].state else ""
        places = []
        for bend in ours:
            same = [
                f"{lane} {_times(other.factor)}"
                + ("" if (other.factor > 1) == (bend.factor > 1) else " the other way")
                for lane in lanes_of(curve)
                if lane not in (OURS, NAMESPACE, BEFORE)
                for other in bends(curve, lane)
                if other.larger is bend.larger
            ]
            way = f"{_times(bend.factor)} times as {'dear' if bend.factor > 1 else 'cheap'}"
            others = f"; {', '.join(same)}" if same else "; nobody else's does"
            places.append(f"from {bend.smaller.label} to {bend.larger.label} {way}{others}")
        lines.append(f"- {curve[0].heading}{state}, {curve[0].axis or 'by size'}: {' | '.join(places)}.")
    return "\n".join(lines)


def failures(entries: list[Entry]) -> str:
    lines = [f"- {entry.title}: {lane} {why}" for entry in entries for lane, why in entry.failed.items()]
    lines += [f"- {entry.title}: {lane}, {note}" for entry in entries for lane, note in entry.notes.items()]
    return "\n".join(lines)


def probes(entries: list[Entry]) -> str:
    """In which state of malloc the processes really were."""
    sentences, strays = [], []
    for state in (FRESH, FREED):
        of_state = [entry for entry in entries if entry.state == state and entry.probes]
        seen = [faults for entry in of_state for faults in entry.probes.values()]
        if not seen:
            continue
        middle = sorted(seen)[len(seen) // 2]
        sentences.append(f"{middle:.2f} {STATES[state]}")
        strays += [
            f"{entry.title}: {lane} {faults:.2f}"
            for entry in of_state
            for lane, faults in entry.probes.items()
            if (faults > 0.5) != (middle > 0.5)
        ]
    if not sentences:
        return ""
    text = f"Page faults of a read of 256 KiB before the loop was made: {', '.join(sentences)}."
    return text + (f" Otherwise: {'; '.join(strays)}." if strays else "")
