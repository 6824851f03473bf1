"""Objects that misbehave in every special method the loop, a task, a future or a transport may call."""

import asyncio
import contextlib
import decimal
import fractions
import gc
import math
import os
import types

import pytest

from tests.support.scenarios import assert_same


class Refusing(Exception):
    pass


class Hostile:
    """Callable; every special method that a container or a log line might use raises."""

    def __init__(self, run):
        self.run = run

    def __call__(self, *arguments):
        self.run.log("hostile", "called", len(arguments))

    def refuse(self, *arguments):
        raise Refusing

    __eq__ = __ne__ = __lt__ = __hash__ = __bool__ = __len__ = __repr__ = __str__ = refuse


class Reentrant(Hostile):
    """Special methods that turn on the future that asks; a comparison also grows its callback list while it
    is walked.
    """

    # Not until the interpreter calls it a recursion: kinds of methods count as differently deep.
    left = 20

    def __eq__(self, other):
        self.run.log("hostile", "compared")
        if not self.left:
            return False
        self.left -= 1
        self.future.remove_done_callback(self.run)
        for number in range(20):
            self.future.add_done_callback(lambda _, number=number: None)
        gc.collect()
        return False

    __hash__ = None
    __bool__ = lambda self: True  # noqa: E731
    __repr__ = lambda self: "reentrant"  # noqa: E731


class NoAnswer(Hostile):
    """A comparison whose answer can't be asked for its truth."""

    def __eq__(self, other):
        return self

    __hash__ = None


def schedule_hostile(run):
    hostile = Hostile(run)
    run.loop.call_soon(hostile, hostile, hostile)
    run.loop.call_later(0, hostile, hostile)
    run.loop.call_soon_threadsafe(hostile)
    handles = [run.loop.call_soon(hostile), run.loop.call_later(50, hostile, hostile)]
    for handle in handles:
        handle.cancel()
    run.settle()


def repr_of_hostile(run):
    handles = [run.loop.call_soon(Hostile(run), Hostile(run)), run.loop.call_later(9, print, Hostile(run))]
    for handle in handles:
        # reprlib stands between: it catches what a repr raises and writes <Hostile instance at ...> itself.
        run.attempt("main", lambda handle=handle: "instance at" in repr(handle))
    future = run.loop.create_future()
    future.set_result(Hostile(run))
    run.attempt("main", lambda: "instance at" in repr(future))
    run.settle()


def fail_with_hostile_arguments(run):
    class Failing(Hostile):
        def __call__(self, *arguments):
            raise Refusing("the callback fails, and its repr too")

    run.loop.call_soon(Failing(run), Failing(run))
    run.loop.call_later(0, Failing(run))
    run.settle()


def callbacks_of(kind):
    def scenario(run):
        future = run.loop.create_future()
        callbacks = [kind(run) for _ in range(3)]
        for callback in callbacks:
            callback.future = future
            future.add_done_callback(callback)
        run.attempt("main", future.remove_done_callback, kind(run).__call__)
        probe = kind(run)
        probe.future = future
        run.attempt("main", future.remove_done_callback, probe)
        future.set_result(None)
        run.settle()
        run.log("main", future.done())

    return scenario


def remove_while_walking(run):
    """The classic: removing calls __eq__, which removes and completes the future under the removal's feet."""
    future = run.loop.create_future()
    entered = []

    class Evil:
        def __eq__(self, other):
            run.log("hostile", "compared")
            if not entered:
                entered.append(True)
                future.remove_done_callback(plain)
                future.set_result("from __eq__")
            return False

        __hash__ = None

        def __call__(self, future):
            run.log("hostile", "called")

    def plain(future):
        run.log("hostile", "plain called")

    for callback in (Evil(), plain, Evil(), plain, plain):
        future.add_done_callback(callback)
    run.attempt("main", future.remove_done_callback, Evil())
    run.settle()
    run.log("main", future.result())


def results_and_exceptions(run):
    class Unprintable(Exception):
        def __str__(self):
            raise Refusing("no text")

    class Unmakeable(Exception):
        def __init__(self):
            raise Refusing("no instance")

    for exception in (
        StopIteration(),
        StopIteration,
        Unmakeable,
        Unprintable,
        7,
        "text",
        None,
        GeneratorExit,
        KeyError,
    ):
        future = run.loop.create_future()
        run.attempt("main", future.set_exception, exception)
        run.attempt("main", lambda future=future: type(future.exception()))
    future = run.loop.create_future()
    run.log("main", future.cancel(msg=Hostile(run)))
    run.attempt("main", lambda: type(run.loop.run_until_complete(future)))


def forget_futures(run):
    """What is logged of a future that nobody asked: its repr is hostile, and so is the exception."""

    class Loud(Exception):
        def __repr__(self):
            raise Refusing

    future = run.loop.create_future()
    future.set_exception(Loud())
    del future

    async def fail():
        raise Loud

    task = run.loop.create_task(fail())
    run.settle()
    del task
    gc.collect()
    run.settle(1)


