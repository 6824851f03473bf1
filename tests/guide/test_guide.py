"""Each snippet of the guide prints in each way what it prints on plain asyncio, and runs on our loop
meanwhile.
"""

import os
import re

import pytest

from tests.guide.snippets import GUIDE, WAYS, Started, normal, python_snippets, with_processes

pytestmark = pytest.mark.skipif(
    not GUIDE.exists(), reason="the guide is not here: ../shared/guide beside the project"
)

TEXT = GUIDE.read_text(encoding="utf-8") if GUIDE.exists() else ""
SNIPPETS = python_snippets(TEXT)
# The last one sets uvloop's policy and ends there: our name takes its place, and a program follows.
PLAIN = [number for number, source in enumerate(SNIPPETS) if "uvloop" not in source]
UVLOOP = [number for number, source in enumerate(SNIPPETS) if "uvloop" in source]
AFTER_THE_POLICY = """
async def main():
    print("task:", await asyncio.create_task(asyncio.sleep(0.1, "slept")))
    print("gathered:", await asyncio.gather(*(asyncio.sleep(0.01 * n, n) for n in range(3))))

asyncio.run(main())
"""


class Runs:
    """The processes of each snippet, one for plain asyncio and one a way."""

    def __init__(self, folder):
        self.folder = folder
        self.started = {}

    def start(self, number):
        if number in self.started:
            return self.started[number]
        path = self.folder / f"snippet{number}.py"
        path.write_text(SNIPPETS[number], encoding="utf-8")
        ways = {"asyncio": (), **WAYS}
        self.started[number] = {
            way: Started(self.folder / f"{number}-{index}", path, how)
            for index, (way, how) in enumerate(ways.items())
        }
        return self.started[number]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    runs = Runs(tmp_path_factory.mktemp("guide"))
    # They do little but sleep, one of them for ten seconds: all at once, they take as long as the longest.
    # Under pytest-xdist the tests are spread over processes, each of which would start all of them.
    if "PYTEST_XDIST_WORKER" not in os.environ:
        for number in PLAIN:
            runs.start(number)
    yield runs
    for ways in runs.started.values():
        for started in ways.values():
            started.stop()


def test_every_snippet_is_found():
    assert len(SNIPPETS) == TEXT.count("```python") > 0
    assert len(UVLOOP) == 1
    assert all(source in TEXT for source in SNIPPETS)


@pytest.mark.parametrize("number", PLAIN)
def test_snippet(runs, number):
    results = {way: started.finish() for way, started in runs.start(number).items()}
    expected, standard = results.pop("asyncio")
    assert expected[0] == 0, expected[2]
    assert expected[1], "the snippet prints something"
    source = SNIPPETS[number]
    assert seen(standard, source) == use(source, loop="asyncio", default="concurrent", pools="concurrent")
    for way, (printed, used) in results.items():
        assert printed == expected, way
        # Only one way replaces what is not asyncio's.
        pools = "aioxide" if way == "install(namespace=True)" else "concurrent"
        assert seen(used, source) == use(source, loop="aioxide", default="aioxide", pools=pools), way


def named(source):
    """The pools that a snippet makes, by name."""
    lines = [line for line in source.splitlines() if not line.lstrip().startswith(("#", "from ", "import "))]
    return re.findall(r"\b(?:Thread|Process)PoolExecutor(?=\()", "\n".join(lines))


def use(source, *, loop, default, pools):
    """What the witness of a snippet has to say, given whose it is."""
    made = {("loop", loop)} if "asyncio.run(" in source else set()
    made |= {(name, pools) for name in named(source)}
    return made | {("default", default)} if re.search(r"run_in_executor\(None|to_thread", source) else made


def seen(used, source):
    """What the witness says, less the pool of threads that only is the default executor."""
    return {pair for pair in used if pair[0] in ("loop", "default", *named(source))}


WITH_POOLS = [number for number, source in enumerate(SNIPPETS) if "# " in source and "PoolExecutor" in source]


def test_there_are_snippets_with_pools():
    assert len(WITH_POOLS) == 2
    assert all("ProcessPoolExecutor" in SNIPPETS[number] for number in WITH_POOLS)


@pytest.mark.parametrize("number", WITH_POOLS)
def test_the_variants_with_processes(tmp_path, number):
    source = with_processes(SNIPPETS[number])
    path = tmp_path / "processes.py"
    path.write_text(source, encoding="utf-8")
    ways = {"concurrent": (), "aioxide": WAYS["install(namespace=True)"]}
    started = [Started(tmp_path / way, path, how) for way, how in ways.items()]
    (expected, standard), (printed, used) = [each.finish() for each in started]
    assert expected[0] == 0, expected[2]
    assert printed == expected
    assert "ProcessPoolExecutor" in str(standard)
    assert seen(standard, source) == use(source, loop="asyncio", default="concurrent", pools="concurrent")
    assert seen(used, source) == use(source, loop="aioxide", default="aioxide", pools="aioxide")


@pytest.mark.parametrize("how", [[], WAYS["import aioxide as asyncio"]], ids=["verbatim", "namespace"])
def test_the_last_snippet_with_our_name_in_its_place(tmp_path, how):
    [number] = UVLOOP
    path = tmp_path / "policy.py"
    path.write_text(SNIPPETS[number].replace("uvloop", "aioxide") + AFTER_THE_POLICY, encoding="utf-8")
    plain = tmp_path / "plain.py"
    plain.write_text("import asyncio\n" + AFTER_THE_POLICY)
    started = [Started(tmp_path / "1", plain), Started(tmp_path / "2", path, how)]
    (expected, standard), (printed, used) = [each.finish() for each in started]
    # From 3.14 on, the guide's own line makes asyncio warn: on the standard error, which is not compared
    # here.
    assert printed[:2] == expected[:2] == (0, "task: slept\ngathered: [0, 1, 2]\n")
    assert (standard, used) == ([("loop", "asyncio")], [("loop", "aioxide")])
    assert "Error" not in printed[2]


def test_sets_of_tasks_are_compared_without_their_order():
    one = "done: {<Task finished name='t1' coro=<f() done> result='a, b'>, <Task name='t2' coro=<f()>>}"
    other = "done: {<Task name='t2' coro=<f()>>, <Task finished name='t1' coro=<f() done> result='a, b'>}"
    assert one != other
    assert normal(one) == normal(other)
    assert normal(one) != normal(one.replace("t1", "t3"))
