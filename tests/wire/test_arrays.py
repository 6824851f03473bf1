"""What a program gets of arrays from the standard library's pool of this version, it gets from ours."""

import concurrent.futures
import pickle

import aioxide
import pytest

pytest.importorskip("numpy", reason="numpy is not installed (tests/wire/requirements.txt)")

from tests.support.programs import DEADLINE

from . import array_cases


def outcomes(factory, values):
    """By name: what is told of the value in the worker, and of what came back."""
    found = {}
    with factory(1) as pool:
        for name, value in values.items():
            there, back = pool.submit(array_cases.told_and_back, value).result(DEADLINE)
            found[name] = pickle.loads(there), array_cases.told(back)
    return found


def test_arrays_of_all_kinds_arrive_as_in_the_standard_pool(tmp_path):
    """Values, flags, order in memory and of bytes, classes; and what objects are asked for when they are pickled."""
    values = dict(array_cases.cases(tmp_path))
    expected = outcomes(concurrent.futures.ProcessPoolExecutor, values)
    found = outcomes(aioxide.ProcessPoolExecutor, values)
    assert len(values) > 80
    assert [name for name in values if repr(found[name]) != repr(expected[name])] == []
