"""Takes the guide apart, and runs a snippet in one of the ways in."""

import os
import re
import textwrap
from pathlib import Path

from tests.support.interpreters import environment, finish, start_python

GUIDE = Path(__file__).parents[3] / "shared" / "guide" / "asyncio-guide.md"

# A program that a way in needs in front of the snippet, which it then runs from its file, unedited.
_STUB = """
import runpy, sys, warnings
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    {first}
if "sitecustomize" in sys.modules:
    sys.modules["sitecustomize"].watch_pools()
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

# Runs in every interpreter that we start: writes down, beside what the snippet prints, on which loops it ran, and
# with which pools. The names of a pool's module are read once more after a way in has changed them.
_WITNESS = """if True:
    import asyncio.runners, concurrent.futures.process, concurrent.futures.thread, functools, os

    parent = os.getpid()

    def note(what, thing):
        if os.getpid() == parent:
            with open(os.environ["GUIDE_WITNESS"], "a") as file:
                print(what, type(thing).__module__.partition(".")[0], file=file)

    def lazy_init(self, standard=asyncio.runners.Runner._lazy_init):
        before = self._loop
        standard(self)
        if self._loop is not before:
            note("loop", self._loop)

    def close(self, standard=asyncio.runners.Runner.close):
        if getattr(self._loop, "_default_executor", None) is not None:
            note("default", self._loop._default_executor)
        standard(self)

    asyncio.runners.Runner._lazy_init = lazy_init
    asyncio.runners.Runner.close = close

    def watch(pool):
        standard = pool.__init__

        @functools.wraps(standard)
        def __init__(self, *args, **kwargs):
            if type(self) is pool:
                note(pool.__name__, self)
            standard(self, *args, **kwargs)

        pool.__init__ = __init__

    watched = set()

    def watch_pools():
        for module in (concurrent.futures, concurrent.futures.process, concurrent.futures.thread):
            for name in ("ProcessPoolExecutor", "ThreadPoolExecutor"):
                pool = getattr(module, name, None)
                if pool is not None and pool not in watched:
                    watched.add(pool)
                    watch(pool)

    watch_pools()
"""


def python_snippets(text):
    """The python snippets of a Markdown text, in order, each as it stands there."""
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def with_processes(source):
    """A snippet about pools with its commented-out variants switched on, and what makes and uses pools under
    ``if __name__ == "__main__":``, for workers may import the program.
    """
    source = re.sub(r"^pool = Thread.*\n", "", source, flags=re.MULTILINE)
    source = re.sub(r"^( *)# (?=pool = |with |    \w)", r"\1", source, flags=re.MULTILINE)
    start = re.search(r"^(pool = |asyncio\.run)", source, re.MULTILINE).start()
    return source[:start] + 'if __name__ == "__main__":\n' + textwrap.indent(source[start:], "    ")


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
        # Unbuffered, so that what workers print has its place in what is printed.
        self._process = start_python(
            *how, path, PYTHONPATH=search, GUIDE_WITNESS=str(self._witness), PYTHONUNBUFFERED="1"
        )

    def finish(self):
        """Wait for its end, and return (exit status, standard output, standard error), and what it used: pairs
        such as ("loop", "aioxide"), of a loop, a default executor or a pool's class, and of a package.
        """
        done = finish(self._process)
        used = self._witness.read_text().splitlines() if self._witness.exists() else []
        return (done.returncode, normal(done.stdout), normal(done.stderr)), [
            tuple(line.split()) for line in used
        ]

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
