"""Random programs over futures, tasks, handles and timers, and a machine that runs them.

A program is plain data: bodies of callbacks and of coroutines, each a list of operations. Operands are
numbers; the machine takes them modulo what there is, so that every program is a valid one. Two machines
that run the same program on different loops and classes must write the same history, down to the turn of
the loop in which a thing happens. No program depends on the clock: timers are due already, or never (in an
hour).
"""

import asyncio
import contextvars
import functools
import gc
import re
import sys
import types
import unittest.mock

from hypothesis import strategies as st

VARIABLE = contextvars.ContextVar("VARIABLE", default=0)
TURNS = 15
FUEL = 250


class Odd(BaseException):
    """Neither an Exception nor one of those that leave the loop."""


EXCEPTIONS = [
    ValueError,
    asyncio.CancelledError,
    Odd,
    StopIteration,
    GeneratorExit,
    KeyboardInterrupt,
    SystemExit,
    asyncio.InvalidStateError,
    TimeoutError,
]
TIMEOUTS = [None, 0, -1, 3600]


def plain(value):
    if isinstance(value, BaseExceptionGroup):
        return (type(value).__name__, [plain(each) for each in value.exceptions])
    if isinstance(value, BaseException):
        chained = [type(e).__name__ if e else None for e in (value.__cause__, value.__context__)]
        return (type(value).__name__, plain(value.args), *chained)
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    if value is None or isinstance(value, bool | int):
        return value
    return re.sub(r"Task-\d+|0x[0-9a-f]+|line \d+", "#", str(value))


class Callback:
    """A done callback, or a handle's: logs its call and runs its body."""

    def __init__(self, machine, number, body):
        self.machine, self.number, self.body = machine, number, body

    def __call__(self, *arguments):
        machine = self.machine
        states = [machine.state(each) for each in arguments]
        machine.log("callback", self.number, VARIABLE.get(), *states)
        machine.run_callback(self.body)

    def __repr__(self):
        return f"callback {self.number}"


