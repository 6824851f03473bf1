"""What the project says of itself: its version, its address, the Pythons that it has wheels for."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def _read(name: str) -> dict[str, object]:
    return tomllib.loads((ROOT / name).read_text(encoding="utf-8"))


def version() -> str:
    """Of all crates, and of the distribution."""
    return str(_read("Cargo.toml")["workspace"]["package"]["version"])  # type: ignore[index]


def metadata() -> dict[str, object]:
    """pyproject.toml's table `project`."""
    return _read("pyproject.toml")["project"]  # type: ignore[return-value]


def repository() -> str:
    """The address of the source: the one in pyproject.toml that the others begin with."""
    return str(metadata()["urls"]["Source"])  # type: ignore[index]


def pythons() -> list[str]:
    """The versions of CPython that each release has a wheel for, as "3.14"."""
    classifiers = metadata()["classifiers"]
    found = [re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line) for line in classifiers]  # type: ignore[attr-defined]
    return [match[1] for match in found if match]
