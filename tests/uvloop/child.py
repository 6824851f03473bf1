"""Run one module of uvloop's tests in this process; `tests.cpython.child` with another way of pointing."""

import argparse
import importlib
import signal
import unittest
from pathlib import Path
from typing import IO

from tests.cpython import child, pointing
from tests.cpython.exclusions import Exclusions

from .sdist import PACKAGE

# The tests ask by `implementation` what to expect: asyncio's behaviour. But in these modules "asyncio" also
# means to skip what asyncio could not do once, such as TLS over TLS; under another name nothing is skipped.
BEYOND_ASYNCIO = {"test_tcp", "test_unix", "test_aiohttp"}
# What the modules import besides the loop; requirements.txt names the distributions.
REQUIREMENTS = {"aiohttp", "OpenSSL", "psutil"}
SHIM = Path(__file__).with_name("shim")


def point() -> None:
    """Make ``import uvloop`` find aioxide, and count the loops that it makes."""
    import aioxide
    import uvloop

    if Path(uvloop.__file__).parents[1] != SHIM:
        raise RuntimeError(
            f"uvloop is {uvloop.__file__}, not the test-only package: uvloop itself would be tested"
        )
    pointing._count_others(aioxide.EventLoop)
    made = uvloop.new_event_loop

    def new_event_loop():
        pointing.census.count_ours()
        return made()

    uvloop.new_event_loop = new_event_loop

    # By it one of them tells a deadlock, after five seconds for twenty processes: not on a slow machine.
    alarm = signal.alarm
    signal.alarm = lambda seconds: alarm(12 * seconds)


def is_for_asyncio(test: unittest.TestCase) -> bool:
    """Whether the test is the twin that runs the same body on asyncio's loop."""
    from uvloop import _testbase

    return isinstance(test, _testbase.AIOTestCase)


def run(options: argparse.Namespace, out: IO[str]) -> None:
    point()
    from uvloop import _testbase

    exclusions = Exclusions(Path(options.exclusions), stock=options.stock)
    recorder = child.Recorder(out, options.timeout, None if options.stock else pointing)
    try:
        module = importlib.import_module(f"{PACKAGE}.{options.module}")
    except ModuleNotFoundError as missing:
        if missing.name not in REQUIREMENTS:
            raise
        recorder.emit_unrun(options.module, "skipped", f"needs the Python package {missing.name}")
        recorder.emit(finished=True, unused=[])
        return
    implementation = "aioxide" if options.module in BEYOND_ASYNCIO else "asyncio"
    for base in (_testbase.UVTestCase, _testbase.AIOTestCase):
        base.implementation = implementation
        base.is_asyncio_loop = lambda test: True
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    ours = child.select(suite, lambda test: is_for_asyncio(test) == options.stock)
    child.choose(ours, exclusions, recorder, options).run(recorder)
    recorder.emit(
        finished=True, unused=exclusions.unused(options.module) * (not options.stock), **pointing.summary()
    )


if __name__ == "__main__":
    child.main(run)
