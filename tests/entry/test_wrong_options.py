"""What is given to `python -m aioxide`, to `install()` and to the names that stand for uvloop's, and does not fit."""

import asyncio
import itertools
import sys

import aioxide
import pytest
from aioxide._entry import main as entry, uvloop

from tests.support.interpreters import run_python
from tests.support.wrong_arguments import INSIDE, VALUES, faults

TRUTHS = set(VALUES) - {"refusing"}
OPTIONS = ["-h", "-V", "-i", "-m", "-c", "--help", "--version", "--namespace", "--replace-uvloop"]
# Those that are about an option which takes no value, or has another name.
WRONG = [
    *(
        "-x",
        "-X",
        "-I",
        "-W",
        "-u",
        "-O",
        "-hx",
        "-Vx",
        "-ix",
        "-iix",
        "---",
        "--m",
        "--c",
        "-\u00e4",
        "-1",
        "-\n",
    ),
    *(
        "--no-namespace",
        "--Namespace",
        "--namespac",
        "--name-space",
        "--install",
        "--uvloop",
        "--replace_uvloop",
    ),
    *(f"{option}={value}" for option in OPTIONS if option[:2] == "--" for value in ("1", "", "no", "None")),
]
BEFORE = [[], ["--namespace"], ["-i"], ["--replace-uvloop", "--namespace"]]


def refused(arguments, monkeypatch, capsys):
    """What `python -m aioxide ARGUMENTS` says, which it has to refuse before it does anything."""

    def done(*given, **options):
        pytest.fail(f"{arguments} was not refused")

    for name in ("install", "_run_as_if_alone", "_start_again_with_i"):
        monkeypatch.setattr(entry, name, done)
    monkeypatch.setattr(sys, "argv", ["aioxide", *arguments])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "")
    assert printed.err.startswith("usage: python -m aioxide ")
    return printed.err.removesuffix("\n").rpartition("python -m aioxide: ")[2]


@pytest.mark.parametrize("option", WRONG, ids=ascii)
def test_an_option_that_is_none_is_named(option, monkeypatch, capsys):
    named = option if not option.startswith("-i") else "-x"
    for before, after in itertools.product(BEFORE, ([], ["script.py"])):
        message = refused([*before, option, *after], monkeypatch, capsys)
        assert message == f"unknown option {named}"
        assert not INSIDE.search(message)


@pytest.mark.parametrize("option", ["-m", "-c", "-im", "-ic"])
def test_an_option_without_its_value_is_named(option, monkeypatch, capsys):
    for before in BEFORE:
        message = refused([*before, option], monkeypatch, capsys)
        assert message == f"argument expected for the -{option[-1]} option"


@pytest.mark.parametrize("arguments", [[], ["--namespace"], ["--"], ["-i", "--"]])
def test_a_script_that_is_not_there_is_asked_for(arguments, monkeypatch, capsys):
    message = refused(arguments, monkeypatch, capsys)
    assert message in ("no script, -m MODULE or -c COMMAND given", "no script given after --")


@pytest.mark.parametrize(
    "program",
    [
        [""],
        ["nothing.py"],
        ["file.py/x"],
        ["empty"],
        ["-m", ""],
        ["-m", "..x"],
        ["-m", "os.x"],
        ["-m", "a/b"],
    ],
)
def test_a_program_that_is_not_there_is_told_as_python_tells_it(program, tmp_path):
    (tmp_path / "file.py").write_text("")
    (tmp_path / "empty").mkdir()
    said = []
    for ours in ([], ["-m", "aioxide"]):
        done = run_python(*ours, *program, cwd=tmp_path)
        said.append((done.returncode, done.stdout, done.stderr))
    assert said[0] == said[1]
    assert said[0][0] in (1, 2) and said[0][2]


@pytest.mark.parametrize("option", ["namespace", "replace_uvloop"])
def test_options_of_install_are_truths(option):
    def install(value):
        try:
            aioxide.install(**{option: value})
        finally:
            aioxide.uninstall()

    def installed(value):
        with aioxide.installed(**{option: value}):
            pass

    before = asyncio.new_event_loop, asyncio.Task, sys.modules.get("uvloop")
    assert faults(install, option, TRUTHS) == []
    assert faults(installed, option, TRUTHS) == []
    assert (asyncio.new_event_loop, asyncio.Task, sys.modules.get("uvloop")) == before


def test_uvloops_run_refuses_as_asyncios():
    async def nothing():
        pass

    assert uvloop.run(nothing()) is None
    main = nothing()
    with pytest.raises(TypeError, match=r"^uvloop.run\(\) uses a non-uvloop event loop$"):
        uvloop.run(main, loop_factory=asyncio.SelectorEventLoop)
    main.close()
    for arguments, message in (
        ((), "main"),
        ((1, 2), "positional argument"),
        ((1, 2, 3), "positional argument"),
    ):
        with pytest.raises(TypeError, match=message):
            uvloop.run(*arguments)
