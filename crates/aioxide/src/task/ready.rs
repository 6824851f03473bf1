//! The ready queue: what is to run, in order.
//!
//! A queue of our own rather than a `VecDeque` of items, for two reasons. An entry is written where it will stand, word by
//! word, and read so: an item for `VecDeque` is assembled on the stack and copied in larger pieces, which a processor can't
//! forward from words that were stored a moment ago. And an entry does not move: a handle can point to the call that it
//! stands for, so that a handle which nobody keeps is gone before the call runs. Of a deep queue that leaves 40 bytes a
//! call, one behind the other.

use std::cell::Cell;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::null_mut;

use super::blocks::{BLOCK, Blocks};
use super::outcome::Outcome;
use crate::ffi::cells::Turn;
use crate::ffi::class::{Native, receiver, the};
use crate::ffi::{Obj, Raw, Ref, Res};

/// Runs one piece of work of a higher floor: given the loop's state, `S`, and the object it was queued with.
pub type JobFn<S> = unsafe fn(&S, Raw) -> Res<()>;

/// One entry of the ready queue. Not a handle with a bound method: a task's step or a future's callback needs none.
pub enum Item<S> {
    /// Call what `call_soon` was given.
    Call(Call),
    /// A call that was cancelled; its handle, if somebody keeps that.
    Cancelled(*const Place),
    /// Run a handle.
    Run(Obj),
    /// Resume a task: send `None`.
    Step(Obj),
    /// Resume a task whose future failed or was cancelled: throw that in.
    Wake { task: Obj, future: Obj },
    /// Throw an exception into a task.
    Throw { task: Obj, exception: Obj },
    /// Call a future's done callback.
    Done { callback: Obj, future: Obj, context: Obj },
    /// Finish a future with what another thread has worked out.
    Finish { future: Obj, outcome: Outcome },
    /// Work of a higher floor.
    Job { object: Obj, run: JobFn<S> },
}

impl<S> Item<S> {
    /// Work on a native object.
    #[inline(always)]
    pub fn job<T: Native, F: Fn(&S, &T, Turn) -> Res<()> + Copy>(this: &T, _: F) -> Item<S> {
        Item::Job { object: this.object().to_obj(), run: job::<S, T, F> }
    }
}

/// # Safety
/// `object` is a `T`, and `F` was handed in with it.
unsafe fn job<S, T: Native, F: Fn(&S, &T, Turn) -> Res<()> + Copy>(state: &S, object: Raw) -> Res<()> {
    // SAFETY: by `Item::job`; what is queued runs in a turn of the loop.
    unsafe {
        let this: &T = receiver(object);
        the::<F>()(state, this, Turn::begin(this.py()))
    }
}

/// A callback with its arguments and the context to call it in.
pub struct Call {
    pub callback: Obj,
    /// The one argument, or a tuple of several.
    pub args: Option<Obj>,
    pub several: bool,
    /// As `ffi::context` has it: a context, or a snapshot of one.
    pub context: Obj,
    /// Of the handle that stands for the call; null where nobody keeps that. Good until anything else runs: the queue
    /// knows it no more.
    pub handle: *const Place,
}

/// A handle's way to the call that it stands for, while that is queued.
#[repr(transparent)]
pub struct Place(Cell<*mut Entry>);

/// An item taken apart: the compiler moves an enum with fields as a block, through the stack.
#[derive(Clone, Copy)]
#[repr(C)]
struct Entry {
    kind: Kind,
    /// The item's fields in the order of their declaration: references that the queue owns, and `JobFn`. Of a call:
    /// callback, argument or null, context, and the handle's place, which is not owned.
    words: [*mut c_void; 4],
}

const CONTEXT: usize = 2;
const HANDLE: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
enum Kind {
    /// A call with one argument or none.
    Call,
    /// A call with a tuple of arguments.
    CallSeveral,
    Cancelled,
    Run,
    Step,
    Wake,
    Throw,
    Done,
    /// `Finish`, a kind for each outcome.
    Return,
    Raise,
    Cancel,
    Job,
}

/// `len` entries from `head` on, which is in the first block, up to `tail` in the last.
pub struct Ready<S> {
    head: *mut Entry,
    head_end: *mut Entry,
    tail: *mut Entry,
    tail_end: *mut Entry,
    len: usize,
    /// Where the first block begins; null before the first push.
    start: *mut Entry,
    blocks: Blocks<Entry>,
    jobs: PhantomData<JobFn<S>>,
}

impl<S> Default for Ready<S> {
    fn default() -> Self {
        let none = null_mut();
        Ready {
            head: none,
            head_end: none,
            tail: none,
            tail_end: none,
            len: 0,
            start: none,
            blocks: Blocks::default(),
            jobs: PhantomData,
        }
    }
}

