"""`make test` on a machine that cannot have all packages: it goes on, says which, and its end says what was skipped."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.packages import is_installed
from tests.support.skips import TITLE, summary

ROOT = Path(__file__).parents[2]

# Stands in for an environment's python: it takes some packages, and refuses whatever has "none" in it.
PIP = """
echo "$*" >>"$RECORD"
for argument; do
  case $argument in
    *.txt) ! grep -q none "$argument" || { echo "ERROR: no wheel for this machine"; exit 1; } ;;
    *none*) echo "ERROR: no wheel for $argument"; exit 1 ;;
  esac
done
"""


@pytest.fixture
def install(tmp_path):
    """Runs scripts/test-packages in a clone with these requirements: what it says, and the packages it asked for."""
    clone, record = tmp_path / "clone", tmp_path / "record"
    (clone / "scripts").mkdir(parents=True)
    (clone / "bin").mkdir()
    for name in ("test-packages", "install"):
        shutil.copy(ROOT / "scripts" / name, clone / "scripts")
    python = clone / "python"
    python.write_text(f"#!/bin/sh\n{PIP}")
    python.chmod(0o755)
    for name in "bash env dirname sed grep tail".split():
        (clone / "bin" / name).symlink_to(shutil.which(name))

    def install(requirements, **variables):
        for folder, text in requirements.items():
            (clone / "tests" / folder).mkdir(parents=True)
            (clone / "tests" / folder / "requirements.txt").write_text(text)
        done = subprocess.run(
            [clone / "scripts" / "test-packages", python],
            env={"PATH": str(clone / "bin"), "RECORD": str(record), **variables},
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done, record.read_text().splitlines()

    return install


def test_all_at_once_where_all_can_be_had(install):
    done, calls = install({"one": "numpy>=2\n", "two": "uvloop\n"})
    assert (done.returncode, done.stderr) == (0, "")
    [call] = calls
    assert call.endswith("--requirement tests/one/requirements.txt --requirement tests/two/requirements.txt")


PARTLY = {
    "one": "# a comment\nnumpy>=2\nnone==1.0\n",
    "two": 'uvloop>=0.22; python_version < "3.15"  # why\n',
}


def test_one_by_one_where_not_and_a_line_for_each_that_is_missing(install):
    done, calls = install(PARTLY)
    assert done.returncode == 0
    missing = (
        "aioxide: none==1.0 (tests/one/requirements.txt) can't be had here: ERROR: no wheel for none==1.0"
    )
    assert done.stderr.splitlines()[1:] == [missing]
    tried = [call.partition("--only-binary :all: ")[2] for call in calls[1:]]
    assert [name.strip() for name in tried] == [
        "numpy>=2",
        "none==1.0",
        'uvloop>=0.22; python_version < "3.15"',
    ]


def test_in_the_gate_what_is_missing_is_a_failure(install):
    done, _ = install(PARTLY, AIOXIDE_NO_SKIPS="1")
    assert done.returncode == 1 and "none==1.0" in done.stderr


def test_the_summary_groups_reasons():
    reasons = [
        "needs two processors",
        "numpy is not installed (tests/wire/requirements.txt)",
        "by version: CPython 3.14 is the first that has it",
        "numpy is not installed (tests/wire/requirements.txt)",
    ]
    assert list(summary(reasons)) == [
        "1 skipped for this Python's version:",
        "     1  CPython 3.14 is the first that has it",
        "2 skipped for packages that are missing:",
        "     2  numpy is not installed (tests/wire/requirements.txt)",
        "1 skipped for this machine:",
        "     1  needs two processors",
        "`make test` installs these packages; where it could not, it has said so above.",
    ]
    assert list(summary([])) == []


NUMPY, KERNEL = "numpy is not installed (tests/wire/requirements.txt)", "no such kernel"


def run_with_skips(folder, reasons, **variables):
    """What a pytest of its own says at its end, under this conftest, of tests that are skipped for these reasons."""
    folder.mkdir()
    tests = (f"def test_{n}():\n    pytest.skip({reason!r})\n" for n, reason in enumerate(reasons))
    (folder / "test_some.py").write_text("import pytest\n" + "".join(tests))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "--rootdir", folder, folder]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIOXIDE", "PYTEST"))}
    done = subprocess.run(command, cwd=ROOT, env=kept | variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.partition(TITLE)[2].splitlines()[1:]


def test_a_run_says_at_its_end_what_it_skipped(tmp_path):
    lines = run_with_skips(tmp_path / "run", [NUMPY, KERNEL])
    wanted = list(summary([NUMPY, KERNEL]))
    assert lines[: len(wanted)] == wanted


def test_of_several_runs_it_is_said_when_all_are_over(tmp_path):
    kept = str(tmp_path / "kept")
    for name, reasons in (("first", [NUMPY, KERNEL]), ("second", [NUMPY])):
        assert run_with_skips(tmp_path / name, reasons, AIOXIDE_SKIPPED=kept) == []
    tell = [sys.executable, "-m", "tests.support.skips"]
    for path, wanted in ((kept, list(summary([NUMPY, KERNEL, NUMPY]))), (f"{kept}-not", [])):
        done = subprocess.run([*tell, path], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[1:] == wanted


def test_make_test_says_it_last():
    """It runs pytest twice: what the first has skipped would be out of sight."""
    command = ["make", "--dry-run", "--no-print-directory", "test"]
    # What the make that runs these tests was told is in the environment.
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "TESTS", "JOBS"))
    }
    done = subprocess.run(command, cwd=ROOT, env=kept, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    steps = re.findall(
        r"(?:AIOXIDE_SKIPPED=(\S+) )?\S+ -m (pytest|tests\.support\.skips [\w/.]+)", done.stdout
    )
    file = steps[0][0]
    assert file and steps == [(file, "pytest"), (file, "pytest"), ("", f"tests.support.skips {file}")]


def test_whether_a_package_is_installed():
    assert is_installed("pytest") and is_installed("_pytest.terminal")
    assert not is_installed("no_such_package") and not is_installed("no_such_package.part")
