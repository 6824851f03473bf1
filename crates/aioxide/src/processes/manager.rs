//! The manager of a pool, its part in Python (`_processes/manager.py`): all calls of it stand here. They run in the thread that
//! serves the pool or submits to it, mostly a user's, where an interrupt can cut them short (`interrupts`). So all but those by
//! which `submit` asks may be repeated from their beginning, and find what they have done already; they are called until
//! they have come to their end. What cut them short is raised then.

use std::cell::Cell;
use std::ffi::CStr;

use super::interrupts::{Whole, report, told, whole};
use crate::ffi::calls::call_method;
use crate::ffi::names::text;
use crate::ffi::object::{boolean, int, string};
use crate::ffi::{Leaf, Obj, Raised, Raw, Ref, Res, Slot, error};
use crate::task::loop_state::thread_ident;

pub struct Manager {
    object: Slot,
    last_key: Cell<u32>,
    /// The workers that it is about to start: the key of each, and the thread that does it.
    starting: Leaf<Vec<(u32, u64)>>,
}

impl Manager {
    pub fn new() -> Manager {
        Manager { object: Slot::empty(), last_key: Cell::new(0), starting: Leaf::default() }
    }

    pub fn set(&self, object: Obj) {
        self.object.set(object);
    }

    pub fn clear(&self) {
        self.object.clear();
    }

    /// For the collector's visits; null for none.
    pub fn object(&self) -> Raw {
        self.object.get()
    }

    fn call(&self, method: &CStr, args: &[Ref]) -> Res {
        let object = self.object.or_none();
        call_method(text(method)?, &[&[object.borrow()], args].concat())
    }

    /// Calls until it has come to its end.
    fn ask(&self, method: &CStr, args: &[Ref]) -> Res<Whole> {
        let last_key = self.last_key.get();
        whole(|| {
            let answer = self.call(method, args);
            if answer.is_err() {
                self.undo_starts(last_key);
            }
            answer
        })
    }

    /// As `ask`, for what returns nothing. `Err` is what must leave the loop: what cut the call short, and of the call's own
    /// exceptions those that leave every loop. The others are reported.
    fn tell(&self, method: &CStr, args: &[Ref]) -> Res<()> {
        if !self.object.is_set() {
            return Ok(());
        }
        match self.ask(method, args).map(told) {
            Ok(answer) => answer.map(drop),
            Err(Raised) if error::is_exit() => Err(Raised),
            Err(Raised) => {
                self.unraisable();
                Ok(())
            }
        }
    }

    fn unraisable(&self) {
        error::unraisable(self.object.share().as_ref().map(Obj::borrow));
    }

    // ----------------------------------------------------------------------------------- asked once: by `submit`

    /// Raises where no call may come in, or waits until one may.
    #[cold]
    pub fn admit(&self) -> Res<()> {
        self.call(c"admit", &[]).map(drop)
    }

    /// Whoever submits gets what is raised. But nothing stays half started.
    pub fn start_worker(&self) -> Res<()> {
        let last_key = self.last_key.get();
        let started = self.call(c"start_worker", &[]);
        if started.is_err() {
            self.undo_starts(last_key);
        }
        started.map(drop)
    }

    /// Makes the pickler of a call of which something is defined in a `__main__` that workers cannot import. `failed`: plain
    /// pickle has, so that it may have none.
    #[cold]
    pub fn pickler_by_value(&self, failed: bool) -> Res {
        self.call(c"pickler_by_value", &[boolean(failed).borrow()])
    }

    /// The function, or what can be pickled in its place; `why` it cannot.
    #[cold]
    pub fn portable(&self, function: Ref, why: &Obj) -> Res {
        self.call(c"portable", &[function, why.borrow()])
    }

    // --------------------------------------------------------------------------------------------- exceptions

    /// What is raised for a call that could not be pickled.
    #[cold]
    pub fn pickling_failed(&self, why: &Obj, interrupted: bool) -> Res<Whole> {
        self.ask(c"pickling_failed", &[why.borrow(), boolean(interrupted).borrow()])
    }

    /// The exception that a worker has sent; `unreadable`: of unpickling the call.
    pub fn rebuild(&self, sent: &Obj, unreadable: bool) -> Res<Whole> {
        self.ask(c"rebuild", &[sent.borrow(), boolean(unreadable).borrow()])
    }

    /// What is raised for a result that could not be unpickled.
    pub fn unreadable(&self, why: &Obj) -> Res<Whole> {
        self.ask(c"unreadable", &[why.borrow()])
    }

    // -------------------------------------------------------------------------------------------- what happens

    /// Less is under way, or waits.
    pub fn on_room(&self) {
        if self.tell(c"on_room", &[]).is_err() {
            report(self.object.share().as_ref().map(Obj::borrow));
        }
    }

    pub fn on_timer(&self) -> Res<()> {
        self.tell(c"on_timer", &[])
    }

    pub fn on_death(&self, worker: u32) -> Res<()> {
        self.tell(c"on_death", &[int(worker.into())?.borrow()])
    }

    pub fn on_hang_up(&self, worker: u32) -> Res<()> {
        self.tell(c"on_hang_up", &[int(worker.into())?.borrow()])
    }

    /// It takes no more tasks, and has none.
    pub fn on_retire(&self, worker: u32) -> Res<()> {
        self.tell(c"on_retire", &[int(worker.into())?.borrow()])
    }

    pub fn on_initializer_failed(&self, worker: u32, text: &str) -> Res<()> {
        self.tell(c"on_initializer_failed", &[int(worker.into())?.borrow(), string(text)?.borrow()])
    }

    /// The executor is gone.
    pub fn on_collected(&self) -> Res<()> {
        self.tell(c"on_collected", &[])
    }

    // ------------------------------------------------------------------------------------- what users ask for

    /// Cancels a future though a worker runs its call.
    pub fn stop(&self, future: Ref) -> Res {
        told(self.ask(c"stop", &[future])?)
    }

    /// A future of a loop is done: stops its call where it was cancelled.
    pub fn stop_cancelled(&self, future: Ref) -> Res {
        told(self.ask(c"stop_cancelled", &[future])?)
    }

    pub fn begin_shutdown(&self, cancel_futures: Ref) -> Res {
        told(self.ask(c"begin_shutdown", &[cancel_futures])?)
    }

    // ------------------------------------------------------------------------------------------ half a start

    /// The key of a worker that this thread is about to start.
    pub fn begin_start(&self) -> u32 {
        let key = self.last_key.get() + 1;
        self.last_key.set(key);
        self.starting.with(|starting| starting.push((key, thread_ident())));
        key
    }

    /// It has started, or is gone.
    pub fn end_start(&self, key: u32) {
        self.starting.with(|starting| starting.retain(|(other, _)| *other != key));
    }

    pub fn forget_starts(&self) {
        self.starting.with(Vec::clear);
    }

    /// Ends what was begun of workers in this thread, after that one, and was cut short. The exception that is set stays.
    fn undo_starts(&self, last_key: u32) {
        if self.last_key.get() == last_key {
            return;
        }
        let raised = error::take();
        let thread = thread_ident();
        let begun = self.starting.with(|starting| {
            let begun = |each: &&(u32, u64)| each.0 > last_key && each.1 == thread;
            starting.iter().filter(begun).map(|(key, _)| *key).collect::<Vec<_>>()
        });
        for key in begun {
            let undo = || self.call(c"undo_start", &[int(key.into())?.borrow()]);
            if whole(undo).is_err() {
                self.unraisable();
            }
        }
        error::restore(raised);
    }
}
