//! Floor 5: a worker process: the module `_aioxide_worker._native`, in the same library as `aioxide._aioxide` but without a
//! word of asyncio. Of this crate it uses `wire`, `ffi` and the spinning of `engine` alone.
//!
//! From below: `worker` (receives, runs, answers) < `module` (what Python calls).

pub mod module;
pub mod worker;