impl<S> Ready<S> {
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// For the compiler's sake, call it with one kind of item at a place.
    ///
    /// # Safety
    /// `has_room`.
    #[inline(always)]
    pub unsafe fn push(&mut self, item: Item<S>) {
        let word = |object: Obj| object.into_raw().cast::<c_void>();
        match item {
            // SAFETY: the caller has seen that there is room.
            Item::Call(call) => unsafe { self.push_call(call) },
            // Only a queued call is cancelled.
            Item::Cancelled(_) => {}
            Item::Run(handle) => self.put(Kind::Run, &[word(handle)]),
            Item::Step(task) => self.put(Kind::Step, &[word(task)]),
            Item::Wake { task, future } => self.put(Kind::Wake, &[word(task), word(future)]),
            Item::Throw { task, exception } => self.put(Kind::Throw, &[word(task), word(exception)]),
            Item::Done { callback, future, context } => {
                self.put(Kind::Done, &[word(callback), word(future), word(context)]);
            }
            Item::Finish { future, outcome } => match outcome {
                Outcome::Returned(value) => self.put(Kind::Return, &[word(future), word(value)]),
                Outcome::Raised(exception) => self.put(Kind::Raise, &[word(future), word(exception)]),
                Outcome::Cancelled => self.put(Kind::Cancel, &[word(future)]),
            },
            Item::Job { object, run } => self.put(Kind::Job, &[word(object), run as *mut c_void]),
        }
    }

    /// Queues a call; the handle's place, unless it is null, leads to it from now on.
    ///
    /// # Safety
    /// `has_room`.
    #[inline(always)]
    pub unsafe fn push_call(&mut self, call: Call) {
        let kind = if call.several { Kind::CallSeveral } else { Kind::Call };
        let args = call.args.map_or(null_mut(), |args| args.into_raw().cast());
        let [callback, context] = [call.callback, call.context].map(|object| object.into_raw().cast());
        let entry = self.fill(kind, &[callback, args, context, call.handle.cast_mut().cast()]);
        // SAFETY: the caller's handle is alive, and takes its place out of the entry before it goes.
        if let Some(place) = unsafe { call.handle.as_ref() } {
            place.0.set(entry);
        }
    }

    #[inline(always)]
    fn put(&mut self, kind: Kind, words: &[*mut c_void]) {
        self.fill(kind, words);
    }

    /// Fills the entry at `tail`.
    #[inline(always)]
    fn fill(&mut self, kind: Kind, words: &[*mut c_void]) -> *mut Entry {
        debug_assert!(self.has_room());
        let entry = self.tail;
        // SAFETY: `has_room`: `tail` is before the end of the last block, and what is from there on is free. Words that the kind has
        // no use for stay as they are.
        unsafe {
            (&raw mut (*entry).kind).write(kind);
            for (i, word) in words.iter().enumerate() {
                (&raw mut (*entry).words[i]).write(*word);
            }
            self.tail = entry.add(1);
        }
        self.len += 1;
        entry
    }

    #[inline(always)]
    pub fn pop(&mut self) -> Option<Item<S>> {
        if self.len == 0 {
            return None;
        }
        if self.head == self.head_end {
            self.next_block();
        }
        let entry = self.head;
        self.len -= 1;
        // SAFETY: `head` is an entry that was filled, as `len` was not 0; it counts as free from here on, so that what it
        // owns is handed out once.
        let item = unsafe {
            self.head = entry.add(1);
            Entry::item(entry)
        };
        if self.len == 0 {
            // Nothing is in front of `tail`: what comes next finds the block in the cache.
            (self.head, self.tail) = (self.start, self.start);
        }
        Some(item)
    }

    #[cold]
    #[inline(never)]
    fn next_block(&mut self) {
        if let Some(start) = self.blocks.advance() {
            self.begin_at(start);
        }
    }

    fn begin_at(&mut self, start: *mut Entry) {
        // The end of a block, as it is `BLOCK` entries long.
        (self.start, self.head, self.head_end) = (start, start, start.wrapping_add(BLOCK));
    }

    /// Whether the next entry can be pushed.
    #[inline(always)]
    pub fn has_room(&self) -> bool {
        self.tail != self.tail_end
    }

    /// Whether so many entries, at most a block's, can be pushed in a row, with `open` where `has_room` says no; makes room
    /// where they can't. False where there is no memory.
    #[inline(always)]
    pub fn make_room(&mut self, count: usize) -> bool {
        let left = (self.tail_end.addr() - self.tail.addr()) / size_of::<Entry>();
        left >= count || self.blocks.room() > 0 || self.blocks.add()
    }

