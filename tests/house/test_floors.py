"""Who may import whom: a room imports only from floors below its own."""

import ast
import re
import tomllib

import pytest

from .imports import python_imports, rust_imports
from .sources import ROOT, name, without_tests

EXTENSION = ROOT / "crates" / "aioxide" / "src"
PACKAGE = ROOT / "python" / "aioxide"

FLOORS = {
    "ffi": 1,
    "task": 2,
    "engine": 3,
    "net": 4,
    "wire": 4,
    "calls": 4,
    "threads": 5,
    "child": 5,
    "processes": 5,
    "event_loop": 6,
    "lib": 7,
}

PYTHON_FLOORS = {
    "_aioxide": 0,
    "_pools": 1,
    "shared": 2,
    "_threads": 2,
    "_cluster": 2,
    "_processes": 3,
    "_loop": 3,
    "_entry": 4,
    "gunicorn": 4,
    "__init__": 5,
    "__main__": 5,
}

# Which crates a crate may name. Only aioxide-sys talks to the operating system, only aioxide knows of Python.
CRATES = {
    "aioxide-core": set(),
    "aioxide-sys": {"rustix", "libc"},
    "aioxide": {"aioxide-core", "aioxide-sys", "memchr", "pyo3-ffi"},
}


def room(path, root=EXTENSION):
    return path.relative_to(root).parts[0].split(".")[0]


def test_every_room_and_crate_of_the_tables_exists():
    assert FLOORS.keys() == {room(path) for path in EXTENSION.rglob("*.rs")}
    assert PYTHON_FLOORS.keys() == {
        room(path, PACKAGE) for path in PACKAGE.rglob("*.py*") if path.suffix != ".pyc"
    }
    assert CRATES.keys() == {path.name for path in (ROOT / "crates").iterdir() if path.is_dir()}
    for crate, allowed in CRATES.items():
        manifest = tomllib.loads((ROOT / "crates" / crate / "Cargo.toml").read_text())
        assert manifest.get("dependencies", {}).keys() == allowed, crate


@pytest.mark.parametrize(
    ("graph", "root", "floors"),
    [(rust_imports(EXTENSION), EXTENSION, FLOORS), (python_imports(PACKAGE), PACKAGE, PYTHON_FLOORS)],
    ids=["rust", "python"],
)
def test_rooms_import_only_from_below(graph, root, floors):
    for path, there in graph.items():
        here = room(path, root)
        above = {room(each, root) for each in there} - {here}
        wrong = {each for each in above if floors[each] >= floors[here]}
        assert not wrong, f"{name(path)} (floor {floors[here]}) imports {sorted(wrong)}"


def test_every_python_room_says_what_it_is_in_one_sentence():
    for path in PACKAGE.glob("*/__init__.py"):
        said = ast.get_docstring(ast.parse(path.read_text())) or ""
        assert re.fullmatch(r"[^.]+(?:\(\)[^.]*)*\.", said), f"{name(path)}: {said!r}"


def test_core_forbids_unsafe_code():
    assert "#![forbid(unsafe_code)]" in (ROOT / "crates" / "aioxide-core" / "src" / "lib.rs").read_text()


PUBLIC = re.compile(
    r"^ *pub (?:unsafe |const )?(?:fn|struct|enum|const|static|type|trait) (\w+)", re.MULTILINE
)


def listed(row, column):
    return re.findall(r"`(\w+)`", row.split("|")[column])


def test_the_list_for_a_port_has_every_file_that_talks_to_the_system_and_what_others_call_in_it():
    source = ROOT / "crates" / "aioxide-sys" / "src"
    text = (source / "lib.rs").read_text()
    rows = [line for line in text.splitlines() if line.startswith("//! | `")]
    files = [file for row in rows for file in listed(row, 1)]
    assert sorted(files) == sorted(re.findall(r"^pub mod (\w+);", text, re.MULTILINE))
    for row in rows:
        code = "\n".join(without_tests((source / f"{file}.rs").read_text()) for file in listed(row, 1))
        assert set(listed(row, 5)) == set(PUBLIC.findall(code)), row
