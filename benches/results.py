"""What was measured, and the arithmetic on it: medians of per-round ratios, never ratios of medians."""

import json
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles

from .case import Case, Sample
from .lanes import BASELINE, FLOOR, LIMIT, OURS, PEERS
from .series import STATES
from .targets import TARGETS, Target, targets_of

# So near to the limit a case has to be for a target beyond the limit to be excused.
NEAR = 1.25
# From one size to the next, a cost that changes by so much is a bend in the curve.
BEND = 1.35


def human(cost: float, unit: str) -> str:
    """A cost for people: time in ns, µs or ms; memory in bytes."""
    if unit == "B":
        return f"{cost:,.0f} B"
    # Three digits each: what would round up to 1,000 of a unit is 1 of the next.
    for scale, name in ((1e-3, "ms"), (1e-6, "µs")):
        if cost >= 0.9995 * scale:
            return f"{cost / scale:.3g} {name}"
    return f"{cost * 1e9:.3g} ns"


@dataclass
class Entry:
    """All samples of one case: `costs[lane][r]` is of round r; `failed` has why a lane has none."""

    name: str
    group: str
    family: str
    # Of the family; the size and the state of malloc are in the four below.
    heading: str
    axis: str
    size: int
    label: str
    state: str
    operation: str
    unit: str
    rounds: int
    lanes: list[str]
    costs: dict[str, list[float]] = field(default_factory=dict)
    extra: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    # Page faults of a read of 256 KiB in the lane's process before its loop was made: the state that malloc was in.
    probes: dict[str, float] = field(default_factory=dict)
    # When the run began that these figures are of: a report of several runs says so.
    run: str = ""

    @property
    def title(self) -> str:
        size = f"{self.label} {self.axis}" if self.axis else self.label
        state = f" ({STATES[self.state]})" if self.state else ""
        return f"{self.heading}: {size}{state}"

    @property
    def limit(self) -> str | None:
        """The lane that no loop can undercut here, if the case has one."""
        return next((lane for lane in (LIMIT, FLOOR) if lane in self.lanes), None)

    def add(self, lane: str, sample: Sample) -> None:
        self.costs.setdefault(lane, []).append(sample.cost)
        self.extra.setdefault(lane, []).append(sample.extra)

    def ran(self, lane: str | None) -> bool:
        return lane not in self.failed and bool(self.costs.get(lane))

    def cost(self, lane: str) -> float | None:
        return median(self.costs[lane]) if self.ran(lane) else None

    def column(self, lane: str, what: str) -> float | None:
        """The median of one of the columns: `cost`, or what the samples carry besides."""
        if what == "cost":
            return self.cost(lane)
        values = [extra[what] for extra in self.extra.get(lane, []) if what in extra]
        return median(values) if values and self.ran(lane) else None

    def times(self, lane: str, other: str) -> list[float]:
        """Per round, how many times as cheap `lane` is as `other`: more than 1 is better."""
        if not (self.ran(lane) and self.ran(other)):
            return []
        return [theirs / mine for mine, theirs in zip(self.costs[lane], self.costs[other], strict=True)]

    def ratio(self, lane: str, other: str = BASELINE) -> float | None:
        values = self.times(lane, other)
        return median(values) if values else None

    def quartiles(self, lane: str, other: str) -> tuple[float, float] | None:
        values = self.times(lane, other)
        if len(values) < 3:
            return None
        low, _, high = quantiles(values, n=4, method="inclusive")
        return low, high

    def best_peer(self) -> str | None:
        """The cheapest peer, asyncio's own loop included."""
        able = [lane for lane in PEERS if self.ran(lane)]
        reference = BASELINE if self.ran(BASELINE) else next(iter(able), None)
        return max(able, key=lambda lane: self.ratio(lane, reference)) if able else None

    def efficiency(self, lane: str) -> float | None:
        """What the case would ideally cost, as a share of what it cost."""
        if not self.ran(lane):
            return None
        shares = [e["ideal"] / cost for e, cost in zip(self.extra[lane], self.costs[lane], strict=True)]
        return median(shares)

    def without_loop(self) -> float | None:
        """Seconds of CPU of a request that no loop can undercut: what the framework itself takes, on the loop where it
        takes least, and the native server.
        """
        own = [value for lane in self.lanes if (value := self.column(lane, "framework")) is not None]
        native = self.column(LIMIT, "cpu")
        return min(own) + native if own and native is not None else None

    def line(self) -> str:
        """The case in a line, for the terminal."""
        parts = []
        for lane in self.lanes:
            if (cost := self.cost(lane)) is None:
                parts.append(f"{lane}: {self.failed.get(lane, 'did not run')[:40]}")
            else:
                ratio = self.ratio(lane)
                parts.append(f"{lane} {human(cost, self.unit)}" + (f" ({ratio:.2f})" if ratio else ""))
        return " | ".join(parts)


