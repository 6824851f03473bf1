"""Who may import whom: a room imports only from floors below its own."""

import ast
import re
import tomllib

import pytest

from .imports import rust_imports
from .sources import ROOT, name

EXTENSION = ROOT / "crates" / "aioxide" / "src"
PACKAGE = ROOT / "python" / "aioxide"

FLOORS = {
    "ffi": 1,
    "task": 2,
    "engine": 3,
    "net": 4,
    "pools": 4,
    "event_loop": 5,
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
    "_process_contract": 0,
    "_process_settings": 1,
    "_process_timers": 0,
    "_sockets": 1,
    "_stats": 1,
    "_tls": 1,
    "shared": 1,
    "_cluster_calls": 2,
    "_process_manager": 2,
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
    "aioxide": {"aioxide-core", "aioxide-sys", "memchr", "pyo3-ffi"},
}


def room(path):
    return path.relative_to(EXTENSION).with_suffix("").parts[0]


def test_every_room_and_crate_of_the_tables_exists():
    assert FLOORS.keys() == {room(path) for path in EXTENSION.rglob("*.rs")}
    modules = {path.name.split(".")[0] for path in PACKAGE.iterdir() if path.suffix in {".py", ".pyi"}}
    assert PYTHON_FLOORS.keys() == modules
    assert CRATES.keys() == {path.name for path in (ROOT / "crates").iterdir() if path.is_dir()}
    for crate, allowed in CRATES.items():
        manifest = tomllib.loads((ROOT / "crates" / crate / "Cargo.toml").read_text())
        assert manifest.get("dependencies", {}).keys() == allowed, crate


def test_rust_rooms_import_only_from_below():
    for path, there in rust_imports(EXTENSION).items():
        wrong = {
            room(each)
            for each in there
            if room(each) != room(path) and FLOORS[room(each)] >= FLOORS[room(path)]
        }
        assert not wrong, f"{name(path)} (floor {FLOORS[room(path)]}) imports {sorted(wrong)}"


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


def test_the_list_for_a_port_has_every_file_that_talks_to_the_system():
    text = (ROOT / "crates" / "aioxide-sys" / "src" / "lib.rs").read_text()
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("//! | `")]
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert listed == set(re.findall(r"^pub mod (\w+);", text, re.MULTILINE))
