"""Run one part of CPython's tests of concurrent.futures; `tests.cpython.child` with another way of pointing.

Workers that are spawned import this module too, as the main module of their parent.
"""

import argparse
import importlib
import unittest
from pathlib import Path
from typing import IO

from tests.cpython import child
from tests.cpython.exclusions import Exclusions

from . import pointing, suite

# Their tearDown() looks for dead children before the clean-up that waits for the pool, whose last worker may have ended
# by then: so it is with the standard pool.
REAPED_BY_CHANCE = {
    "test_shutdown_no_wait_max_tasks_gh119592",
    "test_gc_during_max_tasks_worker_exit_gh152967",
}


class Recorder(child.Recorder):
    """Fails a test also for what it leaves running; regrtest does that under --fail-env-changed."""

    def stopTest(self, test) -> None:
        from test import support

        by_chance = test._testMethodName in REAPED_BY_CHANCE
        if support.environment_altered and self.outcome == "passed" and not by_chance:
            self.outcome = "failed"
            self.detail = "left a thread or a child process behind (see the output above)"
        support.environment_altered = False
        super().stopTest(test)


def load(module: str, stock: bool):
    name = suite.full_name(module)
    if stock:
        pointing.prepare_child_processes("pass")
        return importlib.import_module(name)
    pointing.point()
    with pointing.future_pointed():
        return importlib.import_module(name)


def run(options: argparse.Namespace, out: IO[str]) -> None:
    name, part = suite.split(options.module)
    module = load(name, options.stock)
    census = None if options.stock else pointing
    exclusions = Exclusions(Path(options.exclusions), stock=options.stock)
    recorder = Recorder(out, options.timeout, census)
    tests = unittest.defaultTestLoader.loadTestsFromModule(module)
    for test in child.leaves(tests):
        exclusions.reason(child.short_id(test))  # those of other parts are of use there
    here = child.select(tests, lambda test: part in ("", suite.part_of(type(test).__name__)))
    child.choose(here, exclusions, recorder, options).run(recorder)
    recorder.emit(finished=True, unused=exclusions.unused(name), **(pointing.summary() if census else {}))


if __name__ == "__main__":
    child.main(run)