def settle_in_any_order(run):
    """When a task that failed is destroyed depends on who is still in a cycle with its exception."""
    run.settle()
    gc.collect()
    run.settle(1)
    run.history.get("handler", []).sort(key=str)


def names_and_contexts(run):
    async def body():
        return asyncio.current_task().get_name()

    for name in ("plain", 7, None, b"bytes", Hostile(run)):
        coroutine = body()
        task = run.attempt("main", lambda name=name, c=coroutine: run.loop.create_task(c, name=name))
        if task is not None and name is not None:
            run.complete(task)
            run.attempt("main", task.set_name, Hostile(run))
        coroutine.close()
    for context in (object(), 7, {}):
        coroutine = body()
        run.attempt("main", lambda context=context: type(run.loop.call_soon(print, context=context)).__name__)
        run.attempt("main", lambda context=context, c=coroutine: run.loop.create_task(c, context=context))
        coroutine.close()
    settle_in_any_order(run)


class Number:
    """A delay that answers only one question, and that one late."""

    def __init__(self, run, value):
        self.run, self.value = run, value

    def __radd__(self, other):
        self.run.loop.call_soon(self.run.log, "hostile", "scheduled by __radd__")
        gc.collect()
        return other + self.value

    def __float__(self):
        raise Refusing


def delays(run):
    seen = run.log
    for delay in (
        True,
        0,
        -1e308,
        decimal.Decimal("0"),
        fractions.Fraction(-1, 3),
        None,
        Number(run, -1),
    ):
        run.attempt(
            "main", lambda d=delay: run.loop.call_later(d, seen, "timer", type(d).__name__).cancelled()
        )
    # In words of their own: asyncio says which operator refuses them, ours what a delay is.
    for delay in ("0", b"", []):
        with pytest.raises(TypeError):
            run.loop.call_later(delay, seen, "timer", "never")
    # Not text: asyncio takes it, and then its heap cannot be sorted and each turn of the loop raises.
    for when in (-math.inf, -1, 0, False, fractions.Fraction(1, 3), None):
        run.attempt(
            "main", lambda w=when: run.loop.call_at(w, seen, "timer", "at", type(w).__name__).cancelled()
        )
    far = [run.loop.call_later(delay, print) for delay in (1e9, 1e300, math.inf, 10**30)]
    run.settle()
    # Which of the due ones comes first where they are equally late is nobody's promise.
    run.history.get("timer", []).sort()
    for handle in far:
        handle.cancel()


def not_a_number(run):
    """What asyncio makes of nan depends on where its heap puts it; no loop may spin or break over it."""
    for _ in range(3):
        run.loop.call_later(math.nan, run.log, "nan", "fired").cancel()
    handle = run.loop.call_later(math.nan, print)
    run.loop.call_soon(run.log, "main", "others run")
    run.settle(2)
    handle.cancel()


class Fileno:
    def __init__(self, answer):
        self.answer = answer

    def __repr__(self):
        return "an object with fileno"

    def fileno(self):
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def filenos(run):
    answers = [
        -1,
        10**9,
        2**31,
        2**70,
        "3",
        None,
        3.0,
        True,
        Refusing("no fd"),
        KeyboardInterrupt("at fileno"),
    ]
    for answer in answers:
        for watched in (answer, Fileno(answer)):
            if isinstance(watched, BaseException) or watched is True or answer is True:
                continue
            for name in ("add_reader", "add_writer"):
                run.attempt("main", lambda n=name, w=watched: type(getattr(run.loop, n)(w, print)).__name__)
            for name in ("remove_reader", "remove_writer"):
                run.attempt("main", getattr(run.loop, name), watched)
    run.settle()


def unpollable(run):
    """epoll refuses a regular file: the caller hears of it, and the loop goes on."""
    with open(os.devnull) as null, open(__file__) as regular:
        for file in (null, regular):
            run.attempt("main", lambda file=file: type(run.loop.add_reader(file, print)).__name__)
            run.attempt("main", lambda file=file: run.loop.remove_reader(file) in (True, False))
    run.settle()


class Awaitable:
    def __init__(self, *steps):
        self.steps = steps

    def __await__(self):
        for step in self.steps:
            yield step() if isinstance(step, types.FunctionType) else step


class FutureLike:
    """Blocks as a future does, and is none: each attribute that a task reads may be one more trap."""

    def __init__(self, run, **traps):
        self.run, self.traps = run, traps

    def __getattr__(self, name):
        if name in ("_asyncio_future_blocking", "get_loop", "add_done_callback", "_loop"):
            trap = self.traps.get(name, Refusing(name))
            if isinstance(trap, BaseException):
                raise trap
            return trap
        raise AttributeError(name)


