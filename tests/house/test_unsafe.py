"""No raw pointers in safe functions, no unsafe code hidden in macros, and one type for state that threads share."""

import re

import pytest

from .sources import ROOT, closing, code_only, name, without_tests

SOURCE = ROOT / "crates" / "aioxide" / "src"


def code(path):
    return code_only(without_tests(path.read_text()))


FILES = {path: code(path) for path in sorted(SOURCE.rglob("*.rs"))}


def safe_functions_with_pointers(text):
    """The names of functions that are not unsafe and take a `Raw`, or a list of such."""
    pattern = (
        r"(?P<unsafe>\bunsafe\s+)?(?:\bextern\s+)?\bfn\s+(?P<name>\w+)\s*(?:<[^(]*>)?"
        r"\((?P<args>[^{;]*?)\)\s*(?:->|\{|where)"
    )
    found = [match for match in re.finditer(pattern, text) if re.search(r"\bRaw\b", match["args"])]
    return [match["name"] for match in found if not match["unsafe"]]


def macros(text):
    """(name, body) of each macro that a file defines."""
    for match in re.finditer(r"\bmacro_rules!\s+(\w+)\s*\{", text):
        yield match[1], text[match.end() : closing(text, match.end() - 1)]


def hides_unsafe(body):
    """Whether what a caller hands in, an expression or several, stands in an unsafe block of the macro's own."""
    handed = {match[1] for match in re.finditer(r"\$(\w+):(?:expr|block|stmt|tt)\b", body)}
    blocks = [
        body[match.end() - 1 : closing(body, match.end() - 1)]
        for match in re.finditer(r"\bunsafe\s*\{", body)
    ]
    return any(f"${each}" in re.findall(r"\$\w+", block) for each in handed for block in blocks)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_safe_functions_take_references(path):
    # What C declares, or calls with pointers that it answers for, is `extern`.
    text = re.sub(r"(?<!unsafe )\bextern\s+fn\s+\w+\([^)]*\)|\bextern\s*\{[^}]*\}", "", FILES[path])
    assert not safe_functions_with_pointers(text)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_macros_hide_no_unsafe_code(path):
    assert not {each for each, body in macros(FILES[path]) if hides_unsafe(body)}


@pytest.mark.parametrize("path", FILES, ids=name)
def test_one_type_says_that_statics_are_shared(path):
    if path != SOURCE / "ffi" / "cells.rs":
        assert not re.search(r"\bunsafe\s+impl\b[^{]*\bSync\b", FILES[path]), "put it into `cells::Locked`"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_nothing_is_taken_for_proven(path):
    assert not re.search(r"\bimpl\b[^{]*\b(?:Object|Nullable)\s+for\s+Raw\b", FILES[path])


def test_what_the_rules_see():
    assert safe_functions_with_pointers("pub fn f(a: u8, b: &[Raw]) -> u8 {} fn g<T: X>(a: Raw) {}") == [
        "f",
        "g",
    ]
    assert not safe_functions_with_pointers(
        "unsafe fn f(a: Raw) -> Raw {} fn g(a: u8) -> Raw {} fn h(a: Raws) {}"
    )
    [(_, body)] = macros(
        "macro_rules! m { ($name:ident, $body:expr) => { fn $name() { unsafe { go($body) } } } }"
    )
    assert hides_unsafe(body)
    [(_, body)] = macros("macro_rules! m { ($name:ident, $body:expr) => { unsafe { $name() }; $body } }")
    assert not hides_unsafe(body)
