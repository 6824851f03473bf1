"""What was measured, and the arithmetic on it: medians of per-round ratios, never ratios of medians."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median, quantiles

from .case import Case, Sample
from .lanes import BASELINE, LIMIT, OURS, PEERS
from .targets import TARGETS, Target


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
    title: str
    operation: str
    unit: str
    rounds: int
    lanes: list[str]
    costs: dict[str, list[float]] = field(default_factory=dict)
    extra: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    # When the run began that these figures are of: a report of several runs says so.
    run: str = ""

    def add(self, lane: str, sample: Sample) -> None:
        self.costs.setdefault(lane, []).append(sample.cost)
        self.extra.setdefault(lane, []).append(sample.extra)

    def ran(self, lane: str) -> bool:
        return lane not in self.failed and bool(self.costs.get(lane))

    def cost(self, lane: str) -> float | None:
        return median(self.costs[lane]) if self.ran(lane) else None

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

    def cpu(self, lane: str) -> float | None:
        """Seconds of CPU an operation, of the lane's process, where that was taken."""
        values = [extra["cpu"] for extra in self.extra.get(lane, []) if "cpu" in extra]
        return median(values) if values and self.ran(lane) else None

    def efficiency(self, lane: str) -> float | None:
        """What the case would ideally cost, as a share of what it cost."""
        if not self.ran(lane):
            return None
        shares = [e["ideal"] / cost for e, cost in zip(self.extra[lane], self.costs[lane], strict=True)]
        return median(shares)

    def busy(self, lane: str) -> float | None:
        """The share of the measured time for which the lane's process had the core, where that was taken."""
        shares = [extra["busy"] for extra in self.extra.get(lane, []) if "busy" in extra]
        return median(shares) if shares else None

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
    """How aioxide stands against the target of a case. `figure` is None when it could not be computed."""

    target: Target
    other: str | None
    figure: float | None
    spread: tuple[float, float] | None = None

    @property
    def met(self) -> bool:
        return self.figure is not None and self.target.met(self.figure)

    def word(self) -> str:
        return "no figure" if self.figure is None else "met" if self.met else "MISSED"


def verdict(entry: Entry, lane: str = OURS) -> Verdict:
    target = TARGETS[entry.name]
    other = {
        "best peer": entry.best_peer(),
        "uvloop": BASELINE,
        "stock": "asyncio",
        "limit": LIMIT,
        "bytes": None,
        "ideal": None,
    }[target.against]
    if target.against == "ideal":
        return Verdict(target, other, entry.efficiency(lane))
    if target.against == "bytes":
        return Verdict(target, other, entry.cost(lane))
    if other is None:
        return Verdict(target, other, None)
    if target.at_most:
        # The cost against the other's, the other way round: no more than so many times.
        return Verdict(target, other, entry.ratio(other, lane), entry.quartiles(other, lane))
    return Verdict(target, other, entry.ratio(lane, other), entry.quartiles(lane, other))


class Results:
    """A run on one machine: what describes it, and its entries in order."""

    def __init__(self, meta: dict | None = None) -> None:
        self.meta = meta or {}
        self.entries: dict[str, Entry] = {}

    def begin(self, case: Case, lanes: list[str], rounds: int) -> Entry:
        described = (case.name, case.group, case.title, case.operation, case.unit)
        entry = Entry(*described, rounds, lanes, run=self.meta.get("date", ""))
        self.entries[case.name] = entry
        return entry

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        entries = [asdict(entry) for entry in self.entries.values()]
        path.write_text(json.dumps({"meta": self.meta, "entries": entries}, indent=1))

    @classmethod
    def load(cls, path: Path) -> "Results":
        stored = json.loads(path.read_text())
        results = cls(stored["meta"])
        # A case that was renamed or removed since is left out.
        results.entries = {e["name"]: Entry(**e) for e in stored["entries"] if e["name"] in TARGETS}
        return results

    def update(self, newer: "Results", order: list[str]) -> None:
        """Take over the newer run's description and its cases; keep those that it did not run."""
        merged = self.entries | newer.entries
        self.entries = {name: merged[name] for name in order if name in merged}
        self.meta = newer.meta
