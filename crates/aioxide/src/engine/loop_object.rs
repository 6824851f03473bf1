//! The loop object's memory: the state that tasks know (`LoopState`), and behind it what waits.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::io;
use std::rc::Rc;

use aioxide_core::rival::Way;
use aioxide_sys::epoll::{Epoll, Events, Interest};
use aioxide_sys::{clock, malloc};
use pyo3_ffi::*;

use super::calls::Calls;
use super::polls::{Polls, Wait};
use super::source::Sources;
use super::wake::WakePair;
use super::{hold, spin};
use crate::ffi::cells::{Local, Turn};
use crate::ffi::class::{Collected, Native, derives, receiver, the};
use crate::ffi::error::{raise_io, runtime_error};
use crate::ffi::{Obj, Py, Raised, Raw, Ref, Res, error, gil};
use crate::task::loop_state::{LOOP_TYPE, LoopState};
use crate::task::scheduled;

/// Flushes what an object has queued in this turn: `net` registers transports with writes to send. `Err` is what must leave
/// the loop.
type FlushFn = unsafe fn(Raw) -> Res<()>;

/// # Safety
/// `object` is a `T`, and `F` was handed in with it.
unsafe fn flush<T: Native, F: Fn(&T) -> Res<()> + Copy>(object: Raw) -> Res<()> {
    // SAFETY: by `flush_later`.
    unsafe { the::<F>()(receiver(object)) }
}

#[repr(C)]
pub struct LoopObject {
    pub header: PyObject,
    pub state: LoopState,
    pub engine: Engine,
}

// SAFETY: as laid out above, for the type that `event_loop` makes; its fields are cells.
unsafe impl Native for LoopObject {
    fn is_in(kind: *mut PyTypeObject) -> bool {
        derives(kind, &LOOP_TYPE)
    }
}

// SAFETY: both parts visit what they hold.
unsafe impl Collected for LoopObject {
    unsafe fn traverse(&self, visit: visitproc, arg: *mut c_void) -> c_int {
        // SAFETY: the visitor is the collector's.
        unsafe {
            let stop = scheduled::traverse(&self.state, visit, arg);
            if stop != 0 { stop } else { self.engine.sources.traverse(visit, arg) }
        }
    }

    fn clear(&self) {
        scheduled::clear(&self.state);
        self.engine.close();
    }
}

impl LoopObject {
    /// The loop that a state is part of.
    #[inline(always)]
    pub fn of(state: &LoopState) -> &LoopObject {
        // SAFETY: a `LoopState` is made in `event_loop::tp_new` alone, as part of the object that it is given.
        unsafe { Ref::new(state.object).cast_unchecked() }
    }

    /// A turn is under way, at whose end `flush_now` is called: the loop runs, and does not wait. While it waits, who
    /// writes is another thread.
    #[inline(always)]
    pub fn in_turn(&self) -> bool {
        self.state.thread.get() != 0 && !self.engine.wake.word.is_waiting()
    }
}

pub struct Engine {
    /// Made when the loop is, dropped when it closes.
    epoll: RefCell<Option<Rc<Epoll>>>,
    pub sources: Sources,
    pub wake: WakePair,
    /// Objects with bytes to send at the end of this turn.
    flush: RefCell<Vec<(Obj, FlushFn)>>,
    /// Calls that run in threads and processes.
    pub calls: Calls,
    /// Something was sent or registered since: the next turn must look.
    pub io_touched: Cell<bool>,
    /// This process is a child of fork, and still shares the epoll set of its parent.
    forked: Cell<bool>,
    polls: Local<Polls>,
}

impl Engine {
    pub fn new() -> Engine {
        Engine {
            epoll: RefCell::new(None),
            sources: Sources::new(),
            wake: WakePair::new(),
            flush: RefCell::new(Vec::new()),
            calls: Calls::new(),
            io_touched: Cell::new(true),
            forked: Cell::new(false),
            polls: Local::new(Polls::new()),
        }
    }

    /// Makes the epoll set.
    pub fn open(&self) -> Res<()> {
        malloc::raise_threshold(malloc::FOR_READS);
        match Epoll::new() {
            Ok(epoll) => {
                *self.epoll.borrow_mut() = Some(Rc::new(epoll));
                Ok(())
            }
            Err(why) => raise_io(&why),
        }
    }

