"""No file leads, by its imports and by theirs, back to itself; what only type checkers see is counted too."""

import pytest

from .imports import circles, drawn, python_imports, rust_imports
from .sources import ROOT

CRATES = sorted(path.parent for path in (ROOT / "crates").glob("*/src"))
PACKAGES = sorted(path.parent for path in (ROOT / "python").glob("*/__init__.py"))


def check(graph, root):
    found = circles(graph)
    assert not found, "\n".join(drawn(graph, members, root) for members in found)


@pytest.mark.parametrize("crate", [path.name for path in CRATES])
def test_rust_files_import_in_one_direction(crate):
    root = ROOT / "crates" / crate / "src"
    check(rust_imports(root), root)


@pytest.mark.parametrize("package", [path.name for path in PACKAGES])
def test_python_files_import_in_one_direction(package):
    root = ROOT / "python" / package
    check(python_imports(root), root)


@pytest.fixture
def crate(tmp_path):
    """Makes a crate of the given files, and gives its imports by name."""

    def made(**files):
        for file, text in files.items():
            path = tmp_path / f"{file.replace('__', '/')}.rs"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        graph = rust_imports(tmp_path)
        short = {path: str(path.relative_to(tmp_path))[:-3] for path in graph}
        return {short[path]: {short[each] for each in there} for path, there in graph.items()}

    return made


def test_a_use_a_path_and_a_reexport_lead_to_the_file_that_defines(crate):
    graph = crate(
        lib="mod low; mod room; fn f() { room::high::go() }",
        low="pub struct Thing;",
        room__mod="pub mod high; pub mod side; pub use side::Name;",
        room__side="pub struct Name;",
        room__high="use crate::low; use super::Name as Other; fn go() { low::Thing; }",
        room__way="fn f() { crate::room::Name; super::super::low::Thing; }",
        room__alias="use crate::{room as house}; fn f() { house::high::go() }",
    )
    assert graph == {
        "lib": {"room/high"},
        "low": set(),
        "room/mod": {"room/side"},
        "room/side": set(),
        "room/high": {"low", "room/side"},
        "room/way": {"low", "room/side"},
        "room/alias": {"room/high"},
    }


def test_what_stands_in_comments_texts_and_tests_is_no_import(crate):
    graph = crate(
        lib='// use crate::low;\nfn f() { "crate::low::Thing"; }\n#[cfg(test)]\nmod tests { use crate::low; }',
        low="pub struct Thing;\nmod inner { use super::Thing; }",
    )
    assert graph == {"lib": set(), "low": set()}


def test_a_circle_of_three_is_one_circle():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set(), "f": {"a"}}
    assert circles(graph) == [{"a", "b", "c"}]


def test_python_imports_are_seen_in_functions_and_for_type_checkers(tmp_path):
    package = tmp_path / "house"
    (package / "room").mkdir(parents=True)
    (package / "__init__.py").write_text("from . import low, _native\n")
    (package / "_native.pyi").write_text("from . import low\n")
    (package / "low.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .high import x\n"
    )
    (package / "high.py").write_text("def f():\n    import house.low\n    from house import low, VALUE\n")
    (package / "room" / "__init__.py").write_text("from ..low import y\nfrom .inner import z\n")
    (package / "room" / "inner.py").write_text("from .. import high\n")
    graph = python_imports(package)
    short = {path: str(path.relative_to(package)) for path in graph}
    assert {short[path]: {short[each] for each in there} for path, there in graph.items()} == {
        "__init__.py": {"low.py", "_native.pyi"},
        "_native.pyi": set(),
        "low.py": {"high.py"},
        "high.py": {"low.py", "__init__.py"},
        "room/__init__.py": {"low.py", "room/inner.py"},
        "room/inner.py": {"high.py"},
    }
