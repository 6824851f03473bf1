"""docs/reference is what `scripts/reference` makes of the package: run that where this fails."""

import importlib.machinery
import importlib.util
import sys

import pytest

from .sources import ROOT

LOADER = importlib.machinery.SourceFileLoader("reference", str(ROOT / "scripts" / "reference"))
SPEC = importlib.util.spec_from_loader("reference", LOADER)
reference = importlib.util.module_from_spec(SPEC)
LOADER.exec_module(reference)

FOLDER = ROOT / "docs" / "reference"


@pytest.fixture(scope="module")
def pages():
    if sys.version_info[:2] != reference.VERSION:
        pytest.skip(f"by version: the pages are made by CPython {'.'.join(map(str, reference.VERSION))}")
    return reference.pages()


def test_the_pages_are_those_that_the_script_makes(pages):
    there = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
    assert there.keys() == pages.keys()
    stale = [name for name, text in pages.items() if there[name] != text]
    assert not stale, (
        f"run {sys.executable} scripts/reference: the docstrings or stubs of {stale} have changed"
    )


def test_every_public_name_is_on_a_page(pages):
    import aioxide

    text = pages["README.md"]
    names = [name for name in dir(aioxide) if not name.startswith("_") and name != "shared"]
    missing = [
        name for name in names if reference.is_ours(getattr(aioxide, name)) and f"| [`{name}`](" not in text
    ]
    assert not missing, "add them to PAGES of scripts/reference"


def test_annotations_and_defaults_come_from_the_stub(pages):
    text = pages["event-loop.md"]
    assert "delay: float" in text and "context: Context | None = None" in text and ") -> TimerHandle" in text


def test_a_docstring_becomes_lists():
    made = reference.markdown(
        "Do it with *args.\n\nArgs:\n    one, two: numbers\n        of `*` seconds.\n    args: more.\n\n"
        "Returns:\n    A number.\n\nSource: PEP 1."
    )
    assert made == (
        "Do it with \\*args.\n\n**Args**:\n\n- `one`, `two`: numbers of `*` seconds.\n- `args`: more.\n\n"
        "**Returns**: A number.\n\nSource: PEP 1."
    )
