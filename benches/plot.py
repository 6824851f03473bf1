"""The picture: a small panel for each case, a bar for each loop, from uvloop's line to either side."""

from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullLocator

from .lanes import BASELINE, LANES, LIMIT, NAMESPACE, OURS
from .results import Entry, Results, verdict

COLUMNS = 6
COLOURS = {
    "asyncio": "#bcc2c9",
    "zuvloop": "#7d9bb8",
    "rloop": "#a3b79d",
    "rsloop": "#c6b08f",
    "loky": "#b59ab0",
    OURS: "#c8491e",
    NAMESPACE: "#e9a184",
    LIMIT: "#3d434b",
}
INK, SOFT, GOOD, BAD, LINES = "#20242a", "#767e88", "#2f7d4f", "#b3261e", "#e9ebee"


@dataclass(frozen=True)
class Section:
    """Cases of a kind, in rows of their own; `ticks` is their scale, in times as fast as uvloop."""

    title: str
    groups: tuple[str, ...]
    ticks: tuple[float, ...]


WIDE, NARROW = (0.125, 0.25, 0.5, 1, 2, 4, 8, 16), (0.25, 0.5, 1, 2, 4)
SECTIONS = (
    Section("Callbacks and timers", ("callbacks", "timers"), WIDE),
    Section("Tasks and futures", ("tasks",), WIDE),
    Section("Echo by protocol", ("echo",), NARROW),
    Section("Memory, connections, HTTP servers", ("memory", "accept", "http"), NARROW),
    Section("Pools of threads and processes", ("executors",), WIDE),
)


def _tick(value: float, _position: int) -> str:
    return f"{value:g}" if value >= 1 else f"1/{1 / value:g}"


def _lanes(entries: list[Entry]) -> list[str]:
    """The lanes of a section: each of its panels has the same rows, so that one names them for all."""
    present = {lane for entry in entries for lane in entry.lanes} - {BASELINE}
    return [lane for lane in (*LANES, LIMIT) if lane in present]


def _goal(entry: Entry) -> float | None:
    """Where aioxide's bar has to reach, in times as fast as uvloop."""
    result = verdict(entry)
    if result.target.against == "ideal":
        return None if result.figure is None else entry.ratio(OURS) * result.target.factor / result.figure
    if result.target.against == "bytes":
        baseline = entry.cost(BASELINE)
        return baseline / result.target.factor if baseline else None
    other = entry.ratio(result.other) if result.other else None
    if other is None:
        return None
    return other / result.target.factor if result.target.at_most else other * result.target.factor


def _bar(axes, row: int, lane: str, entry: Entry, low: float, high: float, goal: float | None) -> None:
    """One bar with its number, which keeps clear of the mark at `goal`."""
    ratio = entry.ratio(lane)
    if ratio is None:
        if lane in entry.lanes:
            why = "hangs" if "hangs" in entry.failed.get(lane, "") else "fails"
            axes.text(1.08, row, why, va="center", fontsize=8, color=BAD, style="italic", zorder=4)
        return
    edge = min(max(ratio, low), high)
    axes.barh(row, edge - 1, left=1, height=0.78, color=COLOURS[lane], zorder=2)
    right, ours = ratio >= 1, lane == OURS
    # A bar that ends at the frame has its number inside, where it does not run into the names.
    inside = edge == low
    anchor = goal if goal and edge <= goal <= edge * (high / low) ** 0.12 else edge
    axes.annotate(
        f"{ratio:.2f}" if ratio < 9.95 else f"{ratio:.1f}",
        (anchor, row),
        xytext=((3 if anchor == edge else 5) if right or inside else -3, 0),
        textcoords="offset points",
        ha="left" if right or inside else "right",
        va="center_baseline",
        fontsize=8.5 if ours else 8,
        fontweight="bold" if ours else "normal",
        color=("white" if ours else INK) if inside else INK if ours else SOFT,
        zorder=4,
    )


def _heading(axes, entry: Entry) -> None:
    result = verdict(entry)
    title = entry.title if len(entry.title) < 32 else entry.title.partition(",")[0]
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK, pad=5)
    word, colour = ("met", GOOD) if result.met else (result.word().lower(), BAD)
    axes.set_title(word, loc="right", fontsize=8.5, color=colour, fontweight="bold", pad=5)


