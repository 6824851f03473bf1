"""`python -m aioxide PROGRAM` against `python PROGRAM`: what the program sees, prints, and how it ends."""

import os
import re
import signal
import subprocess
import sys
import zipfile

import pytest

from tests.support.interpreters import environment, finish, output_of, run_python, start_python

FACTS = """if True:
    import sys
    print(sys.argv, sys.path[0], sys.path.count(sys.path[0]), __name__)
    print(sorted((name, repr(value)) for name, value in globals().items()))
    print(sys.modules["__main__"].__dict__ is globals())
"""
PROGRAMS = {
    "facts.py": FACTS,
    "package/__init__.py": "print('package', __name__)",
    "package/__main__.py": "from . import sibling\n" + FACTS,
    "package/sibling.py": "import sys; print(__name__, sys.argv)",
    "folder/__main__.py": FACTS,
    "error.py": """if True:
        def f():
            1 / 0
        try:
            f()
        except ZeroDivisionError as error:
            raise ValueError('mine') from error
    """,
    "group.py": "raise ExceptionGroup('several', [ValueError(1), TypeError(2)])",
    "syntax.py": "x = = 3\n",
    "indentation.py": "def f():\npass\n",
    "exit_with.py": "import sys; sys.exit(eval(sys.argv[1]))",
    "atexit.py": "import atexit, sys; atexit.register(print, 'atexit'); print('end'); sys.exit(3)",
    "recursion.py": "def f(): f()\nf()",
    "latin.py": "# -*- coding: latin-1 -*-\nprint(ascii('\xe4'))",
    # How a file's text is encoded (PEP 263), and what is said where it is not as it says. Each is written in latin-1.
    "latin_third_line.py": "#!/usr/bin/python\n\n# coding: latin-1\nprint(ascii('\xe4'))",
    "latin_error.py": "# coding: latin-1\nprint('\xe4'\n  1 2 '\xfc'\n",
    "latin_traceback.py": "# vim: set fileencoding=latin-1 :\nraise ValueError('\xe4') # \xfc",
    "japanese.py": "# coding: euc-jp\nprint(ascii('\xc6\xfc\xcb\xdc'))",
    "not_japanese.py": "# coding: euc-jp\nprint(1) # \xff\xff\n",
    "no_cookie.py": "x = 1\nprint('\xe4')\n",
    "no_cookie_comment.py": "print(1)\n" * 50 + "# \xff\n",
    "unknown_cookie.py": "# coding: klingon\nprint(1)\n",
    "rot13_cookie.py": "# coding: rot13\ncevag(1)\n",
    "utf8_sig.py": "\xef\xbb\xbfprint(ascii('\xc3\xa4'))\n1 / 0\n",
    "utf8_sig_latin.py": "\xef\xbb\xbf# coding: latin-1\nprint(1)\n",
    "utf16.py": "\xff\xfep\0a\0s\0s\0\n\0",
    "nul.py": "print(1)\n\0print(2)\n",
    "crlf.py": "print(1)\r\nprint('a\\\r\nb')\r\n1 / 0\r\n",
    "warning.py": "print('\\d', 1 is 1)\n",
    "future.py": "from __future__ import annotations\ndef f(x: undefined): pass\nprint(f.__annotations__)",
    "no_future.py": """if True:
        try:
            def f(x: undefined): pass
            f.__annotations__
        except NameError as error:
            print(error)
    """,
    "hook.py": """if True:
        import sys, traceback
        def hook(kind, error, tb):
            print('hook', kind, traceback.format_tb(tb), sys.excepthook is hook)
            print(sys.last_traceback is tb, error.__traceback__ is tb, sys.last_value is error)
        sys.excepthook = hook
        print(sys.excepthook is hook)
        raise KeyError(1)
    """,
    "hook_is_plain.py": "import sys; print(sys.excepthook is sys.__excepthook__)",
    "no_hook.py": "import sys; del sys.excepthook",
    "ctrl_c.py": """if True:
        import asyncio, os, signal
        async def main():
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(20)
        asyncio.run(main())
    """,
    "ctrl_c_plain.py": "import os, signal; os.kill(os.getpid(), signal.SIGINT); input()",
    "thread.py": """if True:
        import threading, time
        threading.Thread(target=lambda: (time.sleep(.05), print('thread'))).start()
        1 / 0
    """,
}

CASES = [
    ["facts.py", "a", "-m", "--", "b"],
    ["./package/../facts.py"],
    ["folder", "a"],
    ["./folder/"],
    ["archive.zip", "a"],
    ["link.py", "a"],
    ["-m", "facts", "a", "-b"],
    ["-mfacts", "a"],
    ["-m", "package", "a"],
    ["-m", "package.sibling"],
    ["-m", "folder.__main__", "x"],
    ["-c", FACTS, "a"],
    ["-cprint(3)", "a"],
    ["-c", "1/0"],
    ["-c", "def f():\n  1/0\nf()"],
    ["-c", "import("],
    ["-c", ""],
    ["error.py"],
    ["-m", "error"],
    ["group.py"],
    ["syntax.py"],
    ["-m", "syntax"],
    ["indentation.py"],
    ["recursion.py"],
    *(
        [name]
        for name in PROGRAMS
        if re.match("latin|.*japanese|no_cookie|.*_cookie|utf|nul|crlf|warning", name)
    ),
    ["future.py"],
    ["no_future.py"],
    ["hook.py"],
    ["-m", "hook"],
    ["hook_is_plain.py"],
    ["no_hook.py"],
    ["atexit.py"],
    ["thread.py"],
    ["ctrl_c.py"],
    ["-m", "ctrl_c"],
    ["ctrl_c_plain.py"],
    *(["exit_with.py", value] for value in ["0", "7", "None", "'said'", "256", "-1", "(1, 2)"]),
    ["-m", "exit_with", "7"],
    ["no_such_file.py"],
    ["no_such_folder/x.py"],
    ["empty_folder"],
    ["-m", "no_such_module"],
    ["-m", "package.no_such_module"],
    ["-m", "no_such_package.module"],
    ["compiled.pyc", "a"],
]


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("programs")
    for name, source in PROGRAMS.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(source.encode("latin-1"))
    (folder / "empty_folder").mkdir()
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "target.py").write_text(FACTS)
    (folder / "link.py").symlink_to("elsewhere/target.py")
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        archive.writestr("__main__.py", FACTS)
    compile_it = "import py_compile; py_compile.compile('facts.py', 'compiled.pyc', doraise=True)"
    output_of("-c", compile_it, cwd=folder)
    return folder


