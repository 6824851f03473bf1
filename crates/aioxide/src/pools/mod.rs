//! Floor 5: pools of threads and processes. A worker process uses
//! `wire`, `ffi` and `child` alone, and imports neither asyncio nor aioxide.

pub mod process;
pub mod process_ends;
pub mod process_home;
pub mod process_live;
pub mod process_looks;
pub mod process_manager;
pub mod process_out;
pub mod process_pump;
pub mod process_reactor;
pub mod process_recall;
pub mod process_seen;
pub mod process_standby;
pub mod process_submit;
pub mod process_task;
pub mod process_threads;
pub mod process_type;
pub mod process_watch;
