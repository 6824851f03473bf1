//! Floor 2: what runs. The ready queue and the timers of a loop, handles, futures and tasks; no fd, no clock but for
//! timers, nothing that waits.
//!
//! # Files
//!
//! From below:
//! - ground: `classes` (which types are ours), `marks`, `overrides`, `outcome`, `blocks`, `stop_iteration`, `docs` (docstrings)
//! - a loop: `ready` (the queue) < `loop_state` < `handle` < `scheduled`, `report`, `foreign` (tasks that are not ours)
//! - a future: `future` (fields, transitions) < `task` (fields) < `registry`, `callables` < `waiters` < `cancel` < `finish`
//! - what runs: `handle_run` < `step`
//! - the Python types: `handle_type` < `run_hook`; `iter` < `future_type` < `task_type`
//!
//! # Who may touch which field
//!
//! No field is atomic: whoever touches one holds the GIL. That is all that memory safety needs (see Safety), whatever thread
//! it is. What asyncio's order needs beside it:
//!
//! | fields | who |
//! |---|---|
//! | `LoopState.ready`, `closed`, `debug`, `thread`, `overrides` | any thread: `call_soon_threadsafe` pushes where the loop pops |
//! | `LoopState.timers`, `cancelled_timers`, `task_factory`, `stopping` | the loop's thread, or any while the loop does not run |
//! | `LoopState.now`, `entered`, `current_handle`, `spare_context` | the loop's thread, in a turn, an eager step or `call_later` |
//! | `LoopState.tasks`, `Task.newer` and `older`, `Mark::Registered` | any thread: the last reference to a task can go anywhere |
//! | `Future`: `state`, `outcome`, `first`, `rare`, `blocking`, `cancels` | the loop's thread; another one queues `Item::Finish` |
//! | `Future`: `owner`, `Mark::Native`, `IsTask` | whoever makes or initialises the object; read anywhere |
//! | `Future`: `log_traceback`, `Mark::LogDestroyPending`, `Finalised` | any thread: the finaliser asks |
//! | `Future`: `Mark::Sent` | whoever serves the pool that has the call, and `cancel` |
//! | `Task`: `waits_for`, `Mark::MustCancel`, the base's `coro`, `context` | the loop's thread, in a step or `cancel` |
//! | `Handle`: `callback`, `args`, `context`, `place`, `cancelled` | the loop's thread; of a thread-safe handle, any that `cancel`s |
//! | `Handle`: `running`, `extra.ended` | the loop's thread around the call; who cancels waits by them |
//! | `Handle`: `when`, `scheduled`, `kind`, `several` | whoever makes it; `scheduled` changes with the heap |
//!
//! # States
//!
//! A future is `Pending`, then for good `Returned` (`set_result`), `Raised` (`set_exception`) or `Cancelled` (`set_cancelled`);
//! only `__init__` begins anew. Each transition asks for `Pending` and returns a `Woken`, which says that the waiters are there
//! still: `waiters::wake` takes them out, all before it tells the first.
//!
//! A task is in one place at a time: in the queue (`Step`, `Wake`, `Throw`), in its step, or in the waiters of the future in
//! `waits_for`. To wake moves it from the waiters to the queue; `prepare` empties `waits_for`; `wait_for` fills both.
//! `cancel::request` cancels what it waits for, or leaves `Mark::MustCancel` to the next step. Where the loop or the future is
//! not ours, `callables` stand for it.
//!
//! A call of `call_soon` is in its entry of the queue while it is queued, and `Handle.place` leads there; then in the handle, if
//! anyone keeps that, or on the stack. `cancel` turns the entry into a `Cancelled`.
//!
//! # Safety
//!
//! - **Is it ours?** A pointer is taken for one of our bodies after a look at its type (`classes`), in a method of that type, or
//!   where only ours get: an `Item` by its kind, a waiter without context (a task), `Mark::IsTask`, `FutureHead`, `TaskHead`, `TaskObj`.
//! - **Is it alive?** What is worked on is held by the caller, or by the interpreter for the time of a method; what may be let go
//!   of by code that runs meanwhile (the coroutine, a callback, what is waited for) is held on the stack first.
//! - **Two references to a body** are no harm: its fields are cells, of which nobody holds the inside while code runs that may
//!   come back: it is taken out, or shared, first (`ffi::leaf`). Code runs at each call and wherever a reference goes.
//! - **Borrowed pointers** are undone by whom they lead to: a handle leaves its `place`, a task the list of all tasks, before it
//!   goes; an entry does not move, and empties the `place` when it is taken out. `entered` is held by asyncio's record.
//! - **The collector** only reads, and comes between no two steps of a closure of a `Leaf`. What it has not been told of (queued
//!   handles, calls) it visits through the loop.
//! - **The end**: `tp_dealloc` has the last reference, unless the finaliser makes another. Slots are emptied one by one, the body
//!   stays whole until then, and goes to its freelist empty.

mod blocks;
pub mod callables;
pub mod cancel;
pub mod classes;
mod docs;
pub mod finish;
pub mod foreign;
pub mod future;
pub mod future_type;
pub mod handle;
pub mod handle_run;
pub mod handle_type;
pub mod iter;
pub mod loop_state;
pub mod marks;
pub mod outcome;
pub mod overrides;
pub mod ready;
pub mod registry;
pub mod report;
pub mod run_hook;
pub mod scheduled;
pub mod step;
#[cfg(Py_3_12)]
pub mod stop_iteration;
#[expect(clippy::module_inception)]
pub mod task;
pub mod task_type;
pub mod waiters;
