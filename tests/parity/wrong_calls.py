"""Calls each public method of an object with what does not fit, on asyncio and on aioxide: what the walk is made of.

A table says how a method is called rightly. From that come the wrong calls: each argument in turn is each of
`VALUES`, one is left out, one is too many, one has a name that nobody takes. What a call raises or returns, and all
that asyncio says about it in the turns that follow, has to be the same on both.
"""

import asyncio
import concurrent.futures
import contextlib
import inspect
import re
import tempfile

from tests.support.wrong_arguments import INSIDE, Refusing, complaint

from .harness import Normaliser, Run, watched

VALUES = {
    "None": None,
    "object": object(),
    "-1": -1,
    "0": 0,
    "1": 1,
    "1.5": 1.5,
    "nan": float("nan"),
    "inf": float("inf"),
    "2**31": 2**31,
    "-2**63": -(2**63),
    "10**400": 10**400,
    "True": True,
    "str": "x",
    "bytes": b"x",
    "list": [],
    "dict": {},
    "complex": 1j,
    "function": len,
    "type": int,
    "refusing": Refusing(),
}


class Inline(concurrent.futures.ThreadPoolExecutor):
    """Runs each call where it is submitted: what an executor does must not depend on how busy the machine is."""

    def submit(self, function, /, *args, **kwargs):
        future = concurrent.futures.Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Plain(Normaliser):
    """Numbers that the system gives, and the classes that the user chose by the loop, are the same on both sides."""

    def number(self, kind, text):
        return "N"

    def text(self, text):
        text = re.sub(r"(?<=laddr=)\('[\d.:]+', \d+", "(N", super().text(text))
        # A C type, which a Python class may stand for, is named with its module.
        text = re.sub(r"\b_?(?:asyncio|aioxide)\.(?=\w)", "", text)
        # On 3.11 it depends on how a method is called whether the type of its object is named.
        return text.replace("Task.get_loop()", "Future.get_loop()")


class World(Run):
    """Fresh objects of one side for each call: what the rows of a table make their arguments of."""

    def __init__(self, kind, debug=False):
        super().__init__(kind, debug)
        self.minds_leaks = False
        self.plain = Plain()

    @contextlib.contextmanager
    def fresh(self):
        """A loop of its own, and whatever is opened on it: what one call leaves set or queued no other is to see."""
        asyncio.set_event_loop(None)  # below 3.14 the first get_event_loop() of a thread would make one
        kept, self.opened = self.opened, contextlib.ExitStack()
        with self.opened:
            self.loop = self.new_loop()
            self.loop._default_executor = Inline(1)
            self.opened.callback(self.settle)  # transports end in a turn of the loop
            yield
        self.opened = kept

    def settle(self):
        """See what comes in the next turns, and hide nothing of it behind what was set."""
        self.loop.set_debug(self.debug)
        if not self.loop.is_closed() and not self.loop.is_running():
            self.turns(2)

    async def finish(self, awaitable):
        """The result of what was returned; no wrong call has to wait for anything."""
        task = asyncio.ensure_future(awaitable)
        for turn in range(12):
            if task.done():
                return task.result()
            if turn == 8:
                task.cancel()
            await asyncio.sleep(0.001 * (turn > 3))
        return "it waits"

    async def call_inside(self, function, args, kwargs):
        made = function(*args, **kwargs)
        return await self.finish(made) if inspect.isawaitable(made) else made

    def play(self, label, function, args, kwargs, inside=False):
        """Log one call, by a task of the loop if it is `inside`: what it raised or returned."""
        made = None
        try:
            if inside:
                made = self.loop.run_until_complete(self.call_inside(function, args, kwargs))
            else:
                made = function(*args, **kwargs)
                if inspect.isawaitable(made):
                    made = self.loop.run_until_complete(self.finish(made))
        except (Exception, asyncio.CancelledError) as error:
            self.log(label, type(error).__name__, error)
            return error
        self.log(label, "returned", self.kind_of(made))
        for each in made if isinstance(made, tuple | list) else [made]:
            self.dispose(each)
        return None

    @staticmethod
    def kind_of(made):
        if isinstance(made, str | bool):
            return repr(made)
        return "a loop" if isinstance(made, asyncio.AbstractEventLoop) else type(made).__name__.strip("_")

    @staticmethod
    def dispose(made):
        for name in ("abort", "close"):
            method = getattr(made, name, None)
            if callable(method) and not isinstance(made, asyncio.AbstractEventLoop | type):
                method()
                return


