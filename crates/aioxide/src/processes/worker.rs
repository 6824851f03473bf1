//! One worker, as its pool sees it: what it holds, what it was told, and what is still to be sent to it. Under the GIL, and none
//! of it calls Python code.

use std::os::fd::{IntoRawFd, OwnedFd};
use std::rc::Rc;

use aioxide_core::frames::{BODY_IN_SLAB, Decoder, Header, Kind};
use aioxide_sys::memfd::Mapping;
use aioxide_sys::socket;

use super::out::Out;
use super::task::{Task, TaskBox};
use crate::ffi::Raw;
use crate::task::loop_state::thread_ident;
use crate::wire::page::{self, Page};
use crate::wire::slab::Known;
use crate::wire::told::Told;

pub struct Worker {
    pub key: u32,
    pub pid: i32,
    pub sock: Rc<OwnedFd>,
    pub pidfd: Option<OwnedFd>,
    /// While it stands, the worker lives.
    lifeline: Option<OwnedFd>,
    /// What the child gets, until it has started: its end of the socket, the page, the reading end of the lifeline.
    pub theirs: Option<[OwnedFd; 3]>,
    /// The thread that starts it.
    pub starter: u64,
    /// The worker in whose place it was started; 0 for none.
    pub replaces: u32,
    /// The task that it was last told to stop.
    pub stopping: u64,
    pub page: Rc<Mapping>,
    pub slots: Vec<Option<TaskBox>>,
    free: Vec<u16>,
    /// Slots of tasks that were taken back, and that the worker may not have passed yet.
    revoked: Vec<u16>,
    pub inflight: usize,
    /// Bytes of the arguments of these.
    held: usize,
    /// Tasks that it may still be given.
    pub budget: u64,
    pub ready: bool,
    /// It gets no more tasks.
    pub closing: bool,
    /// It was told to end.
    pub exit_sent: bool,
    /// The end of its stream was read.
    pub hung_up: bool,
    pub out: Out,
    pub watching_out: bool,
    pub decoder: Decoder,
    pub passed: Vec<OwnedFd>,
    pub known: Known,
    told: Told,
    /// `published` at the last look.
    pub seen: u64,
    pub done: u64,
    /// When it became idle, in nanoseconds.
    pub idle_since: u64,
}

impl Worker {
    pub fn new(key: u32, sock: OwnedFd, lifeline: OwnedFd, page: Mapping, budget: u64) -> Worker {
        Worker {
            theirs: None,
            starter: thread_ident(),
            replaces: 0,
            stopping: 0,
            key,
            pid: 0,
            sock: Rc::new(sock),
            pidfd: None,
            lifeline: Some(lifeline),
            page: Rc::new(page),
            slots: Vec::new(),
            free: Vec::new(),
            revoked: Vec::new(),
            inflight: 0,
            held: 0,
            budget,
            ready: false,
            closing: false,
            exit_sent: false,
            hung_up: false,
            out: Out::default(),
            watching_out: false,
            decoder: Decoder::default(),
            passed: Vec::new(),
            known: Known::new(),
            told: Told::default(),
            seen: 0,
            done: 0,
            idle_since: aioxide_sys::clock::nanos(),
        }
    }

    pub fn page(&self) -> &Page {
        // SAFETY: the pool made the mapping as a control page; it is a part of this value.
        unsafe { page::of(&self.page) }
    }

    /// Closes its descriptors.
    pub fn hang_up(&mut self) {
        (self.closing, self.pid) = (true, 0);
        self.pidfd = None;
        self.lifeline = None;
        // This may be that very worker, which was forked and is about to use them by their numbers.
        let _ = self.theirs.take().map(|given| given.map(IntoRawFd::into_raw_fd));
        self.passed.clear();
        if let Some(sock) = Rc::get_mut(&mut self.sock) {
            // What takes its place is a descriptor that says nothing.
            if let Ok(null) = socket::nothing() {
                *sock = null;
            }
        }
    }

    pub fn takes(&self) -> bool {
        !self.closing && self.budget > 0 && self.pid != 0
    }

    /// Whether it may have another task besides those that it has: `depth` of them at most, and of large ones only the next.
    pub fn has_room(&self, depth: usize) -> bool {
        /// Arguments that lie in shared memory while they wait, in bytes.
        const HELD: usize = 1 << 20;
        let limit = if !self.ready || self.held > HELD { depth.min(2) } else { depth };
        self.takes()
            && self.inflight < limit
            && (!self.free.is_empty() || self.slots.len() < page::SLOTS || self.passed_over().is_some())
    }

    /// Which of the slots that were taken back it has passed over.
    fn passed_over(&self) -> Option<usize> {
        self.revoked.iter().position(|slot| self.page().slot(*slot).is_free())
    }

