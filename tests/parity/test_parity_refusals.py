"""Arguments that do not fit: the same error, in the words of the running version, and nothing done."""

import asyncio

from .harness import but_not, connect, parity


def refuse(h, function, *calls):
    """Log what `function` raises for each pair of arguments; each has to raise a TypeError."""
    for positional, named in calls:
        try:
            made = function(*positional, **named)
        except TypeError as error:
            h.log(positional, named, error)
        else:
            h.log(positional, named, "does fit", type(made).__name__)
            if asyncio.iscoroutine(made):
                made.close()


NONE = [((1,), {}), ((1, 2), {}), ((), {"foo": 1}), ((1,), {"foo": 1})]
ONE = [((), {}), ((1, 2), {}), ((1, 2, 3, 4), {}), ((), {"foo": 1}), ((1,), {"foo": 1}), ((1,), {"self": 1})]


@parity(debug=(False,))
def test_of_methods_of_the_loop(h):
    loop = h.loop
    for name in "stop is_running is_closed get_debug time create_future".split():
        h.log(name)
        refuse(h, getattr(loop, name), *NONE)
    for name in "call_soon call_soon_threadsafe".split():
        h.log(name)
        two = [((print,), {"callback": print}), ((print, 1), {"callback": print}), ((print,), {"fd": 1})]
        refuse(h, getattr(loop, name), ((), {}), ((), {"foo": 1}), ((), {"context": None}), *two)
    for name, first in ("call_later", "delay"), ("call_at", "when"):
        h.log(name)
        calls = [
            ((), {}),
            ((1,), {}),
            ((), {"foo": 1}),
            ((1,), {"foo": 1}),
            ((), {first: 1}),
            ((), {"callback": 1}),
        ]
        two = [((1, print), {"callback": print}), ((1, print), {first: 1}), ((1, print), {"foo": 1})]
        refuse(
            h, getattr(loop, name), *calls, *two, ((1,), {first: 1, "callback": print}), ((None, print), {})
        )
    h.log("create_task", "run_in_executor")
    refuse(h, loop.create_task, ((), {}), ((1, 2), {}), ((), {"foo": 1}), ((), {"name": "a"}))
    refuse(
        h,
        loop.run_in_executor,
        ((), {}),
        ((None,), {}),
        ((None, print), {"func": print}),
        ((None, print), {"a": 1}),
    )
    for name in "add_reader add_writer _add_reader _add_writer".split():
        h.log(name)
        refuse(
            h, getattr(loop, name), *ONE[:1], ((0,), {}), ((0, print), {"foo": 1}), ((0, print), {"fd": 1})
        )
    h.log("queued", len(loop._ready), len(loop._scheduled))


@parity(debug=(False,))
async def test_of_methods_of_a_transport(h):
    transport, _, _ = await connect(h)
    none = (
        "close abort is_closing is_reading pause_reading resume_reading get_protocol write_eof can_write_eof"
    )
    for name in (
        f"{none} get_write_buffer_size get_write_buffer_limits _make_empty_waiter _reset_empty_waiter".split()
    ):
        h.log(name)
        refuse(h, getattr(transport, name), *NONE)
    for name, argument in ("write", "data"), ("writelines", "list_of_data"), ("set_protocol", "protocol"):
        h.log(name)
        refuse(h, getattr(transport, name), *ONE, ((b"",), {argument: b""}))
    h.log("get_extra_info")
    unhashable = [((key, *default), {}) for key in ([], {}, {1}, ([],)) for default in ((), (1,))]
    named = [((), {"default": 1}), (("x",), {"name": 1}), (("x", 1), {"default": 2}), (("x",), {"foo": 1})]
    refuse(h, transport.get_extra_info, ((), {}), ((1, 2, 3), {}), *named, *unhashable)
    h.log("set_write_buffer_limits")
    refuse(h, transport.set_write_buffer_limits, ((1, 2, 3), {}), ((), {"foo": 1}), ((1,), {"high": 1}))
    h.log(transport.is_closing(), transport.is_reading(), transport.get_write_buffer_size())
    transport.abort()


@but_not((3, 12), "what takes no arguments takes any in its _asyncio")
@parity(debug=(False,))
def test_of_futures_and_tasks(h):
    async def nothing():
        pass

    future, task = h.loop.create_future(), h.loop.create_task(nothing())
    none = "result exception cancelled done _make_cancelled_error".split()
    # Not get_loop of a task: before 3.14 the text depends on how the bytecode calls it.
    for made, more in (future, ["get_loop"]), (task, "get_coro get_name cancelling uncancel".split()):
        for name in none + more:
            h.log(name)
            refuse(h, getattr(made, name), *NONE)
        for name in [
            "set_result",
            "set_exception",
            "remove_done_callback",
            *(["set_name"] if made is task else []),
        ]:
            h.log(name)
            refuse(h, getattr(made, name), *ONE[:5])
        h.log("add_done_callback", "cancel")
        calls = [((print, print), {}), ((), {"context": None}), ((print,), {"foo": 1}), ((), {"fn": print})]
        refuse(h, made.add_done_callback, *calls, ((), {}))
        refuse(h, made.cancel, ((1, 2), {}), ((), {"foo": 1}), ((1,), {"msg": 1}))
        h.log(made.done(), len(made._callbacks or ()))
    refuse(h, task.get_stack, ((1,), {}), ((), {"foo": 1}), ((1,), {"foo": 1}))
    refuse(h, task.print_stack, ((1,), {}), ((), {"foo": 1}), ((1, 2, 3), {}))
    h.complete(task)


@parity(debug=(False,))
def test_of_the_constructors(h):
    async def nothing():
        h.log("ran")

    coro = nothing()
    loop = {"loop": h.loop}
    h.log("Task")
    positional = [((coro, h.loop), {}), ((coro, h.loop, "name"), {}), ((), {}), ((), loop)]
    named = [
        ((coro,), {"foo": 1}),
        ((coro,), {"coro": coro}),
        ((coro,), {"coro": coro, **loop}),
        ((1,), loop),
    ]
    refuse(h, h.Task, *positional, *named, ((coro,), {"foo": 1, **loop}))
    h.log("Future")
    refuse(
        h, h.Future, ((h.loop,), {}), ((1, 2), {}), ((), {"foo": 1}), ((), {"foo": 1, **loop}), ((1,), loop)
    )
    h.complete(h.Task(coro, loop=h.loop))
    h.log(len(asyncio.all_tasks(h.loop)))


@parity
def test_debug_mode_is_what_it_was_set_to(h):
    for value in (1, 0, "yes", "", None, [], [1], True, False):
        h.log(value, h.attempt(h.loop.set_debug, value), h.loop.get_debug(), h.loop._debug)
    h.loop.set_debug([h.loop])  # a ring for the collector