def comparable(done):
    # Addresses, and how deep a recursion came: there is a little less room above our frames.
    output = [re.sub(r"0x[0-9a-f]+|\d+ more times", "N", text) for text in (done.stdout, done.stderr)]
    return [done.returncode, *output]


def assert_as_python_itself(folder, options, case):
    both = [start_python(*options, *how, *case, cwd=folder) for how in ([], ["-m", "aioxide"])]
    theirs, ours = map(finish, both)
    assert comparable(ours) == comparable(theirs)


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(case)[:40])
def test_as_python_itself(programs, case):
    assert_as_python_itself(programs, [], case)


def test_a_program_from_a_pipe():
    """It can be read only once."""

    def run(*how):
        reader, writer = os.pipe()
        os.write(writer, b"import sys; print(sys.argv[1:])")
        os.close(writer)
        command = [sys.executable, *how, f"/dev/fd/{reader}", "a"]
        done = subprocess.run(
            command, env=environment(), pass_fds=[reader], capture_output=True, text=True, timeout=60
        )
        os.close(reader)
        return done.returncode, done.stdout, done.stderr

    assert run("-m", "aioxide") == run() == (0, "['a']\n", "")


@pytest.mark.parametrize("option", ["-P", "-Xdev", "-Werror"])
@pytest.mark.parametrize(
    "case", [CASES[0], CASES[2], CASES[6], CASES[11], ["error.py"]], ids=lambda case: case[0]
)
def test_as_python_itself_with_options(programs, case, option):
    assert_as_python_itself(programs, [option], case)


def test_the_cases_do_what_they_are_for(programs):
    done = run_python("-m", "aioxide", "error.py", cwd=programs)
    assert done.returncode == 1 and "ValueError: mine" in done.stderr and "aioxide" not in done.stderr
    done = run_python("-m", "aioxide", "ctrl_c.py", cwd=programs)
    assert done.returncode == -signal.SIGINT
    done = run_python("-m", "aioxide", "no_such_file.py", cwd=programs)
    assert done.returncode == 2 and "can't open file" in done.stderr


LOOPS = """if True:
    import asyncio, sys
    async def main():
        return type(asyncio.get_running_loop()).__module__.partition(".")[0], asyncio.Task.__module__
    print(*asyncio.run(main()), sys.argv[1:])
"""


@pytest.mark.parametrize("how", ["file", "-m", "-c"])
def test_every_loop_is_ours(tmp_path, how):
    (tmp_path / "loops.py").write_text(LOOPS)
    arguments = {"file": ["loops.py"], "-m": ["-m", "loops"], "-c": ["-c", LOOPS]}[how]
    assert output_of("-m", "aioxide", *arguments, "a", cwd=tmp_path) == "aioxide _asyncio ['a']\n"


def test_the_namespace_option(tmp_path):
    import aioxide

    (tmp_path / "loops.py").write_text(LOOPS)
    printed = output_of("-m", "aioxide", "--namespace", "loops.py", "--namespace", cwd=tmp_path)
    assert printed == f"aioxide {aioxide.Task.__module__} ['--namespace']\n"


def test_a_double_dash_ends_our_options(tmp_path):
    (tmp_path / "-m").write_text("import sys; print(sys.argv)")
    assert output_of("-m", "aioxide", "--", "-m", "--", cwd=tmp_path) == "['-m', '--']\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no script, -m MODULE or -c COMMAND given"),
        (["--namespace"], "no script, -m MODULE or -c COMMAND given"),
        (["-m"], "argument expected for the -m option"),
        (["-c"], "argument expected for the -c option"),
        (["--"], "no script given after --"),
        (["-x", "facts.py"], "unknown option -x"),
        (["--nonsense"], "unknown option --nonsense"),
        (["--namespace", "--replace-uvloop"], "no script, -m MODULE or -c COMMAND given"),
        (["-I", "facts.py"], "unknown option -I"),
    ],
)
def test_usage_errors(arguments, message):
    done = run_python("-m", "aioxide", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: python -m aioxide ")
    assert done.stderr.endswith(f"python -m aioxide: {message}\n")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(option):
    printed = output_of("-m", "aioxide", option)
    assert printed.startswith("usage: python -m aioxide ")
    assert "--namespace" in printed and "-m MODULE" in printed


def test_the_asyncio_repl_runs_on_our_loop():
    # `python -m asyncio` reads statements from its standard input; there is none here, so it starts and ends.
    done = run_python("-m", "aioxide", "-m", "asyncio")
    assert done.returncode == 0
    assert "asyncio REPL" in done.stderr


def test_python_inspect_sees_the_programs_names(tmp_path):
    (tmp_path / "names.py").write_text(
        "import atexit, __main__\nvalue = 42\natexit.register(lambda: print(__main__.value))"
    )
    done = run_python("-i", "-m", "aioxide", "names.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr
