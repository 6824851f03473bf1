"""What runs, type checkers accept: programs that use aioxide, or say `import aioxide as asyncio`.

Whether the stubs are complete and agree with the modules is for `python -m mypy.stubtest aioxide`, in `make lint`.
"""

import importlib
import importlib.util
import re
import sys
from pathlib import Path

import aioxide
import pytest
from aioxide._entry import namespace

from tests.support.interpreters import run_python
from tests.support.packages import need

from .checkers import CHECKERS, HERE, VERSIONS, expected, findings

ACCEPTED, REFUSED = HERE / "accepted", HERE / "refused"
PROGRAMS = sorted(path.name for path in ACCEPTED.glob("*.py"))


with_checkers = pytest.mark.by_version(
    sys.version_info[:2] != (3, 14), "the checkers are tried on one Python, and asked there about the others"
)


@with_checkers
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("checker", CHECKERS)
def test_what_runs_is_accepted(checker, version, tmp_path):
    need(checker, "tests/checkers/requirements.txt")
    assert not {
        name: found for name, found in findings(checker, ACCEPTED, tmp_path, version).items() if found
    }


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_accepted_runs(program):
    if program == "cluster.py":
        need("distributed", "tests/cluster/requirements.txt")
    done = run_python("-W", "error", ACCEPTED / program, timeout=100)
    assert done.returncode == 0, done.stderr


@with_checkers
@pytest.mark.parametrize("checker", CHECKERS)
def test_what_is_wrong_is_refused(checker, tmp_path):
    """The very lines, each for its own reason."""
    need(checker, "tests/checkers/requirements.txt")
    wanted = expected(checker, REFUSED)
    assert all(len(found) > 3 for found in wanted.values())
    assert findings(checker, REFUSED, tmp_path, mode="standard") == wanted


@with_checkers
@pytest.mark.parametrize("checker", CHECKERS)
def test_an_error_is_seen(checker, tmp_path):
    """The tests above can fail: both checkers read the programs and our annotations."""
    need(checker, "tests/checkers/requirements.txt")
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "wrong.py").write_text("import aioxide\n\nnumber: int = aioxide.build_info()\n")
    assert [line for line, _ in findings(checker, folder, tmp_path)["wrong.py"]] == [3]


def test_the_marker_for_type_checkers_is_there():
    assert sys.modules["aioxide"].__spec__.submodule_search_locations
    assert importlib.util.find_spec("aioxide").loader.get_resource_reader("aioxide").is_resource("py.typed")


def test_each_submodule_has_a_file_for_checkers_and_each_file_a_submodule():
    files = {path.stem for path in Path(aioxide.__file__).parent.glob("*.py") if path.stem[0] != "_"}
    assert not set(namespace.submodules()) - files
    there = {*namespace.submodules(), "gunicorn", "shared"}
    assert files - there == (set() if sys.version_info >= (3, 14) else {"graph"})


@pytest.mark.by_version(sys.version_info >= (3, 14), "asyncio has all of them")
def test_a_submodule_that_this_version_does_not_have_is_not_there():
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'asyncio\.graph'$"):
        importlib.import_module("aioxide.graph")


@pytest.mark.parametrize("name", sorted(namespace.submodules()))
def test_the_program_that_names_the_submodules_names_this_one(name):
    text = (ACCEPTED / "submodules.py").read_text()
    assert re.search(rf"\baioxide\.{name}\b|^from aioxide import .*\b{name}\b", text, re.MULTILINE)
