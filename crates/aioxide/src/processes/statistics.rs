//! What can be seen of a pool: where a task is, its workers, its numbers.

use aioxide_sys::clock;

use super::pool::Pool;
use super::task::Task;
use super::worker::Worker;
use crate::calls::counters::count;
use crate::ffi::calls::tuple;
use crate::ffi::named_tuple::NamedTuple;
use crate::ffi::object::{boolean, float, int, list, none};
use crate::ffi::{Obj, Ref, Res};

/// Where a task is: the key of its worker, its number, and for how many nanoseconds it has run.
struct Place(Option<u32>, u64, Option<u64>);

impl Place {
    fn of(worker: Option<&Worker>, task: &Task) -> Place {
        let Some(worker) = worker else { return Place(None, task.id, None) };
        Place(Some(worker.key()), task.id, worker.page().task_runs_for(task.id, clock::nanos()))
    }
}

/// `find(future)`: `(worker or None, number of the task, nanoseconds since it began or None)`, or None where its task is not
/// (any more).
pub fn find(pool: &Pool, future: Ref) -> Res {
    // Numbers only: making a tuple may run the garbage collector, and it whatever comes back here.
    let found = pool.with(|state| {
        let of_future = |task: &&Task| task.target.future().borrow() == future;
        if let Some(task) = state.pending().find(of_future) {
            return Some(Place::of(None, task));
        }
        let held = |worker: &Worker| worker.tasks().find(of_future).map(|task| Place::of(Some(worker), task));
        state.workers().iter().find_map(held)
    });
    let Some(Place(key, id, since)) = found else { return Ok(none()) };
    let number = |value: Option<u64>| value.map_or(Ok(none()), |value| int(value as i64));
    let items = [number(key.map(u64::from))?, int(id as i64)?, number(since)?];
    tuple(&items.each_ref().map(Obj::borrow))
}

/// `workers()`: rows of (key, pid, tasks with it, tasks done, seconds that the current task has run or None, seconds
/// idle or None, resident bytes, ready).
pub fn workers(pool: &Pool) -> Res {
    struct Row(u32, i32, usize, u64, Option<u64>, Option<u64>, bool);
    let now = clock::nanos();
    let rows: Vec<Row> = pool.with(|state| {
        let row = |worker: &Worker| {
            let ran = worker.page().runs_for(now);
            let idle = worker.is_idle().then(|| now.saturating_sub(worker.idle_since()));
            let ready = worker.is_ready() && !worker.is_retired();
            Row(worker.key(), worker.pid(), worker.held(), worker.answered(), ran, idle, ready)
        };
        state.workers().iter().filter(|worker| worker.is_here()).map(row).collect()
    });
    let time = |nanos: Option<u64>| nanos.map_or(Ok(none()), |nanos| float(seconds(nanos)));
    let mut made = Vec::new();
    for Row(key, pid, held, done, ran, idle, ready) in rows {
        let items = [
            int(key.into())?,
            int(pid.into())?,
            int(held as i64)?,
            int(done as i64)?,
            time(ran)?,
            time(idle)?,
            int(crate::wire::slab::resident(pid as u32) as i64)?,
            boolean(ready),
        ];
        made.push(tuple(&items.each_ref().map(Obj::borrow))?);
    }
    list(&made)
}

static COUNTS: NamedTuple<11> = NamedTuple::new(
    c"aioxide._aioxide.ProcessPoolCounts",
    [
        c"queued",
        c"running",
        c"submitted",
        c"done",
        c"failed",
        c"cancelled",
        c"shared_bytes",
        c"mean",
        c"answers",
        c"wait",
        c"run",
    ],
);

/// `counts()`: `running` are those with a worker, `mean` is how long a call takes, smoothed, `answers` is how many came.
pub fn counts(pool: &Pool) -> Res {
    let now = pool.with(|state| {
        let held: usize = state.workers().iter().map(Worker::held).sum();
        [state.queued(), held, state.arena().bytes()]
    });
    let [submitted, done, failed, cancelled] = pool.counters().numbers()?;
    let [wait, run] = pool.counters().times(seconds)?;
    let [queued, running, bytes] = now.map(|number| count(number as u64));
    let (mean, answers) = (float(seconds(pool.mean()))?, count(pool.answers())?);
    COUNTS.make([queued?, running?, submitted, done, failed, cancelled, bytes?, mean, answers, wait, run])
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 * 1e-9
}
