"""A process of its own for what may crash one."""

import os
import subprocess
import sys
from pathlib import Path

import aioxide

ROOT = Path(__file__).parents[2]


def environment(**more):
    """The environment with which a child finds this tree's packages, whether aioxide is installed or not."""
    paths = [str(ROOT), str(Path(aioxide.__file__).parents[1])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | more


def run(module, *arguments, timeout=100, **more):
    """Run a module of this folder, with `more` in its environment; what it writes to its standard output.

    `timeout` is in seconds. The end of what it wrote to standard error is in the failure, if it is one.
    """
    result = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", f"tests.task.{module}", *arguments],
        env=environment(**more), capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    assert result.returncode == 0, f"exit status {result.returncode}\n{result.stderr[-6000:]}"
    return result.stdout
