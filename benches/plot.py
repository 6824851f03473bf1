"""The pictures: a small panel for each curve, a line for each loop, in times as fast as uvloop; the case of a server
beside a computing thread by itself; and the chart of the first page.
"""

import math
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from . import readme
from .lanes import BASELINE, BEFORE, COLUMNS, FLOOR, LIMIT, NAMESPACE, OURS
from .results import Entry, Results, verdict, verdicts
from .series import STATES
from .targets import targets_of

PANELS = 6
COLOURS = {
    "asyncio": "#9aa1a9",
    BASELINE: "#20242a",
    "aiofastnet": "#7a6a9b",
    "zuvloop": "#3f78b5",
    "rloop": "#5b9a4f",
    "rsloop": "#b58a3a",
    "blazio": "#1f9aa0",
    "loky": "#b0659f",
    OURS: "#c8491e",
    NAMESPACE: "#e9a184",
    BEFORE: "#d9b3a3",
    FLOOR: "#3d434b",
    LIMIT: "#3d434b",
}
INK, SOFT, GOOD, BAD, LINES = "#20242a", "#767e88", "#2f7d4f", "#b3261e", "#e9ebee"
OURS_GOAL = "#20242a"
WIDTH, HEIGHT, TOP = 23.0, 2.9, 1.25


def _tick(value: float, _position: int) -> str:
    return f"{value:g}" if value >= 1 else f"1/{1 / value:g}"


def _goal(entry: Entry) -> float | None:
    """Where aioxide's line has to reach, in times as fast as uvloop; the first target of the case that is about its
    cost.
    """
    for target in targets_of(entry.family, entry.size, entry.state):
        result = verdict(entry, target)
        if target.of == "cost" and result.other and (other := entry.ratio(result.other)):
            return other / target.factor if target.at_most else other * target.factor
    return None


def _lanes(curve: list[Entry]) -> list[str]:
    return [lane for lane in COLUMNS if any(entry.ran(lane) for entry in curve)]


def _line(axes, curve: list[Entry], lane: str, value: Callable[[Entry, str], float | None]) -> list[float]:
    """Draw one lane, and return its heights."""
    points = [(place, value(entry, lane)) for place, entry in enumerate(curve)]
    points = [(place, height) for place, height in points if height]
    if not points:
        return []
    places, heights = zip(*points, strict=True)
    ours, limit = lane == OURS, lane in (LIMIT, FLOOR)
    axes.plot(
        places,
        heights,
        color=COLOURS[lane],
        linewidth=2.8 if ours else 1.3,
        linestyle=":" if limit else "--" if lane in (NAMESPACE, BEFORE) else "-",
        marker="o",
        markersize=5.5 if ours else 3,
        zorder=5 if ours else 4,
    )
    return list(heights)


