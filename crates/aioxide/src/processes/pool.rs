//! A process pool, in the parent: what was asked of it, who serves it, and how many calls are under way. What it holds is in
//! `state`. All under the GIL.

use std::cell::Cell;
use std::io;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use aioxide_core::watched::Watched;
use aioxide_sys::epoll::Epoll;
use pyo3_ffi::*;

use super::manager::Manager;
use super::state::State;
use super::worker::Worker;
use crate::calls::counters::Counters;
use crate::ffi::class::{Native, derives};
use crate::ffi::guard::visit;
use crate::ffi::{Global, Leaf, Obj, Raw, Ref};
use crate::task::loop_state::thread_ident;

/// Whose turn of waiting serves a pool.
#[derive(Clone, Default)]
pub enum Home {
    /// Nobody's: nothing is under way.
    #[default]
    None,
    /// A loop's.
    Loop(Obj),
    /// The reactor thread's.
    Reactor,
    /// The reactor thread's, until that loop has time.
    Lent(Obj),
}

/// The type of pools, which `pool_type` makes.
pub static CLASS: Global<*mut PyTypeObject> = Global::new();

/// A `_aioxide.ProcessPool` object.
#[repr(C)]
pub struct Pool {
    header: PyObject,
    manager: Manager,
    state: Leaf<State>,
    counters: Counters,
    home: Leaf<Home>,
    /// What the watch sees of it, while a loop serves it.
    seen: Arc<Watched>,
    /// A look at the descriptors is queued in the home loop.
    queued: Cell<bool>,
    /// The thread that serves it at this moment; 0 for none.
    serving: Cell<u64>,
    /// Times that it was served without a look at all descriptors.
    quick: Cell<u32>,
    /// Tasks are being handed to workers: pickling them may run code that comes back here.
    dispatching: Cell<bool>,
    last_id: Cell<u64>,
    /// Tasks that are not finished.
    outstanding: Cell<usize>,
    /// Results and exceptions that workers have sent.
    answers: Cell<u64>,
    /// What the standard pool's semaphore of idle workers counts: calls that have finished, less those that needed no new
    /// worker.
    tokens: Cell<usize>,
    /// How long tasks take, smoothed, in nanoseconds; 0 while unknown.
    mean: Cell<u64>,
    /// It has let go of everything, and nobody will serve it again.
    ended: Cell<bool>,
    max_pending: Cell<usize>,
    max_workers: Cell<usize>,
    flags: Cell<u8>,
}

// SAFETY: as laid out above; the rest of its fields are cells.
unsafe impl Native for Pool {
    fn is_in(kind: *mut PyTypeObject) -> bool {
        derives(kind, &CLASS)
    }
}

/// What the manager may set.
#[derive(Clone, Copy)]
pub enum Flag {
    /// `submit` must ask the manager first: the pool is shut down, or broken.
    Closed = 1,
    /// Workers may be started when they are needed.
    OnDemand = 2,
    /// The manager wants to be told when nothing is under way any more.
    TellIdle = 4,
    /// What is defined in `__main__` is sent by value: a worker cannot import it.
    ByValue = 8,
    /// It must be served though no task is under way: workers end, or are watched.
    Stays = 16,
}

impl Pool {
    fn new(header: PyObject) -> Pool {
        Pool {
            header,
            manager: Manager::new(),
            state: Leaf::default(),
            counters: Counters::default(),
            home: Leaf::default(),
            seen: Arc::default(),
            queued: Cell::new(false),
            serving: Cell::new(0),
            quick: Cell::new(0),
            dispatching: Cell::new(false),
            last_id: Cell::new(0),
            outstanding: Cell::new(0),
            answers: Cell::new(0),
            tokens: Cell::new(0),
            mean: Cell::new(0),
            ended: Cell::new(false),
            max_pending: Cell::new(usize::MAX),
            max_workers: Cell::new(1),
            flags: Cell::new(0),
        }
    }

    /// Makes a pool of a fresh object.
    ///
    /// # Safety
    /// `raw` is an object of the type whose body was not filled yet, and one reference to it the caller's to give.
    pub unsafe fn fill(raw: Raw) -> PoolRef {
        // SAFETY: instances of the type are laid out as this struct.
        unsafe {
            let place = raw.cast::<Pool>();
            place.write(Pool::new(raw.read()));
            PoolRef(Obj::own(raw))
        }
    }

    /// A new reference to it.
    pub fn hold(&self) -> PoolRef {
        PoolRef(self.object().to_obj())
    }

    /// What it is asked to be; `max_pending` is None for any number.
    pub fn set_up(&self, manager: Obj, max_workers: usize, max_pending: Option<usize>) {
        self.manager.set(manager);
        self.max_workers.set(max_workers);
        self.max_pending.set(max_pending.unwrap_or(usize::MAX));
    }

