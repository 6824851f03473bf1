//! Floor 5: a worker process: the module `_aioxide_worker._native`, in the same library as `aioxide._aioxide` but without a
//! word of asyncio. Of this crate it uses `wire`, `ffi` and the spinning of `engine` alone.

pub mod module;
pub mod worker;