class Machine:
    def __init__(self, program, loop, make_future, make_task):
        self.program, self.loop = program, loop
        self.make_future, self.make_task = make_future, make_task
        self.futures, self.handles, self.callbacks, self.history = [], [], [], []
        self.turn, self.fuel = 0, FUEL
        loop.set_exception_handler(self.on_unhandled)

    # What is seen

    def log(self, *event):
        self.history.append((self.turn, *map(plain, event)))

    def on_unhandled(self, loop, context):
        self.log(
            "unhandled", re.sub(r"callback .*", "callback", context["message"]), context.get("exception")
        )

    def number(self, future):
        return next((n for n, each in enumerate(self.futures) if each is future), "unknown")

    def state(self, future):
        if not future.done():
            return [self.number(future), "pending"]
        return [
            self.number(future),
            "cancelled" if future.cancelled() else plain(future.exception() or future.result()),
        ]

    def attempt(self, event, function, *arguments, **options):
        """Call, and log the result or what is raised; what leaves the loop leaves it from here too."""
        try:
            result = function(*arguments, **options)
        except Exception as error:
            self.log(event, "raises", error)
            return None
        if result is None or isinstance(result, bool | int | str | BaseException):
            self.log(event, result)
        return result

    # What is done

    def run(self):
        """Run the whole program; the history.

        Something to wait for and two that wait are there from the start, and each callback's body is run
        once from outside: most programs would not come far by themselves.
        """
        for _ in range(3):
            self.do_future()
        self.do_task(0, False, False)
        self.do_task(1, True, True)
        for number in range(len(self.program["callbacks"])):
            self.loop.call_soon(self.run_callback, number)
            self.spin(5)
        self.spin(TURNS)
        for future in [each for each in self.futures if not each.done()]:
            self.attempt("at the end", future.cancel)
        self.spin(10)
        self.log("final", [self.state(future) for future in self.futures])
        # What is logged of forgotten futures comes in the order of their destruction, which is nobody's
        # promise.
        mark = len(self.history)
        self.futures.clear(), self.handles.clear(), self.callbacks.clear()
        gc.collect()
        self.spin(2)
        gc.collect()
        self.history[mark:] = sorted(self.history[mark:], key=repr)
        self.loop.close()
        return self.history

    def spin(self, turns):
        for _ in range(turns):
            self.turn += 1
            self.loop.call_soon(self.loop.stop)
            try:
                self.loop.run_forever()
            except BaseException as error:
                self.log("out of run_forever", error)

    def run_callback(self, body):
        bodies = self.program["callbacks"]
        for name, *operands in bodies[body % len(bodies)]:
            self.perform(name, operands)

    def perform(self, name, operands):
        self.fuel -= 1
        if self.fuel > 0:
            getattr(self, "do_" + name)(*operands)

    def pick(self, number):
        if not self.futures:
            self.do_future()
        return self.futures[number % len(self.futures)]

    def callback(self, body):
        callback = Callback(self, len(self.callbacks), body)
        self.callbacks.append(callback)
        return callback

    def coroutine(self, body):
        bodies = self.program["coroutines"]
        return run_coroutine(self, bodies[body % len(bodies)])

    def context(self, own):
        return contextvars.copy_context() if own else None

    # Operations of callbacks and coroutines alike

    def do_future(self):
        self.futures.append(self.make_future())

    def do_finish(self, future, value):
        self.attempt("finish", self.pick(future).set_result, value)

    def do_fail(self, future, kind, instance):
        exception = EXCEPTIONS[kind % len(EXCEPTIONS)]
        self.attempt("fail", self.pick(future).set_exception, exception("set") if instance else exception)

    def do_cancel(self, future, message):
        self.attempt("cancel", self.pick(future).cancel, *([message] if message else []))

    def do_uncancel(self, task):
        task = self.pick(task)
        if isinstance(task, asyncio.Task):
            self.attempt("cancelling", task.cancelling)
            self.attempt("uncancel", task.uncancel)

    def do_add_callback(self, future, body, own_context):
        options = {"context": self.context(True)} if own_context else {}
        self.attempt("add", self.pick(future).add_done_callback, self.callback(body), **options)

    def do_add_again(self, future, callback):
        if self.callbacks:
            again = self.callbacks[callback % len(self.callbacks)]
            self.attempt("add again", self.pick(future).add_done_callback, again)

    def do_remove_callback(self, future, callback):
        if self.callbacks:
            gone = self.callbacks[callback % len(self.callbacks)]
            self.attempt("remove", self.pick(future).remove_done_callback, gone)

    def do_look(self, future):
        future = self.pick(future)
        for name in ("done", "cancelled", "result", "exception"):
            try:
                self.log(name, getattr(future, name)())
            except (Exception, Odd, asyncio.CancelledError) as error:
                self.log(name, "raises", error)

    def do_repr(self, future):
        self.attempt("repr", repr, self.pick(future))

    def do_name(self, task, name):
        task = self.pick(task)
        if isinstance(task, asyncio.Task):
            self.attempt("name", task.get_name)
            self.attempt("name", task.set_name, name)
            # A running task's stack goes on into the loop's own frames, where it has any.
            self.attempt("stack", lambda: len(task.get_stack(limit=1)))

    def do_task(self, body, named, own_context):
        options = {"name": f"named {len(self.futures)}"} if named else {}
        if own_context:
            options["context"] = self.context(True)
        self.futures.append(self.make_task(self.coroutine(body), **options))

    def do_soon(self, body, own_context):
        self.handles.append(self.loop.call_soon(self.callback(body), context=self.context(own_context)))

    def do_threadsafe(self, body):
        self.handles.append(self.loop.call_soon_threadsafe(self.callback(body)))

    def do_later(self, delay, body):
        # Late ones run in the order of their times, so each gets a time of its own.
        due = [-1, -0.5, 3600][delay % 3] + len(self.handles) * 1e-4
        self.handles.append(self.loop.call_later(due, self.callback(body)))

    def do_drop_handle(self, handle):
        if self.handles:
            self.attempt("drop", self.handles[handle % len(self.handles)].cancel)

    def do_handle(self, handle):
        if self.handles:
            handle = self.handles[handle % len(self.handles)]
            self.attempt("handle", handle.cancelled)
            self.attempt("handle", lambda: re.sub(r"when=[\d.]+", "when=#", repr(handle)))

    def do_set(self, value):
        VARIABLE.set(value)

    def do_tasks(self):
        self.log("tasks", sorted(map(str, map(self.number, asyncio.all_tasks(self.loop)))))
        self.log("current", self.number(asyncio.current_task(self.loop)))

    def do_raise(self, kind):
        raise EXCEPTIONS[kind % len(EXCEPTIONS)]("raised")

    def do_stop(self):
        self.loop.stop()

    def do_collect(self):
        gc.collect()


