"""The figures of the first page: a chart, two figures against uvloop, and what the report begins with.

Both READMEs and the report have the same block, from the same run. The long tables are the report's alone.
"""

# ruff: noqa: RUF001 (Chinese has full-width punctuation)

from dataclasses import dataclass
from pathlib import Path

from . import machine, tables
from .lanes import BASELINE, OURS
from .results import Entry, Results
from .series import FREED, STATES

README, CHINESE = machine.ROOT / "README.md", machine.ROOT / "README.zh-CN.md"
FOLDER = "docs/project/"
REPORT = machine.ROOT / FOLDER / "benchmarks.md"
CHART = "figures.png"
BEGIN, END = "<!-- figures: written by `python -m benches --write` -->", "<!-- end of figures -->"
MARKS = (BEGIN, END)

# The cases of the chart, with its labels. Cases of I/O only as they are after one freed block: a gain over asyncio in
# a fresh process is mostly malloc's.
CASES = {
    "call_soon_chain@1": "call_soon: each callback queues the next",
    "call_soon_queued@100000": "call_soon: 100,000 callbacks at once",
    "sleep0@1": "a task gives way: sleep(0)",
    "create_task@1": "create a task and await it",
    "future_ping_pong@2": "two tasks wake each other",
    "gather@1000": "gather of 1,000 tasks",
    "echo@1024+freed": "protocol: echo of 1 KiB",
    "echo@102400+freed": "protocol: echo of 100 KiB",
    "echo_streams@20480+freed": "streams: echo of 20 KiB",
    "connect_echo@10+freed": "connect, echo, close",
    "uvicorn@50": "uvicorn: 1 KiB, 50 connections",
    "aiohttp@50": "aiohttp: 1 KiB, 50 connections",
    "to_thread@1": "to_thread, one call at a time",
    "process_call@100": "process pool, one call at a time",
}
BESIDE = ["beside_protocol_2@10", "beside_streams_2@10", "beside_protocol_1@10"]


@dataclass(frozen=True)
class Words:
    """The block in one language. `headlines` are the two figures; the rest is what stands around them."""

    chart: str
    headlines: dict[str, str]
    conditions: str


ENGLISH_WORDS = Words(
    chart="Times as fast as uvloop: asyncio, the best other loop, and aioxide",
    headlines={
        "create_task@1": "- **{} times as fast as uvloop**: create a task and await it.",
        "uvicorn@50": "- **{} times as fast as uvloop**: uvicorn answers requests of 1 KiB on 50 connections.",
    },
    conditions="{python}, {processor}, {cores} cores, {day}; medians. [All figures]({report}), also those where "
    "another loop is faster.",
)
CHINESE_WORDS = Words(
    chart="以 uvloop 为 1 的速度倍数：asyncio、最快的其他事件循环、aioxide",
    headlines={
        "create_task@1": "- **uvloop 的 {} 倍**：创建一个任务并等待它完成。",
        "uvicorn@50": "- **uvloop 的 {} 倍**：uvicorn 在 50 个连接上应答 1 KiB 的请求。",
    },
    conditions="{python}，{processor}，{cores} 核，{day}；均为中位数。"
    "[全部数据]({report})，其他循环更快的项目也在其中。",
)


def figures(results: Results, words: Words = ENGLISH_WORDS) -> str:
    """The block of `results`, without what encloses it; empty when neither of the two cases ran."""
    ratios = {
        name: ratio
        for name in words.headlines
        if name in results.entries and (ratio := results.entries[name].ratio(OURS))
    }
    if not ratios:
        return ""
    meta = results.meta
    known = {name: meta[name] for name in ("python", "processor", "cores")}
    lines = [words.headlines[name].format(tables.number(ratio)) for name, ratio in ratios.items()]
    return "\n\n".join(
        [
            f"![{words.chart}]({FOLDER}{CHART})",
            "\n".join(lines),
            words.conditions.format(**known, day=meta["date"][:10], report=FOLDER + REPORT.name),
        ]
    )


