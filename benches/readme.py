"""The figures of README: a part of the report's, from the same run, in a block that both of them hold."""

from pathlib import Path

from . import machine, tables
from .lanes import BASELINE, OURS
from .results import Entry, Results
from .series import FREED, STATES

README, REPORT = machine.ROOT / "README.md", machine.ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- figures: written by `python -m benches --write` -->", "<!-- end of figures -->"
MARKS = (BEGIN, END)

# Cases of I/O only as they are after one freed block: a gain over asyncio in a fresh process is mostly malloc's.
CASES = """
    call_soon_chain@1 call_soon_queued@100000 sleep0@1 create_task@1 future_ping_pong@2 gather@1000
    echo@1024+freed echo@102400+freed echo_streams@20480+freed connect_echo@10+freed uvicorn@50 aiohttp@50
    to_thread@1 process_call@100
""".split()
BESIDE = ["beside_protocol_2@10", "beside_streams_2@10", "beside_protocol_1@10"]


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


def figures(results: Results) -> str:
    """The block of `results`, without what encloses it; empty when none of its cases ran."""
    entries = [results.entries[name] for name in CASES if name in results.entries]
    beside = [results.entries[name] for name in BESIDE if name in results.entries]
    parts = []
    meta = results.meta
    if entries:
        parts += [
            f"{meta['python']}, {meta['processor']}, {meta['cores']} cores, {meta['date'][:10]}; medians. Servers run "
            "in a process that has once freed a large block, which spares asyncio the page faults of each read. Before "
            "that it is slower: [both states](docs/benchmarks.md#both-states-of-malloc). "
            '"CPU": compared by CPU time, not by rate.',
            _ratios(entries),
        ]
    if beside:
        parts += [
            "Echo of 1 KiB where a thread of the server computes all the time:",
            _beside(beside),
            "![Beside a computing thread: rate, latest answers and the thread's own speed](docs/beside.png)",
        ]
    return "\n\n".join(parts)


def block(text: str, marks: tuple[str, str] = MARKS) -> str:
    """What stands between the two marks of a page. Raises `ValueError` where they are not."""
    _, begin, rest = text.partition(marks[0])
    found, end, _ = rest.partition(marks[1])
    if not (begin and end):
        raise ValueError("there is no block from '{}' to '{}'".format(*marks))
    return found.strip()


def for_report(content: str) -> str:
    """The block as the report has it, which lies in docs/ itself."""
    return content.replace("(docs/benchmarks.md#", "(#").replace("(docs/", "(")


def enclosed(content: str, marks: tuple[str, str] = MARKS) -> str:
    begin, end = marks
    return f"{begin}\n\n{content}\n\n{end}" if content else f"{begin}\n{end}"


def update(page: Path, content: str, marks: tuple[str, str] = MARKS) -> None:
    """Put `content` between the marks of `page`."""
    text = page.read_text()
    block(text, marks)
    before, _, rest = text.partition(marks[0])
    page.write_text(before + enclosed(content, marks) + rest.partition(marks[1])[2])
