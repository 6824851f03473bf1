"""``python -m tests.uvloop``: uvloop's own tests on aioxide."""

import argparse
import json
import sys
from pathlib import Path

from tests.cpython import report, runner
from tests.cpython.__main__ import print_result, print_summary

from . import sdist, suite


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.uvloop", description=__doc__)
    add = parser.add_argument
    add("--module", action="append", default=[], help="only this module (test_tcp); may be repeated")
    add("-k", metavar="TEXT", help="only tests whose id contains TEXT")
    add(
        "--only-excluded",
        action="store_true",
        help="run what exclusions.toml leaves out, to see what passes by now",
    )
    add(
        "--stock", action="store_true", help="the twins of the tests that run on asyncio's loop: the baseline"
    )
    add("--timeout", type=float, default=60.0, metavar="SECONDS", help="for one test (default 60)")
    add("--workers", type=int, default=2, help="modules at a time (default 2)")
    add("--json", type=Path, metavar="FILE", help="write every test's outcome there")
    add(
        "--write-docs", action="store_true", help="put this version's counts into docs/project/conformance.md"
    )
    add("-v", "--verbose", action="store_true", help="print the tracebacks of what failed")
    return parser.parse_args()


def main() -> int:
    chosen = parse()
    try:
        names = chosen.module or suite.modules()
    except sdist.Unavailable as reason:
        print(f"uvloop {sdist.VERSION}'s source distribution can't be had: {reason}", file=sys.stderr)
        return 2
    options = suite.options(
        k=chosen.k, stock=chosen.stock, only_excluded=chosen.only_excluded, timeout=chosen.timeout
    )
    results = runner.run_modules(
        names, options, workers=chosen.workers, done=lambda result: print_result(result, chosen.verbose)
    )
    print_summary(results, stock=chosen.stock)
    if chosen.json:
        chosen.json.write_text(json.dumps(report.as_json(results, options), indent=1) + "\n")
    if chosen.write_docs:
        if chosen.module or chosen.k or chosen.stock or chosen.only_excluded:
            print("--write-docs needs a whole run", file=sys.stderr)
            return 2
        report.write(results, report.UVLOOP)
    return 0 if all(result.ok for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
