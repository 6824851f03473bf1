//! The ready queue: what is to run, in order.
//!
//! A ring of our own rather than a `VecDeque` of items, for what the compiler makes of it: an entry is written where it
//! will stand, word by word, and read so. An item for `VecDeque` is assembled on the stack and copied in larger pieces,
//! which a processor can't forward from words that were stored a moment ago.

use std::ffi::c_void;
use std::mem::MaybeUninit;

use super::finish::Outcome;
use super::loop_state::JobFn;
use crate::ffi::{Obj, Raw};

/// One entry of the ready queue. Not a handle with a bound method: a task's step or a future's callback needs none.
pub enum Item {
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
    Job { object: Obj, run: JobFn },
}

/// An item taken apart: the compiler moves an enum with fields as a block, through the stack.
#[derive(Clone, Copy)]
#[repr(C)]
struct Entry {
    kind: Kind,
    /// The item's fields in the order of their declaration: references that the queue owns, and `JobFn`.
    words: [*mut c_void; 3],
}

#[derive(Clone, Copy)]
#[repr(usize)]
enum Kind {
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

/// The first growth makes room for so many entries.
const SMALLEST: usize = 64;

/// The size that an empty queue keeps: 256 KiB. 100,000 tasks that start at once need 4 MiB, once.
const LARGEST_KEPT: usize = 8192;

/// `len` entries from `head` on, around the end; the size is a power of two, or 0 before the first push.
#[derive(Default)]
pub struct Ready {
    slots: Box<[MaybeUninit<Entry>]>,
    head: usize,
    len: usize,
}

impl Ready {
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    fn slot(&self, offset: usize) -> usize {
        (self.head + offset) & self.slots.len().wrapping_sub(1)
    }

    /// For the compiler's sake, call it with one kind of item at a place.
    #[inline(always)]
    pub fn push(&mut self, item: Item) {
        let word = |object: Obj| object.into_raw().cast::<c_void>();
        match item {
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

    #[inline(always)]
    fn put(&mut self, kind: Kind, words: &[*mut c_void]) {
        if self.len == self.slots.len() {
            self.grow();
        }
        let at = self.slot(self.len);
        // SAFETY: `slot` is below the size, which is not 0 after `grow`, and the slot is free, as `len` was below it.
        // Words that the kind has no use for stay as they are.
        unsafe {
            let entry = self.slots.get_unchecked_mut(at).as_mut_ptr();
            (*entry).kind = kind;
            for (i, word) in words.iter().enumerate() {
                (*entry).words[i] = *word;
            }
        }
        self.len += 1;
    }

    #[inline(always)]
    pub fn pop(&mut self) -> Option<Item> {
        if self.len == 0 {
            return None;
        }
        // SAFETY: the slot at `head` is filled, as `len` is not 0; it counts as free from here on, so that what it owns
        // is handed out once.
        let item = unsafe { Entry::item(self.slots.get_unchecked(self.head).as_ptr()) };
        self.head = self.slot(1);
        self.len -= 1;
        if self.len == 0 && self.slots.len() > LARGEST_KEPT {
            self.shrink();
        }
        Some(item)
    }

    /// Gives the memory of a rare crowd back.
    #[cold]
    #[inline(never)]
    fn shrink(&mut self) {
        self.slots = Box::default();
        self.head = 0;
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        let mut wider = Box::new_uninit_slice((self.slots.len() * 2).max(SMALLEST));
        for offset in 0..self.len {
            wider[offset] = self.slots[self.slot(offset)];
        }
        self.slots = wider;
        self.head = 0;
    }

    /// The objects that each entry holds, and whether it is a handle that is to run.
    pub fn iter(&self) -> impl Iterator<Item = (bool, &[Raw])> {
        (0..self.len).map(|offset| {
            // SAFETY: the first `len` slots from `head` on are filled, with so many objects for each kind.
            unsafe {
                let entry = self.slots[self.slot(offset)].as_ptr();
                let count = match (*entry).kind {
                    Kind::Run | Kind::Step | Kind::Cancel | Kind::Job => 1,
                    Kind::Wake | Kind::Throw | Kind::Return | Kind::Raise => 2,
                    Kind::Done => 3,
                };
                let words = (&raw const (*entry).words).cast::<Raw>();
                (matches!((*entry).kind, Kind::Run), std::slice::from_raw_parts(words, count))
            }
        })
    }
}

impl Entry {
    /// Puts an item together again.
    ///
    /// # Safety
    /// `entry` is filled, and what it owns is not taken out a second time.
    #[inline(always)]
    unsafe fn item(entry: *const Entry) -> Item {
        // SAFETY: by the contract of this function, and as `push` has filled it.
        unsafe {
            let object = |i: usize| Obj::own((*entry).words[i].cast());
            match (*entry).kind {
                Kind::Run => Item::Run(object(0)),
                Kind::Step => Item::Step(object(0)),
                Kind::Wake => Item::Wake { task: object(0), future: object(1) },
                Kind::Throw => Item::Throw { task: object(0), exception: object(1) },
                Kind::Done => Item::Done { callback: object(0), future: object(1), context: object(2) },
                Kind::Return => Item::Finish { future: object(0), outcome: Outcome::Returned(object(1)) },
                Kind::Raise => Item::Finish { future: object(0), outcome: Outcome::Raised(object(1)) },
                Kind::Cancel => Item::Finish { future: object(0), outcome: Outcome::Cancelled },
                Kind::Job => {
                    let run = std::mem::transmute::<*mut c_void, JobFn>((*entry).words[1]);
                    Item::Job { object: object(0), run }
                }
            }
        }
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        while let Some(item) = self.pop() {
            drop(item);
        }
    }
}
