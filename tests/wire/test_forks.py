"""What a process holds of a pool's results and arguments does not change because another process wrote or received."""

import subprocess
import sys

import pytest

from tests.support.programs import DEADLINE, ROOT

pytest.importorskip("numpy", reason="numpy is not installed (tests/wire/requirements.txt)")

from .fork_programs import PROGRAMS


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_nothing_that_is_held_changes_by_a_fork(name, tmp_path):
    command = [sys.executable, "-m", "tests.wire.fork_programs", name, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stderr
