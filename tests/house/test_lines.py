"""`scripts/lines` counts what it says."""

import importlib.machinery
import importlib.util
import subprocess
import sys

from .sources import ROOT

LOADER = importlib.machinery.SourceFileLoader("lines", str(ROOT / "scripts" / "lines"))
SPEC = importlib.util.spec_from_loader("lines", LOADER)
lines = importlib.util.module_from_spec(SPEC)
LOADER.exec_module(lines)

SOURCE = """\
fn f() {}

#[cfg(test)]
use std::thread;
#[cfg(all(test, loom))]
mod models {
    #[cfg(test)]
    fn g() {}
}
"""


def test_tests_models_fuzz_targets_and_stubs_are_counted_apart():
    files = [
        ("crates/one/src/lib.rs", SOURCE),
        ("crates/one/fuzz/target.rs", "fn main() {}\n"),
        ("crates/one/Cargo.toml", "[package]\n"),
        ("python/one/__init__.py", "a = 1\nb = 2\n"),
        ("python/one/__init__.pyi", "a: int\n"),
        ("python/one/py.typed", "\n"),
    ]
    assert lines.count(files) == (2, 8, 2, 1)


def test_it_prints_all_lines_of_today():
    command = [sys.executable, ROOT / "scripts" / "lines"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    rust, tests, python, _ = (int(line.split()[-3].replace(",", "")) for line in printed.splitlines()[1:])
    whole = {suffix: 0 for suffix in (".rs", ".py")}
    for folder, suffix in (("crates", ".rs"), ("python", ".py")):
        whole[suffix] += sum(path.read_text().count("\n") for path in (ROOT / folder).rglob(f"*{suffix}"))
    assert (rust + tests, python) == (whole[".rs"], whole[".py"])
    assert rust > 10_000 and tests > 1_000


def test_the_numbers_of_before_are_those_of_the_commits_where_the_clone_has_them():
    for commit, known in lines.BEFORE.items():
        assert lines.count(lines.at(commit)) in {known, (0, 0, 0, 0)}
    assert sum(lines.BEFORE["9785e33"][:2]) == 19_665
    assert lines.BEFORE["9785e33"][2] == 4_826
