"""Packages that some tests need, and that a machine may lack."""

import importlib.util

import pytest


def is_installed(package):
    """Whether a package, or a module of one, could be imported. Parents of a module are imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def needs(package, requirements):
    """A mark that skips a test where a package is missing.

    Args:
        requirements: the file that `make test` installs it from.
    """
    return pytest.mark.skipif(
        not is_installed(package), reason=f"{package.split('.')[0]} is not installed ({requirements})"
    )