    /// Goes on in the next block; false where there is no memory for one.
    #[cold]
    #[inline(never)]
    pub fn open(&mut self) -> bool {
        if !self.make_room(1) {
            return false;
        }
        let Some((start, first)) = self.blocks.append() else { return false };
        (self.tail, self.tail_end) = (start, start.wrapping_add(BLOCK));
        if first {
            self.begin_at(start);
        }
        true
    }

    /// Whether `trim` would give something back.
    #[inline(always)]
    pub fn has_excess(&self) -> bool {
        self.blocks.has_excess()
    }

    /// Gives back what a deep queue has needed and this one doesn't.
    #[cold]
    #[inline(never)]
    pub fn trim(&mut self) {
        self.blocks.trim();
    }

    /// The entries in order.
    fn entries(&self) -> impl Iterator<Item = *const Entry> {
        // SAFETY: both are in the first block, or null.
        let offset = if self.start.is_null() { 0 } else { unsafe { self.head.offset_from(self.start) } };
        let first = offset as usize;
        (first..first + self.len).map(|at| self.blocks.at(at).cast_const())
    }

    /// The objects that each entry holds, nulls among them, and whether it is a handle that is to run.
    pub fn iter(&self) -> impl Iterator<Item = (bool, &[Raw])> {
        self.entries().map(|entry| {
            // SAFETY: entries are filled, with so many objects for each kind.
            unsafe {
                let count = match (*entry).kind {
                    Kind::Cancelled => 0,
                    Kind::Run | Kind::Step | Kind::Cancel | Kind::Job => 1,
                    Kind::Wake | Kind::Throw | Kind::Return | Kind::Raise => 2,
                    Kind::Done | Kind::Call | Kind::CallSeveral => 3,
                };
                let words = (&raw const (*entry).words).cast::<Raw>();
                (matches!((*entry).kind, Kind::Run), std::slice::from_raw_parts(words, count))
            }
        })
    }

    /// The calls and handles in order, as `_ready` shows them.
    pub fn shown(&self) -> Vec<Shown> {
        // SAFETY: entries are filled.
        self.entries().filter_map(|entry| unsafe { Entry::shown(entry) }).collect()
    }

    /// Gives the entry at `index` among those that `shown` lists a handle, if it is still that call and has none.
    pub fn link(&mut self, index: usize, callback: &Obj, place: &Place) -> bool {
        // SAFETY: entries are filled.
        let mut shown = self.entries().filter(|entry| unsafe { Entry::shown(*entry) }.is_some());
        let Some(entry) = shown.nth(index).map(<*const Entry>::cast_mut) else { return false };
        // SAFETY: as above, and nobody else refers to the queue's memory.
        unsafe {
            let is_call = matches!((*entry).kind, Kind::Call | Kind::CallSeveral);
            if !is_call || (*entry).words[0] != callback.as_ptr().cast() || !(*entry).words[HANDLE].is_null()
            {
                return false;
            }
            (*entry).words[HANDLE] = (&raw const *place).cast_mut().cast();
            place.0.set(entry);
        }
        true
    }
}

/// What `_ready` has of an entry.
pub enum Shown {
    Handle(Obj),
    /// Of the handle that stands for a call. Good until anything else runs.
    Place(*const Place),
    /// A call whose handle nobody keeps.
    Call(Call),
}

impl Entry {
    /// Puts an item together again, and tells its handle that it is queued no more.
    ///
    /// # Safety
    /// `entry` is filled by a `Ready<S>`, and what it owns is not taken out a second time.
    #[inline(always)]
    unsafe fn item<S>(entry: *const Entry) -> Item<S> {
        // SAFETY: `push` has filled the words that the kind says, each with a reference of its own, and they are taken
        // out once.
        unsafe {
            let object = |i: usize| Obj::own((*entry).words[i].cast());
            match (*entry).kind {
                kind @ (Kind::Call | Kind::CallSeveral) => Item::Call(Call {
                    callback: object(0),
                    args: if (*entry).words[1].is_null() { None } else { Some(object(1)) },
                    several: kind == Kind::CallSeveral,
                    context: object(2),
                    handle: Entry::leave(entry),
                }),
                Kind::Cancelled => Item::Cancelled(Entry::leave(entry)),
                Kind::Run => Item::Run(object(0)),
                Kind::Step => Item::Step(object(0)),
                Kind::Wake => Item::Wake { task: object(0), future: object(1) },
                Kind::Throw => Item::Throw { task: object(0), exception: object(1) },
                Kind::Done => Item::Done { callback: object(0), future: object(1), context: object(2) },
                Kind::Return => Item::Finish { future: object(0), outcome: Outcome::Returned(object(1)) },
                Kind::Raise => Item::Finish { future: object(0), outcome: Outcome::Raised(object(1)) },
                Kind::Cancel => Item::Finish { future: object(0), outcome: Outcome::Cancelled },
                Kind::Job => {
                    let run = std::mem::transmute::<*mut c_void, JobFn<S>>((*entry).words[1]);
                    Item::Job { object: object(0), run }
                }
            }
        }
    }