async def run_coroutine(machine, body):
    """A coroutine's body: what it awaits, it logs; what is raised there it catches or not, as the program
    says.
    """
    machine.log("enters", machine.number(asyncio.current_task(machine.loop)), VARIABLE.get())
    for name, *operands in body:
        machine.fuel -= 1
        if machine.fuel <= 0:
            return "out of fuel"
        wait = WAITS.get(name)
        if wait is None:
            machine.perform(name, operands)
            continue
        catches, *operands = operands
        try:
            machine.log(name, "gives", await wait(machine, *operands))
        except BaseException as error:
            machine.log(name, "raises", error)
            # Going on after GeneratorExit is an error of its own; what leaves the loop is the callers'
            # affair.
            if not catches or isinstance(error, GeneratorExit | KeyboardInterrupt | SystemExit):
                raise
    return len(body)


# Operations that only a coroutine can do. Each returns something to await.


@types.coroutine
def wait_yield(machine, kind, future):
    """Yield to the task what a hand-written awaitable might: nothing, a wrong thing, a future marked or
    not.
    """
    future = machine.pick(future)
    if kind == 0:
        return (yield)
    if kind == 1:
        return (yield "a string")
    if kind == 2 and not future.done():
        future._asyncio_future_blocking = True
    return (yield future)


async def wait_gather(machine, futures, exceptions):
    return await asyncio.gather(*map(machine.pick, futures), return_exceptions=exceptions)


async def wait_shield(machine, future):
    return await asyncio.shield(machine.pick(future))


async def wait_wait_for(machine, future, timeout):
    return await asyncio.wait_for(machine.pick(future), TIMEOUTS[timeout % len(TIMEOUTS)])


async def wait_wait(machine, futures, when, timeout):
    chosen = [machine.pick(future) for future in futures]
    condition = [asyncio.FIRST_COMPLETED, asyncio.FIRST_EXCEPTION, asyncio.ALL_COMPLETED][when % 3]
    timeout = [None, 0][timeout % 2]
    done, pending = await asyncio.wait(chosen, return_when=condition, timeout=timeout)
    return [sorted(str(machine.number(future)) for future in group) for group in (done, pending)]


async def wait_timeout(machine, timeout, body):
    async with asyncio.timeout(TIMEOUTS[timeout % len(TIMEOUTS)]) as scope:
        result = await machine.coroutine(body)
    return [result, scope.expired()]


