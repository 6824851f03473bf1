//! What a worker process does: receives calls, runs them in its main thread, and sends back what they return.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use aioxide_core::frames::{BODY_IN_SLAB, Decoder, Frame, Header, Kind, RETIRES, SHARED};
use aioxide_core::page::Page;
use aioxide_core::slot::Claim;
use aioxide_sys::memfd::Mapping;
use aioxide_sys::{channel, clock, malloc, memory, poll, process};
use pyo3_ffi::*;

use crate::engine::spin::spin;
use crate::engine::spinner::Spinner;
use crate::ffi::calls::call;
use crate::ffi::error::raise_io;
use crate::ffi::object::int;
use crate::ffi::{NULL, Obj, Raised, Ref, Res, error, gil};
use crate::wire::arena::Arena;
use crate::wire::page;
use crate::wire::payload::Payload;
use crate::wire::slab::{self, Known, Slab};
use crate::wire::told::Told;
use crate::wire::{buffer, pickle};

const ROOM: usize = 1 << 16;

pub struct Worker {
    sock: OwnedFd,
    map: Mapping,
    decoder: Decoder,
    passed: Vec<OwnedFd>,
    known: Known,
    arena: Arena,
    told: Told,
    /// Python's part: makes `(exception, traceback text)` of an exception.
    failure: Obj,
    /// Bytes of resident memory above which this worker wants to be replaced; 0 for no limit.
    max_rss: u64,
    retires: bool,
    /// It has found a task taken back, and run none since.
    passed_over: bool,
    /// The pool has said that it is enough, or is gone.
    ended: bool,
    /// How long it looks for the next task before it sleeps, in ticks, and whether that has paid of late.
    spin: u64,
    spinner: Spinner,
}

enum Next {
    Frame(Frame),
    /// The pool is gone, or has hung up.
    End,
}

impl Worker {
    /// `failure` makes `(exception, traceback text)` of an exception; above `max_rss` bytes of resident memory the worker wants
    /// to be replaced, 0 for never; `spin` is for how many ticks it looks for the next task before it sleeps.
    pub fn new(sock: OwnedFd, map: Mapping, failure: Obj, max_rss: u64, spin: u64) -> Worker {
        Worker {
            sock,
            map,
            decoder: Decoder::default(),
            passed: Vec::new(),
            known: Known::new(),
            arena: Arena::default(),
            told: Told::default(),
            failure,
            max_rss,
            retires: false,
            passed_over: false,
            ended: false,
            spin,
            spinner: Spinner::new(),
        }
    }

    /// Runs tasks until the pool says that it is enough, or is gone; nothing when it has said so before. `forget` is told of
    /// the slabs that the pool will not mention again.
    pub fn serve(&mut self, forget: Ref) -> Res<()> {
        if !self.ended {
            self.say(Kind::Ready)?;
        }
        while !self.ended {
            let Next::Frame(frame) = self.next()? else { break };
            match frame.header.kind {
                Kind::Task => self.run(&frame)?,
                Kind::Slab => self.learn_slab(&frame.header)?,
                Kind::Forget => {
                    drop(self.known.remove(&frame.header.id));
                    forget_in_python(forget, frame.header.id)?;
                    self.tell_gone()?;
                }
                _ => self.ended = true,
            }
        }
        self.ended = true;
        Ok(())
    }

    /// Tells the pool why there will be no worker.
    pub fn say_failed(&self, text: &[u8]) -> Res<()> {
        let mut out = Vec::new();
        Header::new(Kind::InitFailed).write(&[], text, &mut out);
        self.send(&out, None)
    }

    fn page(&self) -> &Page {
        // SAFETY: the mapping is a control page (the pool made it so) and a part of this value.
        unsafe { page::of(&self.map) }
    }

    fn next(&mut self) -> Res<Next> {
        loop {
            match self.decoder.take() {
                Ok(Some(frame)) => return Ok(Next::Frame(frame)),
                Ok(None) => {}
                Err(_) => return error::runtime_error(c"the pool sent what is no frame"),
            }
            self.decoder.shrink(1 << 20);
            if std::mem::take(&mut self.passed_over) {
                // The pool may hold tasks back until there is room for them here, and will hear nothing else.
                self.say(Kind::Ready)?;
            }
            match self.receive() {
                Ok(0) => return Ok(Next::End),
                Ok(count) => self.decoder.filled(count),
                Err(why) if why.kind() == io::ErrorKind::Interrupted => idle_signals()?,
                Err(why) if why.kind() == io::ErrorKind::ConnectionReset => return Ok(Next::End),
                Err(why) => return raise_io(&why),
            }
        }
    }

