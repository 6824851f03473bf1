"""The command line: `python -m benches [options]`, and the helpers `report`, `profile`, `malloc`, `install`, `list`."""

import argparse
import signal
import sys
from pathlib import Path

from . import allocators, floor, install, machine, profiling, report, training
from .case import Case, Settings
from .lanes import FLOOR, LANES, NAMESPACE, OURS
from .processes import build_native
from .registry import load_all, smallest
from .results import Results
from .runner import Runner, present_lanes

SAVED = machine.ROOT / "target" / "bench" / "results.json"


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benches",
        description="Time every event loop on this Python, side by side.",
        epilog="also: `report` (tables and picture of the saved run), `profile CASE` (where the time goes), "
        "`malloc` (reads under other allocators), "
        "`install` (requirements and peers into this environment), `list` (all cases); each takes --help",
    )
    parser.add_argument(
        "--quick", action="store_true", help="all once and small: do they work? (no ratio is checked)"
    )
    parser.add_argument(
        "--short",
        action="store_true",
        help="everything in some 25 minutes: less work, 3 rounds, without `aioxide as asyncio`",
    )
    parser.add_argument("--only", metavar="NAME[,NAME]", help="these groups, families and cases")
    parser.add_argument("--loops", metavar="NAME[,NAME]", help=f"these loops of: {', '.join(LANES)}")
    parser.add_argument(
        "--rounds", type=int, help="rounds of the cheap cases (default: 15, and 3 when --short)"
    )
    parser.add_argument(
        "--before", type=Path, metavar="DIR", help="the folder python/ of an older build: one lane more"
    )
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="for the cases within one process"
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help="write docs/project/benchmarks.md, its pictures, the READMEs' figures",
    )
    parser.add_argument(
        "--into",
        type=Path,
        default=report.DOCS,
        metavar="DIR",
        help="where --write writes to (default: docs/project)",
    )
    parser.add_argument("--strict", action="store_true", help="a case that can't run here is a failure")
    parser.add_argument(
        "--save", type=Path, default=SAVED, help="raw figures (default: target/bench/results.json)"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="forget the saved figures of cases that don't run now"
    )
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (3 if options.short else 15)
    if options.before and not (options.before / OURS / "__init__.py").exists():
        raise SystemExit(f"benches: --before wants a folder with a built package {OURS} in it")
    return options


def choose(cases: dict[str, Case], only: str | None, quick: bool = False) -> list[Case]:
    """The cases that `only` names; without it all of them or, when `quick`, the smallest size of each family."""
    if not only:
        return smallest(cases) if quick else list(cases.values())
    words = only.split(",")
    known = set(cases) | {name for case in cases.values() for name in (case.group, case.family)}
    if unknown := [word for word in words if word not in known]:
        raise SystemExit(f"benches: no such group or case: {', '.join(unknown)} (`python -m benches list`)")
    if quick:
        return smallest(
            {name: case for name, case in cases.items() if {case.group, case.family} & set(words)}
        ) + [case for case in cases.values() if case.name in words]
    return [case for case in cases.values() if {case.name, case.family, case.group} & set(words)]


def chosen_lanes(loops: str | None, before: bool) -> list[str]:
    wanted = loops.split(",") if loops else None
    if unknown := [name for name in wanted or [] if name not in LANES]:
        raise SystemExit(f"benches: no such loop: {', '.join(unknown)}")
    lanes, missing = present_lanes(wanted, before)
    if OURS in missing:
        raise SystemExit(f"benches: {OURS} {missing[OURS]}: `make build` builds it, `--loops` leaves it out")
    for name, why in missing.items():
        print(f"left out: {name}: {why}")
    return lanes


def described(options: argparse.Namespace) -> dict[str, object]:
    facts = machine.describe() | {"clock": options.clock, "rounds": options.rounds, "short": options.short}
    return facts | ({"before": machine.commit_of(options.before)} if options.before else {})


def bench(arguments: list[str]) -> int:
    options = parse(arguments)
    # Told to stop, it saves what it has.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("benches: stopped"))
    cases = load_all()
    chosen = choose(cases, options.only, options.quick)
    lanes = chosen_lanes(options.loops, options.before is not None)
    if options.short and not options.loops:
        lanes.remove(NAMESPACE)
    build_native()
    if FLOOR in lanes:
        floor.built()
    results = Results(described(options))
    settings = Settings(options.quick, options.rounds, options.clock, options.short)
    runner = Runner(lanes, settings, results, options.before)
    try:
        runner.run(chosen)
    finally:
        # What was measured before somebody stopped it is a part of the run.
        saved = None if options.quick else keep(options, results, list(cases))
    if saved:
        print("\n" + report.terminal(results if not options.write else saved))
        if options.write:
            report.write(saved, options.into)
    return conclude(runner, chosen, options.strict)


def keep(options: argparse.Namespace, results: Results, order: list[str]) -> Results:
    """Save the figures of this run beside those of the cases that it did not run."""
    fresh = options.fresh or not options.save.exists()
    saved = Results() if fresh else Results.load(options.save)
    saved.update(results, order)
    saved.save(options.save)
    return saved


def conclude(runner: Runner, chosen: list[Case], strict: bool) -> int:
    for problem in runner.problems:
        print(f"PROBLEM {problem}")
    failed = {problem.partition(":")[0] for problem in runner.problems}
    passed = len(chosen) - len(failed) - len(runner.skipped)
    print(f"\n{passed} passed, {len(failed)} failed, {len(runner.skipped)} skipped")
    return 1 if failed or (strict and runner.skipped) else 0


def list_cases(arguments: list[str]) -> int:
    for case in load_all().values():
        print(f"{case.group:10} {case.name:32} {case.title}")
    return 0


def report_saved(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benches report")
    parser.add_argument(
        "--write",
        action="store_true",
        help="write docs/project/benchmarks.md, its pictures, the READMEs' figures",
    )
    parser.add_argument("--save", type=Path, default=SAVED, help="the saved figures")
    parser.add_argument(
        "--into", type=Path, default=report.DOCS, metavar="DIR", help="where --write writes to"
    )
    options = parser.parse_args(arguments)
    if not options.save.exists():
        raise SystemExit(f"benches: no saved run in {options.save}")
    saved = Results.load(options.save)
    if options.write:
        report.write(saved, options.into)
    else:
        print(report.markdown(saved))
    return 0


COMMANDS = {
    "report": report_saved,
    "profile": profiling.main,
    "train": training.main,
    "malloc": allocators.main,
    "install": install.main,
    "list": list_cases,
}


if __name__ == "__main__":
    first = sys.argv[1] if len(sys.argv) > 1 else ""
    sys.exit(COMMANDS[first](sys.argv[2:]) if first in COMMANDS else bench(sys.argv[1:]))
