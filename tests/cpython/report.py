"""Keep the counts of conformance runs: as JSON, and as a table in docs/project/conformance.md."""

import collections
import platform
import re
import sys

from . import runner

DOCUMENT = runner.ROOT / "docs" / "project" / "conformance.md"
CPYTHON, UVLOOP = "## CPython's own tests", "## uvloop's own tests"
CONCURRENT = "## CPython's own tests of concurrent.futures"
TABLE_HEAD = (
    "| CPython | tests | passed | of these on aioxide | failed | excluded | skipped by the test itself |"
)


def totals(results: list[runner.ModuleResult]) -> dict[str, int]:
    """Sums over all modules: tests, each outcome, and the passed ones that met an aioxide loop or class."""
    count = sum((result.count() for result in results), collections.Counter())
    on_ours = sum(1 for r in results for t in r.tests.values() if t["outcome"] == "passed" and t["ours"])
    return {"tests": sum(count.values()), **{o: count[o] for o in runner.OUTCOMES}, "on_ours": on_ours}


def as_json(results: list[runner.ModuleResult], options: runner.Options) -> dict:
    """Everything of a run: interpreter, totals, and each test's outcome, seconds and loops."""
    return {
        "python": platform.python_version(),
        "stock": options.stock,
        "namespace": options.namespace,
        "totals": totals(results),
        "modules": [
            {
                "module": r.module,
                "ok": r.ok,
                "problems": r.problems,
                "loops": r.loops,
                "seconds": round(r.seconds, 1),
                "tests": list(r.tests.values()),
            }
            for r in results
        ],
    }


def row(results: list[runner.ModuleResult]) -> str:
    t = totals(results)
    bad = sum(t[o] for o in runner.BAD)
    cells = platform.python_version(), t["tests"], t["passed"], t["on_ours"], bad, t["excluded"], t["skipped"]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _table(lines: list[str], section: str) -> tuple[int, int]:
    """The first line and the end of the rows of the table in `section`."""
    start = lines.index(TABLE_HEAD, lines.index(section)) + 2
    end = next((i for i in range(start, len(lines)) if not lines[i].startswith("|")), len(lines))
    return start, end


def rows(section: str = CPYTHON) -> dict[str, dict[str, int]]:
    """A table of docs/project/conformance.md: feature version ("3.14") to its counts."""
    names = ("tests", "passed", "on_ours", "failed", "excluded", "skipped")
    lines = DOCUMENT.read_text().splitlines()
    start, end = _table(lines, section)
    found = {}
    for line in lines[start:end]:
        version, *counts = (cell.strip() for cell in line.strip("|").split("|"))
        feature = ".".join(version.split(".")[:2])
        found[feature] = dict(zip(names, map(int, counts), strict=True))
    return found


def write(results: list[runner.ModuleResult], section: str = CPYTHON) -> None:
    """Replace this feature version's row in the table of `section` of the document, or add it in order."""
    lines = DOCUMENT.read_text().splitlines()
    start, end = _table(lines, section)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    kept = [line for line in lines[start:end] if not re.match(rf"\| {re.escape(version)}[. ]", line)]
    lines[start:end] = sorted([*kept, row(results)])
    DOCUMENT.write_text("\n".join(lines) + "\n")