async def wait_group(machine, child, inside):
    """One child only: a TaskGroup cancels several in the order of a set, which is that of their addresses."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(machine.coroutine(child))
        result = await machine.coroutine(inside)
    return [result, task.result()]


WAITS = {
    "await": lambda machine, future: machine.pick(future),
    "nap": lambda machine: asyncio.sleep(0),
    "sleep": lambda machine, delay: asyncio.sleep(-delay, "slept"),
    "call": lambda machine, body: machine.coroutine(body),
    "spawn": lambda machine, body: machine.make_task(machine.coroutine(body)),
    "yield": wait_yield,
    "gather": wait_gather,
    "shield": wait_shield,
    "wait_for": wait_wait_for,
    "wait": wait_wait,
    "timeout": wait_timeout,
    "group": wait_group,
}

# The strategy

number = st.integers(0, 7)
body = st.integers(0, 3)
flag = st.booleans()
several = st.lists(number, min_size=1, max_size=4)
message = st.sampled_from(["", "", "why"])

SIMPLE = [
    st.tuples(st.just("future")),
    st.tuples(st.just("finish"), number, number),
    st.tuples(st.just("finish"), number, number),
    st.tuples(st.just("finish"), number, number),
    st.tuples(st.just("fail"), number, number, flag),
    st.tuples(st.just("cancel"), number, message),
    st.tuples(st.just("uncancel"), number),
    st.tuples(st.just("add_callback"), number, body, flag),
    st.tuples(st.just("add_again"), number, number),
    st.tuples(st.just("remove_callback"), number, number),
    st.tuples(st.just("look"), number),
    st.tuples(st.just("repr"), number),
    st.tuples(st.just("name"), number, message),
    st.tuples(st.just("task"), body, flag, flag),
    st.tuples(st.just("task"), body, flag, flag),
    st.tuples(st.just("soon"), body, flag),
    st.tuples(st.just("threadsafe"), body),
    st.tuples(st.just("later"), number, body),
    st.tuples(st.just("drop_handle"), number),
    st.tuples(st.just("handle"), number),
    st.tuples(st.just("set"), number),
    st.tuples(st.just("tasks")),
    st.tuples(st.just("raise"), number),
    st.tuples(st.just("raise"), number),
    st.tuples(st.just("stop")),
    st.tuples(st.just("collect")),
]
WAITING = [
    st.tuples(st.just("await"), flag, number),
    st.tuples(st.just("await"), flag, number),
    st.tuples(st.just("nap"), flag),
    st.tuples(st.just("sleep"), flag, number),
    st.tuples(st.just("call"), flag, body),
    st.tuples(st.just("call"), flag, body),
    st.tuples(st.just("spawn"), flag, body),
    st.tuples(st.just("yield"), flag, st.integers(0, 3), number),
    st.tuples(st.just("gather"), flag, several, flag),
    st.tuples(st.just("shield"), flag, number),
    st.tuples(st.just("shield"), flag, number),
    st.tuples(st.just("wait_for"), flag, number, number),
    st.tuples(st.just("wait_for"), flag, number, number),
    st.tuples(st.just("wait"), flag, several, number, number),
    st.tuples(st.just("timeout"), flag, number, body),
    st.tuples(st.just("group"), flag, body, body),
]

programs = st.fixed_dictionaries(
    {
        "callbacks": st.lists(st.lists(st.one_of(SIMPLE), max_size=10), min_size=1, max_size=4),
        "coroutines": st.lists(
            st.lists(st.one_of(SIMPLE + WAITING + WAITING), max_size=8), min_size=1, max_size=4
        ),
    }
)


def worlds(ours):
    """Loop, maker of futures and maker of tasks, by name; `ours` is the aioxide package."""
    stock = (asyncio.SelectorEventLoop, asyncio.Future, asyncio.Task)
    own = (ours.new_event_loop, ours.Future, ours.Task)
    return {
        "asyncio": stock,
        "the loop's own makers": (own[0], None, None),
        "our classes on our loop": own,
        "our classes on asyncio's loop": (stock[0], own[1], own[2]),
        "asyncio's classes on our loop": (own[0], stock[1], stock[2]),
    }


def play(program, factory, future_class, task_class):
    """The history of `program` with these classes."""
    loop = factory()
    make_future, make_task = loop.create_future, loop.create_task
    if future_class is not None:
        make_future = functools.partial(future_class, loop=loop)
        make_task = functools.partial(task_class, loop=loop)
    # Collections look only at what the program makes: they are many, and the test's own heap is large.
    gc.freeze()
    # Coroutines that are closed in the middle of a TaskGroup complain here; that is the program's doing.
    complaints = unittest.mock.patch.object(sys, "unraisablehook", lambda unraisable: None)
    try:
        with complaints:
            return contextvars.Context().run(Machine(program, loop, make_future, make_task).run)
    finally:
        gc.unfreeze()
