"""`python -m asyncio ps` and `pstree` (3.14) look into another process's memory: they find our tasks where CPython's
are.
"""

import re
import subprocess
import sys

import pytest

from .child import environment

pytestmark = pytest.mark.by_version(sys.version_info < (3, 14), "asyncio ps is new in 3.14")


@pytest.fixture(params=["aioxide", "asyncio"])
def process(request):
    command = [sys.executable, "-m", "tests.task.waiting", request.param]
    with subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.stdin.close()
        assert process.wait(20) == 0


def look(what, process):
    """The tool's lines, without addresses, and cut where columns end."""
    result = subprocess.run(
        [sys.executable, "-m", "asyncio", what, str(process.pid)], capture_output=True, text=True, timeout=60
    )
    if "permission" in (result.stdout + result.stderr).lower():
        pytest.skip("this machine lets no process look into another")
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_ps_shows_names_stacks_and_awaiters(process):
    rows = [re.split(r"\s{2,}", line.strip()) for line in look("ps", process)[2:]]
    shown = {row[2]: row[3:] for row in rows}
    group = "TaskGroup._aexit -> TaskGroup.__aexit__ -> middle"
    assert shown["main"][0] == "main"
    assert shown["middle"][0] == group
    for leaf in ("leaf one", "leaf two"):
        assert shown[leaf][:3] == ["Event.wait -> leaf", group, "middle"], shown
    assert len(shown) == 4


def test_pstree_shows_who_waits_for_whom(process):
    tree = "\n".join(look("pstree", process))
    for pattern in (
        r"\(T\) main\n.*main ",
        r"\(T\) middle\n.*middle .*\n.*TaskGroup.__aexit__ .*\n.*TaskGroup._aexit .*\n.*\(T\) leaf (one|two)\n.* leaf ",
    ):
        assert re.search(pattern, tree), tree
