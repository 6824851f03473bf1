//! What can be seen of a pool: where a task is, its workers, its numbers.

use std::sync::atomic::Ordering;

use aioxide_core::histogram::Histogram;
use aioxide_sys::clock;

use super::pool;
use super::task::{Task, TaskBox};
use super::worker::Worker;
use crate::ffi::guard::{noargs, onearg};
use crate::ffi::object::{boolean, float, int, list, none, tuple};
use crate::ffi::{Obj, Res};

/// Where a task is: the key of its worker, its number, and for how many nanoseconds it has run.
struct Place(Option<u32>, u64, Option<u64>);

impl Place {
    fn of(worker: Option<&Worker>, task: &Task) -> Place {
        let Some(worker) = worker else { return Place(None, task.id, None) };
        let page = worker.page();
        let runs = page.running.load(Ordering::Acquire) == task.id;
        let since = clock::nanos().saturating_sub(page.started.load(Ordering::Acquire));
        Place(Some(worker.key), task.id, runs.then_some(since))
    }
}

// `find(future)`: `(worker or None, number of the task, nanoseconds since it began or None)`, or None where its task is not
// (any more).
onearg!(find, |slf, future| {
    // Numbers only: making a tuple may run the garbage collector, and it whatever comes back here.
    let found = pool::of(slf).with(|state| {
        let of_future = |task: &&TaskBox| task.target.future().as_ptr() == future;
        if let Some(task) = state.pending.iter().find(of_future) {
            return Some(Place::of(None, task));
        }
        let held = |worker: &Worker| {
            worker.slots.iter().flatten().find(of_future).map(|task| Place::of(Some(worker), task))
        };
        state.workers.iter().find_map(held)
    });
    let Some(Place(key, id, since)) = found else { return Ok(none()) };
    let number = |value: Option<u64>| value.map_or(Ok(none()), |value| int(value as i64));
    let items = [number(key.map(u64::from))?, int(id as i64)?, number(since)?];
    tuple(&items.each_ref().map(Obj::as_ptr))
});

// `workers()`: rows of (key, pid, tasks with it, tasks done, seconds that the current task has run or None, seconds
// idle or None, resident bytes, ready).
noargs!(workers, |slf| {
    struct Row(u32, i32, usize, u64, Option<u64>, Option<u64>, bool);
    let now = clock::nanos();
    let rows: Vec<Row> = pool::of(slf).with(|state| {
        let row = |worker: &Worker| {
            let page = worker.page();
            let runs = page.running.load(Ordering::Acquire) != 0;
            let ran = runs.then(|| now.saturating_sub(page.started.load(Ordering::Acquire)));
            let idle = (worker.inflight == 0).then(|| now.saturating_sub(worker.idle_since));
            Row(
                worker.key,
                worker.pid,
                worker.inflight,
                worker.done,
                ran,
                idle,
                worker.ready && !worker.closing,
            )
        };
        state.workers.iter().filter(|worker| worker.pid != 0).map(row).collect()
    });
    let seconds = |nanos: Option<u64>| nanos.map_or(Ok(none()), |nanos| float(nanos as f64 * 1e-9));
    let mut made = Vec::new();
    for Row(key, pid, held, done, ran, idle, ready) in rows {
        let items = [
            int(key.into())?,
            int(pid.into())?,
            int(held as i64)?,
            int(done as i64)?,
            seconds(ran)?,
            seconds(idle)?,
            int(crate::wire::slab::resident(pid as u32) as i64)?,
            boolean(ready),
        ];
        made.push(tuple(&items.each_ref().map(Obj::as_ptr))?);
    }
    list(&made)
});

// `counts()`: (queued, with workers, submitted, returned, raised, cancelled, bytes of slabs, smoothed seconds a task, answers of workers,
// histograms of waiting and running).
noargs!(counts, |slf| {
    let pool = pool::of(slf);
    let (queued, held, bytes) = pool.with(|state| {
        let held: usize = state.workers.iter().map(|worker| worker.inflight).sum();
        (state.pending.len(), held, state.arena.bytes())
    });
    let numbers = [
        queued as u64,
        held as u64,
        pool.submitted.get(),
        pool.finished.get(),
        pool.failed.get(),
        pool.cancelled.get(),
        bytes as u64,
    ];
    let mut items = numbers.into_iter().map(|number| int(number as i64)).collect::<Res<Vec<Obj>>>()?;
    items.push(float(pool.average.get() as f64 * 1e-9)?);
    items.push(int(pool.answers.get() as i64)?);
    items.push(histogram(&pool.waited)?);
    items.push(histogram(&pool.ran)?);
    tuple(&items.iter().map(Obj::as_ptr).collect::<Vec<_>>())
});

/// (count, sum, largest, [(upper bound, count), ...]), times in seconds.
fn histogram(histogram: &std::cell::RefCell<Histogram>) -> Res {
    let histogram = histogram.borrow().clone();
    let seconds = |nanos: u64| float(nanos as f64 * 1e-9);
    let mut buckets = Vec::new();
    for (bound, count) in histogram.buckets() {
        buckets.push(tuple(&[seconds(bound)?.as_ptr(), int(count as i64)?.as_ptr()])?);
    }
    let (count, buckets) = (int(histogram.count() as i64)?, list(&buckets)?);
    let (sum, largest) = (seconds(histogram.sum())?, seconds(histogram.largest())?);
    tuple(&[count.as_ptr(), sum.as_ptr(), largest.as_ptr(), buckets.as_ptr()])
}
