"""``test.test_concurrent_futures`` for a Python that was installed without it.

`make install` of CPython 3.11.6 to 3.11.8 and of 3.12.0 and 3.12.1 forgot the folder. Debian packages the tests of its
own CPython, of the same feature version: that module is laid into a copy of the running interpreter's
``test`` package (symbolic links, all but it), which is then found first on `sys.path`, by child processes too.
"""

import fcntl
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import test

VERSION = "{}.{}".format(*sys.version_info[:2])
PACKAGE = f"libpython{VERSION}-testsuite"
MODULE = "test_concurrent_futures"
CACHE = Path(__file__).parents[2] / ".cache"
# Of one build of Python only: it holds symbolic links into its installation.
FOLDER = CACHE / f"cpython-{platform.python_version()}-tests"


class Unavailable(Exception):
    """The tests can't be had on this machine, and why."""


def folder() -> Path:
    """A folder for `sys.path` in which ``test.test_concurrent_futures`` is, fetched if it isn't there yet.

    :raises Unavailable: if it can't be fetched
    """
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n")
    # Under pytest-xdist several processes come here at once, in a fresh clone all of them with nothing there yet.
    with (CACHE / "cpython-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not FOLDER.is_dir():
            _make()
    return FOLDER


def _make() -> None:
    making = CACHE / f"making-{VERSION}"
    shutil.rmtree(making, ignore_errors=True)
    (making / "path" / "test").mkdir(parents=True)
    found = _unpack(making)
    package = making / "path" / "test"
    for entry in Path(test.__file__).parent.iterdir():
        if entry.name not in ("__pycache__", found.name):
            (package / entry.name).symlink_to(entry)
    (shutil.copytree if found.is_dir() else shutil.copy)(found, package / found.name)
    # A rename, so that a run that is cut short leaves no half of a folder behind.
    (making / "path").rename(FOLDER)
    shutil.rmtree(making)


def _unpack(making: Path) -> Path:
    """Download the package into `making`; where its test module or package is then."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise Unavailable(f"this is no Debian, whose {PACKAGE} has them")
    private = [
        f"-oDir::State::Lists={making}/lists",
        f"-oDir::Cache={making}/cache",
        "-oAPT::Sandbox::User=root",
    ]
    download = ["apt-get", "-qq", "download", PACKAGE]
    # By the lists that the machine has; where it has none, or old ones, by fresh ones of our own.
    if _fails(making, download):
        for folder in ("lists/partial", "cache/archives/partial"):
            (making / folder).mkdir(parents=True)
        for command in (["apt-get", "-qq", "update"], download):
            if why := _fails(making, [command[0], *private, *command[1:]]):
                raise Unavailable(f"{PACKAGE}: {why}")
    [archive] = making.glob("*.deb")
    if why := _fails(making, ["dpkg-deb", "--extract", str(archive), "unpacked"]):
        raise Unavailable(f"{PACKAGE}: {why}")
    tests = making / "unpacked" / "usr" / "lib" / f"python{VERSION}" / "test"
    for found in (tests / MODULE, tests / f"{MODULE}.py"):
        if found.exists():
            return found
    raise Unavailable(f"{PACKAGE} has no {MODULE}")


def _fails(making: Path, command: list[str]) -> str:
    """Run `command` in `making`; the last line of what it complains of, or nothing."""
    try:
        done = subprocess.run(command, cwd=making, capture_output=True, text=True, timeout=100, check=False)
    except subprocess.TimeoutExpired:
        return f"{command[0]} does not come to an end"
    return (done.stderr.strip() or f"{command[0]} failed").splitlines()[-1] if done.returncode else ""