@dataclass(frozen=True)
class Verdict:
    """How aioxide stands against a target of a case. `figure` is None when it could not be computed; `reach` is the
    figure that the limit itself has, and `distance` aioxide's cost in times of the limit's.
    """

    target: Target
    other: str | None
    figure: float | None
    spread: tuple[float, float] | None = None
    reach: float | None = None
    distance: float | None = None

    @property
    def met(self) -> bool:
        if self.figure is None:
            return False
        # Within 2 %, and rounds that go either way: neither is slower.
        equals = self.target.factor == 1 and not self.target.at_most and self.figure >= 0.98
        return (equals and bool(self.spread) and self.spread[1] >= 1) or self.target.met(self.figure)

    @property
    def at_limit(self) -> bool:
        """Missed because nobody could reach it: the limit does not either, aioxide is near the limit, and not behind
        any peer.
        """
        if self.met or None in (self.figure, self.reach, self.distance):
            return False
        return not self.target.met(self.reach) and self.distance <= NEAR and self.figure >= 1

    def word(self) -> str:
        if self.figure is None:
            return "no figure"
        return "met" if self.met else "at the limit" if self.at_limit else "MISSED"


def verdict(entry: Entry, target: Target, lane: str = OURS) -> Verdict:
    """How `lane` stands against `target` in the case of `entry`."""
    if target.against in ("most", "least"):
        return Verdict(target, None, entry.column(lane, target.of))
    if target.against == "ideal":
        return Verdict(target, None, entry.efficiency(lane))
    if target.against in ("warm", "framework"):
        mine = entry.column(lane, target.of)
        base = entry.column(lane, "warm") if target.against == "warm" else entry.without_loop()
        return Verdict(target, None, mine / base if mine and base else None)
    other = {"best peer": entry.best_peer(), "uvloop": BASELINE, "stock": "asyncio", "limit": LIMIT}[
        target.against
    ]
    if other is None:
        return Verdict(target, None, None)
    if target.at_most:
        # The cost against the other's, the other way round: no more than so many times.
        return Verdict(target, other, entry.ratio(other, lane), entry.quartiles(other, lane))
    reach = distance = None
    if limit := entry.limit:
        reach, distance = entry.ratio(limit, other), entry.ratio(limit, lane)
    return Verdict(target, other, entry.ratio(lane, other), entry.quartiles(lane, other), reach, distance)


def verdicts(entry: Entry, lane: str = OURS) -> list[Verdict]:
    return [verdict(entry, target, lane) for target in targets_of(entry.family, entry.size, entry.state)]


@dataclass(frozen=True)
class Bend:
    """From `smaller` to `larger` the cost of an operation changes by `factor`, more than it does on the way there."""

    lane: str
    smaller: Entry
    larger: Entry
    factor: float


def level(entry: Entry, lane: str) -> float | None:
    """What a bend is looked for in: the cost; of a message of some size, in times of the native server's."""
    if entry.axis or not entry.ran(LIMIT):
        return entry.cost(lane)
    ratio = entry.ratio(LIMIT, lane)
    return ratio


def bends(curve: list[Entry], lane: str) -> list[Bend]:
    """Where the curve of a lane bends. Sizes in bytes without a native server are no curve of one kind of operation."""
    if not curve[0].axis and not any(entry.ran(LIMIT) for entry in curve):
        return []
    found = []
    for smaller, larger in pairwise(curve):
        low, high = level(smaller, lane), level(larger, lane)
        if low and high and not 1 / BEND < high / low < BEND:
            found.append(Bend(lane, smaller, larger, high / low))
    return found


class Results:
    """A run on one machine: what describes it, and its entries in order."""

    def __init__(self, meta: dict | None = None) -> None:
        self.meta = meta or {}
        self.entries: dict[str, Entry] = {}

    def begin(self, case: Case, lanes: list[str], rounds: int) -> Entry:
        point = case.point
        place = (
            case.name,
            case.group,
            case.family,
            case.heading,
            point.axis,
            point.size,
            point.label,
            point.state,
        )
        entry = Entry(*place, case.operation, case.unit, rounds, lanes, run=self.meta.get("date", ""))
        self.entries[case.name] = entry
        return entry

    def curves(self) -> list[list[Entry]]:
        """The entries of one family and state of malloc together, in the order of their sizes."""
        found: dict[tuple[str, str], list[Entry]] = {}
        for entry in self.entries.values():
            found.setdefault((entry.family, entry.state), []).append(entry)
        return [sorted(curve, key=lambda entry: entry.size) for curve in found.values()]

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        entries = [asdict(entry) for entry in self.entries.values()]
        path.write_text(json.dumps({"meta": self.meta, "entries": entries}, indent=1))

    @classmethod
    def load(cls, path: Path) -> "Results":
        stored = json.loads(path.read_text())
        results = cls(stored["meta"])
        # A case that was renamed or removed since is left out.
        results.entries = {e["name"]: Entry(**e) for e in stored["entries"] if e.get("family") in TARGETS}
        return results

    def update(self, newer: "Results", order: list[str]) -> None:
        """Take over the newer run's description and its cases; keep those that it did not run."""
        merged = self.entries | newer.entries
        self.entries = {name: merged[name] for name in order if name in merged}
        self.meta = newer.meta