def wrong_calls(count, parameters, values):
    """(label, argument, value, change) of all that is to be tried; `change` makes (args, kwargs) of the right ones."""
    places = [name for name, kind in parameters if kind != "name"][:count]
    for at in range(count):
        name = places[at] if at < len(places) else f"*{at}"
        for shown, value in values.items():
            yield f"{name}={shown}", name, value, lambda args, at=at, value=value: (_put(args, at, value), {})
    for name, kind in parameters[len(places) :]:
        for shown, value in values.items() if kind != "place only" else ():
            yield f"{name}={shown}", name, value, lambda args, given={name: value}: (args, given)
    for label, change in miscounted(count, parameters):
        yield label, None, None, change


def _put(args, at, value):
    return [*args[:at], value, *args[at + 1 :]]


def miscounted(count, parameters):
    """(label, change): too few, too many, and under names that are not taken or not free any more."""
    for few in range(count + 1):
        yield f"{few} arguments", lambda args, few=few: (args[:few], {})
    yield "30 arguments", lambda args: ([*args, *(None,) * (30 - count)], {})
    yield "no_such_argument", lambda args: (args, {"no_such_argument": 1})
    yield "no_such_argument alone", lambda args: ([], {"no_such_argument": 1})
    for at, (name, _) in enumerate(parameters[:count]):
        yield f"{name} twice", lambda args, name=name: (args, {name: None})
        yield f"{name} by name", lambda args, at=at, name=name: (args[:at], {name: args[at]})


def parameters_of(function):
    """(name, kind) of each, without the receiver."""
    kinds = {
        inspect.Parameter.POSITIONAL_ONLY: "place only",
        inspect.Parameter.POSITIONAL_OR_KEYWORD: "place",
        inspect.Parameter.KEYWORD_ONLY: "name",
    }
    try:
        signature = inspect.signature(function)
    except ValueError:  # of C code: add_done_callback
        return []
    return [(p.name, kinds[p.kind]) for p in signature.parameters.values() if p.kind in kinds]


def plan(target, rows):
    """{method: its wrong calls}, by the signatures of asyncio's methods. A row's name may go on after a blank."""
    world = World("asyncio")
    planned = {}
    for name, row in rows.items():
        with world.fresh():
            parameters = parameters_of(getattr(target(world), name.split()[0]))
            values = getattr(row, "values", VALUES)
            parameters = [each for each in parameters if each[0] not in getattr(row, "without", ())]
            planned[name] = list(wrong_calls(len(row(world)), parameters, values))
            world.settle()
    return planned


def walk(kind, planned, target, rows, debug=False, inside=False):
    """{(method, label): (lines, error, argument, value)} of all calls on what `target(world)` makes."""
    world = World(kind, debug)
    seen = {}
    folder = tempfile.TemporaryDirectory()
    with watched(world), folder as path, contextlib.chdir(path):
        for name, row in rows.items():
            for label, argument, value, change in planned[name]:
                start = len(world.lines)
                with world.fresh():
                    args, kwargs = change(list(row(world)))
                    function = getattr(target(world), name.split()[0])
                    error = world.play(label, function, args, kwargs, inside)
                    del args, kwargs, function
                    world.settle()
                seen[name, label] = [*filter(is_told, world.lines[start:])], error, argument, value
    return seen


def is_told(line):
    """Not when an object is gone: asyncio's own tracebacks keep some of them in cycles."""
    return not re.match(
        r"log ERROR Task was destroyed|warning RuntimeWarning coroutine .* never awaited", line
    )


def faults(stock, ours, differs):
    """What ours says otherwise than asyncio, where it may not.

    `differs` has, by (method, argument or label), what ours is to say: the name of the argument in an error in words of
    its own, a pattern that what it says has, or None where it may say anything.
    """
    found = []
    for (method, label), (lines, _, argument, value) in stock.items():
        said, error = ours[method, label][:2]
        if said == lines:
            continue
        own = differs.get((method, label), differs.get((method, argument), False))
        if own is False or not _in_own_words(own, said, error, value):
            if _is_about_a_timer(lines, error, value):
                continue
            inside = " FROM THE INSIDE" if error is not None and INSIDE.search(str(error)) else ""
            text = f"{method}: {label}{inside}\n    asyncio: {' / '.join(lines)}\n    aioxide: {' / '.join(said)}"
            found.append(text)
    return found


def _is_about_a_timer(lines, error, value):
    """Where asyncio's own code hands a time on to `call_later` or `call_at`."""
    inside = re.search(f"{INSIDE.pattern}|int too large", lines[0])
    return (
        inside and error is not None and None in (complaint(error, name, value) for name in ("delay", "when"))
    )


def _in_own_words(own, said, error, value):
    if own is not None and own.isidentifier():
        return error is not None and complaint(error, own, value) is None
    return own is None or re.search(own, said[0]) is not None
