"""What the pages and Rust's comments name is there: files, functions and types, commands, commits."""

import re
import subprocess

import pytest

from .names import terms, wrong
from .sources import ROOT, TOKENS, blank, name, project_files

PAGES = [path for path in project_files(".md") if path.name != "CHANGELOG.md"]
RUST = sorted((ROOT / "crates").rglob("src/**/*.rs"))

# What this section of ARCHITECTURE names is to come.
TO_COME = re.compile(r"^#### Where the next transport will stand$.*?^(?=## )", re.MULTILINE | re.DOTALL)
# Words of the two maps that are no names of ours.
OTHERS = {"writev", "SystemError"}


def missing(text, folder):
    return [f"line {line}: {what}" for term, line in terms(text) for what in wrong(term, folder)]


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_what_a_page_names_is_there(path):
    text = TO_COME.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), path.read_text())
    assert not missing(text, path.parent)


@pytest.mark.parametrize("path", RUST, ids=name)
def test_what_a_comment_names_is_there(path):
    text = path.read_text()
    comments = [match for match in TOKENS.finditer(text) if match["comment"]]
    assert not [each for match in comments for each in missing(match["comment"], path.parent)]


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_each_word_between_backticks_is_one_of_the_sources(page):
    words = {word for path in [*PAGES, *project_files()] for word in re.split(r"\W+", name(path))} | OTHERS
    for path in project_files(".rs", ".py", ".pyi", ".toml", ""):
        text = (
            blank(path.read_text(), "comment") if path.suffix == ".rs" else path.read_text(errors="replace")
        )
        words.update(re.findall(r"\w+", text))
    text = TO_COME.sub("", (ROOT / page).read_text())
    gone = {word for term, _ in terms(text) for word in re.findall(r"[A-Za-z_]\w+", term)} - words
    assert not gone


def test_the_commits_that_are_examples_are_in_the_history():
    commits = re.findall(
        r"\b(?=[0-9a-f]*[a-f])(?=[0-9a-f]*[0-9])[0-9a-f]{7}\b", (ROOT / "CONTRIBUTING.md").read_text()
    )
    assert len(commits) >= 4

    def known(commit):
        command = ["git", "cat-file", "-e", f"{commit}^{{commit}}"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=20).returncode == 0

    if not known("9785e33"):
        return  # A clone without history.
    assert not [commit for commit in commits if not known(commit)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("`net/recv.rs`, `net/nowhere.rs`", ["the file net/nowhere.rs"]),
        ("`pools/`, `calls/standard`", ["the file pools/"]),
        ("`net::recv::read` > `net/recv::no_such`", ["the item net/recv::no_such"]),
        ("`aioxide_core::gate`, `aioxide_core::nothing`", ["the item aioxide_core::nothing"]),
        ("`Item::Step`, `Item::Nap`", ["the item Item::Nap"]),
        ("`make wheel PGO=yes` and `make cake`", ["make cake"]),
        ("`scripts/test-hard loom`, `scripts/test-hard soft`", ["the stage soft"]),
        (
            "```console\n$ python -m aioxide app.py\n$ python -m tests.nothing\n```",
            ["the module tests.nothing"],
        ),
    ],
)
def test_a_wrong_name_is_seen(text, found):
    assert [each.partition(": ")[2] for each in missing(text, ROOT)] == found