    /// Receives at once what there is; else looks for a while, then sleeps, both without the GIL.
    fn receive(&mut self) -> io::Result<usize> {
        let fd = self.sock.as_raw_fd();
        let seen = self.page().sent();
        match channel::recv(fd, self.decoder.room(ROOM), &mut self.passed, false) {
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
        let limit = self.spinner.limit(self.spin);
        // SAFETY: memory and a socket of the worker's own.
        let (won, received) = unsafe {
            gil::without(|| {
                let won = (limit > 0).then(|| spin(limit, || self.page().sent() != seen));
                (won, channel::recv(fd, self.decoder.room(ROOM), &mut self.passed, true))
            })
        };
        if let Some(won) = won {
            self.spinner.record(won);
        }
        received
    }

    fn send(&self, data: &[u8], passed: Option<BorrowedFd<'_>>) -> Res<()> {
        let (mut sent, mut passed) = (0, passed);
        while sent < data.len() {
            match channel::send(self.sock.as_raw_fd(), &data[sent..], passed, false) {
                Ok(count) => {
                    sent += count;
                    passed = None;
                }
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => self.wait_writable()?,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) => return raise_io(&why),
            }
        }
        self.page().note_published();
        Ok(())
    }

    fn say(&self, kind: Kind) -> Res<()> {
        let mut out = Vec::new();
        Header::new(kind).write(&[], &[], &mut out);
        self.send(&out, None)
    }

    fn wait_writable(&self) -> Res<()> {
        // SAFETY: looks at a descriptor.
        let waited = unsafe { gil::without(|| poll::wait_writable(self.sock.as_raw_fd())) };
        match waited {
            Err(why) if why.kind() != io::ErrorKind::Interrupted => raise_io(&why),
            _ => idle_signals(),
        }
    }

    fn learn_slab(&mut self, header: &Header) -> Res<()> {
        if self.passed.is_empty() {
            return error::runtime_error(c"the pool sent no descriptor beside its slab");
        }
        let fd = self.passed.remove(0);
        match Slab::open(header.id, fd, header.slab_size, header.flags & SHARED != 0) {
            Ok(slab) => {
                malloc::raise_threshold(slab.size());
                self.known.insert(header.id, slab);
                Ok(())
            }
            Err(why) => slab::no_room(header.slab_size as usize, &why),
        }
    }

    fn run(&mut self, frame: &Frame) -> Res<()> {
        let header = frame.header;
        if self.retires || self.page().slot(header.slot).begin() == Claim::Lost {
            // A worker that retires leaves its tasks queued: the pool takes them back.
            self.passed_over = !self.retires;
            return Ok(());
        }
        self.passed_over = false;
        // A signal that came before the task is not the task's.
        idle_signals()?;
        self.page().begin(header.id, clock::nanos());
        let call = self.unpickle(frame);
        let (kind, pickled) = match call {
            Ok(call) => match call_here(&call) {
                Ok(value) => {
                    self.page().end();
                    drop(call);
                    self.dump_result(value, self.lent(frame).as_ref())
                }
                Err(Raised) => {
                    self.page().end();
                    let pickled = self.dump_failure();
                    drop(call);
                    (Kind::Failure, pickled)
                }
            },
            Err(Raised) => (Kind::Unreadable, self.dump_failure()),
        };
        let nanos = self.page().since_begun(clock::nanos());
        self.page().end();
        let mut answer = Header::new(kind);
        (answer.slot, answer.id, answer.nanos) = (header.slot, header.id, nanos);
        if self.max_rss > 0 && memory::resident(std::process::id()) > self.max_rss {
            self.retires = true;
            answer.flags |= RETIRES;
        }
        self.answer(answer, pickled?)
    }

    fn unpickle(&self, frame: &Frame) -> Res {
        let places = self.decoder.places(frame);
        let in_slab = frame.header.flags & BODY_IN_SLAB != 0;
        let received = buffer::receive(&places, in_slab, &self.known, self.decoder.body(frame))?;
        // SAFETY: the body stays where it is: in the slab by the lease, in the decoder as nothing is received meanwhile.
        unsafe {
            match &received.body {
                Some((_lease, start, size)) => pickle::load_from(*start, *size, &received.buffers),
                None => {
                    let body = self.decoder.body(frame);
                    pickle::load_from(body.as_ptr(), body.len(), &received.buffers)
                }
            }
        }
    }

    /// The slab in which the arguments came.
    fn lent(&self, frame: &Frame) -> Option<Rc<Slab>> {
        let places = if frame.header.buffers > 0 { self.decoder.places(frame) } else { return None };
        let mut slabs = places.iter().filter_map(|place| self.known.get(&place.slab));
        slabs.find(|slab| !slab.shared).cloned()
    }

