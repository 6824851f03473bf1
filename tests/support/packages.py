"""Packages that some tests need, and that a machine may lack."""

import importlib.util

import pytest


def is_installed(package):
    """Whether a package, or a module of one, could be imported. Parents of a module are imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def _reason(package, requirements):
    return f"{package.split('.')[0]} is not installed ({requirements})"


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
