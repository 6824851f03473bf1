"""No link of a page is dead, no file names a page that is not there, and the index of docs/ has all pages."""

import re
from urllib.parse import unquote

import pytest

from .names import FENCE
from .sources import ROOT, name, project_files

PAGES = project_files(".md")
INDEX = ROOT / "docs" / "README.md"
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)
# Whose examples name pages that never were.
EXAMPLES = {"tests/package/test_release.py"}
MENTION = re.compile(r"(?<![\w/.-])docs/(?:[\w-]+/)*[\w-]+\.(?:md|png)\b")


def prose(text):
    return FENCE.sub("", text)


def anchors(text):
    """The names that a forge gives to a page's headings: lower case, no punctuation, a hyphen for each space."""
    found = set()
    for title in HEADING.findall(prose(text)):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", title).lower()).replace(" ", "-")
        number = 0
        while (anchor := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(anchor)
    return found


def dead(path, text):
    """The relative links in `text`, a page at `path`, that lead nowhere."""
    for target in LINK.findall(prose(text)):
        if re.match(r"[a-z][a-z+.-]*:", target):
            continue
        file, _, anchor = unquote(target).partition("#")
        page = (path.parent / file).resolve() if file else path
        there = page == path or page.exists()
        if not there or (anchor and anchor not in anchors(text if page == path else page.read_text())):
            yield target


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_link_leads_somewhere(path):
    assert not list(dead(path, path.read_text()))


def test_every_page_of_docs_that_a_file_names_is_there():
    found = []
    files = project_files(".md", ".py", ".pyi", ".rs", ".toml", ".sh", ".txt", ".yml")
    for path in [path for path in files if name(path) not in EXAMPLES]:
        for number, line in enumerate(path.read_text(errors="replace").split("\n"), 1):
            found += [
                f"{name(path)}:{number}: {each}"
                for each in MENTION.findall(line)
                if not (ROOT / each).is_file()
            ]
    assert not found


def test_the_index_links_every_page_of_docs():
    linked = {(INDEX.parent / target).resolve() for target in LINK.findall(INDEX.read_text())}
    reference = ROOT / "docs" / "reference"
    pages = {path for path in PAGES if ROOT / "docs" in path.parents and path.parent != reference}
    assert not {name(path) for path in pages - {INDEX} - linked}
    linked = {
        (reference / target).resolve() for target in LINK.findall((reference / "README.md").read_text())
    }
    assert not {name(path) for path in reference.glob("*.md")} - {
        "docs/reference/README.md",
        *map(name, linked),
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[a](ARCHITECTURE.md) [b](nowhere.md)", ["nowhere.md"]),
        ("# A `b`, c!\n[a](#a-b-c) [b](#b)", ["#b"]),
        ("## One\n## One\n[a](#one-1) [b](#one-2)", ["#one-2"]),
        ("[a](README.md#install) [b](README.md#no-such)", ["README.md#no-such"]),
        ("```\n[a](nowhere.md)\n# Title\n```\n[a](#title)", ["#title"]),
        ("[a](https://example.org/nowhere.md) ![b](nowhere.png)", ["nowhere.png"]),
    ],
)
def test_a_dead_link_is_seen(text, found):
    assert list(dead(ROOT / "page.md", text)) == found