    fn dump_result(&mut self, value: Obj, lent: Option<&Rc<Slab>>) -> (Kind, Res<Payload>) {
        match self.dump(value.borrow(), lent) {
            Ok(payload) => (Kind::Result, Ok(payload)),
            Err(Raised) => (Kind::Failure, self.dump_failure()),
        }
    }

    fn dump(&mut self, value: Ref, lent: Option<&Rc<Slab>>) -> Res<Payload> {
        let crowded = self.arena.is_crowded();
        let pickled = match pickle::dump(value, crowded) {
            Ok(pickled) => pickled,
            Err(Raised) => pickle::dump_portable(value, crowded)?,
        };
        let packed = Payload::pack_borrowed(&pickled, &mut self.arena, lent);
        Ok(packed.or_else(|why| slab::no_room(pickled.total(), &why))?.with_body(pickled))
    }

    /// The exception that is set, as a frame's body; where it cannot be pickled, the exception that says so.
    fn dump_failure(&mut self) -> Res<Payload> {
        for _ in 0..3 {
            let Some(exception) = error::take() else { break };
            // Ctrl-C may come while this is worked out: then that is the outcome.
            let Ok(told) = call(&self.failure, &[exception.borrow()]) else { continue };
            if let Ok(payload) = self.dump(told.borrow(), None) {
                return Ok(payload);
            }
        }
        Err(Raised)
    }

    fn answer(&mut self, mut header: Header, payload: Payload) -> Res<()> {
        let mut out = Vec::new();
        self.write_gone(&mut out);
        if !out.is_empty() {
            // Before anything is announced: a shared slab may come back under its number.
            self.send(&out, None)?;
            out.clear();
        }
        for slab in &payload.slabs {
            if let Some(frame) = self.told.tell(slab, &self.known) {
                self.send(&frame, slab.descriptor())?;
            }
        }
        if payload.body_in_slab {
            header.flags |= BODY_IN_SLAB;
        }
        // Not later: where two processes map the same pages at a time, both take several times as long.
        self.arena.map_pages();
        payload.hand_over();
        header.write(&payload.places, &payload.body, &mut out);
        self.page().slot(header.slot).free();
        self.send(&out, None)?;
        drop(payload);
        self.tell_gone()
    }

    /// Writes which slabs are not there any more.
    fn write_gone(&mut self, out: &mut Vec<u8>) {
        let mut gone = self.arena.take_forgotten();
        gone.append(&mut self.told.lost());
        out.append(&mut self.told.forget(&gone));
    }

    /// Tells the pool at once of shared slabs that have gone: it would keep them mapped until the next answer.
    fn tell_gone(&mut self) -> Res<()> {
        if !self.told.has_lost() {
            return Ok(());
        }
        let mut out = Vec::new();
        self.write_gone(&mut out);
        self.send(&out, None)
    }
}

/// Runs handlers of signals that came while no task ran. Ctrl-C is for the pool's process to act on: a worker that waits
/// ends when the pool does.
fn idle_signals() -> Res<()> {
    // SAFETY: needs the GIL only.
    if unsafe { PyErr_CheckSignals() } < 0 {
        if !error::is_interrupt() {
            return Err(Raised);
        }
        error::clear();
    }
    Ok(())
}

/// Calls the task. A child that it forked, and that returns from it too, ends here: worker there can be one only.
fn call_here(task: &Obj) -> Res {
    let process = std::process::id();
    let result = call_task(task);
    if std::process::id() != process {
        process::end(0);
    }
    result
}

/// Calls `fn(*args, **kwargs)`; `task` is a tuple of the two or three.
fn call_task(task: &Obj) -> Res {
    // SAFETY: checks that it is a tuple of two or three before it takes the items; PyObject_Call checks the rest.
    unsafe {
        let size = if PyTuple_Check(task.as_ptr()) != 0 { PyTuple_GET_SIZE(task.as_ptr()) } else { 0 };
        if !(2..=3).contains(&size) {
            return error::runtime_error(c"the pool sent what is no task");
        }
        let item = |i| PyTuple_GET_ITEM(task.as_ptr(), i);
        let kwargs = if size == 3 { item(2) } else { NULL };
        Obj::steal(PyObject_Call(item(0), item(1), kwargs))
    }
}

/// Ctrl-C that comes meanwhile is not for a worker that waits, and is no reason to forget half of it.
fn forget_in_python(forget: Ref, slab: u64) -> Res<()> {
    let id = int(slab as i64)?;
    let mut done = call(forget, &[id.borrow()]);
    if done.is_err() && error::is_interrupt() {
        error::clear();
        done = call(forget, &[id.borrow()]);
    }
    done.map(drop)
}
