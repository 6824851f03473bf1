"""`python -m aioxide -` and `-i` against `python -` and `python -i`: programs and statements on standard input."""

import os
import re
import select
import signal
import subprocess
import sys
import time

import pytest

from tests.support.interpreters import environment

FACTS = """if True:
    import os, sys
    print(sys.argv, sys.path[0], sys.flags.interactive, hasattr(sys, "ps1"), os.environ.get("PYTHONINSPECT"))
    print(sorted(globals()), __name__, __spec__, __loader__.__class__, globals().get("__file__"))
    print(sys.modules["__main__"].__dict__ is globals())

"""
STATEMENTS = f"""{FACTS}
def f():
    1 / 0

f()
x = = 3
print("after")
"""
PROGRAMS = {
    "facts": FACTS,
    "error": "def f():\n  1/0\nf()\n",
    "syntax": "print(1)\nx = = 3\n",
    "encoding": "# coding: latin-1\nprint(ascii('\xe4'))\n",
    "no encoding": "print(1)\nprint('\xe4')\n",
    "no newline": "print(1)",
    "nothing": "",
    "exit": "import sys; sys.exit(7)",
    "interrupt": "raise KeyboardInterrupt",
    "reads on": "import sys; print(repr(sys.stdin.read()))\n",
    "at exit": "import atexit, __main__; atexit.register(lambda: print(sorted(vars(__main__))))",
    "worker": """if True:
        import multiprocessing
        print(multiprocessing.get_context("fork").Pool(1).map(abs, [-3]))
    """,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("programs")
    (folder / "names.py").write_text("print(__name__, __file__[-8:])\nvalue = 42\nif True: 1/0\n")
    return folder


def start(folder, how, arguments, text, as_file):
    """Start a Python whose standard input is text: a pipe, or a file."""
    data = folder / f"input{len(list(folder.iterdir()))}"
    data.write_bytes(text.encode("latin-1"))
    process = subprocess.Popen(
        [sys.executable, *how, *arguments],
        cwd=folder,
        env=environment(),
        stdin=open(data, "rb") if as_file else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.text = None if as_file else text.encode("latin-1")
    return process


def finish(process):
    """What becomes of it: its exit status, and what it prints."""
    with process:
        try:
            output = process.communicate(process.text, timeout=60)
        finally:
            process.kill()
    return process.returncode, *(re.sub(rb"0x[0-9a-f]+", b"N", text) for text in output)


def run(*how):
    return finish(start(*how))


def assert_as_python_itself(folder, arguments, text, as_file=False):
    both = [start(folder, how, arguments, text, as_file) for how in (["-m", "aioxide"], [])]
    ours, theirs = map(finish, both)
    assert ours == theirs
    return ours


@pytest.mark.parametrize(
    ("program", "as_file"),
    [*((program, False) for program in PROGRAMS), ("facts", True), ("encoding", True), ("reads on", True)],
)
def test_a_program_on_standard_input(folder, program, as_file):
    if program == "encoding" and not as_file:
        # CPython itself cannot: it wants to go back to the pipe's start.
        assert run(folder, ["-m", "aioxide"], ["-"], PROGRAMS[program], False) == (0, b"'\\xe4'\n", b"")
        return
    assert_as_python_itself(folder, ["-", "a", "-i"], PROGRAMS[program], as_file)


def test_the_comparison_means_something(folder):
    code, out, err = assert_as_python_itself(folder, ["-"], PROGRAMS["error"])
    assert (code, out) == (1, b"") and b'File "<stdin>", line 2, in f' in err and b"aioxide" not in err
    assert run(folder, ["-m", "aioxide"], ["-"], PROGRAMS["interrupt"], False)[0] == -signal.SIGINT


@pytest.mark.parametrize(
    "arguments",
    [
        ["-i"],
        ["-i", "-", "a"],
        ["-i", "-c", "value = 3", "a"],
        ["-ic", "value = 3; raise SystemExit(4)"],
        ["-icvalue = 3"],
        ["-i", "-c", "import("],
        ["-i", "names.py", "a"],
        ["-i", "-m", "names", "a"],
        ["-im", "names"],
        ["-i", "no_such_file.py"],
    ],
    ids=" ".join,
)
def test_the_interactive_shell(folder, arguments):
    code, out, err = assert_as_python_itself(folder, arguments, STATEMENTS)
    assert (code, out[-6:]) == (0, b"after\n") and b"ZeroDivisionError" in err


LOOP = "import asyncio; print(type(asyncio.new_event_loop()).__name__, asyncio.Task.__module__)\n"


@pytest.mark.parametrize("arguments", [["-"], ["-i"], ["-i", "-c", "pass"]], ids=" ".join)
def test_loops_are_ours_there(folder, arguments):
    assert run(folder, ["-m", "aioxide"], arguments, LOOP, False)[1] == b"EventLoop _asyncio\n"
    out = run(folder, ["-X", "utf8", "-m", "aioxide", "--namespace"], arguments, LOOP, False)[1]
    assert out.startswith(b"EventLoop ") and out != b"EventLoop _asyncio\n"


def test_the_shell_runs_pythonstartup_and_is_quiet_if_asked(folder):
    (folder / "startup.py").write_text("print('started', __file__[-10:])\nstarted = 1\n1/0\n")
    both = []
    for how in (["-m", "aioxide"], []):
        done = subprocess.run(
            [sys.executable, "-q", *how, "-i"],
            cwd=folder,
            env=environment(PYTHONSTARTUP="startup.py"),
            input="print(started, '__file__' in globals())\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        both.append([done.returncode, done.stdout, done.stderr.replace(str(folder) + "/", "")])
    assert both[0][:2] == both[1][:2] == [0, "started startup.py\n1 False\n"]
    assert "ZeroDivisionError" in both[0][2] and 'Type "help"' not in both[0][2]


def test_a_dash_on_a_terminal_is_the_shell(folder):
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "aioxide", "-", "a"]
    said, deadline = b"", time.monotonic() + 60
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment(TERM="dumb"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        try:
            os.close(theirs)
            while b">>> " not in said and time.monotonic() < deadline:
                select.select([ours], [], [], 1)
                said += os.read(ours, 4096)
            os.write(ours, b"import sys; print(sys.argv, sys.flags.interactive)\n\x04")
            with pytest.raises(OSError):  # the terminal hangs up when the shell has ended
                while time.monotonic() < deadline:
                    said += os.read(ours, 4096)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
            os.close(ours)
    assert b"['-', 'a'] 1" in said and b'Type "help"' in said


def test_the_usage_is_one_line_for_each_form(folder):
    code, out, err = run(folder, ["-m", "aioxide"], ["--nonsense"], "", False)
    lines = err.decode().splitlines()
    assert (code, out, lines[-1]) == (2, b"", "python -m aioxide: unknown option --nonsense")
    assert len(lines) == 6 and all(len(line) < 80 for line in lines)
    for line, form in zip(lines, ("SCRIPT", "-m MODULE", "-c COMMAND", "- [ARGS", "-i [one"), strict=False):
        start = "usage: " if form == "SCRIPT" else "       "
        assert line.startswith(f"{start}python -m aioxide [OPTIONS] {form}"), line
    help_text = run(folder, ["-m", "aioxide"], ["--help"], "", False)[1].decode()
    assert help_text.startswith("\n".join(lines[:-1]) + "\n\n") and max(map(len, help_text.splitlines())) < 90
