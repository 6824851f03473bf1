//! Floor 5: calls in processes, the parent's side: the workers of a pool, who gets which call, what becomes of results, and who
//! serves a pool. What is rare (starting, dying, ending) is done by its manager in Python, which `manager` alone calls.

pub mod ends;
pub mod home;
pub mod interrupts;
pub mod live;
pub mod manager;
pub mod out;
pub mod patience;
pub mod pool;
pub mod pool_type;
pub mod reactor;
pub mod recall;
pub mod results;
pub mod schedule;
pub mod service_threads;
pub mod state;
pub mod statistics;
pub mod task;
pub mod worker;
pub mod worker_life;
