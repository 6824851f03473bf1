"""Every public name says what it takes, in which unit, what it raises, and where the rule is from if it is not ours."""

import asyncio
import inspect
import re
import warnings

import aioxide
import aioxide.shared
import pytest
from aioxide._pools import futures, stats

OURS = ("aioxide", "_aioxide_worker")

# What an argument of this name is counted in.
UNITS = {
    r"(?:\w+_)?timeout|delay|when|spin|happy_eyeballs_delay": "seconds",
    r"size|high|low|max_rss|memory_limit": "bytes",
}


def ours(thing):
    return (getattr(thing, "__module__", None) or "").split(".")[0] in OURS


async def _made_by_the_loop():
    """The types of what a loop makes that have no name of their own: handles, a transport."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
    handles = loop.call_soon(int), loop.call_soon_threadsafe(int), loop.call_later(60, int)
    kinds = [type(each) for each in (transport, *handles)]
    handles[2].cancel()
    transport.abort()
    server.close()
    return kinds


def public_things():
    """(name, thing) of all that a user of aioxide meets and asyncio or the standard library does not bring."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the policy, from 3.14 on
        found = {name: getattr(aioxide, name) for name in dir(aioxide) if not name.startswith("_")}
    found = {name: thing for name, thing in found.items() if ours(thing) and not inspect.ismodule(thing)}
    found |= {f"shared.{name}": getattr(aioxide.shared, name) for name in (*aioxide.shared.__all__, "Handle")}
    more = [*vars(futures).values(), *vars(stats).values(), *aioxide.run(_made_by_the_loop())]
    kinds = [kind for kind in more if inspect.isclass(kind) and ours(kind) and kind not in found.values()]
    return found | {f"{kind.__module__}.{kind.__name__}": kind for kind in kinds}


def callables():
    """(name, function or class, is it a method): what is called, with the classes' own methods."""
    for name, thing in public_things().items():
        yield name, thing, False
        for kind in filter(ours, thing.__mro__ if inspect.isclass(thing) else ()):
            for member, value in vars(kind).items():
                function = getattr(value, "__func__", value)
                if not member.startswith("_") and callable(function) and not inspect.isclass(function):
                    yield f"{name}.{member}", function, not isinstance(value, staticmethod)


CALLABLES = {name: (thing, method) for name, thing, method in callables()}


def parameters(thing, method):
    if inspect.isclass(thing):
        init = vars(thing).get("__init__")
        if not inspect.isfunction(init):
            # Without a signature of its own, as exceptions are.
            return (
                []
                if not getattr(thing, "__text_signature__", None)
                else list(inspect.signature(thing).parameters)
            )
        thing, method = init, True
    return list(inspect.signature(thing).parameters)[method:]


def line_of(parameter, text):
    """What the docstring says of a parameter: the line that begins with its name, and those below it."""
    found = re.search(rf"^ +(?:\w+, )*{parameter}(?:, \w+)*: (.*(?:\n +.*)*)", text, re.MULTILINE)
    return found and found[1]


def undocumented(thing, method):
    """The parameters that the docstring does not name as `name: ...` in a list."""
    text = inspect.getdoc(thing) or ""
    return [name for name in parameters(thing, method) if not line_of(name, text)]


def test_what_is_walked_is_there():
    for name in (
        "EventLoop.call_soon",
        "Task.cancel",
        "Future.set_result",
        "run",
        "ProcessPoolExecutor.submit",
    ):
        assert name in CALLABLES
    made = {name.partition(".")[2] for name in CALLABLES}
    assert {"TimerHandle.when", "_SelectorSocketTransport.write"} <= made
    assert len(CALLABLES) > 100


@pytest.mark.parametrize("name", CALLABLES)
def test_the_docstring_names_every_parameter(name):
    thing, method = CALLABLES[name]
    assert (inspect.getdoc(thing) or "").strip()
    assert not undocumented(thing, method)


@pytest.mark.parametrize("name", CALLABLES)
def test_a_quantity_has_its_unit(name):
    thing, method = CALLABLES[name]
    text = inspect.getdoc(thing) or ""
    for parameter in parameters(thing, method):
        for pattern, unit in UNITS.items():
            if re.fullmatch(pattern, parameter):
                assert unit in line_of(parameter, text), parameter


NATIVE = [
    name for name, (thing, _) in CALLABLES.items() if type(thing) is type(vars(aioxide.Future)["set_result"])
]


@pytest.mark.parametrize("name", NATIVE)
def test_a_native_method_says_where_its_rule_is_from(name):
    assert re.search(r"^Source: \S.*\.$", inspect.getdoc(CALLABLES[name][0]), re.MULTILINE | re.DOTALL)


def test_a_parameter_that_is_not_named_is_seen():
    def function(one, two, three=3):
        """Do it.

        Args:
            one, three: numbers.

        two: no.
        """

    assert undocumented(function, False) == ["two"]
