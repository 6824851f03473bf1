"""Who imports whom, file by file: what a file names is followed to the file that defines it."""

import ast
import re
from pathlib import Path

from .sources import closing, code_only, without_tests

USE = re.compile(r"(?P<reach>\bpub(?:\([^)]*\))?\s+)?\buse\s+(?P<tree>[^;]+);")
MENTION = re.compile(r"(?<![\w:.])[A-Za-z_]\w*(?:\s*::\s*[A-Za-z_]\w*)+")


def named(tree):
    """(path, name) for each name that a Rust use tree binds: `a::{self, b as c}` is (a, a) and (a::b, c)."""
    tree = tree.strip()
    brace = tree.find("{")
    if brace < 0:
        path, _, alias = re.sub(r"\s+", " ", tree).partition(" as ")
        parts = re.sub(r"\s", "", path).removeprefix("::").split("::")
        if parts[-1] == "self" and len(parts) > 1:
            parts.pop()
        return [(parts, alias.strip() or parts[-1])]
    inside, depth, start, found = tree[brace + 1 : tree.rindex("}")], 0, 0, []
    for position, letter in enumerate(inside + ","):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            if inside[start:position].strip():
                found += named(tree[:brace] + inside[start:position])
            start = position + 1
    return found


class RustFile:
    """A source file as a module: its name from the crate's root on, what it binds, and which paths it names."""

    def __init__(self, path, root):
        self.path = path
        parts = path.relative_to(root).with_suffix("").parts
        self.module = tuple(part for part in parts if part not in {"mod", "lib"})
        self.is_folder = path.stem in {"mod", "lib"}
        code = code_only(without_tests(path.read_text()))
        # A module inside the file: what `super` means there is the file itself.
        self.inner = [
            (match.start(), closing(code, match.end() - 1))
            for match in re.finditer(r"\bmod\s+\w+\s*\{", code)
        ]
        self.bound, self.named = {}, []
        for match in USE.finditer(code):
            for parts, name in named(match["tree"]):
                parts = self.absolute(parts, match.start())
                self.bound[name] = parts
                self.named.append(parts)
        rest = USE.sub(lambda match: " " * len(match.group()), code)
        for match in MENTION.finditer(rest):
            parts = re.sub(r"\s", "", match.group()).split("::")
            self.named.append(self.absolute(parts, match.start()))

    def absolute(self, parts, position):
        """The path from `crate` on, where it begins with `super` or `self`."""
        if parts[0] not in {"super", "self"}:
            return parts
        here = list(self.module) + ["inside"] * sum(start <= position < end for start, end in self.inner)
        rest = parts[parts[0] == "self" :]
        while rest and rest[0] == "super":
            here.pop()
            rest = rest[1:]
        return ["crate", *(part for part in here if part != "inside"), *rest]


def rust_imports(root):
    """For each file of the crate at `root`, the files of that crate whose items it names."""
    files = [RustFile(path, root) for path in sorted(root.rglob("*.rs"))]
    modules = {file.module: file for file in files}

    def defining(parts, file, seen=()):
        """The file that defines what `parts`, named in `file`, leads to; none for another crate's, or a folder."""
        if parts[0] == "crate":
            here, rest = (), list(parts[1:])
        elif (*file.module, parts[0]) in modules:
            here, rest = file.module, list(parts)
        elif parts[0] in file.bound and parts[0] not in seen:
            return defining([*file.bound[parts[0]], *parts[1:]], file, (*seen, parts[0]))
        else:
            return None
        while rest and (*here, rest[0]) in modules:
            here, rest = (*here, rest[0]), rest[1:]
        found = modules[here]
        if not rest:
            return None if found.is_folder else found
        if rest[0] in found.bound and (here, rest[0]) not in seen:
            return defining([*found.bound[rest[0]], *rest[1:]], found, (*seen, (here, rest[0]))) or found
        return found

    graph = {}
    for file in files:
        there = {defining(parts, file) for parts in file.named}
        graph[file.path] = {found.path for found in there if found not in {None, file}}
    return graph


def python_imports(package):
    """For each file of the package, the files of it that it imports: above, in functions, or for type checkers."""
    name = package.name
    # A stub without a source file beside it stands for the extension module, which imports nothing by file.
    sources = sorted(package.rglob("*.pyi")) + sorted(package.rglob("*.py"))
    files = {path.relative_to(package).with_suffix("").parts: path for path in sources}

    def found(parts):
        while parts and parts not in files and (*parts, "__init__") not in files:
            parts = parts[:-1]
        return files.get(parts) or files[(*parts, "__init__")]

    graph = {}
    for parts, path in files.items():
        graph[path] = set()
        if path.suffix == ".pyi":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name.split(".") for alias in node.names]
                graph[path] |= {found(tuple(each[1:])) for each in names if each[0] == name}
            elif isinstance(node, ast.ImportFrom):
                base = (node.module or "").split(".") if node.module else []
                if node.level:
                    base = [name, *parts[: len(parts) - node.level], *base]
                if base[0] == name:
                    graph[path] |= {found((*base[1:], alias.name)) for alias in node.names}
        graph[path].discard(path)
    return graph


def circles(graph):
    """The sets of files in which each leads to each other (Tarjan's strongly connected components), largest first."""
    index, low, stack, on_stack, found = {}, {}, [], set(), []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        on_stack.add(node)
        for there in sorted(graph[node]):
            if there not in index:
                visit(there)
                low[node] = min(low[node], low[there])
            elif there in on_stack:
                low[node] = min(low[node], index[there])
        if low[node] == index[node]:
            members = set()
            while node not in members:
                members.add(stack.pop())
            on_stack.difference_update(members)
            if len(members) > 1:
                found.append(members)

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return sorted(found, key=lambda members: (-len(members), sorted(members)))


def drawn(graph, members, root: Path):
    """A circle as text: each file with those of the circle that it imports."""
    lines = []
    for path in sorted(members):
        there = ", ".join(str(each.relative_to(root)) for each in sorted(graph[path] & members))
        lines.append(f"    {path.relative_to(root)} > {there}")
    return f"  {len(members)} files\n" + "\n".join(lines)
