"""`EventLoopPolicy`: the running CPython's default policy with our loops, and its deprecation."""

import asyncio
import sys
import warnings

import aioxide
import pytest

from tests.support.interpreters import output_of, run_python

# How a program that knows of the deprecation would silence it; what is tested here is the rest.
QUIET = "ignore:.*slated for removal in Python 3.16:DeprecationWarning"
DEPRECATED = sys.version_info >= (3, 14)


def test_the_policy_makes_our_loops_for_unchanged_code():
    program = """if True:
        import asyncio, aioxide, threading
        asyncio.set_event_loop_policy(aioxide.EventLoopPolicy())
        async def main():
            return type(asyncio.get_running_loop())
        print(asyncio.run(main()) is aioxide.EventLoop)
        with asyncio.Runner() as runner:
            print(runner.run(main()) is aioxide.EventLoop)
        loop = asyncio.new_event_loop()
        print(type(loop) is aioxide.EventLoop)
        asyncio.set_event_loop(loop)
        print(asyncio.get_event_loop() is loop)
        loop.close()
        asyncio.set_event_loop_policy(None)
        print(asyncio.run(main()) is aioxide.EventLoop)
    """
    # The file that warns is the program itself: no warning of our own making can hide behind this filter.
    printed = output_of("-W", "error", "-W", "ignore::DeprecationWarning:__main__", "-c", program)
    assert printed.split() == ["True", "True", "True", "True", "False"]


@pytest.mark.filterwarnings(QUIET)
def test_the_policy_is_a_default_policy():
    policy = aioxide.EventLoopPolicy()
    assert isinstance(policy, asyncio.DefaultEventLoopPolicy)
    assert isinstance(policy, asyncio.AbstractEventLoopPolicy)
    with pytest.raises(TypeError, match="must be an instance of AbstractEventLoop or None"):
        policy.set_event_loop(7)


@pytest.mark.by_version(DEPRECATED, "get_event_loop() makes no loop from 3.14 on")
def test_get_event_loop_makes_ours_in_the_main_thread():
    program = """if True:
        import asyncio, aioxide
        asyncio.set_event_loop_policy(aioxide.EventLoopPolicy())
        loop = asyncio.get_event_loop()
        print(type(loop) is aioxide.EventLoop)
        loop.close()
    """
    assert output_of("-W", "ignore::DeprecationWarning", "-c", program) == "True\n"


@pytest.mark.by_version(sys.version_info >= (3, 14), "child watchers are gone in 3.14")
def test_child_watchers_work():
    program = """if True:
        import asyncio, aioxide, sys
        asyncio.set_event_loop_policy(aioxide.EventLoopPolicy())
        async def main():
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", "raise SystemExit(5)")
            return await process.wait()
        print(asyncio.run(main()))
    """
    assert output_of("-c", program) == "5\n"


def test_looking_it_up_warns_as_asyncios_policies_do():
    with warnings.catch_warnings(record=True) as theirs:
        warnings.simplefilter("always")
        asyncio.DefaultEventLoopPolicy
    with warnings.catch_warnings(record=True) as ours:
        warnings.simplefilter("always")
        aioxide.EventLoopPolicy
    assert len(ours) == len(theirs) == (1 if DEPRECATED else 0)
    for our, their in zip(ours, theirs, strict=True):
        assert our.category is their.category
        assert str(our.message) == str(their.message).replace(
            "asyncio.DefaultEventLoopPolicy", "aioxide.EventLoopPolicy"
        )
        assert our.filename == __file__


@pytest.mark.parametrize(
    "statement", ["from aioxide import EventLoopPolicy", "import aioxide; aioxide.EventLoopPolicy"]
)
def test_the_warning_reaches_a_program_that_is_run_plainly(statement):
    # Python shows a DeprecationWarning by default where the line that causes it is in __main__, and not
    # elsewhere.
    done = run_python("-c", statement)
    assert done.returncode == 0
    expected = (
        "<string>:1: DeprecationWarning: 'aioxide.EventLoopPolicy' is deprecated and slated for removal in"
    )
    assert done.stderr.startswith(expected) if DEPRECATED else done.stderr == ""


def test_only_the_policy_is_deprecated():
    # Nothing else of ours looks it up behind the user's back.
    program = "import aioxide; aioxide.install(True); aioxide.run(aioxide.sleep(0)); aioxide.uninstall()"
    assert output_of("-W", "error", "-c", program) == ""
