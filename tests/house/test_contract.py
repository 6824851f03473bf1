"""What Rust calls by name of a process pool's manager is what the protocol says, and the manager's class has it."""

import ast
import re

from .sources import ROOT, name, rust_functions, without_tests

EXTENSION = ROOT / "crates" / "aioxide" / "src"
PACKAGE = ROOT / "python" / "aioxide"

# By the functions of `manager.rs`, whose method is an argument of theirs; and what is called directly.
BY_FUNCTION = re.compile(r'\b(?:ask|tell|raise_from)\(\s*[^,;()]+(?:\([^()]*\))?\s*,\s*c"([a-z_]+)"')
LITERAL = re.compile(r'\bc"([a-z_]+)"')
DIRECTLY = re.compile(r'\bintern\(\s*c"([a-z_]+)"')


def called_names(text, is_manager):
    """The methods of the manager that a Rust file calls; in `manager.rs` itself every name is one."""
    text = without_tests(text)
    if is_manager:
        return set(LITERAL.findall(text))
    found = set(BY_FUNCTION.findall(text))
    for _, _, _, start, end in rust_functions(text):
        body = text[start:end]
        if re.search(r"\bpool\.manager\b", body):
            found |= set(DIRECTLY.findall(body))
    return found


def classes(file):
    return {node.name: node for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef)}


def methods(node):
    """(name, number of arguments) of each method of a class, less the private ones."""
    found = [each for each in node.body if isinstance(each, ast.FunctionDef)]
    return {each.name: len(each.args.args) for each in found if not each.name.startswith("_")}


def the_file(folder, pattern):
    (found,) = folder.rglob(pattern)
    return found


def test_rust_calls_what_the_protocol_of_the_manager_has():
    protocol = methods(classes(PACKAGE / "_aioxide.pyi")["Manager"])
    manager = the_file(EXTENSION, "*manager.rs")
    called = {path: called_names(path.read_text(), path == manager) for path in EXTENSION.rglob("*.rs")}
    wrong = {name(path): found - protocol.keys() for path, found in called.items() if found - protocol.keys()}
    assert not wrong, f"not in the protocol: {wrong}"
    never = protocol.keys() - set().union(*called.values())
    assert not never, f"in the protocol, and called by nothing: {never}"


def test_the_manager_has_what_the_protocol_has_with_as_many_arguments():
    protocol = methods(classes(PACKAGE / "_aioxide.pyi")["Manager"])
    own = {}
    for pattern in ("*timers.py", "*errors.py", "*manager.py"):
        for node in classes(the_file(PACKAGE, pattern)).values():
            if node.name in {"Manager", "Timers", "Errors"}:
                own |= methods(node)
    assert {each: own.get(each) for each in protocol} == protocol


def test_rust_has_what_the_protocol_of_the_pool_has():
    node = classes(PACKAGE / "_aioxide.pyi")["Native"]
    fields = {each.target.id for each in node.body if isinstance(each, ast.AnnAssign)}
    texts = [path.read_text() for path in EXTENSION.rglob("*.rs")]
    (text,) = [each for each in texts if 'Class::<Pool>::new(c"aioxide._aioxide.ProcessPool"' in each]
    assert not (methods(node).keys() | fields) - set(LITERAL.findall(text))


def test_a_call_is_found_however_it_is_written():
    text = """
        fn a(pool: &Pool) { manager::tell(pool, c"on_room", &[]); }
        fn b(slf: Raw) { told(ask(pool::of(slf), c"stop", &[future])?) }
        fn c(pool: &Pool) { call_method(intern(c"admit")?, &[pool.manager.or_none().as_ptr()]); error(c"wrong") }
        fn d(thing: Raw) { getattr(thing, intern(c"other")?) }
        #[cfg(test)]
        mod tests { fn e(pool: &Pool) { manager::tell(pool, c"never", &[]); } }
    """
    assert called_names(text, False) == {"on_room", "stop", "admit"}
    assert called_names(text, True) == {"on_room", "stop", "admit", "other", "wrong"}


MODULE = re.compile(r"\baioxide\.(_(?!aioxide\b)[a-z][a-z_]*(?:\.[a-z_]+)*)\b")


def test_every_python_module_that_rust_names_is_there():
    found = {each for path in EXTENSION.rglob("*.rs") for each in MODULE.findall(path.read_text())}
    assert "_threads.items" in found
    places = {each: PACKAGE.joinpath(*each.split(".")) for each in found}
    assert not {
        each for each, path in places.items() if not (path.is_dir() or path.with_suffix(".py").is_file())
    }
