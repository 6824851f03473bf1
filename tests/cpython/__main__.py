"""``python -m tests.cpython``: CPython's own asyncio tests on aioxide's loop, tasks and futures."""

import argparse
import collections
import json
import platform
import sys
from pathlib import Path

from . import report, runner


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.cpython", description=__doc__)
    add = parser.add_argument
    add("--module", action="append", default=[], help="only this module (test_tasks); may be repeated")
    add("-k", metavar="TEXT", help="only tests whose id contains TEXT")
    add(
        "--stock",
        action="store_true",
        help="on asyncio's own loop and classes, with nothing pointed: the baseline",
    )
    add("--namespace", action="store_true", help="also replace asyncio's public names by aioxide's objects")
    add(
        "--only-excluded",
        action="store_true",
        help="run what exclusions.toml leaves out, to see what passes by now",
    )
    add("--timeout", type=float, default=60.0, metavar="SECONDS", help="for one test (default 60)")
    add("--workers", type=int, default=2, help="modules at a time (default 2)")
    add("--json", type=Path, metavar="FILE", help="write every test's outcome there")
    add(
        "--write-docs", action="store_true", help="put this version's counts into docs/project/conformance.md"
    )
    add("-v", "--verbose", action="store_true", help="print the tracebacks of what failed")
    add("--list", action="store_true", help="print the modules' names and stop")
    return parser.parse_args(arguments)


def print_result(result: runner.ModuleResult, verbose: bool, made: str = "loops") -> None:
    count = result.count()
    words = ", ".join(f"{count[o]} {o}" for o in runner.OUTCOMES if count[o]) or "no tests"
    mark = "ok  " if result.ok else "FAIL"
    print(
        f"{mark} {result.module:24} {words}; {result.loops} aioxide {made}, {result.seconds:.1f} s",
        flush=True,
    )
    for problem in result.problems:
        lines = problem.strip().splitlines()
        print(f"     ! {lines[0]}" + ("" if verbose or len(lines) == 1 else f" ... {lines[-1]}"))
        if verbose:
            print("\n".join("         " + line for line in lines[1:]))
    for test in result.bad():
        lines = test["detail"].strip().splitlines() or [""]
        telling = lines[0] if test["outcome"] == "crashed" else lines[-1]
        print(f"     {test['outcome']}: {test['id']}: {telling}")
        if verbose:
            print("\n".join("         " + line for line in test["detail"].splitlines()))


def print_summary(
    results: list[runner.ModuleResult],
    stock: bool,
    made: str = "loops",
    used: str = "an aioxide loop, Task or Future",
    library: str = "asyncio",
) -> None:
    total = sum((r.count() for r in results), collections.Counter())
    words = ", ".join(f"{total[o]} {o}" for o in runner.OUTCOMES)
    what = library if stock else "aioxide"
    print(f"\n{what} on CPython {platform.python_version()}: {sum(total.values())} tests: {words}")
    on_ours = sum(1 for r in results for t in r.tests.values() if t["outcome"] == "passed" and t["ours"])
    if not stock:
        loops = sum(result.loops for result in results)
        print(f"{on_ours} of the passed used {used}; {loops} {made} were made")
    reasons = collections.Counter(
        t["detail"].partition("\n")[0] for r in results for t in r.tests.values() if t["outcome"] == "skipped"
    )
    for reason, n in reasons.most_common():
        print(f"  skipped by the test itself: {n:4} {reason or '(no reason given)'}")


def main() -> int:
    options = parse()
    names = runner.modules()
    if not names:
        print("this Python has no test.test_asyncio (Debian: libpython3-testsuite)", file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(names))
        return 0
    unknown = sorted(set(options.module) - set(names))
    if unknown:
        print(f"no such module: {', '.join(unknown)}", file=sys.stderr)
        return 2
    chosen = runner.Options(
        stock=options.stock,
        namespace=options.namespace,
        only_excluded=options.only_excluded,
        k=options.k,
        timeout=options.timeout,
    )
    results = runner.run_modules(
        options.module or names,
        chosen,
        workers=options.workers,
        done=lambda result: print_result(result, options.verbose),
    )
    print_summary(results, options.stock)
    if options.json:
        options.json.write_text(json.dumps(report.as_json(results, chosen), indent=1) + "\n")
    if options.write_docs:
        if options.module or options.k or options.stock or options.only_excluded:
            print("--write-docs needs a whole run", file=sys.stderr)
            return 2
        report.write(results)
    return 0 if all(result.ok for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
