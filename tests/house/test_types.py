"""mypy reads every source file of the package: a stub beside a file has mypy pass the file over."""

import importlib.util
import re
import shutil
import subprocess
import sys

import pytest

from .sources import ROOT, name

PACKAGES = ROOT / "python"
SOURCES = sorted(PACKAGES.rglob("*.py"))

# What a stub hides in the first run of `make lint`, for the second to check: its names are only known when it runs.
HIDDEN = ["python/aioxide/__init__.py"]

PLANTED = '\n_planted: int = "an error of types"\n'


def test_no_stub_hides_a_source_file():
    assert [name(path) for path in SOURCES if path.with_suffix(".pyi").exists()] == HIDDEN


def runs_of_mypy():
    """The arguments of each run of mypy that `make lint` makes."""
    command = ["make", "--dry-run", "--no-print-directory", "lint"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [line.split() for line in re.findall(r" -m mypy (.*)", done.stdout)]


@pytest.mark.by_version(sys.version_info[:2] != (3, 14), "mypy is installed for one Python")
def test_mypy_finds_an_error_in_every_source_file(tmp_path):
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed (tests/checkers/requirements.txt)")
    shutil.copytree(PACKAGES, tmp_path / "python", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for path in SOURCES:
        with open(tmp_path / name(path), "a") as copy:
            copy.write(PLANTED)
    seen = set()
    for arguments in runs_of_mypy():
        command = [sys.executable, "-m", "mypy", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=110)
        assert done.returncode == 1, done.stdout + done.stderr
        seen.update(
            re.findall(r"^(\S+\.py):\d+: error: Incompatible types in assignment", done.stdout, re.MULTILINE)
        )
    assert seen == {name(path) for path in SOURCES}
