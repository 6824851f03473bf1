"""Takes the guide apart, and runs a snippet in one of the ways in."""

import os
import re
from pathlib import Path

from tests.package.support import environment, finish, start_python

GUIDE = Path(__file__).parents[3] / "shared" / "guide" / "asyncio-guide.md"

# A program that a way in needs in front of the snippet, which it then runs from its file, unedited.
_STUB = """
import runpy, sys, warnings
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    {first}
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
WAYS = {
    "aioxide.run": ["-c", _STUB.format(first="import asyncio, aioxide; asyncio.run = aioxide.run")],
    "import aioxide as asyncio": [
        "-c",
        _STUB.format(first="import asyncio, aioxide; sys.modules['asyncio'] = aioxide"),
    ],
    "install()": ["-c", _STUB.format(first="import aioxide; aioxide.install()")],
    "install(namespace=True)": ["-c", _STUB.format(first="import aioxide; aioxide.install(namespace=True)")],
    "python -m aioxide": ["-m", "aioxide"],
    "policy": [
        "-c",
        _STUB.format(
            first="import asyncio, aioxide; asyncio.set_event_loop_policy(aioxide.EventLoopPolicy())"
        ),
    ],
}

# Runs in every interpreter that we start: writes down, beside what the snippet prints, on which loops it ran.
_WITNESS = """if True:
    import asyncio.runners, os

    def lazy_init(self, standard=asyncio.runners.Runner._lazy_init):
        before = self._loop
        standard(self)
        if self._loop is not before:
            with open(os.environ["GUIDE_WITNESS"], "a") as file:
                print(type(self._loop).__module__.partition(".")[0], file=file)

    asyncio.runners.Runner._lazy_init = lazy_init
"""


def python_snippets(text):
    """The python snippets of a Markdown text, in order, each as it stands there."""
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


class Started:
    """A snippet that is running in an interpreter of its own.

    Args:
        folder: for this one alone.
        path: the snippet's file; the same for every way, for it stands in what a task's repr prints.
        how: what comes before the file on python's command line; nothing for plain asyncio.
    """

    def __init__(self, folder, path, how=()):
        folder.mkdir(parents=True)
        self._witness = folder / "witness"
        (folder / "sitecustomize.py").write_text(_WITNESS)
        search = os.pathsep.join([str(folder), environment()["PYTHONPATH"]])
        self._process = start_python(*how, path, PYTHONPATH=search, GUIDE_WITNESS=str(self._witness))

    def finish(self):
        """Wait for its end, and return (exit status, standard output, standard error), and its loops'
        packages.
        """
        done = finish(self._process)
        loops = self._witness.read_text().split() if self._witness.exists() else []
        return (done.returncode, normal(done.stdout), normal(done.stderr)), loops

    def stop(self):
        """End it, whatever it is doing; harmless after `finish`."""
        self._process.kill()
        self._process.wait()


def normal(text):
    """What is printed, less what differs from run to run: addresses, and the order of a set of tasks."""
    text = re.sub(r"0x[0-9a-f]+", "0x", text)
    return re.sub(r"\{(<.*>)\}", lambda found: _sorted_set(found[1]), text)


def _sorted_set(inner):
    return "{" + ", ".join(sorted(re.split(r", (?=<)", inner))) + "}"
