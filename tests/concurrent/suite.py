"""What `tests.cpython.runner` needs to know of CPython's tests of concurrent.futures."""

import importlib.util
import os
from pathlib import Path

from tests.cpython import runner

from . import debian

HERE = Path(__file__).parent
PACKAGE = "test.test_concurrent_futures"
# Modules that are not about a pool of ours.
OTHER = {"test_interpreter_pool": "the standard library's pool of interpreters, which aioxide leaves alone"}
# A module is run in parts, each in a process of its own, for most of its tests wait for processes to start.
PARTS = ("threads", "fork", "forkserver", "spawn")
WHOLE = {"test_future", "test_thread_pool"}
PROCESSES_ONLY = {"test_deadlock", "test_process_pool"}
# The module whose tests make a Future themselves, and no pool.
POOLLESS = frozenset({"test_future"})


def part_of(class_name: str) -> str:
    """The part in which the tests of a class are run: by its start method, or with the threads."""
    for part in ("forkserver", "fork", "spawn"):
        if class_name.startswith(f"ProcessPool{part.title()}"):
            return part
    return "threads"


def split(name: str) -> tuple[str, str]:
    """The module and the part of ``test_wait-spawn``; the part is empty for a module that is run as a whole."""
    module, _, part = name.partition("-")
    return module, part


def full_name(module: str) -> str:
    """The name to import a module by; up to 3.11.5 the whole suite is one module."""
    return PACKAGE if PACKAGE.endswith(module) else f"{PACKAGE}.{module}"


def has_tests() -> bool:
    """Whether this Python was installed with these tests."""
    found = importlib.util.find_spec("test") and importlib.util.find_spec(PACKAGE)
    return bool(found) and debian.CACHE not in Path(found.origin).parents


def path() -> Path | None:
    """The folder to put on `sys.path` where this Python lacks the tests; None where it has them.

    :raises debian.Unavailable: if they can't be had
    """
    return None if has_tests() else debian.folder()


def parts() -> list[str]:
    """All that there is to run, each name a module with or without a part; fetches nothing."""
    modules = [debian.MODULE]
    if has_tests():
        package = Path(importlib.util.find_spec(PACKAGE).origin).parent
        modules = sorted(path.stem for path in package.glob("test_*.py"))
    return [
        name
        for module in modules
        if module not in OTHER
        for name in ([module] if module in WHOLE else [f"{module}-{part}" for part in PARTS])
        if name.removesuffix("-threads") not in PROCESSES_ONLY
    ]


def options(**more) -> runner.Options:
    """`runner.Options` for this suite."""
    paths = [str(elsewhere)] if (elsewhere := path()) else []
    paths.append(runner.child_environment()["PYTHONPATH"])
    return runner.Options(
        child="tests.concurrent.child",
        exclusions=HERE / "exclusions.toml",
        environment={"PYTHONPATH": os.pathsep.join(paths)},
        loopless=POOLLESS,
        hooked=POOLLESS,
        **more,
    )
