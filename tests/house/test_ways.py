"""The ways that ARCHITECTURE draws: each function is in the file it names, and no way goes through a room twice."""

import re

import pytest

from .sources import ROOT, code_only, without_tests

STEP = re.compile(r"`([\w-]+)((?:/\w+)*)::(\w+)`")
# A function, or what a macro of `ffi/guard.rs` makes one of: `fastcall!(name, ...`.
DEFINED = r"\bfn\s+{0}\b|\b\w+!\(\s*{0}\s*,"


def ways(text):
    """Each way of the table under "The ways": its name, and its steps as (room, file, function)."""
    section = text.partition("## The ways\n")[2].partition("\n#")[0]
    found = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and cells != ["way", "through"]:
            steps = [STEP.fullmatch(step) for step in cells[1].split(" > ")]
            assert all(steps), f"{cells[0]}: a step is `room/file::function`: {cells[1]}"
            found[cells[0]] = [(step[1], step[1] + step[2], step[3]) for step in steps]
    return found


def source_of(file):
    """The file that `room/file` stands for: of the extension's crate, or of the crate that the room is."""
    crate, _, rest = file.partition("/")
    if (ROOT / "crates" / crate).is_dir():
        return ROOT / "crates" / crate / "src" / f"{rest or 'lib'}.rs"
    return ROOT / "crates" / "aioxide" / "src" / f"{file}.rs"


def problems(steps):
    """What is wrong with a way."""
    for _, file, function in steps:
        path = source_of(file)
        if not path.is_file():
            yield f"{file}: no such file"
        elif not re.search(DEFINED.format(function), code_only(without_tests(path.read_text()))):
            yield f"{file}: has no function {function}"
    files = [file for _, file, _ in steps]
    yield from (f"{file}: named twice" for file in sorted(set(files)) if files.count(file) > 1)
    rooms = [room for room, _, _ in steps]
    entered = [room for at, room in enumerate(rooms) if at == 0 or rooms[at - 1] != room]
    yield from (f"{room}: entered twice" for room in sorted(set(entered)) if entered.count(room) > 1)


WAYS = ways((ROOT / "ARCHITECTURE.md").read_text())


def test_the_ways_of_a_byte_a_step_a_call_and_a_wake_up_are_drawn():
    for what in ("a byte in", "a byte out", "a task's step", "threads", "processes", "a wake-up"):
        assert any(what in name for name in WAYS), what


@pytest.mark.parametrize("way", WAYS)
def test_each_step_is_where_the_map_says(way):
    assert not list(problems(WAYS[way]))


@pytest.mark.parametrize(
    "steps, wrong",
    [
        ("`net/recv::read` > `net/recv::failed`", "net/recv: named twice"),
        ("`net/recv::read` > `engine/turn::turn` > `net/send::write`", "net: entered twice"),
        ("`net/recv::no_such`", "net/recv: has no function no_such"),
        ("`net/nowhere::read`", "net/nowhere: no such file"),
        ("`aioxide-sys/nowhere::wait`", "aioxide-sys/nowhere: no such file"),
    ],
)
def test_a_way_that_is_wrong_is_seen(steps, wrong):
    (way,) = ways(f"## The ways\n| way | through |\n|---|---|\n| one | {steps} |\n").values()
    assert list(problems(way)) == [wrong]
