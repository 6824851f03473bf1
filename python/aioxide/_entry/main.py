"""`python -m aioxide SCRIPT`: run a program as `python SCRIPT` does, with `aioxide.install()` in force."""

import io
import os
import pkgutil
import runpy
import stat
import sys
import traceback
from collections.abc import Callable
from importlib.machinery import BuiltinImporter, SourceFileLoader, SourcelessFileLoader
from types import CodeType, TracebackType
from typing import Any, NoReturn

from .. import _aioxide
from .install import install

# One string for each line: a formatter that wraps long lines has joined some of them before.
_USAGE = (
    "usage: python -m aioxide [OPTIONS] SCRIPT [ARGS ...]\n"
    "       python -m aioxide [OPTIONS] -m MODULE [ARGS ...]\n"
    "       python -m aioxide [OPTIONS] -c COMMAND [ARGS ...]\n"
    "       python -m aioxide [OPTIONS] - [ARGS ...]\n"
    "       python -m aioxide [OPTIONS] -i [one of these]\n"
)
_HELP = (
    f"{_USAGE}"
    "\n"
    "Run a Python program, unchanged, with aioxide's event loop wherever it makes one.\n"
    "\n"
    "  SCRIPT            a file, or a directory or zip file with a __main__.py\n"
    "  -m MODULE         a module, found as `import` finds it\n"
    "  -c COMMAND        a program that is given as a string\n"
    "  -                 a program on standard input\n"
    "  -i                the interactive shell: after the program, or alone\n"
    "\n"
    "options:\n"
    "  --namespace       also put aioxide's native classes into asyncio's own names\n"
    "                    (aioxide.install(namespace=True))\n"
    "  --replace-uvloop  also have `import uvloop` give aioxide under uvloop's names\n"
    "                    (aioxide.install(replace_uvloop=True))\n"
    "  --                the next argument is the script, dash or not\n"
    "  -V, --version     say which aioxide this is, and exit\n"
    "  -h, --help        show this, and exit\n"
)
_OPTIONS = {"--namespace": "namespace", "--replace-uvloop": "replace_uvloop"}


def main() -> None:
    """Read `sys.argv` as `python` reads its own arguments, and become the program that it names."""
    arguments = sys.argv[1:]
    options: dict[str, bool] = {}
    interactive = False
    while arguments:
        first = arguments[0]
        if first in _OPTIONS:
            options[_OPTIONS[first]] = True
        elif first[:2] == "-i":
            interactive = True
            if len(first) > 2:
                arguments[0] = "-" + first[2:]  # "-ic" is "-i -c"
                continue
        else:
            break
        del arguments[0]
    if arguments[:1] == ["-"] and sys.stdin is not None and sys.stdin.isatty():
        interactive = True
    if not arguments and not interactive and not sys.flags.interactive:
        _usage_error("no script, -m MODULE or -c COMMAND given")
    run, argv = _program(arguments)
    if interactive and not sys.flags.interactive:
        _start_again_with_i([name for name, option in _OPTIONS.items() if options.get(option)], arguments)
    sys.argv = argv
    install(**options)
    _run_as_if_alone(run)


def _start_again_with_i(options: list[str], arguments: list[str]) -> NoReturn:
    """Become `python -i -m aioxide ...`: the interpreter itself then does, at the end, what its -i does.

    What an option changes in the interpreter (`sys.flags.interactive`, a shell also where standard input is no
    terminal, what an uncaught SystemExit does) cannot be changed from inside.
    """
    python, *ours = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]
    sys.stdout.flush()
    os.execv(sys.executable, [python, "-i", *ours, *options, *arguments])


def _program(arguments: list[str]) -> tuple[Callable[[], None], list[str]]:
    """What `arguments` ask for, and the `sys.argv` that it starts with. There may be none in an interactive shell."""
    if not arguments or (arguments[0] == "-" and sys.flags.interactive):
        return _start_shell, arguments or [""]
    first, *rest = arguments
    if first == "-":
        return _run_stdin, arguments
    if first in ("-h", "--help"):
        print(_HELP, end="")
        sys.exit()
    if first in ("-V", "--version"):
        from .build import build_info

        print(f"aioxide {build_info()['version']}")
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
        _usage_error(f"unknown option {first}")
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
    _set_first_path("")
    names = _new_main(loader=BuiltinImporter)
    code = compile(source, "<string>", "exec", dont_inherit=True)
    if sys.version_info >= (3, 13):
        # So that a traceback shows the lines, as that of `python -c` does since 3.13.
        import linecache

        key = code if sys.version_info >= (3, 14) else "<string>"
        linecache._register_code(key, source, "<string>")  # type: ignore[attr-defined]
    exec(code, names)