def _frame(axes, curve: list[Entry], heights: list[float]) -> None:
    """Scales and ticks around `heights`, on a logarithmic scale of base 2."""
    low = min([*heights, 0.6])
    high = max([*heights, 1.6])
    exponents = range(math.floor(math.log2(low)), math.ceil(math.log2(high)) + 1)
    step = max(1, len(exponents) // 6)
    axes.set_yscale("log", base=2)
    axes.set_ylim(low / 1.12, high * 1.12)
    axes.yaxis.set_major_locator(FixedLocator([2.0**e for e in exponents if e % step == 0]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(_tick))
    _places(axes, curve)


def _places(axes, curve: list[Entry]) -> None:
    axes.set_xlim(-0.25, len(curve) - 0.75)
    axes.set_xticks(range(len(curve)), [entry.label.replace(",000,000", " M") for entry in curve])
    axes.grid(axis="both", color=LINES, linewidth=0.8, zorder=0)
    axes.tick_params(axis="both", length=0, labelsize=7.5, labelcolor=SOFT)
    if curve[0].axis:
        axes.set_xlabel(curve[0].axis, fontsize=8, color=SOFT, labelpad=1)
    for side in axes.spines.values():
        side.set_visible(False)


def _heading(axes, curve: list[Entry]) -> None:
    found = [result for entry in curve for result in verdicts(entry)]
    met = sum(result.met or result.at_limit for result in found)
    state = f"\n{STATES[curve[0].state]}" if curve[0].state else ""
    title = curve[0].heading
    title = title if len(title) < 38 else title[:36] + " ..."
    axes.set_title(title + state, loc="left", fontsize=9, fontweight="bold", color=INK, pad=4)
    colour = GOOD if met == len(found) else BAD
    text = f"{met}/{len(found)}"
    axes.text(
        1.0, 1.02, text, transform=axes.transAxes, ha="right", fontsize=8, color=colour, fontweight="bold"
    )


def _panel(axes, curve: list[Entry]) -> None:
    heights = [height for lane in _lanes(curve) for height in _line(axes, curve, lane, Entry.ratio)]
    for place, entry in enumerate(curve):
        if goal := _goal(entry):
            axes.plot([place - 0.14, place + 0.14], [goal, goal], color=OURS_GOAL, linewidth=2.4, zorder=6)
            heights.append(goal)
    _frame(axes, curve, heights)
    _heading(axes, curve)


def _legend(figure, lanes: list[str], height: float, *, goal: bool = True) -> None:
    handles = [
        Line2D(
            [],
            [],
            color=COLOURS[lane],
            linewidth=2.8 if lane == OURS else 1.5,
            linestyle=":" if lane in (LIMIT, FLOOR) else "--" if lane in (NAMESPACE, BEFORE) else "-",
            marker="o",
            markersize=4,
            label=lane,
        )
        for lane in lanes
    ]
    if goal:
        handles.append(Line2D([], [], color=OURS_GOAL, linewidth=2.4, label="target of aioxide"))
    corner = (0.992, 1 - 0.12 / height)
    figure.legend(
        handles=handles, loc="upper right", bbox_to_anchor=corner, ncols=5, frameon=False, fontsize=10
    )


def _header(figure, results: Results, height: float, title: str, text: str) -> None:
    meta = results.meta
    place = {"x": 0.012, "ha": "left", "va": "top"}
    figure.text(s=title, y=1 - 0.2 / height, fontsize=22, fontweight="bold", color=INK, **place)
    text = f"{text}\n{meta['python']}, {meta['processor']}, {meta['date'][:10]}; medians of per-round ratios."
    figure.text(s=text, y=1 - 0.72 / height, fontsize=12, color=SOFT, linespacing=1.5, **place)


def draw(results: Results, path: Path) -> None:
    """Draw all curves of `results` into a PNG at `path`."""
    curves = results.curves()
    rows = math.ceil(len(curves) / PANELS)
    height = TOP + rows * HEIGHT
    figure = pyplot.figure(figsize=(WIDTH, height), facecolor="white")
    width, left, gap = 0.139, 0.03, 0.0245
    for index, curve in enumerate(curves):
        row, column = divmod(index, PANELS)
        bottom = height - TOP - (row + 1) * HEIGHT + 0.55
        place = (left + column * (width + gap), bottom / height, width, (HEIGHT - 1.05) / height)
        _panel(figure.add_axes(place), curve)
    text = (
        "Times as fast as uvloop, on a logarithmic scale (memory: times as small), over the size of the case. "
        "Top right: targets met."
    )
    _header(figure, results, height, "aioxide and the others", text)
    lanes = [lane for lane in COLUMNS if any(lane in _lanes(curve) for curve in curves)]
    _legend(figure, lanes, height)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _rate(entry: Entry, lane: str) -> float | None:
    wall = entry.column(lane, "wall")
    return 1 / wall if wall else None


def _milliseconds(entry: Entry, lane: str) -> float | None:
    late = entry.column(lane, "p99")
    return late * 1e3 if late else None


def _share(entry: Entry, lane: str) -> float | None:
    share = entry.column(lane, "thread")
    return share * 100 if share else None


def draw_beside(results: Results, path: Path) -> bool:
    """Draw the curves beside a computing thread; False when there are none."""
    curves = [curve for curve in results.curves() if curve[0].group == "beside"]
    if not curves:
        return False
    rows = (
        ("answers a second", _rate, True),
        ("ms, 99 of 100 answers", _milliseconds, True),
        ("% of the thread's own speed", _share, False),
    )
    height = TOP + len(rows) * HEIGHT
    figure = pyplot.figure(figsize=(WIDTH, height), facecolor="white")
    width, gap = 0.92 / len(curves) - 0.025, 0.025
    for row, (label, value, logarithmic) in enumerate(rows):
        for column, curve in enumerate(curves):
            bottom = height - TOP - (row + 1) * HEIGHT + 0.55
            place = (0.045 + column * (width + gap), bottom / height, width, (HEIGHT - 1.05) / height)
            axes = figure.add_axes(place)
            if logarithmic:
                axes.set_yscale("log")
                axes.yaxis.set_minor_locator(NullLocator())
                axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:,g}"))
            else:
                axes.set_ylim(0, 115)
            for lane in _lanes(curve):
                _line(axes, curve, lane, value)
            _places(axes, curve)
            title = curve[0].heading.partition(", ")[2] if row == 0 else ""
            axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK, pad=4)
            if column == 0:
                axes.set_ylabel(label, fontsize=9, color=INK)
    text = "Echo of 1 KiB by a server in whose process a thread computes."
    _header(figure, results, height, "Beside a computing thread", text)
    _legend(figure, [lane for lane in COLUMNS if any(lane in _lanes(c) for c in curves)], height, goal=False)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
    return True


