"""The tests lie as the rooms do: ARCHITECTURE's table of them is checked by folder, by room and by target of make."""

import ast
import re
import subprocess

import pytest

from .sources import ROOT, name
from .test_floors import CRATES, EXTENSION, FLOORS, PACKAGE, PYTHON_FLOORS

TESTS = ROOT / "tests"

# What any test may import: they hold none.
SHARED = {"support", "certs"}


def tables(text):
    """The two tables under "Where the tests are": the rooms of each folder that has some, and all folders."""
    section = text.partition("## Where the tests are")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line
    ]
    rows = [row for row in rows if not set(row[0]) <= set("- ") and row[0] != "folder"]
    rooms = {row[0]: re.findall(r"`([\w/-]+)`", row[1]) for row in rows if len(row) == 3}
    folders = [row[0].strip("`") for row in rows if row[0].startswith("`")]
    return rooms, folders


ROOMS, FOLDERS = tables((ROOT / "ARCHITECTURE.md").read_text())
OF_ROOMS = sorted(row.strip("`").split("/")[1] for row in ROOMS if row.startswith("`"))


def test_each_folder_is_a_row_and_each_row_a_folder():
    there = {path.parent for path in TESTS.glob("*/*.py")}
    assert sorted(FOLDERS) == sorted(f"{name(path)}/" for path in there)


def test_each_room_has_one_folder_and_each_folder_names_rooms_that_exist():
    """A room of one file (`lib`, `shared`, ...) is an exporter or so small that others speak of it."""
    ours = {room for room in FLOORS if (EXTENSION / room).is_dir()}
    ours |= {room for room in PYTHON_FLOORS if (PACKAGE / room).is_dir()}
    ours |= {f"crates/{crate}" for crate in CRATES} - {"crates/aioxide"}
    assert sorted(room for rooms in ROOMS.values() for room in rooms) == sorted(ours)


def foreign(path):
    """Folders of tests that a file of another room's imports, also in the programs that it runs."""
    text = path.read_text()
    named = set(re.findall(r"^\s*(?:from|import) tests\.(\w+)", text, re.MULTILINE))
    upwards = [
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom) and node.level > 1
    ]
    named |= {(node.module or "").split(".")[0] for node in upwards}
    return named - SHARED - {path.parent.name}


@pytest.mark.parametrize("folder", OF_ROOMS)
def test_the_tests_of_a_room_import_those_of_no_other(folder):
    found = {name(path): foreign(path) for path in (TESTS / folder).glob("*.py")}
    assert found and not {path: which for path, which in found.items() if which}


def test_what_is_imported_by_all_holds_no_tests():
    for folder in SHARED:
        assert not list((TESTS / folder).glob("test_*")), folder


def test_make_runs_the_tests_of_each_room_alone():
    makefile = (ROOT / "Makefile").read_text()
    pools = {"calls", "threads", "wire", "processes"}
    rooms = {room: {room} for room in (*OF_ROOMS, "house")} | {"pools": pools, "net": {"net", "parity"}}
    command = ["make", "--dry-run", "--no-print-directory", *(f"test-{room}" for room in rooms)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    runs = [line for line in done.stdout.splitlines() if "-m pytest" in line]
    for (room, folders), run in zip(rooms.items(), runs, strict=True):
        assert set(re.findall(r"\btests/(\w+)", run)) == folders and "-m 'not slow'" in run
        assert re.search(rf"^test-{room}: ## \w", makefile, re.MULTILINE), f"not in `make help`: test-{room}"
