"""`scripts/environment` on machines that lack something: it says what, or finds its way without."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What the script and make call, apart from what a test takes away.
TOOLS = "bash env make rm mkdir touch sort head sed awk find cargo rustc cc".split()


@pytest.fixture
def tools(tmp_path):
    """A folder with what a machine has, for PATH: each tool a program that starts the real one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in TOOLS:
        real = shutil.which(name)
        if real is None:
            pytest.skip(f"{name} is not on this machine")
        write_program(folder / name, f'exec "{real}" "$@"')
    return folder


def write_program(path, body):
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def bare_python(folder, *without):
    """This interpreter in a prefix of its own, its library without some modules and without anything installed."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library, program = folder / "lib" / version, folder / "bin" / "python3"
    library.mkdir(parents=True)
    program.parent.mkdir()
    shutil.copy(Path(sys._base_executable).resolve(), program)
    for entry in Path(sysconfig.get_path("stdlib")).iterdir():
        if entry.name not in ("site-packages", "dist-packages", "__pycache__", *without):
            (library / entry.name).symlink_to(entry)
    found = run([program, "-c", "import sys; print(sys.prefix)"])
    if found.stdout.strip() != str(folder):
        pytest.skip(f"this interpreter does not run from another place: {found.stdout}{found.stderr}")
    for name in without:
        assert run([program, "-c", f"import {name}"]).returncode == 1
    return program


def run(command, path=None, **options):
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))
    }
    kept = {name: value for name, value in kept.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    if path is not None:
        kept["PATH"] = str(path)
    return subprocess.run(
        list(map(str, command)), env=kept, capture_output=True, text=True, timeout=300, **options
    )


def make_environment(python, directory, path):
    return run([ROOT / "scripts" / "environment", python, directory], path)


def refused(done, *texts):
    assert done.returncode == 1, done.stdout + done.stderr
    for text in texts:
        assert text in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("without", [["ensurepip"], ["venv"], ["venv", "ensurepip"]], ids="-".join)
def test_a_python_without_venv_and_no_uv(tmp_path, tools, without):
    """A bare Debian python: it has venv and no ensurepip, or neither."""
    python, directory = bare_python(tmp_path / "bare", *without), tmp_path / "environment"
    done = make_environment(python, directory, tools)
    refused(done, str(python), "there is no uv", "apt install python3-venv", "pip install uv")
    assert not directory.exists()


def test_make_says_so_too(tmp_path, tools):
    """From a clone without anything built, by the target that was asked for."""
    python, clone = bare_python(tmp_path / "bare", "ensurepip"), tmp_path / "clone"
    clone.mkdir()
    for name in ("Makefile", "scripts", "Cargo.toml", "Cargo.lock", "pyproject.toml", "crates"):
        (clone / name).symlink_to(ROOT / name)
    for target in ("run", "test", "wheel"):
        done = run(["make", target, f"PYTHON={python}"], tools, cwd=clone)
        assert done.returncode == 2
        assert "apt install python3-venv" in done.stderr and "pip install uv" in done.stderr
    assert not list((clone / ".venv").glob("*"))


@pytest.mark.timeout(400)
def test_a_python_without_venv_but_with_uv(tmp_path, tools):
    """The environment that uv makes is as good: it has pip, and with it the build tool."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is not None:
        write_program(tools / "uv", f'exec "{uv}" "$@"')
    if uv is None or run([tools / "uv", "--version"], tools).returncode:
        pytest.skip("uv is not installed (tests/package/requirements.txt)")
    python, directory = bare_python(tmp_path / "bare", "ensurepip"), tmp_path / "environment"
    done = make_environment(python, directory, tools)
    assert done.returncode == 0, done.stdout + done.stderr
    facts = run([directory / "bin" / "python", "-c", "import sys, pip; print(sys.prefix, sys.base_prefix)"])
    assert facts.stdout.split() == [str(directory), str(tmp_path / "bare")], facts.stderr
    assert run([directory / "bin" / "maturin", "--version"]).stdout.startswith("maturin 1.")


def test_a_uv_that_fails(tmp_path, tools):
    write_program(tools / "uv", "echo no network, says uv >&2; exit 2")
    python, directory = bare_python(tmp_path / "bare", "ensurepip"), tmp_path / "environment"
    done = make_environment(python, directory, tools)
    refused(done, "no network, says uv", "uv failed", "apt install python3-venv")
    assert "no uv" not in done.stderr.replace("no network, says uv", "")
    assert not directory.exists()


@pytest.mark.parametrize(
    ("answer", "texts"),
    [
        ("echo cpython 3 10", ["is Python 3.10", "3.11 or newer", "PYTHON="]),
        ("echo pypy 3 11", ["is pypy", "CPython"]),
        ("exit 1", ["is not here or does not run", "3.11 or newer"]),
    ],
)
def test_another_python(tmp_path, tools, answer, texts):
    write_program(tmp_path / "python", answer)
    refused(make_environment(tmp_path / "python", tmp_path / "environment", tools), *texts)


def test_no_python(tmp_path, tools):
    done = make_environment(tmp_path / "nothing", tmp_path / "environment", tools)
    refused(done, "is not here or does not run", "make test PYTHON=")


@pytest.mark.parametrize(
    ("tool", "body", "texts"),
    [
        ("cargo", None, ["cargo is missing", "install Rust 1.88"]),
        ("cargo", "echo cargo 1.63.0", ["cargo is 1.63.0", "Rust 1.88 or newer"]),
        ("cc", None, ["no C linker", "apt install gcc"]),
    ],
)
def test_other_things_that_are_missing(tmp_path, tools, tool, body, texts):
    (tools / tool).unlink()
    if body:
        write_program(tools / tool, body)
    refused(make_environment(sys.executable, tmp_path / "environment", tools), *texts)
    assert not (tmp_path / "environment").exists()
