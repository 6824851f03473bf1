"""The project's files, and as much of Rust's grammar as the rules need."""

import ast
import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOT_OURS = {".git", ".cache", ".hypothesis", ".venv", "target", "dist", "__pycache__", "node_modules"}


def project_files(*suffixes):
    """Every file of the project that ends in one of `suffixes`; every one when none is given."""
    found = []
    for folder, folders, files in os.walk(ROOT):
        # Not to be entered: what is built has a hundred thousand files.
        folders[:] = [each for each in folders if each not in NOT_OURS and not each.endswith("_cache")]
        found += [Path(folder, file) for file in files if not suffixes or Path(file).suffix in suffixes]
    return sorted(path for path in found if path.is_file() and path.name not in NOT_OURS)


def name(path):
    return str(path.relative_to(ROOT))


TOKENS = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)
      | (?P<string>\b(?:r|br|cr)(?P<hash>\#*)".*?"(?P=hash)|(?:\b[bc])?"(?:\\.|[^"\\])*")
      | (?P<char>b?'(?:\\.[^']*|[^'\\])')""",
    re.DOTALL | re.VERBOSE,
)


def blank(text, *kinds):
    """Rust source `text` with the insides of `kinds` (comment, string, char) as spaces; lines stay where
    they are.
    """

    def emptied(match):
        kind = next(kind for kind in ("comment", "string", "char") if match.group(kind) is not None)
        return re.sub(r"[^\n]", " ", match.group()) if kind in kinds else match.group()

    return TOKENS.sub(emptied, text)


def code_only(text):
    return blank(text, "comment", "string", "char")


def closing(code, opening):
    """The position behind the brace that closes the one at `opening`; `code` is without comments and
    strings.
    """
    depth = 0
    for position in range(opening, len(code)):
        depth += {"{": 1, "}": -1}.get(code[position], 0)
        if depth == 0:
            return position + 1
    return len(code)


def spans_of_tests(text):
    """(start, end) of each `#[cfg(test)]` item, models for loom among them, in Rust source `text`."""
    code, found = code_only(text), []
    for match in re.finditer(r"#\[cfg\((?:test|all\(test[^\]]*)\)\]", code):
        brace = code.find("{", match.end())
        semicolon = code.find(";", match.end())
        end = semicolon + 1 if -1 < semicolon < brace or brace < 0 else closing(code, brace)
        if not found or match.start() >= found[-1][1]:
            found.append((match.start(), end))
    return found


def without_tests(text):
    """Rust source `text` with `#[cfg(test)]` items blanked."""
    for start, end in spans_of_tests(text):
        text = text[:start] + re.sub(r"[^\n]", " ", text[start:end]) + text[end:]
    return text


def rust_functions(text):
    """(name, first line, last line, start, end) of each function with a body in Rust source `text`."""
    code = code_only(text)
    found = []
    for match in re.finditer(r"\bfn\s+(\w+)", code):
        # A signature ends in a body or, in a trait or an extern block, in a semicolon ([T; 4] has one of
        # its own).
        end = re.compile(r"[{;](?![^\[\]]*\])").search(code, match.end())
        if end is None or end.group() == ";":
            continue
        stop = closing(code, end.start())
        lines = code.count("\n", 0, match.start()) + 1, code.count("\n", 0, stop) + 1
        found.append((match.group(1), *lines, match.start(), stop))
    return found


def python_functions(text):
    """(name, first line, last line) of each function in Python source `text`."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.lineno, node.end_lineno