def _run_stdin() -> None:
    _set_first_path("")
    names = _new_main(loader=BuiltinImporter, file="<stdin>")
    _run_with_file(lambda: _run_source("<stdin>", names, 0), names)


def _run_source(path: str, names: dict[str, Any], descriptor: int | None = None) -> None:
    """Run a source file; `descriptor`, where it is open.

    What cannot be read twice is copied first. The interpreter's reader goes back to the start where the text says how
    it is encoded, and so cannot run such a program from a pipe (seen on 3.11 to 3.15).
    """
    seekable = stat.S_ISREG(os.stat(path if descriptor is None else descriptor).st_mode)
    if seekable:
        _aioxide._run_file(path, names, descriptor)
        return
    with open(path if descriptor is None else descriptor, "rb", closefd=descriptor is None) as file:
        text = file.read()
    copy = os.memfd_create("program")
    try:
        with open(copy, "wb", closefd=False) as file:
            file.write(text)
        os.lseek(copy, 0, os.SEEK_SET)
        _aioxide._run_file(path, names, copy)
    finally:
        os.close(copy)


def _run_with_file(run: Callable[[], None], names: dict[str, Any]) -> None:
    """Run what has a `__file__` only while it runs: the shell that comes then, and atexit, see none."""
    try:
        run()
    finally:
        for name in ("__file__", "__cached__"):
            names.pop(name, None)


def _start_shell() -> None:
    """Do what comes before the first prompt; the interpreter, which was started with -i, shows that at our end."""
    _set_first_path("")
    names = _new_main(loader=BuiltinImporter)
    if not sys.flags.quiet:
        print(f"Python {sys.version} on {sys.platform}", file=sys.stderr)
        words = '"help", "copyright", "credits" or "license"'
        print(f"Type {words} for more information.", file=sys.stderr)
    startup = None if sys.flags.ignore_environment else os.environ.get("PYTHONSTARTUP")
    if startup:
        names["__file__"] = startup
        try:
            _run_source(startup, names)
        except Exception:
            traceback.print_exc()
        finally:
            names.pop("__file__", None)


def _run_path(path: str) -> None:
    """Run a file, or the `__main__` of a directory or zip file."""
    # Joined and no more (not normalised): what the interpreter makes of it.
    full_path = os.path.join(os.getcwd(), path) if path else os.getcwd()
    if pkgutil.get_importer(full_path) is not None:
        _set_first_path(full_path, always=True)
        _new_main(loader=BuiltinImporter)
        runpy._run_module_as_main("__main__", False)  # type: ignore[attr-defined]
        return
    _set_first_path(os.path.dirname(os.path.realpath(full_path)))
    try:
        code = _compiled(full_path)
    except OSError as error:
        message = f"can't open file {full_path!r}: [Errno {error.errno}] {error.strerror}"
        print(f"{sys.orig_argv[0]}: {message}", file=sys.stderr)
        if sys.flags.interactive:
            _set_first_path("")
            _new_main(loader=BuiltinImporter)
            return
        sys.exit(2)
    loader = SourceFileLoader if code is None else SourcelessFileLoader
    names = _new_main(loader=loader("__main__", full_path), file=full_path)
    _run_with_file(lambda: exec(code, names) if code else _run_source(full_path, names), names)


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
        if sys.flags.interactive or sys.flags.inspect:
            # Then it is reported, and the shell comes.
            _hide_our_frames()
        raise
    except BaseException:
        _hide_our_frames()
        raise


def _hide_our_frames() -> None:
    """Wrap `sys.excepthook` for the one call that is about to come."""
    users_hook = getattr(sys, "excepthook", None)
    if users_hook is None:
        return

    def excepthook(kind: type[BaseException], error: BaseException, entry: TracebackType | None) -> None:
        sys.excepthook = users_hook
        entry = _below_our_frames(entry)
        sys.last_traceback = entry
        users_hook(kind, error.with_traceback(entry), entry)

    sys.excepthook = excepthook


def _below_our_frames(top: TracebackType | None) -> TracebackType | None:
    entry, was_ours = top, False
    while entry is not None:
        is_ours = entry.tb_frame.f_code.co_filename == __file__
        if was_ours and not is_ours:
            break
        was_ours = is_ours
        entry = entry.tb_next
    return entry if entry is not None or was_ours else top
