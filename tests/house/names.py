"""What pages and comments call by name, between backticks or after a prompt: files, items of Rust, commands."""

import re

from .sources import ROOT, code_only, project_files

# From where a page or a comment names a file; by its bare name, one is found anywhere.
FROM = ("", "crates", "crates/aioxide/src", "python", "python/aioxide", "docs", "tests")
MADE = re.compile(r"(?:\.venv|dist|target)/.*")
# What the standard library has.
FOREIGN = {"std", "io", "Box", "Vec"}

FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
TERM = re.compile(r"`([^`\n]+)`")
PROMPT = re.compile(r"^\$ (.+)$", re.MULTILINE)

FILE = re.compile(r"[\w.-]*/[\w./-]*|[\w-]+\.(?:rs|pyi?|md|toml)")
ITEM = re.compile(r"\w[\w-]*(?:/\w+)*(?:::\w+)+")
TARGET = re.compile(r"\bmake ([a-z][a-z-]*)")
MODULE = re.compile(r"\bpython3? -m ((?:aioxide|tests|benches)\b[\w.]*)")
STAGE = re.compile(r"\bscripts/test-hard ([a-z]+)")

# `{0}` is defined: as an item; as a variant, which stands first in its line; by a macro; or it is reexported.
DEFINED = (
    r"\b(?:fn|struct|enum|trait|union|type|const|static|mod|macro_rules!)\s+{0}\b"
    r"|^\s+{0}(?:[,({{]|\s*=|\s*\{{|$)|\b\w+!\(\s*{0}\s*,|\bpub use [^;]*\b{0}\b"
)


def terms(text):
    """(term, line) of what stands between backticks, but in fenced code; and of each command after a prompt."""
    prose = FENCE.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)
    for match in [*TERM.finditer(prose), *PROMPT.finditer(text)]:
        yield match[1], text.count("\n", 0, match.start()) + 1


def rust_modules():
    """The files by each way of naming them: `net/recv`, `recv`, `aioxide_core/gate`, `gate`; a room by its `mod.rs`."""
    found = {}
    for source in sorted((ROOT / "crates").glob("*/src")):
        crate = source.parent.name.replace("-", "_")
        for path in sorted(source.rglob("*.rs")):
            parts = path.relative_to(source).with_suffix("").parts
            whole = [part for part in parts if part not in {"mod", "lib"}]
            whole = whole if crate == "aioxide" else [crate, *whole]
            for start in range(len(whole)):
                found.setdefault(tuple(whole[start:]), []).append(path)
    return found


MODULES = rust_modules()
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
STAGES = set(re.findall(r"\[(\w+)\]=", (ROOT / "scripts" / "test-hard").read_text()))
NAMES = {path.name for path in project_files()}
CODE = {path: code_only(path.read_text()) for path in {each for there in MODULES.values() for each in there}}


def has(path, item):
    return re.search(DEFINED.format(item), CODE[path], re.MULTILINE) is not None


def item_exists(term):
    """Whether `room/file::Item::part` exists: the longest beginning that names files; one of them has the rest."""
    parts = tuple(re.split(r"::|/", term.replace("-", "_")))
    lengths = [length for length in range(len(parts), 0, -1) if parts[:length] in MODULES]
    files, rest = (MODULES[parts[: lengths[0]]], parts[lengths[0] :]) if lengths else (CODE, parts)
    return parts[0] in FOREIGN or any(all(has(path, part) for part in rest) for path in files)


def file_exists(term, folder):
    places = [folder, *(ROOT / each for each in FROM)]
    if MADE.fullmatch(term) or any((place / term).exists() for place in places):
        return True
    return term in NAMES or ("/" in term and tuple(term.split("/")) in MODULES)


def wrong(term, folder):
    """What is not there of all that a term, in a file of `folder`, names."""
    yield from (f"make {each}" for each in TARGET.findall(term) if each not in TARGETS)
    yield from (f"the stage {each}" for each in STAGE.findall(term) if each not in STAGES)
    for module in MODULE.findall(term):
        places = [base.joinpath(*module.split(".")) for base in (ROOT, ROOT / "python")]
        if not any(place.is_dir() or place.with_suffix(".py").is_file() for place in places):
            yield f"the module {module}"
    if FILE.fullmatch(term) and not file_exists(term, folder):
        yield f"the file {term}"
    if ITEM.fullmatch(term) and not item_exists(term):
        yield f"the item {term}"