    /// Short access to the state. Nothing in `body` may call into Python or release a reference.
    #[inline(always)]
    pub fn with<T>(&self, body: impl FnOnce(&mut State) -> T) -> T {
        self.state.with(body)
    }

    /// Its part in Python.
    pub fn manager(&self) -> &Manager {
        &self.manager
    }

    /// What `stats()` shows. Times are in nanoseconds; a call has waited from `submit` to its result, less the time that it ran.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    #[inline(always)]
    pub fn has(&self, flag: Flag) -> bool {
        self.flags.get() & flag as u8 != 0
    }

    pub fn put(&self, flag: Flag, value: bool) {
        let others = self.flags.get() & !(flag as u8);
        self.flags.set(others | if value { flag as u8 } else { 0 });
    }

    // ----------------------------------------------------------------------------------------- calls under way

    /// As many tasks wait for a worker as may.
    pub fn is_full(&self) -> bool {
        let limit = self.max_pending.get();
        limit != usize::MAX && self.with(|state| state.queued()) >= limit
    }

    pub fn max_workers(&self) -> usize {
        self.max_workers.get()
    }

    /// A number for a task.
    pub fn new_id(&self) -> u64 {
        let id = self.last_id.get() + 1;
        self.last_id.set(id);
        id
    }

    /// Tasks that are not finished.
    #[inline(always)]
    pub fn outstanding(&self) -> usize {
        self.outstanding.get()
    }

    pub fn note_queued(&self) {
        self.outstanding.set(self.outstanding.get() + 1);
        self.counters.note_submitted();
    }

    /// So many tasks are finished, or will not be.
    pub fn note_gone(&self, tasks: usize) {
        self.outstanding.set(self.outstanding.get().saturating_sub(tasks));
    }

    /// A worker has answered a task that was submitted then, and ran for so long, in nanoseconds. It counts for an eighth of the
    /// mean.
    pub fn note_answer(&self, submitted: u64, nanos: u64) {
        let since = aioxide_sys::clock::nanos().saturating_sub(submitted);
        self.counters.note_waited(since.saturating_sub(nanos));
        self.counters.note_ran(nanos);
        let mean = self.mean.get();
        let next = if mean == 0 { nanos } else { mean - mean / 8 + nanos / 8 };
        self.mean.set(next.max(1));
        self.answers.set(self.answers.get() + 1);
        self.tokens.set((self.tokens.get() + 1).min(self.max_workers.get()));
    }

    /// Whether the standard pool would find an idle worker for one more task.
    pub fn spend_token(&self) -> bool {
        let tokens = self.tokens.get();
        self.tokens.set(tokens.saturating_sub(1));
        tokens > 0
    }

    pub fn answers(&self) -> u64 {
        self.answers.get()
    }

    /// How long tasks take, smoothed, in nanoseconds; 0 while unknown.
    pub fn mean(&self) -> u64 {
        self.mean.get()
    }

    /// How many tasks a worker is given ahead: two where they are long, so that it need not wait for the next; more where
    /// whoever serves the pool may come later than they take, a loop that has other things to do. All but what has begun can be
    /// taken back.
    pub fn depth(&self) -> usize {
        const AHEAD: u64 = 10_000_000;
        match self.mean.get() {
            0 => 2,
            mean => (AHEAD / mean).clamp(2, 64) as usize,
        }
    }

    // -------------------------------------------------------------------------------------------- who serves it

    pub fn home(&self) -> Home {
        self.home.with(|home| home.clone())
    }

    /// What is returned served it until now.
    pub fn move_to(&self, new: Home) -> Home {
        self.home.with(|home| std::mem::replace(home, new))
    }

    #[inline(always)]
    pub fn is_at_loop(&self) -> bool {
        self.home.with(|home| matches!(home, Home::Loop(_)))
    }

    /// Whether that loop serves it.
    pub fn is_at(&self, wanted: Ref) -> bool {
        self.home.with(|home| matches!(home, Home::Loop(loop_) if loop_.borrow() == wanted))
    }

    pub fn is_lent_by(&self, wanted: Ref) -> bool {
        self.home.with(|home| matches!(home, Home::Lent(loop_) if loop_.borrow() == wanted))
    }

    /// A look at its descriptors is to be queued in its loop: false if one is.
    pub fn begin_wait_in_loop(&self) -> bool {
        !self.queued.replace(true)
    }

    pub fn end_wait_in_loop(&self) {
        self.queued.set(false);
    }

    /// This thread is about to serve it; false where one does, be it this very one.
    pub fn begin_serving(&self) -> bool {
        let free = !self.is_being_served();
        if free {
            self.serving.set(thread_ident());
        }
        free
    }

