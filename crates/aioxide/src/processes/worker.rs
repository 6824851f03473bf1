//! One worker, as its pool sees it: what it holds, what it was told, and what is still to be sent to it. Under the GIL, and none
//! of it calls Python code.

use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;

use aioxide_core::frames::{BODY_IN_SLAB, Decoder, Header, Kind};
use aioxide_core::page::{Page, SLOTS};
use aioxide_core::slot::Claim;
use aioxide_sys::epoll::{Epoll, Interest};
use aioxide_sys::memfd::Mapping;
use aioxide_sys::{channel, process};

use super::out::Out;
use super::task::{Task, TaskBox};
use crate::ffi::Ref;
use crate::wire::page;
use crate::wire::slab::{Known, Slab};
use crate::wire::told::Told;

/// What the end of a worker's stream says.
pub enum HangUp {
    /// It was told to end; its process says when it has.
    Expected,
    /// It has not merely ended.
    Surprise,
    /// It had ended before its process could be watched: a child of the fork server, told to end while it started.
    Death,
}

pub struct Worker {
    key: u32,
    pid: i32,
    sock: Rc<OwnedFd>,
    pidfd: Option<OwnedFd>,
    /// While it stands, the worker lives.
    lifeline: Option<OwnedFd>,
    /// What the child gets, until it has started: its end of the socket, the page, the reading end of the lifeline.
    theirs: Option<[OwnedFd; 3]>,
    /// The worker in whose place it was started; 0 for none.
    replaces: u32,
    /// The task that it was last told to stop.
    stopping: u64,
    page: Rc<Mapping>,
    slots: Vec<Option<TaskBox>>,
    free: Vec<u16>,
    /// Slots of tasks that were taken back, and that the worker may not have passed yet.
    revoked: Vec<u16>,
    inflight: usize,
    /// Bytes of the arguments of these.
    weight: usize,
    /// Tasks that it may still be given.
    budget: u64,
    ready: bool,
    /// It gets no more tasks.
    closing: bool,
    /// It was told to end.
    exit_sent: bool,
    /// The end of its stream was read.
    hung_up: bool,
    out: Out,
    watching_out: bool,
    decoder: Decoder,
    passed: Vec<OwnedFd>,
    known: Known,
    told: Told,
    /// `published` at the last look.
    seen: u64,
    done: u64,
    /// When it became idle, in nanoseconds.
    idle_since: u64,
}

