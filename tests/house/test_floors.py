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
    "tls": 5,
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


# What stands for a submodule of asyncio's says so in its first line, and imports from there alone.
ASYNCIOS = [
    path
    for path in PACKAGE.glob("*.py")
    if path.read_text().startswith(f'"""`aioxide.{path.stem}` is `asyncio.{path.stem}`')
]

RUST, PYTHON = rust_imports(EXTENSION), python_imports(PACKAGE)


def room(path, root=EXTENSION):
    return path.relative_to(root).parts[0].split(".")[0]


def test_every_room_and_crate_of_the_tables_exists():
    assert FLOORS.keys() == {room(path) for path in EXTENSION.rglob("*.rs")}
    # Not asyncio's submodules under our name, which are no rooms.
    sources = {path for path in PACKAGE.rglob("*.py*") if path.suffix != ".pyc"} - set(ASYNCIOS)
    assert PYTHON_FLOORS.keys() == {room(path, PACKAGE) for path in sources}
    assert CRATES.keys() == {path.name for path in (ROOT / "crates").iterdir() if path.is_dir()}
    for crate, allowed in CRATES.items():
        manifest = tomllib.loads((ROOT / "crates" / crate / "Cargo.toml").read_text())
        assert manifest.get("dependencies", {}).keys() == allowed, crate


@pytest.mark.parametrize(
    ("graph", "root", "floors"),
    [(RUST, EXTENSION, FLOORS), (PYTHON, PACKAGE, PYTHON_FLOORS)],
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


def order(text):
    """The files that the head of a room's `mod.rs` names from below."""
    head = re.match(r"(?://!.*\n)*", text)[0]
    return re.findall(r"`(\w+)`", head.partition("From below:")[2].partition("//!\n")[0])


def against(named, graph):
    """(file, what it imports that is named behind it, or not at all) for the files of a room."""
    places = {file: place for place, file in enumerate(named)}
    for file, there in graph.items():
        above = {each for each in there if places.get(each, len(named)) >= places.get(file, -1)}
        if file not in places or above:
            yield file, sorted(above)


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in EXTENSION.glob("*/mod.rs")), ids=lambda path: path.name
)
def test_the_head_of_a_room_names_its_files_from_below(folder):
    graph = {
        path.stem: {each.stem for each in there if each.parent == folder and each.stem != "mod"}
        for path, there in RUST.items()
        if path.parent == folder and path.stem != "mod"
    }
    named = [each for each in order((folder / "mod.rs").read_text()) if each in graph]
    assert not list(against(named, graph))


def test_an_order_that_is_wrong_is_seen():
    named = order(
        "//! A room.\n//!\n//! From below: `low` (`x`) < `high`,\n//! `type`.\n//!\n//! `more`\nmod low;\n"
    )
    assert named == ["low", "x", "high", "type"]
    assert not list(against(named, {"low": set(), "high": {"low"}, "type": {"high", "low"}}))
    assert list(against(named, {"low": {"high"}, "new": {"low"}})) == [("low", ["high"]), ("new", ["low"])]


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