    /// The place of the handle of a call that leaves the queue; it leads nowhere from now on.
    ///
    /// # Safety
    /// `entry` is a call, or was one that is cancelled.
    #[inline(always)]
    unsafe fn leave(entry: *const Entry) -> *const Place {
        // SAFETY: a handle takes its place out of the entry before it goes, so what is there is alive.
        unsafe {
            let place = (*entry).words[HANDLE].cast_const().cast::<Place>();
            if let Some(place) = place.as_ref() {
                place.0.set(null_mut());
            }
            place
        }
    }

    /// A queued call, with references of the caller's own.
    ///
    /// # Safety
    /// `entry` is a call.
    unsafe fn call(entry: *const Entry) -> Call {
        // SAFETY: `push_call` has filled these words.
        unsafe {
            let [callback, args, context, handle] = (*entry).words;
            Call {
                callback: Ref::new(callback.cast()).to_obj(),
                args: Ref::maybe(args.cast()).map(Ref::to_obj),
                several: (*entry).kind == Kind::CallSeveral,
                context: Ref::new(context.cast()).to_obj(),
                handle: handle.cast_const().cast(),
            }
        }
    }

    /// # Safety
    /// `entry` is filled.
    unsafe fn shown(entry: *const Entry) -> Option<Shown> {
        // SAFETY: `push` has filled the words that the kind says; a place in a queued call is its handle's.
        unsafe {
            let (kind, words) = ((*entry).kind, (*entry).words);
            let place = words[HANDLE].cast_const().cast::<Place>();
            match kind {
                Kind::Run => Some(Shown::Handle(Ref::new(words[0].cast()).to_obj())),
                Kind::Call | Kind::CallSeveral if place.is_null() => Some(Shown::Call(Entry::call(entry))),
                Kind::Call | Kind::CallSeveral => Some(Shown::Place(place)),
                Kind::Cancelled if !place.is_null() => Some(Shown::Place(place)),
                _ => None,
            }
        }
    }
}

impl Place {
    #[inline(always)]
    pub fn is_queued(&self) -> bool {
        !self.0.get().is_null()
    }

    /// The handle goes: nothing stands for the call any more.
    #[inline(always)]
    pub fn leave(&self) {
        let entry = self.0.replace(null_mut());
        if !entry.is_null() {
            // SAFETY: an entry tells the place when it leaves the queue, and does not move before.
            unsafe { (*entry).words[HANDLE] = null_mut() };
        }
    }

    /// The queued call, with references of the caller's own; nothing where it is queued no more, or cancelled.
    pub fn call(&self) -> Option<Call> {
        let entry = self.0.get();
        if entry.is_null() {
            return None;
        }
        // SAFETY: as `leave`; an entry of a place is a call, or was one that is cancelled.
        unsafe { ((*entry).kind != Kind::Cancelled).then(|| Entry::call(entry)) }
    }

    /// Gives the queued call, if there is one, another context to run in; returns the one that is to be released.
    pub fn set_context(&self, context: Obj) -> Obj {
        let entry = self.0.get();
        // SAFETY: as `call`; the entry owns its words, and gets one reference for another.
        unsafe {
            if entry.is_null() || (*entry).kind == Kind::Cancelled {
                return context;
            }
            let word = &raw mut (*entry).words[CONTEXT];
            Obj::own(word.replace(context.into_raw().cast()).cast())
        }
    }

    /// Takes what the queued call holds; the entry stays, and does nothing.
    pub fn cancel(&self) -> Option<[Option<Obj>; 3]> {
        let entry = self.0.get();
        if entry.is_null() {
            return None;
        }
        // SAFETY: as `call`; marked as cancelled, the entry owns its words no more.
        unsafe {
            if std::mem::replace(&mut (*entry).kind, Kind::Cancelled) == Kind::Cancelled {
                return None;
            }
            let own = |word: *mut c_void| (!word.is_null()).then(|| Obj::own(word.cast()));
            let [callback, args, context, _] = (*entry).words;
            Some([callback, args, context].map(own))
        }
    }
}

impl<S> Drop for Ready<S> {
    fn drop(&mut self) {
        while let Some(item) = self.pop() {
            drop(item);
        }
    }
}