impl Worker {
    /// A worker that is about to be started, in the place of that one if `replaces` is not 0. `budget`: how many tasks it may be
    /// given; `theirs`: what the child gets.
    pub fn new(
        key: u32,
        [sock, lifeline]: [OwnedFd; 2],
        theirs: [OwnedFd; 3],
        page: Mapping,
        budget: u64,
        replaces: u32,
    ) -> Worker {
        Worker {
            theirs: Some(theirs),
            replaces,
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
            weight: 0,
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

    pub fn key(&self) -> u32 {
        self.key
    }

    /// 0 before it has started, and in a child of fork, of which it is no worker.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    pub fn is_here(&self) -> bool {
        self.pid != 0
    }

    pub fn replaces(&self) -> u32 {
        self.replaces
    }

    /// What it says of itself, and is told, by shared memory.
    pub fn page(&self) -> &Page {
        // SAFETY: the pool made the mapping as a control page; it is a part of this value.
        unsafe { page::of(&self.page) }
    }

    // ------------------------------------------------------------------------------------------------------ its life

    /// Its process is there: events of it come from now on.
    pub fn start(&mut self, pid: i32, pidfd: Option<OwnedFd>, epoll: &Epoll) -> io::Result<()> {
        epoll.add(self.sock.as_raw_fd(), Interest::IN, event_data(self.key, Event::Socket))?;
        if let Some(pidfd) = pidfd {
            epoll.add(pidfd.as_raw_fd(), Interest::IN, event_data(self.key, Event::Death))?;
            self.pidfd = Some(pidfd);
        }
        self.pid = pid;
        self.theirs = None;
        Ok(())
    }

    /// No events of it come any more.
    pub fn unwatch(&self, epoll: &Epoll) {
        let _ = epoll.delete(self.sock.as_raw_fd());
        if let Some(pidfd) = &self.pidfd {
            let _ = epoll.delete(pidfd.as_raw_fd());
        }
    }

    /// The end of its stream was read: a socket whose other end is gone would be ready for ever. Nothing where that is known.
    pub fn note_hang_up(&mut self, epoll: Option<&Epoll>) -> Option<HangUp> {
        if std::mem::replace(&mut self.hung_up, true) {
            return None;
        }
        let _ = epoll?.delete(self.sock.as_raw_fd());
        Some(match self.pidfd {
            None => HangUp::Death,
            Some(_) if self.inflight > 0 || !self.closing => HangUp::Surprise,
            Some(_) => HangUp::Expected,
        })
    }

    /// Whether it reads what is sent to it.
    pub fn listens(&self) -> bool {
        self.is_here() && !self.exit_sent && !self.hung_up
    }

    /// Sends it a signal, by the process and not by its number; false where it is gone.
    pub fn signal(&self, number: i32) -> bool {
        self.pidfd.as_ref().is_some_and(|pidfd| process::signal(pidfd, number).is_ok())
    }

    /// That task is to be stopped: true when it is said for the first time.
    pub fn stop(&mut self, task: u64) -> bool {
        let fresh = self.stopping != task;
        if fresh {
            self.stopping = task;
            self.page().stop(task);
        }
        fresh
    }

    pub fn note_ready(&mut self) {
        self.ready = true;
    }

    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// It gets no more tasks.
    pub fn retire(&mut self) {
        self.closing = true;
    }

    pub fn is_retired(&self) -> bool {
        self.closing
    }

    /// Tells it to end when it is done, and takes back what it has not begun with, unless it may have any number of tasks;
    /// nothing where it was told.
    pub fn dismiss(&mut self) -> Option<Vec<TaskBox>> {
        if self.exit_sent {
            return None;
        }
        let again = if self.budget == u64::MAX { Vec::new() } else { self.revoke(usize::MAX) };
        (self.closing, self.exit_sent) = (true, true);
        Header::new(Kind::Exit).write(&[], &[], self.out.bytes());
        Some(again)
    }

    /// Whether it is done, and has to be told to end.
    pub fn leaves(&self) -> bool {
        (self.closing || self.budget == 0 && self.inflight == 0) && !self.exit_sent
    }

    /// In a child of fork: closes its descriptors, and unmaps what no object lies in.
    pub fn disown(&mut self) {
        (self.closing, self.pid) = (true, 0);
        self.known.clear();
        self.pidfd = None;
        self.lifeline = None;
        // This may be that very worker, which was forked and is about to use them by their numbers.
        let _ = self.theirs.take().map(|given| given.map(IntoRawFd::into_raw_fd));
        self.passed.clear();
        if let Some(sock) = Rc::get_mut(&mut self.sock) {
            // What takes its place is a descriptor that says nothing.
            if let Ok(null) = channel::nothing() {
                *sock = null;
            }
        }
    }

    // ------------------------------------------------------------------------------------------------------ its tasks

    /// Tasks that it has.
    pub fn held(&self) -> usize {
        self.inflight
    }

    pub fn is_idle(&self) -> bool {
        self.inflight == 0
    }

    /// When it became idle, in nanoseconds.
    pub fn idle_since(&self) -> u64 {
        self.idle_since
    }

    /// How many tasks it has answered.
    pub fn answered(&self) -> u64 {
        self.done
    }

    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.slots.iter().flatten().map(|task| &**task)
    }

    /// Whether it takes tasks, once it has started.
    pub fn will_take(&self) -> bool {
        !self.closing && self.budget > 0
    }

    pub fn takes(&self) -> bool {
        self.will_take() && self.is_here()
    }

    /// Whether it may have another task besides those that it has: `depth` of them at most, and of large ones only the next.
    pub fn has_room(&self, depth: usize) -> bool {
        /// Arguments that lie in shared memory while they wait, in bytes.
        const HELD: usize = 1 << 20;
        let limit = if !self.ready || self.weight > HELD { depth.min(2) } else { depth };
        self.takes()
            && self.inflight < limit
            && (!self.free.is_empty() || self.slots.len() < SLOTS || self.passed_over().is_some())
    }

