//! Floor 2: what runs. The ready queue and the timers of a loop, handles, futures and tasks; no fd, no clock but for
//! timers, nothing that waits.

mod blocks;
pub mod callables;
pub mod cancel;
pub mod classes;
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
