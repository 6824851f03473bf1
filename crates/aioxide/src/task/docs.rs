//! What futures, tasks and handles say of themselves: `help()`, and docs/reference. Where `_asyncio` has the method too, its
//! signature is put before the text (`ffi::typedef`); the others bring their own, before the `--`.

use std::ffi::CStr;

pub const FUTURE: &CStr = c"Future(*, loop=None)
--

The result of an operation that is not done yet: a native subclass of asyncio.Future.

Args:
    loop: the event loop that calls its callbacks. None: the current one.

Raises:
    RuntimeError: there is no current event loop.

Source: asyncio.Future.";

pub const RESULT: &CStr = c"Return the result.

Raises:
    InvalidStateError: it is not done yet.
    CancelledError: it was cancelled.
    BaseException: the exception that was set.

Source: asyncio.Future.result.";

pub const EXCEPTION: &CStr = c"Return the exception that was set, or None if there is a result.

Raises:
    InvalidStateError: it is not done yet.
    CancelledError: it was cancelled.

Source: asyncio.Future.exception.";

pub const ADD_DONE_CALLBACK: &CStr = c"add_done_callback($self, fn, /, *, context=None)
--

Call fn(self) once it is done; if it is done already, in the next iteration of the loop.

Args:
    fn: what to call, with the future as its only argument.
    context: the contextvars.Context to call it in. None: a copy of the current one.

Raises:
    MemoryError: there is no room for another callback.

Source: asyncio.Future.add_done_callback.";

pub const REMOVE_DONE_CALLBACK: &CStr = c"Remove all callbacks that equal fn.

Args:
    fn: the callback.

Returns:
    How many were removed.

Source: asyncio.Future.remove_done_callback.";

pub const CANCELLED: &CStr = c"Return True if it was cancelled.

Source: asyncio.Future.cancelled.";

pub const DONE: &CStr = c"Return True if it has a result or an exception, or was cancelled.

Source: asyncio.Future.done.";

pub const GET_LOOP: &CStr = c"Return the event loop that it belongs to.

Source: asyncio.Future.get_loop.";

pub const SET_RESULT: &CStr = c"Mark it done, with a result.

Args:
    result: any object.

Raises:
    InvalidStateError: it is done already.
    MemoryError: there is no room in the loop's queue for its callbacks.

Source: asyncio.Future.set_result.";

pub const SET_EXCEPTION: &CStr = c"Mark it done, with an exception.

Args:
    exception: an exception, or a class of exceptions. StopIteration cannot be raised in a coroutine: it is refused, or
        put into a RuntimeError, as the running CPython does it.

Raises:
    InvalidStateError: it is done already.
    TypeError: it is no exception, or a StopIteration that is refused.
    MemoryError: there is no room in the loop's queue for its callbacks.

Source: asyncio.Future.set_exception.";

pub const CANCEL: &CStr = c"Cancel it: whoever awaits it gets a CancelledError.

Args:
    msg: an argument for the CancelledError. None: none.

Returns:
    False if it was done already.

Source: asyncio.Future.cancel.";

pub const TASK: &CStr = c"Task(coro, *, loop=None, name=None, context=None, eager_start=False)
--

A coroutine that runs in an event loop: a native subclass of asyncio.Task.

loop.create_task() makes one. It is a future too, with what the coroutine returns or raises.

Args:
    coro: the coroutine.
    loop: the event loop that runs it. None: the current one.
    name: what get_name() gives; anything, of which str() is taken. None: Task-1, Task-2, ...
    context: the contextvars.Context that it runs in. None: a copy of the current one.
    eager_start: run the first step at once. Accepted on every version, as CPython 3.14 means it.

Raises:
    TypeError: coro is no coroutine.
    RuntimeError: there is no current event loop.

Source: asyncio.Task; contexts: PEP 567.";

pub const TASK_SET_RESULT: &CStr = c"Refuse: a task's result is what its coroutine returns.

Args:
    result: any object.

Raises:
    RuntimeError: always.

Source: asyncio.Task.set_result.";

pub const TASK_SET_EXCEPTION: &CStr = c"Refuse: a task's exception is what its coroutine raises.

Args:
    exception: any exception.

Raises:
    RuntimeError: always.

Source: asyncio.Task.set_exception.";

pub const TASK_CANCEL: &CStr = c"Ask the task to end: in the next iteration its coroutine gets a CancelledError.

The coroutine may catch it and go on; the task counts as cancelled once the CancelledError has left the coroutine.

Args:
    msg: an argument for the CancelledError. None: none.

Returns:
    False if the task is done already.

Source: asyncio.Task.cancel.";

pub const CANCELLING: &CStr =
    c"Return how many requests to cancel stand: calls of cancel() less those of uncancel().

Source: asyncio.Task.cancelling.";

pub const UNCANCEL: &CStr = c"Take one request to cancel back.

Returns:
    How many are left.

Source: asyncio.Task.uncancel.";

pub const GET_CORO: &CStr = c"Return the coroutine.

Source: asyncio.Task.get_coro.";

/// 3.11 has no such method.
pub const GET_CONTEXT: &CStr = c"get_context($self, /)
--

Return the contextvars.Context that the coroutine runs in.

Source: asyncio.Task.get_context.";

pub const GET_NAME: &CStr = c"Return the name, a str.

Source: asyncio.Task.get_name.";

pub const SET_NAME: &CStr = c"Set the name.

Args:
    value: anything, of which str() is taken.

Source: asyncio.Task.set_name.";

pub const GET_STACK: &CStr = c"Return the stack frames of the coroutine, the oldest first.

Args:
    limit: the most frames: the newest ones of a coroutine that waits, the oldest ones of the traceback of one that
        failed. None: all.

Returns:
    A list. One frame where the coroutine waits; none where it has returned or was cancelled; those of the traceback
    where it failed.

Source: asyncio.Task.get_stack.";

pub const PRINT_STACK: &CStr = c"Print what get_stack() gives, as the module traceback does.

Args:
    limit: as for get_stack().
    file: a text stream. None: sys.stderr.

Source: asyncio.Task.print_stack.";

pub const HANDLE: &CStr = c"What call_soon() returns: a callback that can be taken back.

isinstance(handle, asyncio.Handle) holds.

Source: asyncio.Handle.";

pub const THREAD_SAFE_HANDLE: &CStr =
    c"What call_soon_threadsafe() returns: a callback that another thread can take back.

isinstance(handle, asyncio.Handle) holds.

Source: asyncio.Handle; from CPython 3.14 on asyncio.events._ThreadSafeHandle.";

pub const TIMER_HANDLE: &CStr =
    c"What call_later() and call_at() return: a callback that can be taken back until its time.

isinstance(handle, asyncio.TimerHandle) holds.

Source: asyncio.TimerHandle.";

pub const HANDLE_CANCEL: &CStr = c"cancel($self)
--

Take the callback back. Does nothing if it has run or was taken back before.

Source: asyncio.Handle.cancel.";

pub const HANDLE_CANCELLED: &CStr = c"cancelled($self)
--

Return True if the callback was taken back.

Source: asyncio.Handle.cancelled.";

pub const HANDLE_GET_CONTEXT: &CStr = c"get_context($self)
--

Return the contextvars.Context that the callback runs in.

Source: asyncio.Handle.get_context.";

pub const WHEN: &CStr = c"when($self)
--

Return when it is due.

Returns:
    Seconds on the loop's clock (loop.time()), a float.

Source: asyncio.TimerHandle.when.";
