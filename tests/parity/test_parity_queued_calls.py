"""What `call_soon` has queued, seen through a handle that is kept, dropped, or asked for late; and its context."""

import contextvars
import gc
import weakref

from .harness import parity

VAR = contextvars.ContextVar("VAR", default="default")
OTHER = contextvars.ContextVar("OTHER", default="default")


@parity
def test_a_callback_sees_the_context_of_when_it_was_queued(h):
    def look(what):
        h.log(what, VAR.get())
        VAR.set("changed by " + what)

    def program():
        for value in ("one", "two"):
            VAR.set(value)
            h.loop.call_soon(look, value)
            h.loop.call_soon_threadsafe(look, value + " from a thread")
            h.loop.call_later(0, look, value + " later")
        VAR.set("three")

    contextvars.Context().run(program)
    h.turns(3)
    h.log(VAR.get())


@parity
def test_the_context_of_a_handle_is_the_one_that_its_callback_changes(h):
    def program():
        VAR.set("queued")
        return h.loop.call_soon(VAR.set, "by the callback"), h.loop.call_at(0, VAR.set, "by the timer")

    early, late = contextvars.Context().run(program)
    before = early.get_context() if hasattr(early, "get_context") else early._context
    h.log(before[VAR], before is early._context, late._cancelled)
    h.turns(3)
    h.log(before[VAR], before is early._context, late._context[VAR])


@parity
def test_a_context_from_a_handle_can_be_entered_and_copied(h):
    handle = h.loop.call_soon(h.log, "ran")
    context = handle._context
    h.log(type(context), list(context), context.run(VAR.get))
    context.run(VAR.set, "set from outside")
    h.log(context.copy()[VAR])
    h.turns()
    h.log(handle._context[VAR], handle._context is context)


@parity
def test_a_given_context_is_the_very_one(h):
    context = contextvars.Context()
    context.run(VAR.set, "given")
    handle = h.loop.call_soon(VAR.set, "changed", context=context)
    h.loop.call_soon(OTHER.set, "changed too", context=context)
    h.loop.call_later(0, lambda: h.log(VAR.get(), OTHER.get()), context=context)
    h.log(handle._context is context)
    h.turns(3)
    h.log(context[VAR], context[OTHER])


@parity
def test_values_of_a_context_go_when_nothing_is_queued_with_it(h):
    class Value:
        pass

    def program(keep):
        value = Value()
        VAR.set(value)
        keep.append(h.loop.call_soon(h.log, "first"))
        h.loop.call_soon(h.log, "second")
        return weakref.ref(value)

    kept = []
    reference = contextvars.Context().run(program, kept)
    h.turns()
    gc.collect()
    h.log("held by the handle", reference() is not None)
    kept.clear()
    gc.collect()
    h.log(reference())


@parity
def test_a_handle_shows_its_call_while_queued_and_after(h):
    handle = h.loop.call_soon(h.log, "one", "two")
    h.log(handle._callback == h.log, handle._args, handle._cancelled, handle._loop is h.loop)
    h.turns()
    h.log(handle._callback == h.log, handle._args, handle._cancelled)


@parity
def test_a_handle_that_is_run_by_hand_runs_again_in_its_turn(h):
    handle = h.loop.call_soon(h.log, "ran")
    handle._run()
    h.log("by hand")
    h.turns()
    handle._run()


@parity
def test_a_cancelled_handle_forgets_its_call_and_keeps_its_context(h):
    class Argument:
        pass

    argument = Argument()
    reference = weakref.ref(argument)
    handle = h.loop.call_soon(h.log, argument)
    del argument
    handle.cancel()
    h.log(reference(), handle._callback, handle._args, type(handle._context))
    h.turns()
    h.log(handle.cancelled(), handle._callback)


@parity
def test_a_cancelled_handle_that_nobody_keeps_does_nothing(h):
    h.loop.call_soon(h.log, "never").cancel()
    h.loop.call_soon_threadsafe(h.log, "never").cancel()
    h.loop.call_soon(h.log, "ran")
    h.turns()


