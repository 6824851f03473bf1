"""Packages that some tests need, and that a machine may lack."""

import importlib.util
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from .skips import BY_VERSION

ROOT = Path(__file__).parents[2]


def is_installed(package):
    """Whether a package, or a module of one, could be imported. Parents of a module are imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def _reason(package, requirements):
    """Why it is missing: the machine has not got it, or the file wants it on another Python only."""
    if _is_for_another_python(package, requirements):
        return f"{BY_VERSION}{package.split('.')[0]} is tried on another Python ({requirements})"
    return f"{package.split('.')[0]} is not installed ({requirements})"


def _is_for_another_python(package, requirements):
    """Whether each line of the file that speaks of the package, or of a module of it, is for other Pythons."""
    module = package.translate(str.maketrans("._", "--")).lower() + "-"
    texts = [line.partition("#")[0].strip() for line in (ROOT / requirements).read_text().splitlines()]
    lines = [Requirement(text) for text in texts if text]
    ours = [line.marker for line in lines if module.startswith(line.name.lower().replace("_", "-") + "-")]
    return bool(ours) and not any(marker is None or marker.evaluate() for marker in ours)


def needs(package, requirements):
    """A mark that skips a test where a package is missing.

    Args:
        requirements: the file that `make test` installs it from.
    """
    return pytest.mark.skipif(not is_installed(package), reason=_reason(package, requirements))


def need(package, requirements):
    """The same within a test: skip the rest of it."""
    if not is_installed(package):
        pytest.skip(_reason(package, requirements))
