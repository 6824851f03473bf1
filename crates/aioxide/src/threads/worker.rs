//! The life of a worker thread: takes calls, runs them, tells of their outcome, waits.

use std::sync::Arc;

use aioxide_sys::clock;
use pyo3_ffi::*;

use super::call::{Call, Waiter};
use super::queue::{Queue, since};
use super::seat::{self, Seat};
use super::work_item;
use crate::calls::room;
use crate::calls::target::Target;
use crate::engine::spin;
use crate::engine::wake::Bell;
use crate::ffi::calls::{call, call_kw, tuple};
use crate::ffi::names::text;
use crate::ffi::number::as_f64;
use crate::ffi::object::{getattr, import_from, string};
use crate::ffi::{NULL, Obj, Py, Raised, Ref, Res, error, gil, none};
use crate::task::finish::Outcome;

/// How long a worker holds the GIL while calls are queued, in ticks: calls of C functions never come to the place where
/// the interpreter lets other threads in. Twice the switch interval: a thread that waits must have had one to itself
/// before its wish is known, and letting go more often would wake it for nothing each time, so that it never has.
fn hold() -> u64 {
    let ask = || as_f64(&call(&import_from(c"sys", c"getswitchinterval")?, &[])?);
    let seconds = ask().unwrap_or(0.005);
    error::clear();
    spin::ticks(2e6 * seconds)
}

/// Runs calls until the pool is over, or the worker has been idle for too long: then true. `run` is what a call is given
/// to (a worker context of 3.14); `None` for calls that are functions.
pub fn serve(queue: &Queue, run: Ref) -> bool {
    let py = run.py();
    let run = Some(run).filter(|run| !run.is_none());
    let seat = Arc::new(Seat::new());
    let generation = queue.join(&seat);
    room::set_current(queue.room());
    let worker = Worker { py, queue, seat, run, hold: hold(), generation };
    let retired = worker.serve();
    room::set_current(std::ptr::null());
    if !worker.is_orphan_of_fork() {
        queue.leave(&worker.seat);
    }
    gil::leave();
    retired
}

struct Worker<'a> {
    py: Py<'a>,
    queue: &'a Queue,
    seat: Arc<Seat>,
    run: Option<Ref<'a>>,
    hold: u64,
    generation: u32,
}

