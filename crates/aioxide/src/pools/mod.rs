//! Floor 4: pools of threads and processes: the futures that they hand out, and how a loop calls them.

pub mod dispatch;
pub mod future;
pub mod future_type;
pub mod seat;
pub mod thread_queue;
pub mod thread_type;
pub mod worker;