    pub fn end_serving(&self) {
        self.serving.set(0);
    }

    pub fn is_being_served(&self) -> bool {
        self.serving.get() != 0
    }

    /// Whether the caller runs inside a turn of the pool's, as a done callback does.
    pub fn is_served_here(&self) -> bool {
        self.serving.get() == thread_ident()
    }

    /// Whether what memory has told is enough this time, and the descriptors need not be looked at. `found`: it has told of
    /// something.
    pub fn skips_descriptors(&self, found: bool) -> bool {
        /// After so many looks at memory only, the descriptors have their turn: a death must not wait for a quiet moment.
        const QUICK: u32 = 16;
        let quick = self.quick.get();
        let skips = found && quick < QUICK;
        self.quick.set(if skips { quick + 1 } else { 0 });
        skips
    }

    /// Tasks are to be handed out: false where another thread does, or this one, further up the stack.
    pub fn begin_dispatching(&self) -> bool {
        !self.dispatching.replace(true)
    }

    pub fn end_dispatching(&self) {
        self.dispatching.set(false);
    }

    // --------------------------------------------------------------------------------- descriptors and processes

    /// What the thread that watches over loops sees of it.
    #[inline(always)]
    pub fn seen(&self) -> &Arc<Watched> {
        &self.seen
    }

    /// Ready when there is something to serve.
    pub fn set_epoll(&self, epoll: Rc<Epoll>) {
        self.seen.set_descriptor(epoll.fileno());
        self.with(|state| state.set_epoll(epoll));
    }

    pub fn epoll_fd(&self) -> Option<i32> {
        self.with(|state| state.epoll()).map(|epoll| epoll.fileno())
    }

    /// A worker's process is there: tasks may go to it. Once, however often it is called.
    pub fn note_started(&self, key: u32, pid: i32, pidfd: Option<OwnedFd>) -> io::Result<()> {
        let started = self.with(|state| {
            let Some(epoll) = state.epoll() else { return Ok(false) };
            match state.worker(key).filter(|worker| !worker.is_here()) {
                Some(worker) => worker.start(pid, pidfd, &epoll).map(|()| true),
                None => Ok(false),
            }
        })?;
        if started {
            self.manager.end_start(key);
        }
        Ok(())
    }

    /// Takes a worker out. What it held stays with the value that is returned.
    pub fn remove_worker(&self, key: u32) -> Option<Worker> {
        self.manager.end_start(key);
        self.with(|state| state.remove_worker(key))
    }

    // ----------------------------------------------------------------------------------------------------- its end

    pub fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Nobody will serve it again.
    pub fn end(&self) {
        self.ended.set(true);
        self.put(Flag::Closed, true);
        self.put(Flag::TellIdle, false);
    }

    /// In a child of fork: it, its workers and whoever serves it are the parent's.
    pub fn disown(&self) {
        drop(self.move_to(Home::None));
        self.put(Flag::Closed, true);
        self.put(Flag::TellIdle, false);
        self.hide();
        self.with(State::disown);
    }

    /// Nothing of it is to be watched any more.
    fn hide(&self) {
        self.seen.close();
    }

    /// Lets go of all but the manager: no descriptor, no mapping, no task is left.
    pub fn clear(&self) {
        self.hide();
        self.manager.forget_starts();
        let state = self.with(std::mem::take);
        let home = self.move_to(Home::None);
        self.outstanding.set(0);
        drop((state, home));
    }

    /// Visits what the pool holds.
    ///
    /// # Safety
    /// Called from a `tp_traverse`.
    pub unsafe fn visit(&self, visitor: visitproc, arg: *mut std::ffi::c_void) -> std::ffi::c_int {
        // SAFETY: the visitor neither calls back into us nor changes references.
        unsafe {
            visit!(self.manager.object(), visitor, arg);
            if let Home::Loop(loop_) | Home::Lent(loop_) = self.home.visited() {
                visit!(loop_.as_ptr(), visitor, arg);
            }
            for task in self.state.visited().tasks() {
                visit!(task.target.future().as_ptr(), visitor, arg);
                if let Some(call) = task.waiting_call() {
                    visit!(call.as_ptr(), visitor, arg);
                }
            }
        }
        0
    }
}

/// A pool that is held.
pub struct PoolRef(Obj);

impl PoolRef {
    pub fn into_obj(self) -> Obj {
        self.0
    }
}

impl Deref for PoolRef {
    type Target = Pool;

    #[inline(always)]
    fn deref(&self) -> &Pool {
        // SAFETY: only pools make one.
        unsafe { self.0.borrow().cast_unchecked() }
    }
}
