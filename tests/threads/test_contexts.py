"""Which of the caller's contexts a call in a thread sees: as docs/explanation/pools.md says, and the standard pool."""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import decimal
import threading
import warnings

import aioxide
import pytest

from tests.support.interpreters import output_of

numpy = pytest.importorskip("numpy", reason="numpy is not installed (tests/threads/requirements.txt)")

VARIABLE = contextvars.ContextVar("VARIABLE", default=None)
LOCAL = threading.local()


def seen():
    """Names of the contexts that the calling thread is in."""
    filters = getattr(warnings, "_get_filters", lambda: warnings.filters)()
    found = {
        "contextvars": VARIABLE.get() == "set",
        "numpy": numpy.geterr()["divide"] == "raise" and numpy.get_printoptions()["precision"] == 2,
        "decimal": decimal.getcontext().prec == 5,
        "warnings": any(action == "error" and kind is EncodingWarning for action, _, kind, *_ in filters),
        "threading.local": getattr(LOCAL, "value", None) == "set",
    }
    return {name for name, is_seen in found.items() if is_seen}


@contextlib.contextmanager
def all_of_them():
    token, LOCAL.value = VARIABLE.set("set"), "set"
    try:
        with (
            numpy.errstate(divide="raise"),
            numpy.printoptions(precision=2),
            decimal.localcontext() as context,
            warnings.catch_warnings(),
        ):
            context.prec = 5
            warnings.simplefilter("error", EncodingWarning)
            yield
    finally:
        VARIABLE.reset(token)
        del LOCAL.value


async def by_every_route(pool):
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(seen)  # its thread is there before the contexts are
    await loop.run_in_executor(pool, seen)
    with all_of_them():
        assert len(seen()) == 5
        return {
            "run_in_executor": await loop.run_in_executor(pool, seen),
            "submit": await asyncio.wrap_future(pool.submit(seen)),
            "map": next(pool.map(lambda _: seen(), [0])),
            "to_thread": await asyncio.to_thread(seen),
            "copy_context": await loop.run_in_executor(pool, contextvars.copy_context().run, seen),
        }


PLAIN = {"warnings"}
CARRIED = {"warnings", "contextvars", "numpy", "decimal"}


@pytest.mark.parametrize(
    ("run", "pool_class"),
    [
        (asyncio.run, concurrent.futures.ThreadPoolExecutor),
        (aioxide.run, concurrent.futures.ThreadPoolExecutor),
        (aioxide.run, aioxide.ThreadPoolExecutor),
    ],
    ids=["asyncio", "standard pool", "aioxide"],
)
def test_a_call_in_a_thread_sees_the_contexts_that_are_context_variables_only_where_they_are_carried(
    run, pool_class
):
    with pool_class(1) as pool:
        routes = run(by_every_route(pool))
    assert routes == {
        "run_in_executor": PLAIN,
        "submit": PLAIN,
        "map": PLAIN,
        "to_thread": CARRIED,
        "copy_context": CARRIED,
    }


FRESH_GLOBALS = """
import aioxide
calls = 0
def count(_):
    global calls
    calls += 1
    return calls
if __name__ == "__main__":
    with aioxide.ProcessPoolExecutor(1) as pool:
        print(*(pool.submit(count, 0).result() for _ in range(3)))
    with aioxide.ClusterExecutor(max_workers=1) as pool:
        print(*(pool.submit(count, 0).result() for _ in range(3)))
"""


def test_globals_of_the_script_last_in_a_process_and_are_fresh_in_each_call_on_a_cluster(tmp_path):
    (tmp_path / "fresh_globals.py").write_text(FRESH_GLOBALS)
    assert output_of("fresh_globals.py", cwd=tmp_path).splitlines() == ["1 2 3", "1 1 1"]
