"""Run the modules of ``test.test_asyncio``, each in processes of its own, and gather what each test did."""

import collections
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EXCLUSIONS = HERE / "exclusions.toml"

# Modules that make no loop but mocks, so that "made none of ours" is no alarm.
LOOPLESS = frozenset(
    "test_futures test_proactor_events test_protocols test_selector_events test_tools test_transports "
    "test_windows_events test_windows_utils".split()
)
# ... and two whose loop is BaseEventLoop() with a mock selector: see pointing.polls_by_itself.
LOOPLESS_UNLESS_NATIVE = frozenset({"test_pep492", "test_runners"})
# Modules with test classes parametrised over Task or Future.
HOOKED = frozenset({"test_tasks", "test_futures", "test_futures2", "test_eager_task_factory"})
OUTCOMES = ("passed", "failed", "error", "crashed", "skipped", "excluded")
BAD = ("failed", "error", "crashed")
MAX_RESTARTS = 40


@dataclass(frozen=True)
class Options:
    """What to run and how; `timeout` is in seconds, for one test.

    Another suite (see tests/uvloop) has its own `child` module, `environment` for it, `loopless` modules, and
    those with classes that are `hooked` to ours. What it counts as `loops` may be something else, such as pools.
    """

    stock: bool = False
    namespace: bool = False
    only_excluded: bool = False
    k: str | None = None
    timeout: float = 60.0
    exclusions: Path = EXCLUSIONS
    child: str = "tests.cpython.child"
    environment: Mapping[str, str] = field(default_factory=dict)
    loopless: frozenset[str] = LOOPLESS
    hooked: frozenset[str] = HOOKED


@dataclass
class ModuleResult:
    """The tests of one module, by id, and what is wrong with the run as a whole (`problems`)."""

    module: str
    tests: dict[str, dict] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    native: dict[str, bool] = field(default_factory=dict)
    seconds: float = 0.0

    def count(self) -> collections.Counter[str]:
        return collections.Counter(test["outcome"] for test in self.tests.values())

    def bad(self) -> list[dict]:
        return [test for test in self.tests.values() if test["outcome"] in BAD]

    @property
    def loops(self) -> int:
        return sum(test["loops"] for test in self.tests.values())

    @property
    def ok(self) -> bool:
        return not self.problems and not self.bad()


def modules() -> list[str]:
    """The running interpreter's test modules; none where Python is installed without its tests."""
    if importlib.util.find_spec("test") is None or importlib.util.find_spec("test.test_asyncio") is None:
        return []
    (place,) = importlib.util.find_spec("test.test_asyncio").submodule_search_locations
    return sorted(path.stem for path in Path(place).glob("test_*.py"))


def child_environment() -> dict[str, str]:
    """PYTHONPATH with this tree's packages, so that a child finds aioxide where this process does."""
    found = importlib.util.find_spec("aioxide")
    package = Path(found.origin).parents[1] if found and found.origin else ROOT / "python"
    paths = [str(ROOT), str(package), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    # CPython's tests check both modes themselves; set from outside, it changes what they see.
    environment.pop("PYTHONASYNCIODEBUG", None)
    return environment


def run_module(module: str, options: Options) -> ModuleResult:
    """Run one module; after a crash or a hang, go on in a new process with the tests that are left."""
    result = ModuleResult(module)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for attempt in range(MAX_RESTARTS):
            if _run_once(result, options, Path(folder), attempt):
                break
        else:
            result.problems.append(f"given up after {MAX_RESTARTS} crashes")
    result.seconds = time.monotonic() - began
    if result.ok and result.count()["passed"] and not (options.k or options.only_excluded or options.stock):
        _check_pointed(result, options.loopless, options.hooked)
    return result


def _check_pointed(result: ModuleResult, loopless: frozenset[str], must_hook: frozenset[str]) -> None:
    """Note as a problem if a whole module passed without meeting aioxide."""
    if not result.native.get("native_loop"):
        loopless |= LOOPLESS_UNLESS_NATIVE
    if not result.loops and result.module not in loopless:
        result.problems.append("nothing of aioxide's was made: the pointing missed this module")
    hooked = any(test["hooked"] for test in result.tests.values())
    if result.native.get("native_task") and result.module in must_hook and not hooked:
        result.problems.append("no test class is hooked to a class of aioxide's")


def _command(result: ModuleResult, options: Options, folder: Path, out: Path) -> list[str]:
    command = [sys.executable, "-m", options.child, result.module, "--out", str(out)]
    command += ["--exclusions", str(options.exclusions), "--timeout", str(options.timeout)]
    command += ["--stock"] * options.stock + ["--namespace"] * options.namespace
    command += ["--only-excluded"] * options.only_excluded
    if options.k:
        command += ["-k", options.k]
    if result.tests:
        done = folder / "done.json"
        done.write_text(json.dumps(sorted(result.tests)))
        command += ["--done", str(done)]
    return command


def _run_once(result: ModuleResult, options: Options, folder: Path, attempt: int) -> bool:
    """Run what is left of the module in one process; True when nothing is left."""
    out = folder / f"{attempt}.jsonl"
    out.touch()
    command = _command(result, options, folder, out)
    # The child ends itself after `timeout` in one test; this bound is for its start and its exit.
    limit = max(900.0, options.timeout * 3)
    log = folder / f"{attempt}.log"
    with log.open("wb") as stream:
        try:
            status = subprocess.run(
                command,
                cwd=folder,
                env=child_environment() | dict(options.environment),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                timeout=limit,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            status = -1
    running, finished = _read(result, out)
    tail = log.read_text(errors="replace")[-6000:]
    if finished:
        if status != 0:
            result.problems.append(f"exit status {status} after the last test:\n{tail}")
        return True
    if running is None:
        result.problems.append(f"exit status {status} before a test began:\n{tail}")
        return True
    end = f"no end within {options.timeout} s" if "Timeout (" in tail else f"exit status {status}"
    detail = f"{end} in this test:\n{tail}"
    result.tests[running] = {
        "id": running,
        "outcome": "crashed",
        "detail": detail,
        "seconds": 0,
        "loops": 0,
        "ours": False,
        "hooked": False,
    }
    return False


def _read(result: ModuleResult, out: Path) -> tuple[str | None, bool]:
    running, finished = None, False
    for line in out.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if "start" in record:
            running = record["start"]
        elif "finished" in record:
            finished = True
            result.problems += [f"exclusion of no use: {pattern}" for pattern in record["unused"]]
            result.native = {key: value for key, value in record.items() if key.startswith("native_")}
        else:
            result.tests[record["id"]] = record
            running = None
    return running, finished


def run_modules(
    names: list[str], options: Options, *, workers: int, done: Callable[[ModuleResult], None]
) -> list[ModuleResult]:
    """Run `names`, `workers` at a time, calling `done(result)` as each ends; results in `names`' order."""

    def one(name: str) -> ModuleResult:
        result = run_module(name, options)
        done(result)
        return result

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, names))
