//! What the loop's methods say of themselves: `help()`, and docs/reference. `inspect` reads the signature before the `--`.

use std::ffi::CStr;

pub const CALL_SOON: &CStr = c"call_soon($self, callback, *args, context=None)
--

Call callback(*args) in the next iteration of the loop.

Callbacks run in the order in which they were given.

Args:
    callback: what to call. Its result is dropped; an exception goes to call_exception_handler().
    args: its positional arguments.
    context: the contextvars.Context to call it in. None: a copy of the current one.

Returns:
    A handle, whose cancel() takes the call back. isinstance(handle, asyncio.Handle) holds.

Raises:
    RuntimeError: the loop is closed; in debug mode also, it is not the loop of this thread.
    TypeError: in debug mode, callback cannot be called or is a coroutine.
    MemoryError: the queue cannot grow.

Source: asyncio.loop.call_soon; contexts: PEP 567.";

pub const CALL_SOON_THREADSAFE: &CStr = c"call_soon_threadsafe($self, callback, *args, context=None)
--

Call callback(*args) in the next iteration of the loop, from any thread; a sleeping loop wakes up.

Args:
    callback: what to call, in the loop's thread.
    args: its positional arguments.
    context: the contextvars.Context to call it in. None: a copy of this thread's current one.

Returns:
    A handle. Its cancel() waits if the loop's thread is in the callback at that moment.

Raises:
    RuntimeError: the loop is closed.
    TypeError: in debug mode, callback cannot be called or is a coroutine.
    MemoryError: the queue cannot grow.

Source: asyncio.loop.call_soon_threadsafe; contexts: PEP 567.";

pub const CALL_LATER: &CStr = c"call_later($self, delay, callback, *args, context=None)
--

Call callback(*args) after delay seconds.

Args:
    delay: seconds, a float or an integer. 0 or less: in the next iteration.
    callback: what to call.
    args: its positional arguments.
    context: the contextvars.Context to call it in. None: a copy of the current one.

Returns:
    A handle with when() and cancel(). isinstance(handle, asyncio.TimerHandle) holds.

Raises:
    TypeError: delay is None, or no number.
    OverflowError: delay is an integer that no float can hold.
    RuntimeError: the loop is closed; in debug mode also, it is not the loop of this thread.
    MemoryError: there is no room for another timer.

Source: asyncio.loop.call_later; the wait: epoll_pwait2(2), or epoll_wait(2) where the kernel lacks it.";

pub const CALL_AT: &CStr = c"call_at($self, when, callback, *args, context=None)
--

Call callback(*args) at a time of the loop's clock.

Args:
    when: seconds, as time() counts them; a float or an integer. In the past: in the next iteration.
    callback: what to call.
    args: its positional arguments.
    context: the contextvars.Context to call it in. None: a copy of the current one.

Returns:
    A handle with when() and cancel(). isinstance(handle, asyncio.TimerHandle) holds.

Raises:
    TypeError: when is None, or no number.
    OverflowError: when is an integer that no float can hold.
    RuntimeError: the loop is closed; in debug mode also, it is not the loop of this thread.
    MemoryError: there is no room for another timer.

Source: asyncio.loop.call_at.";

pub const RUN_IN_EXECUTOR: &CStr = c"run_in_executor($self, executor, func, *args)
--

Call func(*args) in a thread or a process.

Args:
    executor: a concurrent.futures.Executor. None: the default one, which is an aioxide.ThreadPoolExecutor.
    func: what to call.
    args: its positional arguments. functools.partial() passes keyword arguments.

Returns:
    A future of this loop with what func returns or raises.

Raises:
    RuntimeError: the loop is closed, or the executor was shut down.
    TypeError: in debug mode, func cannot be called or is a coroutine.

Source: asyncio.loop.run_in_executor.";

pub const TIME: &CStr = c"time($self)
--

Return the time of the loop's clock.

Returns:
    Seconds, a float. Only differences mean something: the clock never goes back.

Source: asyncio.loop.time; CLOCK_MONOTONIC of clock_gettime(2), as time.monotonic().";

pub const CREATE_FUTURE: &CStr = c"create_future($self)
--

Return a new future of this loop, with no result yet.

Returns:
    An aioxide.Future.

Source: asyncio.loop.create_future.";

/// The signature is the running version's.
macro_rules! create_task {
    ($signature:literal, $more:literal) => {
        concat!(
            $signature,
            "\n--\n\n",
            "Run a coroutine as a task, from the next iteration of the loop on.\n\n",
            "Args:\n",
            "    coro: the coroutine.\n",
            $more,
            "    name: what get_name() gives; anything, of which str() is taken. None: Task-1, Task-2, ...\n",
            "    context: the contextvars.Context that it runs in. None: a copy of the current one.\n",
            "    eager_start: run the first step at once. Accepted on every version, as CPython 3.14 means it.\n\n",
            "Returns:\n",
            "    An aioxide.Task, or what the task factory makes.\n\n",
            "Raises:\n",
            "    RuntimeError: the loop is closed.\n",
            "    TypeError: coro is no coroutine.\n\n",
            "Source: asyncio.loop.create_task; contexts: PEP 567.\0"
        )
    };
}

const CREATE_TASK_TEXT: &str = if cfg!(Py_3_14) {
    create_task!("create_task($self, coro, **kwargs)", "    kwargs: name, context and eager_start.\n")
} else {
    create_task!("create_task($self, coro, *, name=None, context=None)", "")
};

pub const CREATE_TASK: &CStr = match CStr::from_bytes_with_nul(CREATE_TASK_TEXT.as_bytes()) {
    Ok(text) => text,
    Err(_) => c"",
};

pub const STOP: &CStr = c"stop($self)
--

Stop run_forever() at the end of the current iteration.

What is ready by then runs first. A loop that does not run stops after one iteration of the next run_forever().

Source: asyncio.loop.stop.";

pub const IS_RUNNING: &CStr = c"is_running($self)
--

Return True while the loop runs, in whatever thread.

Source: asyncio.loop.is_running.";

pub const IS_CLOSED: &CStr = c"is_closed($self)
--

Return True once the loop is closed.

Source: asyncio.loop.is_closed.";

pub const GET_DEBUG: &CStr = c"get_debug($self)
--

Return True in debug mode: set_debug(), PYTHONASYNCIODEBUG or -X dev.

Source: asyncio.loop.get_debug.";
