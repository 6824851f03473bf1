"""Run as a program: ``walk.py base|ours`` uses every descriptor of `_asyncio`'s Future and Task, or of ours, unbound on
objects of ours in every state. Most uses raise; none may crash.
"""

import _asyncio
import asyncio
import gc
import sys
import warnings

import aioxide

PAIRS = {"base": (_asyncio.Future, _asyncio.Task), "ours": (aioxide.Future, aioxide.Task)}
# Not descriptors of instances.
NOT_WALKED = {"__new__", "__doc__", "__getattribute__", "__class_getitem__"}
ARGUMENTS = [(), (None,), (1,), (id,), (ValueError(),), (ValueError,), (aioxide,), (None, None), (1, 2, 3)]


class DerivedFuture(aioxide.Future):
    pass


class DerivedTask(aioxide.Task):
    pass


class EmptyFuture(aioxide.Future):
    def __init__(self):
        pass


class EmptyTask(aioxide.Task):
    def __init__(self):
        pass


async def nothing():
    await asyncio.sleep(0)


def instances(loop):
    """Objects in every state, with a name for each."""
    pending, done, failed, cancelled = (loop.create_future() for _ in range(4))
    done.set_result(1)
    failed.set_exception(ValueError())
    cancelled.cancel()
    yield from {"pending": pending, "done": done, "failed": failed, "cancelled": cancelled}.items()
    yield "derived", DerivedFuture(loop=loop)
    yield "not initialised", aioxide.Future.__new__(aioxide.Future)
    yield "derived, not initialised", EmptyFuture()
    waiting, returned = loop.create_task(nothing()), loop.create_task(nothing())
    loop.run_until_complete(returned)
    cancelled = loop.create_task(nothing())
    cancelled.cancel()
    yield from {"waiting": waiting, "returned": returned, "to be cancelled": cancelled}.items()
    yield "derived", DerivedTask(nothing(), loop=loop)
    yield "not initialised", aioxide.Task.__new__(aioxide.Task)
    yield "derived, not initialised", EmptyTask()


def attempt(function, *arguments):
    try:
        return function(*arguments)
    except BaseException:
        return None


def use(descriptor, name, instance):
    """Everything that can be done with a descriptor without going through the instance's own type."""
    if type(descriptor).__name__ in ("getset_descriptor", "member_descriptor"):
        attempt(descriptor.__get__, instance, type(instance))
        for value in (None, False, True, 5, "text"):
            attempt(descriptor.__set__, instance, value)
        attempt(descriptor.__delete__, instance)
        attempt(descriptor.__get__, instance, type(instance))
    elif callable(descriptor):
        for arguments in ARGUMENTS:
            result = attempt(descriptor, instance, *arguments)
            if name in ("__iter__", "__await__") and result is not None:
                attempt(next, result), attempt(next, result), attempt(result.throw, ValueError())


def walk(base, loop):
    """Use each descriptor on fresh instances of each kind; how many uses that were."""
    uses = 0
    for name, descriptor in list(vars(base).items()):
        if name in NOT_WALKED:
            continue
        for state, instance in instances(loop):
            if isinstance(instance, base):
                print(f"{base.__name__}.{name} on one that is {state}", file=sys.stderr, flush=True)
                use(descriptor, name, instance)
                uses += 1
            # Those that are left pending would be heard of.
            attempt(setattr, instance, "_log_destroy_pending", False)
            attempt(setattr, instance, "_log_traceback", False)
        attempt(loop.run_until_complete, asyncio.sleep(0))
        gc.collect()
    return uses


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    output, sys.stdout = sys.stdout, sys.stderr
    own = aioxide.new_event_loop()
    own.set_exception_handler(lambda loop, context: None)
    print(sum(walk(base, own) for base in PAIRS[sys.argv[1]]), file=output)
