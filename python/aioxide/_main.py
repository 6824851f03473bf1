"""`python -m aioxide SCRIPT`: run a program as `python SCRIPT` does, with `aioxide.install()` in force."""

import io
import os
import pkgutil
import runpy
import stat
import sys
from collections.abc import Callable
from importlib.machinery import BuiltinImporter, SourceFileLoader, SourcelessFileLoader
from types import CodeType, TracebackType
from typing import Any, NoReturn

from . import _aioxide
from ._install import install

_USAGE = """\
usage: python -m aioxide [--namespace] SCRIPT [ARGS ...]     a file, or a directory or zip file with a
    __main__.py python -m aioxide [--namespace] -m MODULE [ARGS ...]
       python -m aioxide [--namespace] -c COMMAND [ARGS ...]
"""
_HELP = f"""\
{_USAGE}
Run a Python program, unchanged, with aioxide's event loop wherever it makes one.

options:
  --namespace    also put aioxide's native classes into asyncio's own names (aioxide.install(namespace=True))
  --             the next argument is the script, even if it starts with a dash
  -V, --version  say which aioxide this is, and exit
  -h, --help     show this, and exit
"""


def main() -> None:
    """Read `sys.argv` as `python` reads its own arguments, and become the program that it names."""
    arguments = sys.argv[1:]
    namespace = False
    while arguments and arguments[0] == "--namespace":
        namespace = True
        del arguments[0]
    if not arguments:
        _usage_error("no script, -m MODULE or -c COMMAND given")
    run, sys.argv = _program(arguments)
    install(namespace=namespace)
    _run_as_if_alone(run)


def _program(arguments: list[str]) -> tuple[Callable[[], None], list[str]]:
    """What `arguments` (at least one) ask for, and the `sys.argv` that it starts with."""
    first, *rest = arguments
    if first in ("-h", "--help"):
        print(_HELP, end="")
        sys.exit()
    if first in ("-V", "--version"):
        from . import __version__

        print(f"aioxide {__version__}")
        sys.exit()
    if first[:2] in ("-m", "-c"):
        if len(first) == 2 and not rest:
            _usage_error(f"argument expected for the {first} option")
        value = first[2:] or rest.pop(0)
        run = _run_module if first[1] == "m" else _run_command
        return lambda: run(value), [first[:2], *rest]
    if first == "--":
        if not rest:
            _usage_error("no script given after --")
        first, *rest = rest
    elif first.startswith("-"):
        _usage_error(
            f"unknown option {first}" if first != "-" else "a program on standard input is not supported"
        )
    return lambda: _run_path(first), [first, *rest]


def _usage_error(message: str) -> NoReturn:
    print(f"{_USAGE}python -m aioxide: {message}", file=sys.stderr)
    sys.exit(2)


def _run_module(name: str) -> None:
    # `python -m aioxide` itself has put the current directory into sys.path. The function is private, but it
    # is what the interpreter calls for -m: messages, exit status, sys.argv[0] and __main__'s attributes are
    # its own.
    _new_main(loader=BuiltinImporter)
    runpy._run_module_as_main(name)  # type: ignore[attr-defined]


def _run_command(source: str) -> None:
    source += "\n"
    if sys.version_info >= (3, 14):
        import textwrap

        source = textwrap.dedent(source)
    code = compile(source, "<string>", "exec", dont_inherit=True)
    if sys.version_info >= (3, 13):
        # So that a traceback shows the lines, as that of `python -c` does since 3.13.
        import linecache

        key = code if sys.version_info >= (3, 14) else "<string>"
        linecache._register_code(key, source, "<string>")  # type: ignore[attr-defined]
    _set_first_path("")
    exec(code, _new_main(loader=BuiltinImporter))


def _run_path(path: str) -> None:
    """Run a file, or the `__main__` of a directory or zip file."""
    # Joined and no more (not normalised): what the interpreter makes of it.
    full_path = os.path.join(os.getcwd(), path)
    if pkgutil.get_importer(full_path) is not None:
        _set_first_path(full_path, always=True)
        _new_main(loader=BuiltinImporter)
        runpy._run_module_as_main("__main__", False)  # type: ignore[attr-defined]
        return
    try:
        code = _compiled(full_path)
    except OSError as error:
        message = f"can't open file {full_path!r}: [Errno {error.errno}] {error.strerror}"
        print(f"{sys.orig_argv[0]}: {message}", file=sys.stderr)
        sys.exit(2)
    _set_first_path(os.path.dirname(os.path.realpath(full_path)))
    loader = SourceFileLoader if code is None else SourcelessFileLoader
    names = _new_main(loader=loader("__main__", full_path), file=full_path)
    if code is None:
        _aioxide._run_file(full_path, names)
    else:
        exec(code, names)


def _compiled(path: str) -> CodeType | None:
    """The program in a file that was compiled already (a .pyc); None where it is source.

    Raises:
        OSError: the file cannot be read.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        return None  # a pipe, say, which can be read once
    with io.open_code(path) as file:
        code: CodeType | None = pkgutil.read_code(file)
    return code


def _set_first_path(path: str, always: bool = False) -> None:
    """Put `path` where `python -m aioxide` put the current directory, unless sys.path was to be left alone
    (-P, -I).
    """
    if not sys.flags.safe_path:
        sys.path[0] = path
    elif always:
        sys.path.insert(0, path)


def _new_main(loader: Any, file: str | None = None) -> dict[str, Any]:
    """Empty the module `__main__`, which was ours until now, and fill it as the interpreter does for a new
    program.
    """
    names = vars(sys.modules["__main__"])
    kept: dict[str, Any] = {
        name: names[name] for name in ("__builtins__", "__annotations__") if name in names
    }
    has_cached = "__cached__" in names  # before 3.15
    names.clear()
    names.update(kept, __name__="__main__", __doc__=None, __package__=None, __loader__=loader, __spec__=None)
    if file is not None:
        names["__file__"] = file
        if has_cached:
            names["__cached__"] = None
    return names


def _run_as_if_alone(run: Callable[[], None]) -> None:
    """Call `run`, and let what it raises leave the interpreter as if none of our frames stood above it.

    It is raised on, in place of being reported and turned into an exit status here: the interpreter knows
    best what SystemExit means, that an uncaught KeyboardInterrupt must end the process by SIGINT, and what
    comes after.
    """
    try:
        run()
    except SystemExit:
        raise
    except BaseException:
        _hide_our_frames()
        raise


def _hide_our_frames() -> None:
    """Wrap `sys.excepthook` for the one call that is about to come."""
    users_hook = getattr(sys, "excepthook", None)
    if users_hook is None:
        return

    def excepthook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        sys.excepthook = users_hook
        traceback = _below_our_frames(traceback)
        sys.last_traceback = traceback
        users_hook(kind, error.with_traceback(traceback), traceback)

    sys.excepthook = excepthook


def _below_our_frames(traceback: TracebackType | None) -> TracebackType | None:
    entry, was_ours = traceback, False
    while entry is not None:
        is_ours = entry.tb_frame.f_code.co_filename == __file__
        if was_ours and not is_ours:
            break
        was_ours = is_ours
        entry = entry.tb_next
    return entry if entry is not None or was_ours else traceback
