"""``python -m tests.concurrent``: CPython's own tests of concurrent.futures on aioxide's pools."""

import argparse
import json
import sys
from pathlib import Path

from tests.cpython import report, runner
from tests.cpython.__main__ import print_result, print_summary

from . import debian, suite


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.concurrent", description=__doc__)
    add = parser.add_argument
    add("--module", action="append", default=[], help="only this part (test_wait-spawn); may be repeated")
    add("-k", metavar="TEXT", help="only tests whose id contains TEXT")
    add(
        "--only-excluded",
        action="store_true",
        help="run what exclusions.toml leaves out, to see what passes by now",
    )
    add("--stock", action="store_true", help="on the standard library's own pools: the baseline")
    add("--timeout", type=float, default=60.0, metavar="SECONDS", help="for one test (default 60)")
    add("--workers", type=int, default=4, help="parts at a time (default 4)")
    add("--json", type=Path, metavar="FILE", help="write every test's outcome there")
    add(
        "--write-docs", action="store_true", help="put this version's counts into docs/project/conformance.md"
    )
    add("-v", "--verbose", action="store_true", help="print the tracebacks of what failed")
    return parser.parse_args()


def main() -> int:
    chosen = parse()
    try:
        names = chosen.module or suite.parts()
        options = suite.options(
            k=chosen.k, stock=chosen.stock, only_excluded=chosen.only_excluded, timeout=chosen.timeout
        )
    except debian.Unavailable as reason:
        print(f"this Python was installed without test.test_concurrent_futures: {reason}", file=sys.stderr)
        return 2
    results = runner.run_modules(
        names,
        options,
        workers=chosen.workers,
        done=lambda result: print_result(result, chosen.verbose, "pools"),
    )
    print_summary(results, chosen.stock, "pools", "an aioxide pool or Future", "concurrent.futures")
    if chosen.json:
        chosen.json.write_text(json.dumps(report.as_json(results, options), indent=1) + "\n")
    if chosen.write_docs:
        if chosen.module or chosen.k or chosen.stock or chosen.only_excluded:
            print("--write-docs needs a whole run", file=sys.stderr)
            return 2
        report.write(results, report.CONCURRENT)
    return 0 if all(result.ok for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
