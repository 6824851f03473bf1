"""Starts interpreters that find this aioxide."""

import os
import subprocess
import sys
from pathlib import Path

import aioxide

PACKAGE_PARENT = str(Path(aioxide.__file__).parent.parent)

# What a child must not inherit from the run of the tests: it would change what the child prints.
_UNWANTED = (
    "PYTHONASYNCIODEBUG",
    "PYTHONWARNINGS",
    "PYTHONSAFEPATH",
    "PYTHONSTARTUP",
    "NO_COLOR",
    "FORCE_COLOR",
)


def environment(**more):
    """The environment for a child interpreter, with `more` variables."""
    kept = {name: value for name, value in os.environ.items() if name not in _UNWANTED}
    paths = [PACKAGE_PARENT, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), "PYTHON_COLORS": "0", **more}


def start_python(*arguments, cwd=None, **more):
    """Start `python *arguments`, its output going to pipes as text; `more` are environment variables."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, timeout=60):
    """Wait until the started process has ended, and return it as `subprocess.run` does.

    Args:
        timeout: seconds, after which the process is killed and the test fails.
    """
    with process:
        try:
            output = process.communicate(timeout=timeout)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, *output)


def run_python(*arguments, timeout=60, **options):
    """Run `python *arguments` as `start_python` and `finish` do."""
    return finish(start_python(*arguments, **options), timeout)


def output_of(*arguments, **options):
    """What `python *arguments` prints; it has to succeed, and to say nothing on its standard error."""
    done = run_python(*arguments, **options)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout
