"""Sizes, safety comments, and words that stay out."""

import ast
import re

import pytest

from .sources import ROOT, code_only, name, project_files, python_functions, rust_functions, without_tests

FILE_LINES = 600
FUNCTION_LINES = 70

RUST = sorted((ROOT / "crates").rglob("src/**/*.rs"))
SAFETY = re.compile(r"SAFETY|# Safety")


@pytest.mark.parametrize("path", project_files(".rs", ".py", ".pyi", ".c"), ids=name)
def test_file_and_its_functions_fit(path):
    text = path.read_text()
    assert text.count("\n") <= FILE_LINES
    functions = rust_functions(text) if path.suffix == ".rs" else []
    if path.suffix in {".py", ".pyi"}:
        functions = list(python_functions(text))
    for function, first, last, *_ in functions:
        assert last - first + 1 <= FUNCTION_LINES, f"{function} in line {first} has {last - first + 1} lines"


def lines_above(lines, number, count=3):
    return "\n".join(lines[max(0, number - 1 - count) : number])


def unsafe_blocks(code):
    """Positions of `unsafe {` and `unsafe impl`: what has a proof to give."""
    return [match.start() for match in re.finditer(r"\bunsafe\s*(\{|impl\b)", code)]


def documented(text, lines, position):
    """Whether a SAFETY comment stands at the block, in the few lines above it, or first inside it."""
    number = text.count("\n", 0, position) + 1
    above = number - 1
    # A statement may run over several lines before the block in it; its comment stands above the statement.
    while above > 0 and lines[above - 1].strip() and not SAFETY.search(lines[above - 1]):
        if re.search(r"[;}]\s*$", lines[above - 1]):
            break
        above -= 1
    return bool(SAFETY.search("\n".join(lines[max(0, above - 1) : number + 1])))


@pytest.mark.parametrize("path", RUST, ids=name)
def test_unsafe_code_says_why_it_is_sound(path):
    text = without_tests(path.read_text())
    code, lines = code_only(text), text.split("\n")
    for position in unsafe_blocks(code):
        line = text.count("\n", 0, position) + 1
        assert documented(text, lines, position), f"line {line}: unsafe code without a SAFETY comment"


# What these say, the function's own `# Safety` says already: the comment is to say what makes it so in this place.
EMPTY_WORDS = re.compile(r"// SAFETY:.*(?:\bcontract\b|as every function of this file|by the callers)")


@pytest.mark.parametrize("path", RUST, ids=name)
def test_safety_comments_say_something(path):
    assert not EMPTY_WORDS.findall(path.read_text())


@pytest.mark.parametrize("path", RUST, ids=name)
def test_nothing_panics_on_purpose(path):
    code = code_only(without_tests(path.read_text()))
    found = re.findall(r"\.(?:unwrap|expect)\(|\b(?:panic|todo|unimplemented|dbg)!", code)
    # The guard's own report of a panic is not one; an unreachable!() states an invariant and passes through
    # it.
    assert not found, f"{found}: return an error, the process is not ours to end"


# Cells that are not `ffi::Leaf`, which is borrowed for leaf code alone and checks it: where, and why not.
OTHER_CELLS = {
    "ffi/leaf.rs": "the cell itself",
    "ffi/object.rs": "Slot and Global lend nothing out",
    "ffi/class.rs": "the header of an object, of which nothing is lent out",
    "ffi/nesting.rs": "thread-local, and RefCell checks it",
    "engine/loop_object.rs": "RefCell checks it, and nothing is called meanwhile",
    "engine/wake.rs": "RefCell checks it, and holds no object of Python's",
    "engine/turn.rs": "a local list of numbers and handles, which is released when the table is whole",
    "task/callables.rs": "never written",
    "tls/state.rs": "chunks are exact bytes, whose end runs no code; the wire is set once, before it is read",
    "net/state.rs": "chunks are exact bytes, whose end runs no code",
}


@pytest.mark.parametrize("path", [path for path in RUST if "crates/aioxide/src" in name(path)], ids=name)
def test_state_is_borrowed_through_the_cell_that_checks_it(path):
    code = code_only(without_tests(path.read_text()))
    short = name(path).removeprefix("crates/aioxide/src/")
    assert "mut_from_ref" not in code, (
        "a method that lends out what a cell holds: return what `Leaf::with` gives"
    )
    if re.search(r"\b(?:UnsafeCell|RefCell)\b", code):
        assert short in OTHER_CELLS, "use ffi::Leaf, or say in OTHER_CELLS why not"


@pytest.mark.parametrize("path", [path for path in RUST if "/src/net/" in name(path)], ids=name)
def test_a_field_of_a_transport_is_changed_in_one_file(path):
    # A cell that others can reach is one that they can change: `net/state.rs` shows its fields as `Shown`.
    code = code_only(without_tests(path.read_text()))
    assert not re.findall(
        r"^\s*pub(?:\([^)]*\))? \w+: (?:Cell|Slot|UnsafeCell|RefCell|Leaf)\b.*", code, re.MULTILINE
    )


# Rooms in which what changes is private to its file: others change it by a method whose name says what happened.
CLOSED_ROOMS = ("wire/", "calls/", "threads/", "child/", "processes/")
OPEN_FIELD = re.compile(r"^\s+pub (\w+): (?:Cell|RefCell|UnsafeCell|Leaf|Slot)<?", re.MULTILINE)


@pytest.mark.parametrize("path", [path for path in RUST if "crates/aioxide/src" in name(path)], ids=name)
def test_state_of_pools_is_changed_in_its_own_file(path):
    short = name(path).removeprefix("crates/aioxide/src/")
    if short.startswith(CLOSED_ROOMS):
        assert not OPEN_FIELD.findall(without_tests(path.read_text()))


def test_an_open_field_is_seen():
    text = "pub struct Pool {\n    pub outstanding: Cell<usize>,\n    home: Leaf<Home>,\n    pub key: u32,\n}"
    assert OPEN_FIELD.findall(text) == ["outstanding"]


# Joined from parts, or this file would be the first to break the rule.
MACHINE_PATHS = re.compile(
    r"(?<![\w./-])/(?:" + "|".join(["work", "opt/" + "pythons", "root", "farm"]) + r")(?:/|\b(?!\w))"
)


def test_no_file_knows_the_machine_it_was_written_on():
    found = []
    for path in project_files():
        if path.suffix in {".so", ".png", ".ico", ".whl", ".gz"} or path.name == "Cargo.lock":
            continue
        for number, line in enumerate(path.read_text(errors="replace").split("\n"), 1):
            if MACHINE_PATHS.search(line):
                found.append(f"{name(path)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


def test_the_map_names_every_room():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    source = ROOT / "crates" / "aioxide" / "src"
    rooms = {path.name + "/" for path in source.iterdir() if path.is_dir()}
    rooms |= {path.name for path in source.glob("*.rs")}
    rooms |= {path.name for path in (ROOT / "crates").iterdir() if path.is_dir()}
    rooms |= {path.parent.name + "/" for path in (ROOT / "python" / "aioxide").glob("*/__init__.py")}
    assert not {room for room in rooms if room not in text}


def test_the_map_names_every_file_whose_room_has_no_head_that_does():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    files = [*(ROOT / "crates").glob("aioxide-*/src/*.rs"), *(ROOT / "python" / "aioxide").glob("*/*.py")]
    files = {path.stem for path in files} - {"lib", "__init__"}
    assert not {file for file in files if f"`{file}`" not in text}


def unexplained_skips(tree):
    """Lines with a skip or expected-failure mark that has no reason= beside it."""
    explained = {
        id(call.func)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and any(keyword.arg == "reason" for keyword in call.keywords)
    }
    for node in ast.walk(tree):
        mark = isinstance(node, ast.Attribute) and node.attr in {"skip", "skipif", "xfail"}
        if mark and ast.unparse(node.value) == "pytest.mark" and id(node) not in explained:
            yield node.lineno


def test_every_skip_says_why():
    files = [path for path in project_files(".py") if ROOT / "tests" in path.parents]
    found = [
        f"{name(path)}:{line}" for path in files for line in unexplained_skips(ast.parse(path.read_text()))
    ]
    assert not found, f"no reason beside it: {found}"
    assert list(unexplained_skips(ast.parse("@pytest.mark.skip\ndef test(): ..."))) == [1]
    assert list(unexplained_skips(ast.parse("mark = pytest.mark.xfail(reason='asyncio hangs')"))) == []