    fn take_slot(&mut self) -> Option<u16> {
        if let Some(slot) = self.free.pop() {
            return Some(slot);
        }
        if self.slots.len() < page::SLOTS {
            self.slots.push(None);
            return Some((self.slots.len() - 1) as u16);
        }
        let passed = self.passed_over()?;
        Some(self.revoked.swap_remove(passed))
    }

    /// Gives it a task that is packed, to be sent with the next flush; hands it back where no slot is free.
    pub fn assign(&mut self, task: TaskBox) -> Result<(), TaskBox> {
        let Some(payload) = task.payload() else { return Err(task) };
        let Some(slot) = self.take_slot() else { return Err(task) };
        self.forget_shared();
        for slab in &payload.slabs {
            if let Some(frame) = self.told.tell(slab, &self.known) {
                self.out.pass(frame, slab.clone());
            }
        }
        let mut header = Header::new(Kind::Task);
        (header.slot, header.id) = (slot, task.id);
        header.flags = if payload.body_in_slab { BODY_IN_SLAB } else { 0 };
        header.write(&payload.places, &payload.body, self.out.bytes());
        payload.lend_to(self.key);
        self.page().slot(slot).queue();
        self.held += task.weight();
        task.target.set_sent(true);
        self.slots[slot as usize] = Some(task);
        self.inflight += 1;
        self.budget -= 1;
        Ok(())
    }

    /// Tells it, with what is sent next, that these slabs will not be mentioned again.
    pub fn forget(&mut self, slabs: &[u64]) {
        let frames = self.told.forget(slabs);
        if !frames.is_empty() {
            self.out.bytes().extend_from_slice(&frames);
        }
    }

    /// Tells it, likewise, of shared slabs that have gone; false where there are none.
    pub fn forget_shared(&mut self) -> bool {
        let lost = self.told.lost();
        self.forget(&lost);
        !lost.is_empty()
    }

    /// Takes out the task that a result is for.
    pub fn finish(&mut self, slot: u16, id: u64) -> Option<TaskBox> {
        let place = self.slots.get_mut(slot as usize)?;
        if place.as_ref().is_none_or(|task| task.id != id) {
            return None;
        }
        let task = place.take();
        self.free.push(slot);
        self.inflight -= 1;
        self.held = self.held.saturating_sub(task.as_ref().map_or(0, |task| task.weight()));
        self.done += 1;
        if self.inflight == 0 {
            self.idle_since = aioxide_sys::clock::nanos();
        }
        task
    }

    /// Takes back up to `count` tasks that it has not begun with, the newest first.
    pub fn revoke(&mut self, count: usize) -> Vec<TaskBox> {
        let mut held: Vec<(u64, u16)> = Vec::new();
        for (slot, task) in self.slots.iter().enumerate() {
            held.extend(task.as_ref().map(|task| (task.id, slot as u16)));
        }
        held.sort_unstable_by(|a, b| b.cmp(a));
        let mut taken = Vec::new();
        for (_, slot) in held {
            if taken.len() == count {
                break;
            }
            taken.extend(self.revoke_slot(slot));
        }
        taken
    }

    /// Takes back what it has not begun with of the tasks that `wanted`, which may call nothing, names.
    pub fn revoke_if(&mut self, wanted: impl Fn(&Task) -> bool) -> Vec<TaskBox> {
        let is_wanted = |slot: &usize| self.slots[*slot].as_ref().is_some_and(|task| wanted(task));
        let slots: Vec<usize> = (0..self.slots.len()).filter(is_wanted).collect();
        slots.into_iter().filter_map(|slot| self.revoke_slot(slot as u16)).collect()
    }

    /// Whether the task in that slot has not begun.
    pub fn waits(&self, slot: u16) -> bool {
        self.page().slot(slot).is_queued()
    }

    /// Takes one task back, if the worker has not begun with it.
    pub fn revoke_slot(&mut self, slot: u16) -> Option<TaskBox> {
        if !self.page().slot(slot).revoke() {
            return None;
        }
        let task = self.slots[slot as usize].take()?;
        if let Some(payload) = task.payload() {
            payload.take_back();
        }
        task.target.set_sent(false);
        self.revoked.push(slot);
        self.inflight -= 1;
        self.held = self.held.saturating_sub(task.weight());
        self.budget = self.budget.saturating_add(1);
        Some(task)
    }

    /// Where the task of a future is, and its number.
    pub fn slot_of(&self, future: Raw) -> Option<(u16, u64)> {
        let at = |task: &Option<TaskBox>| {
            task.as_ref().is_some_and(|task| task.target.future().as_ptr() == future)
        };
        let slot = self.slots.iter().position(at)?;
        self.slots[slot].as_ref().map(|task| (slot as u16, task.id))
    }

    pub fn send_exit(&mut self) {
        (self.closing, self.exit_sent) = (true, true);
        Header::new(Kind::Exit).write(&[], &[], self.out.bytes());
    }
}
