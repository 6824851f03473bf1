//! Work items (`work_item`) in our queue, where a tracer's `submit` ends in the standard one's own, and out of it again, for
//! programs that drain `pool._work_queue`. What depends on the Python version is in `aioxide._threads.items`.

use std::sync::Arc;

use aioxide_sys::clock;

use super::call::{Call, Waiter};
use super::queue::{Queue, WorkQueue};
use super::seat::Seat;
use crate::calls::target::Target;
use crate::ffi::calls::tuple;
use crate::ffi::number::as_f64;
use crate::ffi::object::boolean;
use crate::ffi::{Args, Obj, Res, error, none};

/// `put_item(item, function)`: `function` is what is told of when the item runs.
pub fn put_item(this: &WorkQueue, args: Args) -> Res<()> {
    let [item, function] = args.first(["item", "function"], "WorkQueue.put_item")?;
    this.queue.check_open()?;
    this.queue.push(Call {
        function: function.to_obj(),
        args: None,
        positional: 0,
        kwnames: None,
        waiter: Waiter::Item(item.to_obj()),
        queued: clock::ticks(),
    });
    this.queue.call_worker();
    Ok(())
}

/// `take(timeout)`: `None` waits for ever. Returns `None` for what `put(None)` has put and for a queue that is over,
/// `False` for an empty one, a work item in a tuple, or `(future, is_of_loop, function, args, kwargs)`.
pub fn take(this: &WorkQueue, args: Args) -> Res {
    let [timeout] = args.first(["timeout"], "WorkQueue.take")?;
    let timeout = if timeout.is_none() { None } else { Some(as_f64(timeout)?) };
    match next_within(&this.queue, timeout)? {
        Next::Call(call) => describe(call),
        Next::Nothing => Ok(none()),
        Next::Empty => Ok(boolean(false)),
    }
}

enum Next {
    Call(Call),
    Nothing,
    Empty,
}

fn next_wanted(queue: &Queue) -> Option<Call> {
    while let Some(call) = queue.next() {
        match &call.waiter {
            Waiter::Target(Target::Loop(waiting)) if !waiting.is_wanted() => queue.count_dropped(call),
            _ => return Some(call),
        }
    }
    None
}

/// Waits among the idle workers, so that who queues a call sees no difference.
fn next_within(queue: &Queue, timeout: Option<f64>) -> Res<Next> {
    let deadline = timeout.map(|seconds| clock::monotonic() + seconds);
    loop {
        if let Some(call) = next_wanted(queue) {
            return Ok(Next::Call(call));
        }
        if queue.take_none() {
            return Ok(Next::Nothing);
        }
        let left = deadline.map(|deadline| deadline - clock::monotonic());
        if left.is_some_and(|left| left <= 0.0) {
            return Ok(Next::Empty);
        }
        if queue.is_over() {
            return Ok(Next::Nothing);
        }
        let seat = Arc::new(Seat::new());
        seat.begin_wait(false);
        queue.push_idle(Arc::clone(&seat));
        seat.nap(left);
        let was_called = !queue.remove_idle(&seat);
        if was_called {
            queue.arrived();
        }
        let signals = error::check_signals();
        if signals.is_err() && was_called && queue.len() > 0 {
            queue.call_worker();
        }
        signals?;
    }
}

fn describe(call: Call) -> Res {
    let (args, kwargs) = call.arguments()?;
    let Call { function, waiter, .. } = call;
    match &waiter {
        Waiter::Item(item) => tuple(&[item.borrow()]),
        Waiter::Target(target) => {
            let of_loop = boolean(matches!(target, Target::Loop(_)));
            tuple(&[target.future(), &of_loop, &function, &args, &kwargs].map(Obj::borrow))
        }
    }
}