    /// Which of the slots that were taken back it has passed over.
    fn passed_over(&self) -> Option<usize> {
        self.revoked.iter().position(|slot| self.page().slot(*slot).is_free())
    }

    fn take_slot(&mut self) -> Option<u16> {
        if let Some(slot) = self.free.pop() {
            return Some(slot);
        }
        if self.slots.len() < SLOTS {
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
        self.weight += task.weight();
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
        self.weight = self.weight.saturating_sub(task.as_ref().map_or(0, |task| task.weight()));
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
        if self.page().slot(slot).revoke() == Claim::Lost {
            return None;
        }
        let task = self.slots[slot as usize].take()?;
        if let Some(payload) = task.payload() {
            payload.take_back();
        }
        task.target.set_sent(false);
        self.revoked.push(slot);
        self.inflight -= 1;
        self.weight = self.weight.saturating_sub(task.weight());
        self.budget = self.budget.saturating_add(1);
        Some(task)
    }

    /// Where the task of a future is, and its number.
    pub fn slot_of(&self, future: Ref) -> Option<(u16, u64)> {
        let at = |task: &Option<TaskBox>| {
            task.as_ref().is_some_and(|task| task.target.future().borrow() == future)
        };
        let slot = self.slots.iter().position(at)?;
        self.slots[slot].as_ref().map(|task| (slot as u16, task.id))
    }

    /// Takes all of its tasks out, and it gets no more.
    pub fn take_all(&mut self) -> Vec<TaskBox> {
        (self.closing, self.inflight) = (true, 0);
        self.slots.iter_mut().filter_map(Option::take).collect()
    }

    // ------------------------------------------------------------------------------------------------------ its stream

    /// Sends it what it has to get, and sees to it that the rest follows.
    pub fn flush(&mut self, epoll: Option<&Epoll>) {
        self.out.flush(self.sock.as_raw_fd());
        self.page().note_sent();
        let wanted = !self.out.is_empty();
        if wanted != self.watching_out
            && let Some(epoll) = epoll
        {
            self.watching_out = wanted;
            let interest = if wanted { Interest::IN | Interest::OUT } else { Interest::IN };
            let _ = epoll.modify(self.sock.as_raw_fd(), interest, event_data(self.key, Event::Socket));
        }
    }

    /// Whether it has sent something since `begin_receiving`.
    pub fn has_news(&self) -> bool {
        self.page().published() != self.seen
    }

    /// The part of a frame that came last, and what more is to be read from.
    pub fn begin_receiving(&mut self) -> (Decoder, Rc<OwnedFd>) {
        self.seen = self.page().published();
        (std::mem::take(&mut self.decoder), self.sock.clone())
    }

    pub fn end_receiving(&mut self, decoder: Decoder) {
        self.decoder = decoder;
    }

    /// Descriptors have come, for the frames of slabs that follow.
    pub fn note_passed(&mut self, passed: &mut Vec<OwnedFd>) {
        self.passed.append(passed);
    }

    /// The one for the next frame of a slab.
    pub fn next_passed(&mut self) -> Option<OwnedFd> {
        (!self.passed.is_empty()).then(|| self.passed.remove(0))
    }

    /// Its slabs that are mapped here.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// It has told of a slab; what is returned is to be dropped.
    pub fn learn(&mut self, slab: Rc<Slab>) -> Option<Rc<Slab>> {
        self.known.insert(slab.id, slab)
    }

    /// It will not mention that slab again; what is returned is to be dropped.
    pub fn unlearn(&mut self, slab: u64) -> Option<Rc<Slab>> {
        self.known.remove(&slab)
    }
}

/// Which of a worker's descriptors an event is of; `Timer` is the pool's own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Socket = 0,
    Death = 1,
    Timer = 2,
}

pub fn event_data(key: u32, event: Event) -> u64 {
    u64::from(key) << 2 | event as u64
}

pub fn event_of(data: u64) -> (u32, Event) {
    let event = match data & 3 {
        0 => Event::Socket,
        1 => Event::Death,
        _ => Event::Timer,
    };
    ((data >> 2) as u32, event)
}
