"""Where there is no wheel: what `pip install` says of a machine that aioxide does not run on, or cannot be built on."""

import os
import shutil
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BACKEND = ROOT / "release" / "backend"
HOOKS = (
    "get_requires_for_build_wheel()",
    "get_requires_for_build_editable()",
    "prepare_metadata_for_build_wheel('.')",
    "prepare_metadata_for_build_editable('.')",
    "build_wheel('.')",
    "build_editable('.')",
)
IN_MARKER = "sys_platform == 'linux' and platform_python_implementation == 'CPython'"
FREE_THREADED = "sysconfig.get_config_vars()['Py_GIL_DISABLED'] = 1"
# How an interpreter says what it is, the sentence's words for it, and its advice.
MACHINES = {
    "macOS": ("sys.platform = 'darwin'", "not on macOS:", IN_MARKER),
    "Windows": ("sys.platform = 'win32'", "not on Windows:", IN_MARKER),
    "FreeBSD": ("sys.platform = 'freebsd14'", "not on freebsd14:", IN_MARKER),
    "PyPy": ("platform.python_implementation = lambda: 'PyPy'", "not on PyPy:", IN_MARKER),
    "a free-threaded build": (FREE_THREADED, "not on a free-threaded build:", "an optional dependency"),
    "a newer Python": (
        "sys.version_info = (3, 16, 0, 'alpha', 1)",
        "not on CPython 3.16:",
        f"{IN_MARKER} and python_version < '3.16'",
    ),
}
SENTENCE = "aioxide runs on Linux with CPython 3.11 to 3.15, not on "
as_pretended = pytest.mark.parametrize(("pretend", "here", "advice"), MACHINES.values(), ids=MACHINES)


def run(source, **environment):
    """What a program says that has the backend, in an interpreter without site-packages: maturin is not needed."""
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import platform, sys, sysconfig\n{source}"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@as_pretended
def test_every_hook_ends_in_one_sentence(pretend, here, advice):
    tries = "".join(
        f"try:\n    backend.{hook}\nexcept SystemExit as end:\n    print(end)\n" for hook in HOOKS
    )
    done = run(f"{pretend}\nsys.path.insert(0, {str(BACKEND)!r})\nimport aioxide_backend as backend\n{tries}")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(HOOKS)
    [sentence] = set(done.stdout.splitlines())
    assert sentence.startswith(SENTENCE) and here in sentence and advice in sentence
    assert sentence.endswith("where aioxide cannot be imported.")


def free_threaded():
    return bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


@pytest.mark.by_version(free_threaded(), "of such a build the backend wants nothing")
def test_on_this_machine_maturin_is_asked_for():
    source = f"sys.path.insert(0, {str(BACKEND)!r})\nimport aioxide_backend as backend\n"
    done = run(source + "print(backend.get_requires_for_build_wheel(), backend.unsupported())")
    assert (done.stdout, done.stderr) == ("['maturin>=1.9,<2'] None\n", "")


@pytest.mark.parametrize(
    ("cargo", "text"),
    [
        (None, "there is no cargo here."),
        ("echo cargo 1.63.0", "cargo is 1.63.0 here."),
        ("exit 1", "cargo is of no version here."),
    ],
    ids=["no cargo", "an old one", "a broken one"],
)
def test_where_nothing_can_be_built_the_sentence_says_what_is_missing(tmp_path, cargo, text):
    if cargo:
        (tmp_path / "cargo").write_text(f"#!{shutil.which('sh')}\n{cargo}\n")
        (tmp_path / "cargo").chmod(0o755)
    source = f"sys.path.insert(0, {str(BACKEND)!r})\nimport aioxide_backend\naioxide_backend.build_wheel('.')"
    done = run(source, PATH=str(tmp_path))
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("aioxide has no wheel for this machine (") and done.stderr.endswith(
        f"{text}\n"
    )
    assert "Rust 1.88 or newer" in done.stderr and len(done.stderr.splitlines()) == 1


def test_an_sdist_can_be_made_on_any_machine():
    source = (
        f"sys.platform = 'darwin'\nsys.path.insert(0, {str(BACKEND)!r})\nimport aioxide_backend as backend\n"
    )
    assert run(source + "print(backend.get_requires_for_build_sdist())").stdout == "['maturin>=1.9,<2']\n"


@pytest.mark.parametrize("kind", ["macOS", "PyPy", "a free-threaded build"])
def test_pip_shows_the_sentence_and_no_compilers_error(tmp_path, kind):
    """The real pip, on the source tree; the interpreter that it starts for the backend believes to be another."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
        pytest.skip("there is no pip in this environment")
    pretend, here, advice = MACHINES[kind]
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import platform, sys, sysconfig\n"
        "if any('_in_process' in word for word in sys.orig_argv):\n" + textwrap.indent(pretend, "    ")
    )
    tree = tmp_path / "aioxide"
    tree.mkdir()
    for name in ("pyproject.toml", "README.md", "release"):
        (tree / name).symlink_to(ROOT / name)
    # Without isolation, so that PYTHONPATH is kept. It also means that no package index is asked.
    command = "-m pip install --no-build-isolation --no-index --no-deps --disable-pip-version-check".split()
    done = subprocess.run(
        [sys.executable, *command, "--target", tmp_path / "target", tree],
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site"), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1 and f"{SENTENCE}{here.removeprefix('not on ')}" in said, said
    assert advice in said
    assert not any(word in said for word in ("Traceback", "rustc", "maturin failed", "Cargo"))


def test_pyproject_names_this_backend_and_requires_nothing_before_it():
    import tomllib

    system = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]
    assert system == {
        "requires": [],
        "build-backend": "aioxide_backend",
        "backend-path": ["release/backend"],
    }
    assert (ROOT / system["backend-path"][0] / f"{system['build-backend']}.py").exists()