def _panel(axes, entry: Entry, section: Section, lanes: list[str], *, named: bool) -> None:
    low, high = section.ticks[0], section.ticks[-1]
    axes.set_xscale("log", base=2)
    axes.set_xlim(low / 1.05, high * 1.05)
    axes.set_ylim(len(lanes) - 0.4, -0.6)
    axes.xaxis.set_major_formatter(FuncFormatter(_tick))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(section.ticks)
    axes.grid(axis="x", color=LINES, linewidth=0.9, zorder=0)
    axes.axvline(1, color=INK, linewidth=1.1, zorder=3)
    goal = _goal(entry) if entry.ran(OURS) else None
    for row, lane in enumerate(lanes):
        _bar(axes, row, lane, entry, low, high, goal if lane == OURS else None)
    names = [lane.replace(NAMESPACE, "as asyncio") for lane in lanes] if named else []
    axes.set_yticks(range(len(lanes)) if named else [], names)
    axes.tick_params(axis="both", length=0, labelsize=8, labelcolor=SOFT)
    for label, lane in zip(axes.get_yticklabels(), lanes if named else [], strict=True):
        label.set(
            color=COLOURS[OURS] if lane == OURS else INK, fontweight="bold" if lane == OURS else "normal"
        )
        label.set_fontsize(9)
    if goal and low <= goal <= high:
        row = lanes.index(OURS)
        axes.plot([goal, goal], [row - 0.5, row + 0.5], color=INK, linewidth=2.6, zorder=5)
    for side in axes.spines.values():
        side.set_visible(False)
    _heading(axes, entry)


def _header(figure, results: Results, height: float) -> None:
    meta, entries = results.meta, results.entries.values()
    met = sum(verdict(entry).met for entry in entries)
    place = {"x": 0.012, "ha": "left", "va": "top"}
    title = {"fontsize": 22, "fontweight": "bold", "color": INK}
    figure.text(s="aioxide and the others", y=1 - 0.2 / height, **title, **place)
    text = (
        "Times as fast as uvloop, on a logarithmic scale (memory: times as small): "
        f"each bar begins at uvloop's line, further right is better. {met} of {len(entries)} targets met.\n"
        f"{meta['python']}, {meta['processor']}, {meta['date'][:10]}; "
        "medians of per-round ratios; each loop in a process of its own, on one core."
    )
    figure.text(s=text, y=1 - 0.68 / height, fontsize=12, color=SOFT, linespacing=1.5, **place)
    handles = [Patch(color=colour, label=lane) for lane, colour in COLOURS.items()]
    handles.insert(1, Line2D([], [], color=INK, linewidth=1.1, label="uvloop = 1"))
    handles.append(Line2D([], [], color=INK, linewidth=2.6, label="target of aioxide"))
    corner = (0.992, 1 - 0.15 / height)
    figure.legend(
        handles=handles, loc="upper right", bbox_to_anchor=corner, ncols=3, frameon=False, fontsize=11
    )


def _rows(results: Results) -> list[tuple[Section, list[str], list[Entry], bool]]:
    """The rows of the picture: section, lanes, up to COLUMNS entries, does the section begin here."""
    rows = []
    for section in SECTIONS:
        entries = [entry for entry in results.entries.values() if entry.group in section.groups]
        lanes = _lanes(entries)
        for start in range(0, len(entries), COLUMNS):
            rows.append((section, lanes, entries[start : start + COLUMNS], start == 0))
    return rows


def draw(results: Results, path: Path) -> None:
    """Draw all cases of `results` into a PNG at `path`."""
    rows = _rows(results)
    height = 1.5 + sum(2.15 + 0.4 * begins for *_, begins in rows)
    figure = pyplot.figure(figsize=(23, height), facecolor="white")
    width, left, gap = 0.139, 0.058, 0.018
    y = height - 1.5
    for section, lanes, entries, begins in rows:
        if begins:
            y -= 0.4
            figure.text(
                0.012, (y + 0.1) / height, section.title, fontsize=14, fontweight="bold", color=COLOURS[OURS]
            )
        y -= 2.15
        for column, entry in enumerate(entries):
            place = (left + column * (width + gap), (y + 0.4) / height, width, 1.3 / height)
            _panel(figure.add_axes(place), entry, section, lanes, named=column == 0)
    _header(figure, results, height)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
