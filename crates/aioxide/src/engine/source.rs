//! Who watches which file descriptor: handles of `add_reader` and `add_writer`, or one owner of a higher floor.

use std::ffi::{c_int, c_void};
use std::io;

use aioxide_sys::epoll::{Epoll, Interest};
use aioxide_sys::socket;
use pyo3_ffi::visitproc;

use crate::ffi::cells::Turn;
use crate::ffi::class::{Native, receiver, the};
use crate::ffi::guard::visit;
use crate::ffi::py::Object;
use crate::ffi::{Leaf, Obj, Raw, Ref};
use crate::task::handle;
use crate::task::loop_state::LoopState;

/// Tells an owner what its descriptor is ready for. Leaf code: it may queue work, not run it.
type NotifyFn = unsafe fn(&LoopState, Raw, Interest);

/// The one owner of a descriptor that the engine serves itself, as transports are.
pub struct Owner {
    object: Raw,
    notify: NotifyFn,
    /// What keeps the object alive; without it, the object takes itself out of the table before it goes.
    held: Option<Obj>,
}

impl Owner {
    /// A native object, of which `notify` is told.
    pub fn of<T: Native, F: Fn(&LoopState, &T, Turn, Interest) + Copy>(this: &T, _: F) -> Owner {
        let object = this.object();
        Owner { object: object.as_ptr(), notify: notify::<T, F>, held: Some(object.to_obj()) }
    }
}

/// # Safety
/// `owner` is a `T`, and `F` was handed in with it.
unsafe fn notify<T: Native, F: Fn(&LoopState, &T, Turn, Interest) + Copy>(
    state: &LoopState,
    owner: Raw,
    flags: Interest,
) {
    // SAFETY: by `Owner::of`; events are delivered in a turn of the loop.
    unsafe {
        let this: &T = receiver(owner);
        the::<F>()(state, this, Turn::begin(this.py()), flags);
    }
}

#[derive(Default)]
struct Watch {
    reader: Option<Obj>,
    writer: Option<Obj>,
    owner: Option<Owner>,
    /// The object that a user's handle was set for, unless by number: when it is closed, it has no number any more.
    object: Option<Obj>,
    /// The sides whose handle runs once: it leaves the table with the event.
    once: Interest,
    /// What the kernel was told; none where it was told nothing. Empty where it was to say one thing, and has: it knows the
    /// descriptor still, and to ask again costs half of what it costs to begin anew.
    registered: Option<Interest>,
    /// Counts the registrations of this number, to tell an event of an earlier one.
    generation: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Read,
    Write,
}

impl Side {
    pub fn other(self) -> Side {
        match self {
            Side::Read => Side::Write,
            Side::Write => Side::Read,
        }
    }

    fn interest(self) -> Interest {
        match self {
            Side::Read => Interest::IN,
            Side::Write => Interest::OUT,
        }
    }
}

/// What has become of an event.
pub enum Delivered {
    Done,
    /// It was all that the kernel was to say, and somebody wants to know more of that descriptor.
    Again(i32),
    /// It is of a registration that is no more.
    Stale,
}

impl Watch {
    fn slot(&mut self, side: Side) -> &mut Option<Obj> {
        match side {
            Side::Read => &mut self.reader,
            Side::Write => &mut self.writer,
        }
    }

    /// The handle of a side that is to run now.
    fn due(&mut self, side: Side) -> Option<Obj> {
        if !self.once.contains(side.interest()) {
            return self.slot(side).clone();
        }
        self.once.remove(side.interest());
        self.slot(side).take()
    }

    /// What the handles want to know.
    fn wanted(&self) -> Interest {
        let mut wanted = Interest::empty();
        wanted.set(Interest::IN, self.reader.is_some());
        wanted.set(Interest::OUT, self.writer.is_some());
        wanted.set(Interest::ONESHOT, self.once.intersects(wanted));
        wanted
    }
}

/// Indexed by descriptor: the kernel hands out the lowest free number, so the table stays small.
pub struct Sources(Leaf<Vec<Watch>>);

impl Sources {
    pub fn new() -> Sources {
        Sources(Leaf::new(Vec::new()))
    }

    /// Leaf code on one entry, made if it is new.
    fn with<T>(&self, fd: i32, body: impl FnOnce(&mut Watch) -> T) -> T {
        // `apply` says why there is no room for it.
        let mut nowhere = Watch::default();
        let has_room = self.reserve(fd).is_ok();
        self.0.with(|table| body(if has_room { &mut table[fd.max(0) as usize] } else { &mut nowhere }))
    }