impl Worker<'_> {
    /// A call has forked, and this is the child: the queue has forgotten this worker.
    fn is_orphan_of_fork(&self) -> bool {
        self.queue.has_forgotten(self.generation)
    }

    fn serve(&self) -> bool {
        let mut held_since = clock::ticks();
        loop {
            let mut bell = None;
            while let Some(call) = self.queue.next() {
                // The next call may take its time: whoever waits for the last one is woken now.
                drop(bell.take());
                bell = self.run(call);
                if self.is_orphan_of_fork() {
                    return false;
                }
                if since(held_since) > self.hold {
                    // SAFETY: nothing is borrowed here.
                    let released = unsafe { gil::release() };
                    drop(bell.take());
                    released.take(0);
                    held_since = clock::ticks();
                }
            }
            if self.queue.is_over() {
                return false;
            }
            if self.queue.take_none() {
                continue;
            }
            if !self.wait(bell) {
                return true;
            }
            held_since = clock::ticks();
        }
    }

    /// Waits to be called; false when it is time to retire.
    fn wait(&self, bell: Option<Bell>) -> bool {
        let queue = self.queue;
        let wanted = queue.limits().spin;
        let spins = queue.spinner().limit(wanted) > 0 && seat::may_spin(spin::processors(self.py));
        let begun = clock::ticks();
        self.seat.begin_wait(spins);
        queue.push_idle(Arc::clone(&self.seat));
        let won = self.seat.wait(if spins { wanted } else { 0 }, queue.limits().idle_timeout, bell);
        if self.is_orphan_of_fork() {
            return false;
        }
        if wanted > 0 {
            // By when the call came, not by whether spinning found it: see `LoopCall::finish_after`.
            let came = queue.next_queued().map(|queued| queued.wrapping_sub(begun));
            queue.spinner().record(came.is_some_and(|after| after < wanted));
        }
        if spins {
            queue.spinner().paid(won);
        }
        let timed_out = queue.remove_idle(&self.seat);
        if !timed_out {
            queue.arrived();
        }
        self.seat.end_wait();
        !timed_out || queue.len() > 0
    }

    /// Runs a call. The loop that waits for it may be asleep still: the bell wakes it.
    fn run(&self, call: Call) -> Option<Bell> {
        let begun = clock::ticks();
        let counters = self.queue.counters();
        let starts = match &call.waiter {
            Waiter::Target(target) => target.announce(),
            Waiter::Item(_) => Ok(true),
        };
        match starts {
            Ok(true) => {}
            Ok(false) => {
                self.queue.count_dropped(call);
                return None;
            }
            Err(Raised) => {
                report();
                return None;
            }
        }
        counters.note_waited(begun.wrapping_sub(call.queued));
        let Call { function, args, positional, kwnames, waiter, .. } = call;
        let target = match waiter {
            Waiter::Target(target) => target,
            Waiter::Item(item) => {
                self.run_item(&function, item, begun);
                return None;
            }
        };
        let future = if let Target::Future(future) = &target { Some(future.borrow()) } else { None };
        self.seat.begin(function.borrow(), begun, future);
        let result = self.invoke(&function, args.as_ref(), positional, kwnames.as_ref());
        self.seat.end(function.borrow().py());
        let ran = since(begun);
        counters.note_ran(ran);
        counters.note_outcome(result.is_ok());
        let outcome = Outcome::of(result);
        // Whoever waits for the outcome finds nothing of the call alive but that.
        drop((function, args, kwnames));
        target.finish_after(ran, outcome).unwrap_or_else(|Raised| {
            report();
            None
        })
    }

    /// Has a work item of the standard library's run itself.
    #[cold]
    fn run_item(&self, function: &Obj, item: Obj, begun: u64) {
        let counters = self.queue.counters();
        self.seat.begin(function.borrow(), begun, None);
        let ran = work_item::run(&item, self.run);
        self.seat.end(function.borrow().py());
        let took = since(begun);
        counters.note_ran(took);
        match ran {
            Ok(work_item::Ran::Returned) => counters.note_outcome(true),
            Ok(work_item::Ran::Cancelled) => counters.note_cancelled(1),
            Ok(work_item::Ran::Raised) => counters.note_outcome(false),
            Err(Raised) => {
                counters.note_outcome(false);
                report();
            }
        }
    }

    #[inline(always)]
    fn invoke(&self, function: &Obj, args: Option<&Obj>, positional: usize, kwnames: Option<&Obj>) -> Res {
        if let Some(run) = self.run {
            return call(run, &[function.borrow()]);
        }
        // SAFETY: a tuple of the positional values and as many as `kwnames` has names, alive for the call.
        unsafe {
            let values = args
                .map_or(std::ptr::null(), |args| (*args.as_ptr().cast::<PyTupleObject>()).ob_item.as_ptr());
            let kwnames = kwnames.map_or(NULL, Obj::as_ptr);
            Obj::steal(PyObject_Vectorcall(function.as_ptr(), values, positional, kwnames))
        }
    }
}

/// Logs the exception that is set: a callback has raised something that is none of `Exception`'s.
#[cold]
fn report() {
    let log = || -> Res {
        let Some(exception) = error::take() else { return Ok(none()) };
        let logger = import_from(c"concurrent.futures._base", c"LOGGER")?;
        let (message, keywords) = (string("Exception in worker")?, tuple(&[text(c"exc_info")?])?);
        let args = [message.borrow(), exception.borrow()];
        call_kw(&getattr(&logger, text(c"critical")?)?, &args, Some(keywords.borrow()))
    };
    if log().is_err() {
        error::unraisable(None);
    }
}
