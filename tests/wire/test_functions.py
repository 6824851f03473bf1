"""Functions that pickle cannot send, with cloudpickle and without, and what becomes of the error."""

import asyncio
import pickle
import sys
from functools import partial

import aioxide
import pytest

from tests.support import process_tasks as tasks
from tests.support.packages import needs
from tests.support.programs import DEADLINE, output_of

needs_cloudpickle = needs("cloudpickle", "tests/wire/requirements.txt")


@pytest.fixture(scope="module")
def pool():
    with aioxide.ProcessPoolExecutor(1) as pool:
        yield pool


@needs_cloudpickle
def test_lambdas_and_local_functions(pool):
    offset = 10

    def add(number, *, more=0):
        return number + offset + more

    class Local:
        def __call__(self, number):
            return number * offset

    assert pool.submit(lambda: offset).result(DEADLINE) == 10
    assert pool.submit(add, 1, more=2).result(DEADLINE) == 13
    assert pool.submit(Local(), 2).result(DEADLINE) == 20
    assert pool.submit(partial(add, more=5), 1).result(DEADLINE) == 16
    assert list(pool.map(add, range(4))) == [10, 11, 12, 13]
    assert list(pool.map(add, range(4), chunksize=3)) == [10, 11, 12, 13]
    assert pool.schedule(add, (1,), {"more": 1}, retries=1, context=[tasks.VARIABLE]).result(DEADLINE) == 12

    async def main():
        loop = asyncio.get_running_loop()
        found = [result async for *_, result in pool.map_progress(add, range(3), ordered=True)]
        return await loop.run_in_executor(pool, lambda: add(7)), found

    assert aioxide.run(main()) == (17, [10, 11, 12])


@needs_cloudpickle
def test_an_argument_that_cannot_be_sent_is_an_error_nevertheless(pool):
    with pytest.raises(Exception, match="pickle"):
        pool.submit(tasks.same, sys._getframe()).result(DEADLINE)
    with pytest.raises(Exception, match="pickle"):
        pool.submit(lambda frame: frame, sys._getframe()).result(DEADLINE)
    assert pool.submit(tasks.square, 3).result(DEADLINE) == 9


def test_an_interrupt_while_a_call_is_pickled_is_not_taken_for_a_function_to_send_otherwise(pool):
    class Interrupts:
        def __reduce__(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pool.submit(tasks.same, Interrupts())
    # Nor does a call that is in the way of others hold them up.
    assert pool.submit(tasks.square, 3).result(DEADLINE) == 9


def without_cloudpickle(call):
    """What a program prints of the error of one call, where cloudpickle cannot be imported."""
    program = f"""
import sys
sys.modules["cloudpickle"] = None
import aioxide
from tests.support import process_tasks as tasks
def function():
    def local():
        return 1
    return local
if __name__ == "__main__":
    with aioxide.ProcessPoolExecutor(1) as pool:
        local = function()
        error = {call}.exception(30)
        print(type(error).__name__, *getattr(error, "__notes__", ["no note"]))
        print(pool.submit(tasks.square, 3).result(30))
"""
    return " ".join(output_of(program))


@pytest.mark.parametrize("call", ("pool.submit(lambda: 1)", "pool.submit(local)"))
def test_where_cloudpickle_is_not_installed_the_error_says_what_would_help(call):
    said = without_cloudpickle(call)
    assert said.startswith(("PicklingError", "AttributeError")) and said.endswith(" 9"), said
    assert "A worker process has to be able to import the function by its name" in said
    assert "where cloudpickle is installed, which it is not here: pip install cloudpickle" in said


def test_where_the_function_is_not_to_blame_the_error_does_not_speak_of_cloudpickle():
    said = without_cloudpickle("pool.submit(tasks.same, sys._getframe())")
    # CPython 3.14 adds notes of its own.
    assert said.startswith("TypeError ") and "cloudpickle" not in said and said.endswith(" 9"), said


def test_the_error_is_the_one_of_the_standard_pool(pool):
    """As it stands in `pickle`: not cloudpickle's word for it."""
    with pytest.raises(TypeError) as expected:
        pickle.dumps(sys._getframe())
    error = pool.submit(tasks.same, sys._getframe()).exception(DEADLINE)
    assert (type(error), str(error)) == (TypeError, str(expected.value))