    /// Makes the table reach to a descriptor: to one that is open only, as the number may be anything.
    pub fn reserve(&self, fd: i32) -> io::Result<()> {
        self.0.with(|table| {
            let size = fd.max(0) as usize + 1;
            if size > table.len() {
                socket::check_open(fd)?;
                let more = size - table.len();
                table.try_reserve(more).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
                table.resize_with(size, Watch::default);
            }
            Ok(())
        })
    }

    /// As `with`, where the entry may not exist.
    fn peek<T>(&self, fd: i32, body: impl FnOnce(&Watch) -> T) -> Option<T> {
        self.0.with(|table| usize::try_from(fd).ok().and_then(|at| table.get(at)).map(body))
    }

    /// Puts a handle in place; the one that stood there is returned.
    pub fn set_handle(&self, fd: i32, side: Side, handle: Option<Obj>) -> Option<Obj> {
        self.place(fd, side, handle, false)
    }

    /// The same, of a handle that runs once.
    pub fn set_once(&self, fd: i32, side: Side, handle: Obj) -> Option<Obj> {
        self.place(fd, side, Some(handle), true)
    }

    fn place(&self, fd: i32, side: Side, handle: Option<Obj>, once: bool) -> Option<Obj> {
        self.with(fd, |watch| {
            watch.once.set(side.interest(), once);
            std::mem::replace(watch.slot(side), handle)
        })
    }

    pub fn handle(&self, fd: i32, side: Side) -> Option<Obj> {
        self.peek(fd, |watch| match side {
            Side::Read => watch.reader.clone(),
            Side::Write => watch.writer.clone(),
        })
        .flatten()
    }

    /// Remembers the object that stands for `fd`; the one before is returned, to be released when the table is whole.
    pub fn set_object(&self, fd: i32, object: Option<Obj>) -> Option<Obj> {
        self.with(fd, |watch| std::mem::replace(&mut watch.object, object))
    }

    /// The descriptor that an object stood for.
    pub fn fd_of(&self, object: impl Object) -> Option<i32> {
        let is_it = |watch: &Watch| watch.object.as_ref().is_some_and(|known| known.as_ptr() == object.raw());
        self.0.with(|table| table.iter().position(is_it)).map(|fd| fd as i32)
    }

    /// What the handles of `fd` want to know.
    pub fn wanted(&self, fd: i32) -> Interest {
        self.peek(fd, Watch::wanted).unwrap_or(Interest::empty())
    }

    /// Gives a descriptor an owner, or takes it. Handles that still stand for the number are of a descriptor that was closed
    /// behind our back. What was there is returned, to be released when the table is whole.
    pub fn set_owner(&self, fd: i32, owner: Option<Owner>) -> (Option<Owner>, [Option<Obj>; 2]) {
        self.with(fd, |watch| {
            let stale = if owner.is_some() {
                watch.once = Interest::empty();
                [watch.reader.take(), watch.writer.take()]
            } else {
                [None, None]
            };
            (std::mem::replace(&mut watch.owner, owner), stale)
        })
    }

    /// Takes a descriptor from its owner, without a word to the kernel: it is about to be closed. What was there is returned, to be
    /// released when the table is whole.
    pub fn forget(&self, fd: i32, object: impl Object) -> Option<Owner> {
        self.with(fd, |watch| {
            watch.owner.take_if(|owner| owner.object == object.raw()).inspect(|_| watch.registered = None)
        })
    }

    pub fn owner(&self, fd: i32) -> Option<Obj> {
        // SAFETY: an owner that the table does not keep alive takes itself out before it goes.
        let share = |owner: &Owner| unsafe { Ref::new(owner.object) }.to_obj();
        self.peek(fd, |watch| watch.owner.as_ref().map(share)).flatten()
    }

    pub fn is_owner(&self, fd: i32, object: impl Object) -> bool {
        self.peek(fd, |watch| watch.owner.as_ref().is_some_and(|owner| owner.object == object.raw()))
            .unwrap_or(false)
    }

    /// Whether the table keeps the owner alive. What it held is returned, to be released when the table is whole.
    pub fn hold(&self, fd: i32, object: impl Object, held: bool) -> Option<Obj> {
        self.with(fd, |watch| match &mut watch.owner {
            Some(owner) if owner.object == object.raw() && held && owner.held.is_none() => {
                owner.held.replace(Obj::new(object))
            }
            Some(owner) if owner.object == object.raw() && !held => owner.held.take(),
            _ => None,
        })
    }