def draw_figures(results: Results, path: Path) -> bool:
    """Draw the chart of the first page, a row for each of its cases; False when none of them ran."""
    rows = readme.charted(results)
    if not rows:
        return False
    figure = pyplot.figure(figsize=(10.0, 1.1 + 0.36 * len(rows)), facecolor="white")
    axes = figure.add_axes((0.335, 0.09, 0.635, 0.91 - 0.62 / figure.get_figheight()))
    heights = [
        ratio
        for _, entry in rows
        for lane in ("asyncio", entry.best_peer(), OURS)
        if (ratio := entry.ratio(lane))
    ]
    for row, (_, entry) in enumerate(rows):
        _chart_row(axes, len(rows) - 1 - row, entry)
    axes.set_xscale("log", base=2)
    axes.set_xlim(min([*heights, 0.6]) / 1.12, max([*heights, 2.0]) * 1.25)
    axes.xaxis.set_major_locator(FixedLocator([2.0**exponent for exponent in range(-4, 7)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(_tick))
    axes.set_yticks(range(len(rows)), [label for label, _ in reversed(rows)])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.grid(axis="x", color=LINES, linewidth=0.8, zorder=0)
    axes.axvline(1, color=COLOURS[BASELINE], linewidth=1.6, zorder=2)
    axes.tick_params(axis="both", length=0, labelsize=10, labelcolor=INK)
    for side in axes.spines.values():
        side.set_visible(False)
    _chart_header(figure)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return True


def _chart_row(axes, height: int, entry: Entry) -> None:
    """The dots of one case, and aioxide's figure beside its own."""
    marks = (
        ("asyncio", COLOURS["asyncio"], 6),
        (entry.best_peer(), COLOURS["zuvloop"], 6),
        (OURS, COLOURS[OURS], 9),
    )
    for lane, colour, size in marks:
        if ratio := entry.ratio(lane):
            axes.plot([ratio], [height], marker="o", markersize=size, color=colour, linestyle="", zorder=4)
    ours = entry.ratio(OURS)
    # Beside the last dot, not on it.
    last = max(ours, entry.ratio(entry.best_peer()) or 0)
    axes.plot([1, ours], [height, height], color=COLOURS[NAMESPACE], linewidth=2.2, zorder=3)
    place = {"xytext": (8, 0), "textcoords": "offset points", "va": "center"}
    axes.annotate(
        f"{ours:.2f}", (last, height), fontsize=9.5, fontweight="bold", color=COLOURS[OURS], **place
    )


def _chart_header(figure) -> None:
    top = 1 - 0.12 / figure.get_figheight()
    figure.text(
        0.015, top, "Times as fast as uvloop", fontsize=15, fontweight="bold", color=INK, ha="left", va="top"
    )
    names = ("asyncio", COLOURS["asyncio"]), ("best other loop", COLOURS["zuvloop"]), (OURS, COLOURS[OURS])
    handles = [Line2D([], [], color=COLOURS[BASELINE], linewidth=1.6, label=BASELINE)]
    handles += [Line2D([], [], color=colour, marker="o", linestyle="", label=name) for name, colour in names]
    corner = {"loc": "upper right", "bbox_to_anchor": (0.985, top + 0.01)}
    figure.legend(handles=handles, ncols=4, frameon=False, fontsize=10, **corner)
