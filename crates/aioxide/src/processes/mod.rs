//! Floor 5: calls in processes, the parent's side: the workers of a pool, who gets which call, what becomes of results, and who
//! serves a pool. What is rare (starting, dying, ending) is done by its manager in Python, which `manager` alone calls.
//!
//! From below: `interrupts` (Ctrl-C comes meanwhile), `service_threads`, `task` (a call on its way) and `out` (what is unsent) < `worker` < `state`
//! (tasks that wait, workers) and `manager` < `pool` < `live` (all pools), `statistics`, `ends` (a task has its outcome), `recall` (one is
//! taken back) < `patience` (a loop does not come) < `schedule` < `results` < `reactor` (a thread for pools without a loop) < `home` (who
//! serves a pool) < `worker_life`, `pool_type` (what Python calls).

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
