"""Raw pointers, unsafe code in macros, and state that threads share: what each room may still have of them.

`DONE` are done; the numbers of the other rooms together may only fall.
"""

import re

import pytest

from .sources import ROOT, closing, code_only, name, without_tests

SOURCE = ROOT / "crates" / "aioxide" / "src"
DONE = {"ffi", "engine", "event_loop", "net", "lib", "calls", "threads", "wire", "processes", "child"}

# Forms of ffi's that take pointers from the rooms that are not converted. They go when those are.
OLD_FORMS = {
    "ffi/args.rs": {"keywords", "bind"},
    "ffi/compat.rs": {"call"},
    "ffi/context.rs": {"run_by_method"},
    "ffi/object.rs": {
        *("steal", "tuple", "dict", "call", "call_kw", "call_method", "call_method_kw"),
    },
}
OLD_MACROS = {"noargs", "onearg", "fastcall", "overriding", "getter", "setter"}

# What the other rooms have together: never more than this.
LEFT = {"functions": 108, "entries": 154, "statics": 11}
# Functions of ffi's and the engine's that callers without a token come to.
UNPROVEN = 4


def code(path):
    return code_only(without_tests(path.read_text()))


def room(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".rs")


FILES = {path: code(path) for path in sorted(SOURCE.rglob("*.rs"))}
REST = {path: text for path, text in FILES.items() if room(path) not in DONE}


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


def uses(text, names):
    return len(re.findall(rf"\b(?:{'|'.join(sorted(names))})!\(", text))


@pytest.mark.parametrize("path", [path for path in FILES if room(path) in DONE], ids=name)
def test_safe_functions_take_references(path):
    # What C declares, or calls with pointers that it answers for, is `extern`.
    text = re.sub(r"(?<!unsafe )\bextern\s+fn\s+\w+\([^)]*\)|\bextern\s*\{[^}]*\}", "", FILES[path])
    allowed = OLD_FORMS.get(str(path.relative_to(SOURCE)), set())
    assert set(safe_functions_with_pointers(text)) <= allowed


@pytest.mark.parametrize("path", FILES, ids=name)
def test_macros_hide_no_unsafe_code(path):
    hiding = {each for each, body in macros(FILES[path]) if hides_unsafe(body)}
    assert hiding <= (OLD_MACROS if path == SOURCE / "ffi" / "guard.rs" else set())
    if room(path) in DONE and path != SOURCE / "ffi" / "guard.rs":
        assert not uses(FILES[path], OLD_MACROS), "make it an ordinary function, registered by `ffi::class`"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_one_type_says_that_statics_are_shared(path):
    if room(path) in DONE and path != SOURCE / "ffi" / "cells.rs":
        assert not re.search(r"\bunsafe\s+impl\b[^{]*\bSync\b", FILES[path]), "put it into `cells::Locked`"


def test_the_rest_does_not_grow():
    counts = {
        "functions": sum(len(safe_functions_with_pointers(text)) for text in REST.values()),
        "entries": sum(uses(text, OLD_MACROS) for text in REST.values()),
        "statics": sum(len(re.findall(r"\bunsafe\s+impl\b[^{]*\bSync\b", text)) for text in REST.values()),
    }
    print(counts)
    assert all(counts[each] <= LEFT[each] for each in LEFT), counts


def test_the_token_is_passed_on():
    assert sum(text.count("Py::unproven()") for text in FILES.values()) <= UNPROVEN


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