def _title(entry: Entry) -> str:
    title = entry.title.replace(f" ({STATES[FREED]})", "")
    return f"{title} (CPU)" if tables.by_cpu(entry) else title


def _peer(entry: Entry, cell) -> str:
    best = entry.best_peer()
    return f"{best} {cell(entry, best)}" if best else "-"


def _ratios(entries: list[Entry]) -> str:
    def cell(entry: Entry, lane: str) -> str:
        return tables.number(entry.ratio(lane))

    rows = [
        [_title(entry), cell(entry, "asyncio"), _peer(entry, cell), f"**{cell(entry, OURS)}**"]
        for entry in entries
    ]
    return tables.table(["times as fast as uvloop", "asyncio", "best peer", "aioxide"], rows)


def _beside(entries: list[Entry]) -> str:
    def cell(entry: Entry, lane: str) -> str:
        wall, late = entry.column(lane, "wall"), entry.column(lane, "p99")
        return "-" if wall is None or late is None else f"{1 / wall:,.0f} ({late * 1e3:.3g} ms)"

    rows = []
    for entry in entries:
        share = entry.column(OURS, "thread")
        kept = "-" if share is None else f"{share:.0%}"
        title = entry.title.partition(", ")[2]
        rows.append(
            [
                title,
                cell(entry, "asyncio"),
                cell(entry, BASELINE),
                _peer(entry, cell),
                f"**{cell(entry, OURS)}**",
                kept,
            ]
        )
    head = ["answers a second (99 of 100 within)", "asyncio", BASELINE, "best peer", "aioxide"]
    return tables.table([*head, "the thread keeps, of its speed"], rows)


def charted(results: Results) -> list[tuple[str, Entry]]:
    """The cases of the chart that ran, each with its label."""
    return [
        (label, entry)
        for name, label in CASES.items()
        if (entry := results.entries.get(name)) and entry.ratio(OURS)
    ]


def summary_tables(results: Results) -> list[str]:
    """What the chart shows, as numbers, and a server beside a computing thread: paragraphs of the report."""
    entries = [results.entries[name] for name in CASES if name in results.entries]
    beside = [results.entries[name] for name in BESIDE if name in results.entries]
    parts = []
    if entries:
        parts += [
            "Servers run in a process that has once freed a large block, which spares asyncio the page faults of each "
            "read. Before that asyncio is slower: [both states](#both-states-of-malloc). "
            '"CPU": compared by CPU time, not by rate.',
            _ratios(entries),
        ]
    if beside:
        parts += [
            "Echo of 1 KiB where a thread of the server computes all the time:",
            _beside(beside),
            "![Beside a computing thread: rate, latest answers and the thread's own speed](beside.png)",
        ]
    return parts


def block(text: str, marks: tuple[str, str] = MARKS) -> str:
    """What stands between the two marks of a page. Raises `ValueError` where they are not."""
    _, begin, rest = text.partition(marks[0])
    found, end, _ = rest.partition(marks[1])
    if not (begin and end):
        raise ValueError("there is no block from '{}' to '{}'".format(*marks))
    return found.strip()


def for_report(content: str) -> str:
    """The block as the report has it: it lies in the folder that the READMEs' links begin with."""
    return content.replace(f"({FOLDER}{REPORT.name})", "(#targets)").replace(f"({FOLDER}", "(")


def enclosed(content: str, marks: tuple[str, str] = MARKS) -> str:
    begin, end = marks
    return f"{begin}\n\n{content}\n\n{end}" if content else f"{begin}\n{end}"


def update(page: Path, content: str, marks: tuple[str, str] = MARKS) -> None:
    """Put `content` between the marks of `page`."""
    text = page.read_text()
    block(text, marks)
    before, _, rest = text.partition(marks[0])
    page.write_text(before + enclosed(content, marks) + rest.partition(marks[1])[2])