@parity
def test_handles_found_in_ready_stand_for_the_calls_there(h):
    h.loop.call_soon(h.log, "cancelled through _ready")
    kept = h.loop.call_soon(h.log, "kept")
    h.loop.call_soon(h.log, "neither")
    first, second, third = list(h.loop._ready)[:3]
    h.log(second is kept, third._args)
    first.cancel()
    again = list(h.loop._ready)
    h.log(again[0] is first, again[0].cancelled())
    h.turns()
    h.log(first.cancelled(), third.cancelled())


@parity
def test_an_exception_names_the_handle_of_a_call_that_nobody_kept(h):
    def fail(argument):
        VAR.set("before the failure")
        raise ValueError(argument)

    def handler(loop, about):
        handle = about["handle"]
        h.log(about["message"], about["exception"], handle._args, handle._context[VAR])

    h.loop.set_exception_handler(handler)
    h.loop.call_soon(fail, "why")
    kept = h.loop.call_soon(fail, "why again")
    h.turns()
    h.log(kept._context[VAR])


@parity
def test_closing_forgets_what_is_queued_and_handles_stay_readable(h):
    class Argument:
        pass

    argument = Argument()
    reference = weakref.ref(argument)
    h.loop.call_soon(h.log, argument)
    kept = h.loop.call_soon(h.log, "kept")
    del argument
    h.loop.close()
    h.log(reference(), kept._args, kept.cancelled())
    kept.cancel()
    h.log(kept._args, kept.cancelled())


@parity
def test_debug_mode_in_the_midst_of_a_queue(h):
    h.loop.call_soon(h.log, "queued before")
    h.loop.call_soon(h.loop.set_debug, True)
    h.loop.call_soon(h.log, "queued before, run after")
    kept = h.loop.call_soon(h.log, "kept")
    h.turns()
    h.loop.set_debug(False)
    h.log(kept._args)


@parity
def test_a_callback_that_keeps_its_context_does_not_share_it_with_the_next(h):
    contexts = []
    for number in range(3):
        h.loop.call_soon(
            lambda number: (VAR.set(number), contexts.append(contextvars.copy_context())), number
        )
        h.loop.call_soon(lambda: h.log(VAR.get()))
    h.turns()
    h.log([context[VAR] for context in contexts])


@parity
def test_a_loop_inside_a_callback_has_contexts_of_its_own(h):
    import asyncio
    import threading

    def nested():
        VAR.set("outer")
        loop = h.factory()
        loop.call_soon(lambda: (h.log(VAR.get()), VAR.set("inner")))
        loop.call_soon(lambda: h.log(VAR.get()))
        loop.call_soon(loop.stop)
        asyncio._set_running_loop(None)
        loop.run_forever()
        loop.close()
        asyncio._set_running_loop(h.loop)
        h.log(VAR.get())

    h.loop.call_soon(nested)
    h.loop.call_soon(lambda: h.log(VAR.get()))
    h.turns()
    thread = threading.Thread(target=h.loop.call_soon_threadsafe, args=(lambda: h.log(VAR.get()),))
    thread.start()
    thread.join()
    h.turns()


@parity
def test_a_context_that_was_taken_from_a_handle_is_the_callbacks_when_the_handle_is_gone(h):
    def queue(value):
        VAR.set(value)
        return [
            h.loop.call_soon(VAR.set, "by call_soon")._context,
            h.loop.call_soon_threadsafe(VAR.set, "from a thread")._context,
            h.loop.call_later(0, VAR.set, "by a timer")._context,
        ]

    contexts = contextvars.Context().run(queue, "queued")
    h.log([context[VAR] for context in contexts])
    h.turns(3)
    h.log([context[VAR] for context in contexts])


@parity
def test_a_weak_reference_to_a_timer_leads_to_the_context_that_its_callback_runs_in(h):
    def callback():
        VAR.set("by the callback")
        h.log(found()._context[VAR])

    found = weakref.ref(h.loop.call_later(0, callback))
    h.turns(3)
