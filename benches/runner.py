"""The order of a run: for each case, rounds in which every lane takes one turn after the other."""

import os
import sys
import time
from pathlib import Path

from .case import Case, Settings
from .lanes import BEFORE, FLOOR, LANES, LIMIT, MUST_RUN, NAMESPACE
from .machine import CLIENT_CORE
from .processes import Failed, Stage, Wrong
from .results import Results


class Runner:
    def __init__(
        self, lanes: list[str], settings: Settings, results: Results, before: Path | None = None
    ) -> None:
        self.lanes, self.settings, self.results = lanes, settings, results
        self.stage = Stage(before)
        # What makes the run itself a failure, as sentences; a peer that hangs or crashes does not.
        self.problems: list[str] = []
        self.skipped: dict[str, str] = {}

    def run(self, cases: list[Case]) -> None:
        os.sched_setaffinity(0, {CLIENT_CORE})
        group = None
        for case in cases:
            if case.group != group:
                group = case.group
                print(f"\n{group}", flush=True)
            self.run_case(case)

    def contenders(self, case: Case) -> list[str]:
        def takes_part(name: str) -> bool:
            lane = LANES[name]
            if case.lanes is not None:
                wanted = name in case.lanes or name == BEFORE
            else:
                wanted = lane.everywhere or bool(lane.transports and case.with_transports)
            return wanted and (case.namespace or name != NAMESPACE)

        lanes = [name for name in self.lanes if takes_part(name) and name != FLOOR]
        has_limit = case.limit == LIMIT or (case.limit == FLOOR and FLOOR in self.lanes)
        return [*lanes, case.limit] if has_limit else lanes

    def run_case(self, case: Case) -> None:
        if why := case.unavailable():
            self.skipped[case.name] = why
            print(f"  {case.name:28} SKIPPED: {why}", flush=True)
            return
        begin = time.monotonic()
        entry = self.results.begin(case, self.contenders(case), case.rounds(self.settings))
        try:
            self._rounds(case, entry)
        except BaseException:
            # Stopped in the middle of a round: half of it is no figure.
            del self.results.entries[case.name]
            raise
        finally:
            # Each case has processes of its own.
            self.stage.clear()
        print(f"  {case.name:28} {entry.line()}  ({time.monotonic() - begin:.1f} s)", flush=True)

    def _rounds(self, case, entry) -> None:
        alive = {} if case.fresh else self._start(case, entry)
        # Every code path is warm before the first round that counts; a load has a warm-up of its own.
        if case.warm_up and not case.fresh and not self.settings.quick:
            self._round(case, entry, alive, 0, keep=False)
        for number in range(entry.rounds):
            self._round(case, entry, alive, number, keep=True)
        for lane, process in alive.items():
            self._finish(case, entry, lane, process)

    def _attempt(self, case, entry, lane, step, *arguments):
        """`step(..., settings)`, or None when it fails: then the lane is out of this case, and the entry says
        why.
        """
        try:
            return step(*arguments, self.settings)
        except Failed as failure:
            entry.failed[lane] = str(failure)
            self._tell(case, lane, failure)
            return None

    def _finish(self, case, entry, lane, process) -> None:
        """A loop that can't be closed has all the same done its work: its figures stay, with a note."""
        try:
            case.finish(process, self.settings)
        except Failed as failure:
            entry.notes[lane] = f"when it is closed: {failure}"
            self._tell(case, lane, failure)
        process.kill()

    def _tell(self, case, lane, failure) -> None:
        sentence = f"{case.name}: {lane} {failure}"
        if isinstance(failure, Wrong) or lane in MUST_RUN:
            self.problems.append(sentence)
        print(f"  {sentence}", file=sys.stderr, flush=True)

    def _start(self, case, entry) -> dict:
        started = {
            lane: self._attempt(case, entry, lane, case.start, self.stage, lane) for lane in entry.lanes
        }
        return {lane: process for lane, process in started.items() if process}

    def _round(self, case, entry, alive, number, *, keep) -> None:
        """One turn of each lane; who begins moves on by one each round, so that no one always follows the
        same.
        """
        order = list(entry.lanes if case.fresh else alive)
        for index in range(len(order)):
            lane = order[(index + number) % len(order)]
            if entry.failed.get(lane):
                continue
            process = alive.get(lane) or self._attempt(case, entry, lane, case.start, self.stage, lane)
            if process and case.point.state and "read_faults" in process.said:
                entry.probes[lane] = process.said["read_faults"]
            sample = process and self._attempt(case, entry, lane, case.sample, process)
            if sample is None:
                alive.pop(lane, None)
                if process:
                    process.kill()
            elif keep:
                entry.add(lane, sample)
            if sample is not None and case.fresh:
                self._finish(case, entry, lane, process)


def present_lanes(wanted: list[str] | None, before: bool = False) -> tuple[list[str], dict[str, str]]:
    """The lanes that can run here, and why the others can't; `before`: the one of an older build too."""
    asked = [name for name in LANES if before or name != BEFORE]
    missing = {name: why for name in asked if (why := LANES[name].missing())}
    # What cannot be undercut is always beside the others.
    chosen = [name for name in asked if not wanted or name in wanted or name in (FLOOR, BEFORE)]
    lanes = [name for name in chosen if name not in missing]
    return lanes, {name: missing[name] for name in chosen if name in missing}