    /// Descriptors with a handle or owner, in order.
    pub fn watched(&self) -> Vec<i32> {
        let busy = |watch: &Watch| watch.reader.is_some() || watch.writer.is_some() || watch.owner.is_some();
        self.0.with(|table| {
            table.iter().enumerate().filter(|(_, watch)| busy(watch)).map(|(fd, _)| fd as i32).collect()
        })
    }

    /// Brings the kernel's record of `fd` in line with `wanted`.
    pub fn apply(&self, epoll: &Epoll, fd: i32, wanted: Interest) -> io::Result<()> {
        if !wanted.is_empty() {
            self.reserve(fd)?;
        }
        self.with(fd, |watch| {
            if wanted.is_empty() {
                if watch.registered.take().is_some() {
                    // Closed behind our back: then the kernel has dropped it already.
                    let _ = epoll.delete(fd);
                }
                return Ok(());
            }
            if watch.registered.is_some() {
                epoll.modify(fd, wanted, data_of(fd, watch.generation))?;
            } else {
                watch.generation = watch.generation.wrapping_add(1);
                epoll.add(fd, wanted, data_of(fd, watch.generation))?;
            }
            watch.registered = Some(wanted);
            Ok(())
        })
    }

    /// Registers everything with a fresh epoll set. What cannot be (it was closed behind our back) is left out.
    pub fn register_all(&self, epoll: &Epoll) {
        self.0.with(|table| {
            for (fd, watch) in table.iter_mut().enumerate() {
                watch.registered = watch.registered.filter(|wanted| {
                    !wanted.is_empty()
                        && epoll.add(fd as i32, *wanted, data_of(fd as i32, watch.generation)).is_ok()
                });
            }
        });
    }

    /// Hands an event to whom it concerns; `ready` gets the handles that are to run.
    #[inline(always)]
    pub fn deliver(&self, state: &LoopState, data: u64, flags: Interest, ready: impl Fn(Obj)) -> Delivered {
        let (fd, generation) = (data as u32 as i32, (data >> 32) as u32);
        self.0.with(|table| {
            let Some(watch) = usize::try_from(fd).ok().and_then(|at| table.get_mut(at)) else {
                return Delivered::Stale;
            };
            let Some(told) = watch.registered.filter(|_| watch.generation == generation) else {
                return Delivered::Stale;
            };
            if let Some(owner) = &watch.owner {
                // SAFETY: an owner's function takes the owner's object.
                unsafe { (owner.notify)(state, owner.object, flags) };
                return Delivered::Done;
            }
            // As `selectors.EpollSelector`: an error or a hang-up is for both sides.
            for (side, others) in [(Side::Read, !Interest::OUT), (Side::Write, !Interest::IN)] {
                if flags.intersects(others)
                    && let Some(handle) = watch.due(side)
                {
                    ready(handle);
                }
            }
            if !told.contains(Interest::ONESHOT) {
                return Delivered::Done;
            }
            watch.registered = Some(Interest::empty());
            if watch.wanted().is_empty() { Delivered::Done } else { Delivered::Again(fd) }
        })
    }

    /// Forgets everything; handles lose their callbacks, as on a loop that is closed none will run.
    pub fn clear(&self) {
        for watch in self.0.with(std::mem::take) {
            for handle in [&watch.reader, &watch.writer].into_iter().flatten() {
                // SAFETY: a handle.
                unsafe { handle::of(handle).retire() };
            }
        }
    }

    /// # Safety
    /// Called from the loop's `tp_traverse`.
    pub unsafe fn traverse(&self, visitor: visitproc, arg: *mut c_void) -> c_int {
        // SAFETY: the collector runs no code of ours in between, so the table does not change meanwhile.
        unsafe {
            for watch in self.0.visited() {
                for handle in [&watch.reader, &watch.writer].into_iter().flatten() {
                    let stop = handle::of(handle).traverse_queued(visitor, arg);
                    if stop != 0 {
                        return stop;
                    }
                }
                if let Some(Owner { held: Some(object), .. }) = &watch.owner {
                    visit!(object.as_ptr(), visitor, arg);
                }
                if let Some(object) = &watch.object {
                    visit!(object.as_ptr(), visitor, arg);
                }
            }
        }
        0
    }
}

fn data_of(fd: i32, generation: u32) -> u64 {
    (u64::from(generation) << 32) | u64::from(fd as u32)
}
