"""What a type checker makes of a program that uses aioxide, or says `import aioxide as asyncio`.

Whether the stubs are complete and agree with the modules is for `python -m mypy.stubtest aioxide`, in `make
lint`.
"""

import importlib.util
import re
import sys

import pytest

from tests.support.interpreters import PACKAGE_PARENT, run_python

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mypy") is None,
    reason="mypy is not installed (tests/integration/requirements.txt)",
)

GOOD = """
import aioxide
import aioxide as asyncio

async def main() -> int:
    queue: asyncio.Queue[int] = asyncio.Queue()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(queue.put(3))
    task.result()
    future: asyncio.Future[int] = asyncio.Future(loop=asyncio.get_running_loop())
    future.set_result(4)
    reader: asyncio.StreamReader = asyncio.streams.StreamReader()
    async with asyncio.timeout(1):
        reader.feed_eof()
    return await queue.get() + await future

reveal_type(asyncio.run(main()))
reveal_type(aioxide.new_event_loop())
reveal_type(aioxide.EventLoop().call_soon(print))
with aioxide.installed(namespace=True), aioxide.Runner(debug=True) as runner:
    reveal_type(runner.run(main()))
aioxide.install()
aioxide.uninstall()
reveal_type(aioxide.build_info())
reveal_type(asyncio.sleep)
"""
REVEALED = ["int", "EventLoop", "Handle", "int", "dict[str, Any]", "Overload"]

BAD = """
import aioxide

aioxide.no_such_name
aioxide.install(1, 2)
aioxide.run(3)
aioxide.new_event_loop().no_such_method()
"""


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mypy")

    def check(source):
        (folder / "user.py").write_text(source)
        # Errors in our own sources are for `make lint` to find.
        options = ["--strict", "--follow-imports=silent", f"--cache-dir={folder / 'cache'}"]
        return run_python("-m", "mypy", *options, "user.py", cwd=folder, timeout=110, MYPYPATH=PACKAGE_PARENT)

    return check


def test_a_program_that_is_right(check):
    done = check(GOOD)
    assert done.returncode == 0, done.stdout
    revealed = re.findall(r'Revealed type is "(.*)"', done.stdout)
    assert len(revealed) == len(REVEALED)
    for actual, expected in zip(revealed, REVEALED, strict=True):
        assert re.sub(r"\b[\w.]+\.(?=\w)", "", actual).startswith(expected)


def test_a_program_that_is_wrong(check):
    done = check(BAD)
    assert done.returncode == 1
    wrong = sorted({int(line) for line in re.findall(r"^user\.py:(\d+): error", done.stdout, re.MULTILINE)})
    assert wrong == [4, 5, 6, 7], done.stdout


def test_the_marker_for_type_checkers_is_there():
    assert sys.modules["aioxide"].__spec__.submodule_search_locations
    assert importlib.util.find_spec("aioxide").loader.get_resource_reader("aioxide").is_resource("py.typed")
