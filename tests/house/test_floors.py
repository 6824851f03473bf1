"""Who may import whom: a room imports only from floors below its own."""

import ast
import tomllib

import pytest

from .sources import ROOT, crate_paths, expand, name

EXTENSION = ROOT / "crates" / "aioxide" / "src"
PACKAGE = ROOT / "python" / "aioxide"

FLOORS = {
    "ffi": 1,
    "observe": 1,
    "task": 2,
    "engine": 3,
    "sync": 3,
    "net": 4,
    "process": 4,
    "pools": 4,
    "event_loop": 5,
    "streams": 5,
    "lib": 6,
}

PYTHON_FLOORS = {
    "_aioxide": 0,
    "_checks": 0,
    "_registry": 1,
    "_by_value": 0,
    "_children": 1,
    "_imports": 1,
    "_patch": 1,
    "_build": 1,
    "_patched": 1,
    "_cluster_remote": 1,
    "_futures": 1,
    "_process_items": 1,
    "_process_signals": 0,
    "_process_waits": 0,
    "_process_errors": 0,
    "_process_timers": 0,
    "_sockets": 1,
    "_stats": 1,
    "_tls": 1,
    "shared": 1,
    "_cluster_calls": 2,
    "_process_manager": 1,
    "_process_schedule": 2,
    "_work_items": 2,
    "_threads": 3,
    "_cluster": 3,
    "_loop": 4,
    "_processes": 3,
    "_namespace": 5,
    "_policy": 5,
    "_runner": 5,
    "_foreign": 5,
    "_uvloop": 6,
    "_install": 7,
    "__init__": 8,
    "_main": 9,
    "gunicorn": 9,
    "__main__": 10,
}

# Which crates a crate may name. Only aioxide-sys talks to the operating system, only aioxide knows of Python.
CRATES = {
    "aioxide-core": set(),
    "aioxide-sys": {"rustix", "libc"},
    "aioxide": {"aioxide-core", "aioxide-sys", "pyo3", "pyo3-ffi"},
}


def room(path):
    return path.relative_to(EXTENSION).with_suffix("").parts[0]


def module_depth(path):
    """How many modules stand between the file's own and the crate's root: 1 for task/mod.rs and
    event_loop.rs.
    """
    parts = path.relative_to(EXTENSION).with_suffix("").parts
    return len(parts) - (parts[-1] in {"mod", "lib"})


@pytest.mark.parametrize("path", sorted(EXTENSION.rglob("*.rs")), ids=name)
def test_rust_room_imports_only_from_below(path):
    here = room(path)
    assert here in FLOORS, f"{here} has no floor: draw it into FLOORS, design and ARCHITECTURE.md"
    rooms = {p.split("::")[0] for p in crate_paths(path.read_text(), module_depth(path))} & FLOORS.keys()
    wrong = {there for there in rooms - {here} if FLOORS[there] >= FLOORS[here]}
    assert not wrong, f"{here} (floor {FLOORS[here]}) imports {sorted(wrong)}"


@pytest.mark.parametrize("crate", sorted(CRATES))
def test_crate_names_only_its_own_dependencies(crate):
    manifest = tomllib.loads((ROOT / "crates" / crate / "Cargo.toml").read_text())
    assert manifest.get("dependencies", {}).keys() <= CRATES[crate]


def test_core_forbids_unsafe_code():
    assert "#![forbid(unsafe_code)]" in (ROOT / "crates" / "aioxide-core" / "src" / "lib.rs").read_text()


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def statements(node):
    """Every node below `node` that runs: what stands under `if TYPE_CHECKING:` does not."""
    for child in ast.iter_child_nodes(node):
        if not is_type_checking(child):
            yield child
            yield from statements(child)


def imports(path):
    """The rooms of our own package that the Python file imports, at its top or inside a function."""
    for node in statements(ast.parse(path.read_text())):
        paths = []
        if isinstance(node, ast.ImportFrom) and (
            node.level == 1 or (node.module or "").split(".")[0] == "aioxide"
        ):
            base = node.module or "" if node.level == 1 else ".".join(node.module.split(".")[1:])
            paths = [base] if base else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            paths = [a.name.partition(".")[2] for a in node.names if a.name.split(".")[0] == "aioxide"]
        for each in paths:
            first = each.split(".")[0]
            # A name that is no module of ours is one that the package itself holds.
            yield first if first in PYTHON_FLOORS else "__init__"


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=name)
def test_python_room_imports_only_from_below(path):
    here = path.stem
    assert here in PYTHON_FLOORS, f"{here} has no floor: draw it into PYTHON_FLOORS and ARCHITECTURE.md"
    wrong = {there for there in imports(path) if PYTHON_FLOORS[there] >= PYTHON_FLOORS[here]}
    assert not wrong, f"{here} (floor {PYTHON_FLOORS[here]}) imports {sorted(wrong)}"


def test_use_trees_are_read_as_rust_reads_them():
    assert expand("crate::{ffi::{A, b::c}, task}") == ["crate::ffi::A", "crate::ffi::b::c", "crate::task"]
    text = (
        'use crate::net; // use crate::sync;\nfn f() { super::super::engine::turn(); let s = "crate::lib"; }'
    )
    assert {p.split("::")[0] for p in crate_paths(text, 2)} == {"net", "engine"}
    assert {p.split("::")[0] for p in crate_paths("use super::step;", 2)} == set()
