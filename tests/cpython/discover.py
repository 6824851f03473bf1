"""Count tests and exclusions without running any: ``python -m tests.cpython.discover`` prints JSON."""

import importlib
import json
import unittest

from . import child, runner
from .exclusions import Exclusions


def counts(names: list[str], exclusions: Exclusions) -> dict[str, int]:
    """The number of tests in the modules `names`, and of those that are excluded."""
    tests = excluded = 0
    for name in names:
        try:
            module = importlib.import_module(name)
        except unittest.SkipTest:
            tests += 1  # the runner counts a module that skips itself as one
            continue
        for test in child.leaves(unittest.defaultTestLoader.loadTestsFromModule(module)):
            tests += 1
            excluded += exclusions.reason(child.short_id(test)) is not None
    return {"tests": tests, "excluded": excluded}


if __name__ == "__main__":
    names = [child.PREFIX + name for name in runner.modules()]
    print(json.dumps(counts(names, Exclusions(runner.EXCLUSIONS))))
