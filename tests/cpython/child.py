"""Run one module of ``test.test_asyncio`` in this process, writing a line of JSON for each event.

Not for people: `runner` starts it as ``python -m tests.cpython.child``. A line is written before a test
starts, so that a crash or a hang can be laid at the right door.
"""

import argparse
import faulthandler
import importlib
import json
import sys
import time
import traceback
import types
import unittest
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO

from .exclusions import Exclusions

PREFIX = "test.test_asyncio."


def short_id(test: unittest.TestCase) -> str:
    """``test_tasks.CTask_CFuture_Tests.test_wait`` and the like: module, class, test."""
    package = type(test).__module__.rpartition(".")[0]
    return test.id().removeprefix(f"{package}.")


class Recorder(unittest.TestResult):
    """Writes each test's outcome, with the loops that it made."""

    def __init__(self, out: IO[str], timeout: float, pointing: types.ModuleType | None) -> None:
        super().__init__()
        self.out = out
        self.timeout = timeout
        self.pointing = pointing
        self._begin()

    def _begin(self) -> None:
        self.outcome, self.detail, self.began = "passed", "", time.monotonic()

    def emit(self, **record) -> None:
        self.out.write(json.dumps(record) + "\n")
        self.out.flush()

    def emit_unrun(self, test_id: str, outcome: str, detail: str) -> None:
        """An outcome that no run of a test stands behind."""
        self.emit(id=test_id, outcome=outcome, detail=detail, seconds=0, loops=0, ours=False, hooked=False)

    def startTest(self, test) -> None:
        super().startTest(test)
        self._begin()
        self.emit(start=short_id(test))
        # exit=True: a test that hangs in native code can't be interrupted, only the process can be ended.
        faulthandler.dump_traceback_later(self.timeout, exit=True)

    def stopTest(self, test) -> None:
        faulthandler.cancel_dump_traceback_later()
        seconds = time.monotonic() - self.began
        loops, foreign, hooked = 0, {}, False
        if self.pointing:
            loops, foreign = self.pointing.census.take()
            hooked = self.pointing.is_hooked(type(test))
        if foreign and self.outcome == "passed":
            self.outcome, self.detail = "failed", f"ran on what is not aioxide's: {foreign}"
        self.emit(
            id=short_id(test),
            outcome=self.outcome,
            detail=self.detail,
            seconds=round(seconds, 3),
            loops=loops,
            ours=bool(loops or hooked),
            hooked=hooked,
        )
        self._begin()  # 3.12.1 skips, and stops, a test that it has not started
        super().stopTest(test)

    def _note(self, outcome: str, detail: str) -> None:
        self.outcome = outcome
        self.detail = f"{self.detail}\n{detail}" if self.detail else detail

    def _fail(self, outcome: str, test, err) -> None:
        detail = "".join(traceback.format_exception(*err))
        if isinstance(test, unittest.TestCase):
            self._note(outcome, detail)
        else:  # setUpClass, setUpModule and their like fail without a test being started
            self.emit_unrun(str(test), outcome, detail)

    def addError(self, test, err) -> None:
        self._fail("error", test, err)

    def addFailure(self, test, err) -> None:
        self._fail("failed", test, err)

    def addSubTest(self, test, subtest, err) -> None:
        if err is not None:
            failed = issubclass(err[0], test.failureException)
            self._fail("failed" if failed else "error", test, err)

    def addSkip(self, test, reason) -> None:
        if isinstance(test, unittest.case._SubTest):
            return  # the rest of the test still counts
        if isinstance(test, unittest.TestCase):
            self._note("skipped", reason)
        else:
            self.emit_unrun(str(test), "skipped", reason)

    def addExpectedFailure(self, test, err) -> None:
        self._note("passed", "")

    def addUnexpectedSuccess(self, test) -> None:
        self._note("failed", "unexpected success")


def leaves(suite: unittest.TestSuite) -> list[unittest.TestCase]:
    found: list[unittest.TestCase] = []
    for item in suite:
        found += leaves(item) if isinstance(item, unittest.TestSuite) else [item]
    return found


def select(suite: unittest.TestSuite, keep) -> unittest.TestSuite:
    """The same tree with only the tests that `keep`: its nesting carries the class and module fixtures."""
    out = unittest.TestSuite()
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            out.addTest(select(item, keep))
        elif keep(item):
            out.addTest(item)
    return out


def run(options: argparse.Namespace, out: IO[str]) -> None:
    pointing = None
    if not options.stock:
        from . import pointing

        pointing.point(namespace=options.namespace)
    exclusions = Exclusions(Path(options.exclusions), stock=options.stock)
    recorder = Recorder(out, options.timeout, pointing)
    try:
        module = importlib.import_module(PREFIX + options.module)
    except unittest.SkipTest as skip:
        recorder.emit_unrun(options.module, "skipped", str(skip))
        recorder.emit(finished=True, unused=[])
        return
    if pointing:
        pointing.point_module(module)
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    chosen = choose(suite, exclusions, recorder, options)
    if pointing:
        for cls in {type(test) for test in leaves(suite)}:
            if pointing.is_unpointed(cls):
                recorder.emit_unrun(
                    f"{options.module}.{cls.__name__}", "failed", "hooked to CPython's own class"
                )
    chosen.run(recorder)
    recorder.emit(
        finished=True, unused=exclusions.unused(options.module), **(pointing.summary() if pointing else {})
    )


def choose(
    suite: unittest.TestSuite, exclusions: Exclusions, recorder: Recorder, options
) -> unittest.TestSuite:
    """The tests to run, by the options and the exclusions; the excluded ones are recorded."""
    done = set(json.loads(Path(options.done).read_text())) if options.done else set()

    def keep(test: unittest.TestCase) -> bool:
        name = short_id(test)
        reason = exclusions.reason(name)
        if name in done or (options.k and options.k.lower() not in name.lower()):
            return False
        if options.only_excluded:
            return reason is not None
        if reason is not None:
            recorder.emit_unrun(name, "excluded", reason)
        return reason is None

    return select(suite, keep)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("module")
    parser.add_argument("--out", required=True)
    parser.add_argument("--exclusions", required=True)
    parser.add_argument("--done")
    parser.add_argument("-k")
    parser.add_argument("--timeout", type=float, required=True)
    parser.add_argument("--stock", action="store_true")
    parser.add_argument("--namespace", action="store_true")
    parser.add_argument("--only-excluded", action="store_true")
    return parser.parse_args()


def main(run: Callable[[argparse.Namespace, IO[str]], None] = run) -> None:
    """Run the module that the command line names by `run(options, out)`."""
    options = parse()
    faulthandler.enable()
    warnings.simplefilter("default")  # as `python -m test` does; tests that assert on warnings set their own
    with open(options.out, "a", encoding="utf-8") as out:
        run(options, out)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
