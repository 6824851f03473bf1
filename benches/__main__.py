"""The command line: `python -m benches [options]`, and the helpers `report`, `profile`, `install`, `list`."""

import argparse
import sys
from pathlib import Path

from . import install, machine, profiling, report
from .case import Case, Settings, load_all
from .lanes import LANES, OURS
from .processes import build_native
from .results import Results
from .runner import Runner, present_lanes

SAVED = machine.ROOT / "target" / "bench" / "results.json"


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benches",
        description="Time every event loop on this Python, side by side.",
        epilog="also: `report` (tables and picture of the saved run), `profile CASE` (where the time goes), "
        "`install` (requirements and peers into this environment), `list` (all cases); each takes --help",
    )
    parser.add_argument(
        "--quick", action="store_true", help="all once and small: do they work? (no ratio is checked)"
    )
    parser.add_argument("--only", metavar="NAME[,NAME]", help="these groups and cases")
    parser.add_argument("--loops", metavar="NAME[,NAME]", help=f"these loops of: {', '.join(LANES)}")
    parser.add_argument(
        "--rounds", type=int, default=15, help="rounds of the cheap cases (default: %(default)s)"
    )
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="for the cases within one process"
    )
    parser.add_argument(
        "--write", action="store_true", help="write docs/benchmarks.md and docs/benchmarks.png"
    )
    parser.add_argument("--strict", action="store_true", help="a case that can't run here is a failure")
    parser.add_argument(
        "--save", type=Path, default=SAVED, help="raw figures (default: target/bench/results.json)"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="forget the saved figures of cases that don't run now"
    )
    return parser.parse_args(arguments)


def choose(cases: dict[str, Case], only: str | None) -> list[Case]:
    if not only:
        return list(cases.values())
    words = only.split(",")
    known = set(cases) | {case.group for case in cases.values()}
    if unknown := [word for word in words if word not in known]:
        raise SystemExit(f"benches: no such group or case: {', '.join(unknown)} (`python -m benches list`)")
    return [case for case in cases.values() if case.name in words or case.group in words]


def chosen_lanes(loops: str | None) -> list[str]:
    wanted = loops.split(",") if loops else None
    if unknown := [name for name in wanted or [] if name not in LANES]:
        raise SystemExit(f"benches: no such loop: {', '.join(unknown)}")
    lanes, missing = present_lanes(wanted)
    if OURS in missing:
        raise SystemExit(f"benches: {OURS} {missing[OURS]}: `make build` builds it, `--loops` leaves it out")
    for name, why in missing.items():
        print(f"left out: {name}: {why}")
    return lanes


def bench(arguments: list[str]) -> int:
    options = parse(arguments)
    cases = load_all()
    chosen = choose(cases, options.only)
    build_native()
    results = Results(machine.describe() | {"clock": options.clock, "rounds": options.rounds})
    settings = Settings(options.quick, options.rounds, options.clock)
    runner = Runner(chosen_lanes(options.loops), settings, results)
    runner.run(chosen)
    if not options.quick:
        saved = Results() if options.fresh or not options.save.exists() else Results.load(options.save)
        saved.update(results, list(cases))
        saved.save(options.save)
        print("\n" + report.markdown(results if not options.write else saved))
        if options.write:
            report.write(saved)
    return conclude(runner, chosen, options.strict)


def conclude(runner: Runner, chosen: list[Case], strict: bool) -> int:
    for problem in runner.problems:
        print(f"PROBLEM {problem}")
    failed = {problem.partition(":")[0] for problem in runner.problems}
    passed = len(chosen) - len(failed) - len(runner.skipped)
    print(f"\n{passed} passed, {len(failed)} failed, {len(runner.skipped)} skipped")
    return 1 if failed or (strict and runner.skipped) else 0


def list_cases(arguments: list[str]) -> int:
    for case in load_all().values():
        print(f"{case.group:10} {case.name:22} {case.title}")
    return 0


def report_saved(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benches report")
    parser.add_argument(
        "--write", action="store_true", help="write docs/benchmarks.md and docs/benchmarks.png"
    )
    parser.add_argument("--save", type=Path, default=SAVED, help="the saved figures")
    options = parser.parse_args(arguments)
    if not options.save.exists():
        raise SystemExit(f"benches: no saved run in {options.save}")
    saved = Results.load(options.save)
    if options.write:
        report.write(saved)
    else:
        print(report.markdown(saved))
    return 0


COMMANDS = {"report": report_saved, "profile": profiling.main, "install": install.main, "list": list_cases}


if __name__ == "__main__":
    first = sys.argv[1] if len(sys.argv) > 1 else ""
    sys.exit(COMMANDS[first](sys.argv[2:]) if first in COMMANDS else bench(sys.argv[1:]))
