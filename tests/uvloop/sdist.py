"""uvloop's source distribution, which carries its tests: fetched once into ``.cache/``, never committed."""

import fcntl
import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

NAME = "uvloop"
VERSION = "0.23.0"
SHA256 = "28d160f51ab4da3b187063652e643dea6831072add4adc1e6d62afbe73b6be27"

PACKAGE = "uvloop_tests"
CACHE = Path(__file__).parents[2] / ".cache"
FOLDER = CACHE / f"{NAME}-{VERSION}"


class Unavailable(Exception):
    """The source distribution can't be had on this machine, and why."""


def _python_with_pip() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable]
    if uv := shutil.which("uv"):
        return [uv, "run", "--quiet", "--no-project", "--with", "pip", "python"]
    raise Unavailable("neither pip nor uv is here to fetch it with")


def _download(target: Path) -> None:
    command = [
        *_python_with_pip(),
        str(Path(__file__).with_name("fetch_sdist.py")),
        NAME,
        VERSION,
        str(target),
    ]
    try:
        done = subprocess.run(command, cwd=CACHE, capture_output=True, text=True, timeout=100, check=False)
    except subprocess.TimeoutExpired:
        raise Unavailable("the package index does not answer") from None
    if done.returncode != 0:
        raise Unavailable((done.stderr.strip().splitlines() or ["the download failed"])[-1])


def folder() -> Path:
    """The unpacked source distribution, fetched if it isn't there yet.

    :raises Unavailable: if it can't be fetched, or isn't the file that `SHA256` names
    """
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n")
    # Under pytest-xdist several processes come here at once, in a fresh clone all of them with nothing there yet.
    with (CACHE / f"{NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (FOLDER / "path").is_dir():
            _unpack(_archive())
    return FOLDER


def _archive() -> Path:
    archive = CACHE / f"{NAME}-{VERSION}.tar.gz"
    if not archive.exists():
        _download(archive)
    if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
        archive.unlink()
        raise Unavailable("the package index gave another file than the one whose checksum is known")
    return archive


def _unpack(archive: Path) -> None:
    unpacked = CACHE / "unpacking"
    for leftover in (unpacked, FOLDER):
        shutil.rmtree(leftover, ignore_errors=True)
    with tarfile.open(archive) as tar:
        tar.extractall(unpacked, filter="data")
    # A rename, so that a run that is cut short leaves no half of a folder behind.
    made = unpacked / FOLDER.name
    # Importable under a name of its own, also by processes that the tests start: `tests` is this project's.
    (made / "path").mkdir()
    (made / "path" / PACKAGE).symlink_to(Path("..") / "tests")
    made.rename(FOLDER)
