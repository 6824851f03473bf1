//! What the future of a pool says of itself: `help()`, and docs/reference. `inspect` reads the signature before the `--`.

use std::ffi::CStr;

pub const RESULT: &CStr = c"result($self, timeout=None)
--

Return what the call has returned; wait for it if need be.

Args:
    timeout: seconds to wait at most, a float or an integer. None: no limit. 0 or less: do not wait.

Raises:
    TimeoutError: the call is not done in time.
    concurrent.futures.CancelledError: the call was cancelled.
    RuntimeError: timeout is None, this thread is a worker of the pool, and all others wait for calls of it too.
    BaseException: what the call has raised.

Source: concurrent.futures.Future.result (PEP 3148).";

pub const EXCEPTION: &CStr = c"exception($self, timeout=None)
--

Return what the call has raised, or None if it has returned; wait for it if need be.

Args:
    timeout: seconds to wait at most, a float or an integer. None: no limit. 0 or less: do not wait.

Raises:
    TimeoutError: the call is not done in time.
    concurrent.futures.CancelledError: the call was cancelled.
    RuntimeError: timeout is None, this thread is a worker of the pool, and all others wait for calls of it too.

Source: concurrent.futures.Future.exception (PEP 3148).";

pub const DONE: &CStr = c"done($self)
--

Return True if the call has ended or was cancelled.

Source: concurrent.futures.Future.done (PEP 3148).";

pub const RUNNING: &CStr = c"running($self)
--

Return True if the call runs: it can no longer be taken back.

Source: concurrent.futures.Future.running (PEP 3148).";

pub const CANCELLED: &CStr = c"cancelled($self)
--

Return True if the call was cancelled.

Source: concurrent.futures.Future.cancelled (PEP 3148).";

pub const CANCEL: &CStr = c"cancel($self)
--

Take the call back, if it has not begun.

Returns:
    True if it is cancelled now or was before; False if it runs or has ended.

Source: concurrent.futures.Future.cancel (PEP 3148).";

pub const ADD_DONE_CALLBACK: &CStr = c"add_done_callback($self, fn, /)
--

Call fn(self) when the call has ended or is cancelled; at once, if that is so already.

Args:
    fn: what to call, in whatever thread finishes the call. An Exception that it raises is logged.

Source: concurrent.futures.Future.add_done_callback (PEP 3148).";

pub const SET_RUNNING: &CStr = c"set_running_or_notify_cancel($self)
--

For executors: mark the call as running.

Returns:
    False if it was cancelled, and must not run.

Raises:
    RuntimeError: it runs or has ended.

Source: concurrent.futures.Future.set_running_or_notify_cancel (PEP 3148).";

pub const SET_RESULT: &CStr = c"set_result($self, result, /)
--

For executors: mark the call as ended.

Args:
    result: what it has returned.

Raises:
    concurrent.futures.InvalidStateError: it has ended or was cancelled.

Source: concurrent.futures.Future.set_result (PEP 3148).";

pub const SET_EXCEPTION: &CStr = c"set_exception($self, exception, /)
--

For executors: mark the call as failed.

Args:
    exception: what it has raised.

Raises:
    concurrent.futures.InvalidStateError: it has ended or was cancelled.

Source: concurrent.futures.Future.set_exception (PEP 3148).";
