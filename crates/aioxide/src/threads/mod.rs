//! Floor 5: calls in threads: the queue of a pool, the workers that serve it, and the two types behind
//! `aioxide.ThreadPoolExecutor`.
//!
//! From below: `work_item` (one of the standard library's) < `call` and `seat` (where a worker waits) < `queue` < `worker`, `work_items` (those of
//! others, in our queue) < `queue_type`, `pool_type` (what Python calls).

pub mod call;
pub mod pool_type;
pub mod queue;
pub mod queue_type;
pub mod seat;
pub mod work_item;
pub mod work_items;
pub mod worker;