def bad_yields(run):
    other = asyncio.new_event_loop()
    foreign = other.create_future()
    mine = run.loop.create_future()
    blocking = {"_asyncio_future_blocking": True}
    steps = {
        "number": 7,
        "future without blocking": mine,
        "future of another loop": lambda: (setattr(foreign, "_asyncio_future_blocking", True), foreign)[1],
        "the task itself": lambda: (setattr(asyncio.current_task(), "_asyncio_future_blocking", True), None)[
            1
        ],
        "generator": (n for n in ()),
        "no attribute": FutureLike(run, _asyncio_future_blocking=AttributeError("none")),
        "trap at blocking": FutureLike(run),
        "trap at loop": FutureLike(run, **blocking),
        "trap at callback": FutureLike(run, **blocking, get_loop=lambda: run.loop, _loop=run.loop),
        "loop lies": FutureLike(run, **blocking, get_loop=lambda: 7, _loop=7),
    }

    async def body(step):
        await Awaitable(step)

    for name, step in steps.items():
        task = run.loop.create_task(body(step))
        run.settle(3)
        run.log(name, task.done())
        if not task.done():
            task.cancel()
            run.settle(3)
        outcome = "stuck" if not task.done() else "cancelled" if task.cancelled() else type(task.exception())
        run.log(name, outcome)
    del task
    settle_in_any_order(run)
    other.close()


def hostile_yield(run):
    """The repr that should go into the error's text raises. What becomes of the task is the loop's own
    affair.
    """

    async def body():
        await Awaitable(Hostile(run))

    task = run.loop.create_task(body())
    run.settle()
    del task
    run.loop.call_soon(run.log, "main", "others run")
    run.settle()


def hostile_coroutines(run):
    async def itself(box):
        await box[0]

    box = []
    box.append(run.loop.create_task(itself(box)))
    run.settle()
    run.log("itself", box[0].exception())

    async def nothing():
        await asyncio.sleep(0)

    coroutine = nothing()
    first, second = run.loop.create_task(coroutine), run.loop.create_task(coroutine)
    run.settle()
    run.log("shared coroutine", [task.exception() for task in (first, second)])

    coroutine = nothing()
    task = run.loop.create_task(coroutine)
    coroutine.close()
    run.settle()
    run.log("closed coroutine", task.exception())
    coroutine = nothing()
    for wrong in (7, None, nothing, (n for n in ()), Awaitable(None)):
        run.attempt("wrong", lambda wrong=wrong: run.loop.create_task(wrong))
    coroutine.close()


def swallow_cancellation(run):
    async def stubborn():
        for number in range(4):
            try:
                await run.loop.create_future()
            except asyncio.CancelledError as error:
                run.log("task", number, error, asyncio.current_task().cancelling())
        return "outlived it"

    task = run.loop.create_task(stubborn())
    for number in range(4):
        run.settle(2)
        task.cancel(f"attempt {number}")
    run.settle()
    run.log("task", task.result(), task.uncancel())


def handlers_that_fail(run):
    """The exception handler raises, its logger's text can't be made, it replaces itself while it runs."""

    def failing(loop, context):
        run.log("handler", "called", context["message"])
        raise Refusing("from the handler")

    def replacing(loop, context):
        run.loop.set_exception_handler(None)
        run.log("handler", "replaced", context["message"])

    for handler in (failing, replacing):
        run.loop.set_exception_handler(handler)
        run.loop.call_soon(divmod, 1, 0)
        run.attempt("main", run.loop.call_exception_handler, {"message": "by hand"})
        run.settle(2)
    run.loop.call_exception_handler({"message": Hostile(run)})


SCENARIOS = {
    "schedule": (schedule_hostile, "'called', 2"),
    "repr": (repr_of_hostile, "returns"),
    "fail": (fail_with_hostile_arguments, "'Refusing'"),
    "callbacks that refuse": (callbacks_of(Hostile), "'called', 1"),
    "callbacks that turn on the future": (callbacks_of(Reentrant), "'compared'"),
    "callbacks without an answer": (callbacks_of(NoAnswer), "'Refusing'"),
    "remove while walking": (remove_while_walking, "from __eq__"),
    "results and exceptions": (results_and_exceptions, "no instance"),
    "forgotten futures": (forget_futures, "never retrieved"),
    "names and contexts": (names_and_contexts, "'Refusing'"),
    "delays": (delays, "scheduled by __radd__"),
    "not a number": (not_a_number, "others run"),
    "filenos": (filenos, "'Refusing'"),
    "unpollable": (unpollable, "PermissionError"),
    "bad yields": (bad_yields, "RuntimeError"),
    "hostile yield": (hostile_yield, "others run"),
    "coroutines": (hostile_coroutines, "closed coroutine"),
    "swallowed cancellation": (swallow_cancellation, "outlived it"),
    "handlers": (handlers_that_fail, "replaced"),
}


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("name", SCENARIOS)
def test_hostile(name, caplog):
    scenario, reached = SCENARIOS[name]
    with contextlib.redirect_stderr(None):
        assert_same(scenario, reached=reached, ignore=["handler"] if name == "hostile yield" else [])
