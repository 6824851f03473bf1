"""What stands in the place of native tasks, or of writing asyncio's records in place, where an interpreter is not
as the probe knows it. `AIOXIDE_TASKS` has the probe not find what it looks for; then the tests of tasks run again.

`by-functions`: asyncio's list of tasks and current task are set by `_asyncio`'s own functions, as they are on 3.15
(3.11 to 3.13 have dicts for them, and know no other way). `inherited`: the loop makes CPython's own tasks and futures.
"""

import os
import subprocess
import sys

import pytest

from .child import ROOT, environment

PARITY = [
    f"tests/parity/test_parity_{name}.py"
    for name in "tasks task_cancel thrown futures combinators contexts operations".split()
]
# CPython's own classes do not pass tests/task: unbound use of them crashes 3.11 to 3.13.
TASKS = ["tests/task", "--ignore=tests/task/test_ready_queue.py"]
TESTS = {"by-functions": [*TASKS, *PARITY], "inherited": [*PARITY, "tests/task/test_classes.py"]}

# Not within themselves, and not for the environment variables that a hard run sets for all.
pytestmark = pytest.mark.skipif(
    "AIOXIDE_TASKS" in os.environ, reason="by version: this is the run of one of these tests"
)

MODES = ["by-functions", "inherited"]

FEATURES = """
import asyncio, json, sys
import aioxide
async def main():
    tasks = asyncio.current_task(), asyncio.create_task(asyncio.sleep(0)), asyncio.get_running_loop().create_future()
    assert tasks[0] in asyncio.all_tasks() and tasks[1] in asyncio.all_tasks()
    return [type(task).__module__ for task in tasks]
features = aioxide.build_info()["features"]
print(json.dumps([features["native_tasks"], features["tasks_listed_in_place"], aioxide.run(main())]))
"""


def run(mode, *arguments, timeout):
    return subprocess.run(
        [sys.executable, *arguments], env=environment(AIOXIDE_TASKS=mode), cwd=ROOT, capture_output=True,
        text=True, timeout=timeout, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_it_is_hidden(mode):
    done = run(mode, "-c", FEATURES, timeout=60)
    whose = "_asyncio" if mode == "inherited" else "aioxide"
    expected = f'[{"false" if mode == "inherited" else "true"}, false, ["{whose}", "{whose}", "{whose}"]]\n'
    assert (done.returncode, done.stdout) == (0, expected), done.stderr


BY_FUNCTIONS = pytest.mark.by_version(sys.version_info < (3, 14), "there is no other way than these dicts")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", [pytest.param("by-functions", marks=BY_FUNCTIONS), "inherited"])
def test_tasks_behave_as_ever(mode):
    done = run(
        mode, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "timeout=300", *TESTS[mode], timeout=590
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = int(done.stdout.split(" passed")[0].split()[-1])
    assert passed > 200, done.stdout[-2000:]
