//! Floor 4: executors. A process pool and its workers share what is in `slab`, `page` and `pickle`; a worker process uses
//! nothing else of this crate but `ffi` and `worker`, and imports neither asyncio nor aioxide.

pub mod process_home;
pub mod process_page;
pub mod process_pickle;
pub mod process;
pub mod process_type;
pub mod process_pump;
pub mod process_reactor;
pub mod process_slab;
pub mod process_submit;
pub mod process_worker;