    /// Lets go of the epoll set and of all that was registered with it.
    pub fn close(&self) {
        let flush = std::mem::take(&mut *self.flush.borrow_mut());
        for (object, flush) in flush {
            // SAFETY: registered together by `flush_later`. On a loop that is closed it calls nobody.
            let _ = unsafe { flush(object.as_ptr()) };
        }
        let epoll = self.epoll.borrow_mut().take();
        drop(epoll);
        self.sources.clear();
    }

    pub fn is_open(&self) -> bool {
        self.epoll.borrow().is_some()
    }

    /// The descriptor of the epoll set, or -1.
    pub fn fileno(&self) -> i32 {
        self.epoll.borrow().as_ref().map_or(-1, |epoll| epoll.fileno())
    }

    fn epoll(&self) -> io::Result<Rc<Epoll>> {
        self.leave_parent()?;
        self.epoll.borrow().clone().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))
    }

    /// A turn of the loop begins, in this thread.
    ///
    /// # Safety
    /// No other thread is in one.
    #[inline(always)]
    pub unsafe fn begin_turn<'t>(&self, py: Py<'t>) -> Turn<'t> {
        // SAFETY: the caller's word.
        let turn = unsafe { Turn::begin(py) };
        self.polls.adopt(turn);
        turn
    }

    /// Looks for events without waiting.
    pub fn look(&self, turn: Turn) -> io::Result<Events> {
        let (epoll, polls) = (self.epoll()?, self.polls.get(turn));
        let mut events = polls.events.take();
        let result = epoll.wait(&mut events, Some(0.0));
        polls.note(clock::ticks());
        result.map(|()| events)
    }

    /// Waits for events with the GIL released. Another thread may close or use the loop meanwhile: the epoll set is
    /// held here, and its system calls may run side by side. Beside a thread that wants the GIL all the time, it is kept
    /// for a short while first; when nothing has come by then, there are no events, and the caller comes back.
    pub fn wait(&self, turn: Turn, timeout: Option<f64>) -> io::Result<Events> {
        let (epoll, polls) = (self.epoll()?, self.polls.get(turn));
        if polls.rival.get().is_known() {
            match self.way(polls, timeout) {
                Way::LetGo => {}
                Way::Hold(limit) => return polls.wait_holding(turn.py(), &epoll, limit),
                Way::Yield => {
                    self.yield_gil(polls);
                    return self.look(turn);
                }
            }
        }
        let mut wait = Wait {
            epoll: &epoll,
            wake: &self.wake,
            events: polls.events.take(),
            polled_at: polls.polled_at.get(),
        };
        // A loop that is woken by a flag comes back without a look at its descriptors.
        wait.events.clear();
        let limit = self.calls.spin_limit();
        self.wake.word.begin_wait(limit > 0);
        // SAFETY: until the GIL is taken nothing touches a Python object, nor a cell that others use.
        let released = unsafe { gil::release() };
        let (spun, left) = if limit > 0 { wait.spin(limit, timeout) } else { (None, timeout) };
        let won = spun.is_some();
        let result = spun.unwrap_or_else(|| wait.sleep(left));
        // Who has woken the loop with an outcome is about to let go of the GIL.
        released.take(if self.wake.word.is_woken() { limit } else { 0 });
        self.wake.word.end_wait();
        polls.took_gil(wait.polled_at);
        polls.note(wait.polled_at);
        if limit > 0 {
            self.calls.spun(won);
        }
        result.map(|()| wait.events)
    }

    /// How to wait beside a rival.
    #[cold]
    fn way(&self, polls: &Polls, timeout: Option<f64>) -> Way {
        let now = clock::ticks();
        // A thread that is to do a short call, or to tell of its end, needs the GIL for it.
        if self.calls.has_short(now) {
            return Way::LetGo;
        }
        let mut rival = polls.rival.get();
        let way = rival.way(polls.polled_at.get(), now);
        polls.rival.set(rival);
        match way {
            Way::Hold(limit) => Way::Hold(timeout.map_or(limit, |left| limit.min(spin::ticks(left * 1e6)))),
            other => other,
        }
    }

    /// Lets the rival have the GIL, for as long as the interpreter gives it.
    #[cold]
    fn yield_gil(&self, polls: &Polls) {
        self.wake.word.begin_wait(false);
        // SAFETY: until the GIL is taken nothing touches a Python object, nor a cell that others use.
        let released = unsafe { gil::release() };
        let asked = clock::ticks();
        hold::let_others_take_it();
        released.take(0);
        self.wake.word.end_wait();
        polls.took_gil(asked);
    }

    /// Gives the room of `look` or `wait` back.
    pub fn recycle(&self, turn: Turn, events: Events) {
        self.polls.get(turn).events.set(events);
    }

    /// Tells the kernel what is wanted of `fd` now.
    pub fn watch(&self, fd: i32, wanted: Interest) -> io::Result<()> {
        self.io_touched.set(true);
        self.sources.apply(&*self.epoll()?, fd, wanted)
    }

    /// Makes a new epoll set with all that is registered: for events of a file that was closed here but lives on in a
    /// copy of its descriptor, which nothing else can silence; and for the child of a fork, which must not share its
    /// parent's.
    pub fn rebuild(&self) -> io::Result<()> {
        let fresh = Epoll::new()?;
        self.sources.register_all(&fresh);
        let old = self.epoll.borrow_mut().replace(Rc::new(fresh));
        drop(old);
        Ok(())
    }

    /// Called in a child of fork. Its epoll set is its parent's too: what it registers and takes out there would show in
    /// the parent.
    pub fn after_fork(&self) {
        self.forked.set(true);
        self.wake.word.forget();
    }

    /// Makes an epoll set of its own for a child of fork, when it first needs one.
    #[inline(always)]
    fn leave_parent(&self) -> io::Result<()> {
        if self.forked.replace(false) { self.rebuild() } else { Ok(()) }
    }

    /// Has a function called with `this` at the end of this turn; false where there is no memory to note that.
    #[inline(always)]
    pub fn flush_later<T: Native, F: Fn(&T) -> Res<()> + Copy>(&self, this: &T, _: F) -> bool {
        let mut list = self.flush.borrow_mut();
        if list.len() == list.capacity() && list.try_reserve(1).is_err() {
            return false;
        }
        list.push((this.object().to_obj(), flush::<T, F>));
        true
    }

    pub fn has_to_flush(&self) -> bool {
        !self.flush.borrow().is_empty()
    }

    /// Sends what was written in this turn. What that makes others write leaves with the next. `Err` is what must leave
    /// the loop; all has been sent nevertheless.
    #[inline(always)]
    pub fn flush_now(&self) -> Res<()> {
        if self.flush.borrow().is_empty() { Ok(()) } else { self.flush_all() }
    }

    #[inline(never)]
    fn flush_all(&self) -> Res<()> {
        self.io_touched.set(true);
        let batch = std::mem::take(&mut *self.flush.borrow_mut());
        let mut leaves = None;
        for (object, flush) in batch {
            // SAFETY: registered together by `flush_later`.
            if unsafe { flush(object.as_ptr()) }.is_err() {
                // Of two such, the later one is what the user did last.
                leaves = error::take();
            }
        }
        if leaves.is_none() {
            return Ok(());
        }
        error::restore(leaves);
        Err(Raised)
    }

    /// Whether it is time to look at file descriptors though there is work: something may have become ready by our own
    /// doing, or enough time has passed.
    #[inline(always)]
    pub fn poll_due(&self, turn: Turn) -> bool {
        self.io_touched.get() || self.polls.get(turn).time_is_up()
    }
}

/// Raises where the loop has no epoll set: it was closed, or `__init__` was not called.
pub fn check_open(engine: &Engine) -> Res<()> {
    if engine.is_open() { Ok(()) } else { runtime_error(c"Event loop is closed") }
}

/// Raises an I/O error as the subclass of OSError that fits.
pub fn io_result<T>(result: io::Result<T>) -> Res<T> {
    result.or_else(|why| error::raise_io(&why))
}
