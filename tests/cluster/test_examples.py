"""examples/outgrow.py gives the same on every pool; the cluster's part of docs/how-to/pools.md does what it says."""

import json

import pytest

from tests.cluster.support import cluster
from tests.support.interpreters import finish, output_of, start_python
from tests.support.recipes import ROOT, read_page

pytestmark = pytest.mark.slow

OUTGROW = ROOT / "examples" / "outgrow.py"
INSIDE = "of 57600 points inside\n"


@pytest.fixture(scope="module")
def outgrow(tmp_path_factory):
    """The example with a sixteenth of its points: its own number keeps processes busy for seconds."""
    program = OUTGROW.read_text()
    assert "WIDTH, STRIPS, ROUNDS = 960," in program
    copy = tmp_path_factory.mktemp("outgrow") / "outgrow.py"
    copy.write_text(program.replace("ROUNDS = 960,", "ROUNDS = 240,"))
    return copy


@pytest.fixture(scope="module")
def inside(outgrow):
    """How many points are inside, by the function itself."""
    program = "import outgrow; print(sum(map(outgrow.count_inside, range(outgrow.STRIPS))))"
    return output_of("-c", program, cwd=outgrow.parent).strip()


def run_outgrow(outgrow, *arguments):
    done = finish(start_python("-m", "aioxide", outgrow, *arguments))
    assert done.returncode == 0, done.stderr
    assert "24 of 24 strips\n" in done.stderr and "Error" not in done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("threads", "ThreadPoolExecutor"),
        ("processes", "ProcessPoolExecutor"),
        ("cluster", "ClusterExecutor"),
    ],
)
def test_outgrow_gives_the_same_on_every_pool(outgrow, inside, kind, name):
    assert run_outgrow(outgrow, kind) == f"{name}: {inside} {INSIDE}"


def test_outgrow_joins_a_cluster(outgrow, inside, tmp_path):
    with cluster(tmp_path) as running:
        address = json.loads(running.file.read_text())["address"]
        assert run_outgrow(outgrow, "cluster", address) == f"ClusterExecutor: {inside} {INSIDE}"


def test_the_documents_program(tmp_path):
    page = read_page(ROOT / "docs" / "how-to" / "pools.md")
    source = page.files["on_a_cluster.py"]
    (tmp_path / "on_a_cluster.py").write_text(source)
    [expected] = [
        printed
        for commands in page.consoles.values()
        for command, printed in commands
        if command == "python on_a_cluster.py"
    ]
    printed = output_of("-W", "error", "on_a_cluster.py", cwd=tmp_path)
    assert printed.splitlines() == expected and len(expected) == 4
