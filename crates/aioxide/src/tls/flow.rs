//! What is read and written when: the part of asyncio's `SSLProtocol` that runs for each read and each write.
//!
//! The writes of a turn are gathered and encrypted at its end, into full records that leave with one system call. What would be sent
//! at once over TCP is encrypted and sent at once. While the transport below wants nothing, what is written stays as it is.

use std::mem::MaybeUninit;

use super::engine::{self, Got};
use super::scratch::{self, PLAIN_SIZE, RECORD, Scratch};
use super::state::{Phase, Tls};
use crate::ffi::calls::call_method;
use crate::ffi::class::Native;
use crate::ffi::names::{interned, text};
use crate::ffi::object::{bytes, getattr, int, string};
use crate::ffi::{Obj, Raised, Ref, Res, buffer, builtin, error};
use crate::net::life;
use crate::net::send::{self, HIGH_WATER};
use crate::net::state::{Chunk, Stream};

/// Plaintext that is encrypted between two looks at the transport below.
const PORTION: usize = 8 * RECORD;
/// Of more than this, the first record is small: the peer can begin with it before all of a full one has come.
const LARGE_ANSWER: usize = 4 * RECORD;
const FIRST_RECORD: usize = 4096;

// ------------------------------------------------------------------------------------------------------- reading

/// What a read found.
struct Found {
    end: bool,
    /// There may be more: the room is full.
    full: bool,
    failed: Option<Obj>,
}

/// Ciphertext has come, in `scratch`.
pub fn received(this: &Tls, mut scratch: Scratch) -> Res<()> {
    let phase = this.phase.get();
    if phase == Phase::Wrapped
        && engine::is_direct(this)
        && !this.app_reading_paused.get()
        && !this.buffered.get()
        && let Some(wire) = this.wire()
    {
        let Scratch { cipher, plain } = &mut scratch;
        let (found, kept) = wire.lend(cipher, || decrypt(this, plain, PLAIN_SIZE));
        let delivered = deliver(this, scratch, found);
        let told = if kept { delivered } else { delivered.and_then(|()| error::no_memory()) };
        return or_fatal(this, told.and_then(|()| control_reading(this)));
    }
    let kept = engine::keep(this, &scratch.cipher);
    scratch::give_back(this.py(), scratch);
    kept?;
    go_on(this, phase)
}

/// What ciphertext that has come means where it is not for the user.
pub fn go_on(this: &Tls, phase: Phase) -> Res<()> {
    let step = match phase {
        Phase::Unwrapped => return Ok(()),
        Phase::Wrapped => return read(this),
        Phase::Handshake => c"_do_handshake",
        Phase::Flushing => c"_do_flush",
        Phase::Shutdown => c"_do_shutdown",
    };
    call_method(text(step)?, &[this.object()]).map(drop)
}

/// Decrypts what there is, `limit` bytes at most, behind what is in `plain`.
fn decrypt(this: &Tls, plain: &mut Vec<u8>, limit: usize) -> Found {
    let mut found = Found { end: false, full: false, failed: None };
    loop {
        let room = limit.min(plain.capacity()) - plain.len();
        if room == 0 {
            found.full = true;
            return found;
        }
        match engine::read(this, &mut plain.spare_capacity_mut()[..room]) {
            // SAFETY: so many bytes were filled, behind the others.
            Ok(Got::Bytes(count)) => unsafe { plain.set_len(plain.len() + count) },
            Ok(Got::Again) => return found,
            Ok(Got::End) => {
                found.end = true;
                return found;
            }
            Err(Raised) => {
                found.failed = error::take();
                return found;
            }
        }
    }
}

/// Hands the user what was found, in one piece; then sends what that has made OpenSSL or the user write.
fn deliver(this: &Tls, scratch: Scratch, found: Found) -> Res<()> {
    let data = if scratch.plain.is_empty() { None } else { Some(bytes(&scratch.plain)) };
    scratch::give_back(this.py(), scratch);
    if let Some(data) = data {
        call_app(this, interned().data_received, data?.borrow())?;
    }
    after_read(this, found)
}

fn call_app(this: &Tls, name: Ref, argument: Ref) -> Res<()> {
    // Held: the callback may change it.
    let Some(app) = this.app.share() else { return Ok(()) };
    call_method(name, &[app.borrow(), argument]).map(drop)
}

fn after_read(this: &Tls, found: Found) -> Res<()> {
    if let Some(exception) = found.failed {
        error::raise_value(exception);
        return Err(Raised);
    }
    if found.end {
        call_method(text(c"_peer_has_ended")?, &[this.object()])?;
    } else if found.full {
        let again = getattr(this.object(), text(c"_do_read")?)?;
        call_method(interned().call_soon, &[this.owner.or_none().borrow(), again.borrow()])?;
    }
    if this.backlog_size() > 0 { send_backlog(this, true) } else { send_written(this) }
}

/// asyncio's `_do_read`: hands the user what can be decrypted.
pub fn read(this: &Tls) -> Res<()> {
    if !matches!(this.phase.get(), Phase::Wrapped | Phase::Flushing) {
        return Ok(());
    }
    let done = match this.app_reading_paused.get() {
        true => Ok(()),
        false if this.buffered.get() => read_into_buffer(this),
        false => read_copied(this),
    };
    or_fatal(this, done.and_then(|()| control_reading(this)))
}

fn read_copied(this: &Tls) -> Res<()> {
    let mut scratch = scratch::take(this.py())?;
    let found = decrypt(this, &mut scratch.plain, PLAIN_SIZE);
    deliver(this, scratch, found)
}

fn read_into_buffer(this: &Tls) -> Res<()> {
    let hint = int(engine::received(this)? as i64)?;
    let Some(app) = this.app.share() else { return Ok(()) };
    let given = call_method(interned().get_buffer, &[app.borrow(), hint.borrow()])?;
    let size = buffer::lend_to_fill(&given, |room| room.len())?;
    if size == 0 {
        return error::runtime_error(c"get_buffer() returned an empty buffer");
    }
    let mut scratch = scratch::take(this.py())?;
    let found = decrypt(this, &mut scratch.plain, size);
    let count = scratch.plain.len();
    let filled = buffer::lend_to_fill(&given, |room| fill(room, &scratch.plain));
    scratch::give_back(this.py(), scratch);
    if !filled? {
        return error::value_error(c"the buffer of get_buffer() has become smaller");
    }
    if count > 0 {
        call_app(this, interned().buffer_updated, int(count as i64)?.borrow())?;
    }
    after_read(this, found)
}

fn fill(room: &mut [MaybeUninit<u8>], data: &[u8]) -> bool {
    let fits = data.len() <= room.len();
    if fits {
        // SAFETY: as many bytes, of two places.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), room.as_mut_ptr().cast(), data.len()) };
    }
    fits
}

/// Reads and throws away what the peer has still sent after our end. True once its own end has come.
pub fn discard(this: &Tls) -> Res<bool> {
    let mut scratch = scratch::take(this.py())?;
    let found = loop {
        scratch.plain.clear();
        let found = decrypt(this, &mut scratch.plain, PLAIN_SIZE);
        if !found.full {
            break found;
        }
    };
    scratch::give_back(this.py(), scratch);
    if let Some(exception) = found.failed {
        error::raise_value(exception);
        return Err(Raised);
    }
    Ok(found.end)
}

/// asyncio's `_control_ssl_reading`: how much may wait for a user who has paused.
pub fn control_reading(this: &Tls) -> Res<()> {
    let size = engine::received(this)?;
    let paused = &this.below_reading_paused;
    let name = if size >= this.incoming_high.bytes() && !paused.get() {
        c"pause_reading"
    } else if size <= this.incoming_low.bytes() && paused.get() {
        c"resume_reading"
    } else {
        return Ok(());
    };
    let Some(below) = this.below.share() else { return Ok(()) };
    paused.set(!paused.get());
    call_method(text(name)?, &[below.borrow()]).map(drop)
}

/// An exception ends the connection, as asyncio's `_do_read` and `_write_appdata` have it; what is no `Exception` goes on.
fn or_fatal(this: &Tls, done: Res<()>) -> Res<()> {
    let Err(Raised) = done else { return Ok(()) };
    if !error::matches(builtin::exception()) {
        return Err(Raised);
    }
    let Some(exception) = error::take() else { return Ok(()) };
    fatal(this, &exception)
}

/// The end of the connection, by an exception.
pub fn fatal(this: &Tls, exception: &Obj) -> Res<()> {
    let message = string("Fatal error on SSL protocol")?;
    let args = [this.object(), exception.borrow(), message.borrow()];
    call_method(text(c"_fatal_error")?, &args).map(drop)
}

// ------------------------------------------------------------------------------------------------------- writing

/// Something was written and is in the backlog.
pub fn appended(this: &Tls) -> Res<()> {
    let done = match this.phase.get() {
        Phase::Wrapped if this.below_writing_paused.get() => control_writing(this),
        Phase::Wrapped if may_wait(this) => Ok(()),
        Phase::Wrapped => send_backlog(this, true),
        _ => Ok(()),
    };
    or_fatal(this, done)
}

/// Has it encrypted and sent at the end of the turn, if that is soon enough and there is one.
fn may_wait(this: &Tls) -> bool {
    let Some(stream) = this.below_stream() else { return false };
    let limit = this.outgoing_high.bytes().min(HIGH_WATER);
    if stream.writing.at_once.get() || this.backlog_size() > limit {
        return false;
    }
    if this.flush_due.get() {
        return true;
    }
    let owner = stream.loop_object();
    let may =
        owner.is_some_and(|owner| owner.in_turn() && owner.engine.flush_later(this, flush_at_end_of_turn));
    this.flush_due.set(may);
    may
}

fn flush_at_end_of_turn(this: &Tls) -> Res<()> {
    this.flush_due.set(false);
    let below = this.below.share();
    let Some(stream) = below.as_ref().and_then(|below| below.borrow().cast::<Stream>()) else {
        return flush(this);
    };
    let done = stream.in_context(|| flush(this));
    if done.is_ok() || error::is_exit() {
        return done;
    }
    if stream.loop_object().is_some_and(|owner| owner.state.closed.get()) {
        // The kernel has taken what it could; nobody waits for the rest.
        error::clear();
    } else {
        error::unraisable(this.object());
    }
    Ok(())
}

/// Sends what waits for the end of the turn.
pub fn flush(this: &Tls) -> Res<()> {
    if this.phase.get() != Phase::Wrapped || this.backlog_size() == 0 || this.below_writing_paused.get() {
        return Ok(());
    }
    // A failure ends the connection, which flushes, too.
    if this.flushing.replace(true) {
        return Ok(());
    }
    let sent = or_fatal(this, send_backlog(this, true));
    this.flushing.set(false);
    sent
}

/// asyncio's `_do_write`: encrypts and sends the backlog, until the transport below wants no more.
pub fn send_backlog(this: &Tls, fresh: bool) -> Res<()> {
    let mut first = fresh && this.backlog_size() > LARGE_ANSWER;
    while this.backlog_size() > 0
        && matches!(this.phase.get(), Phase::Wrapped | Phase::Flushing)
        && (!this.below_writing_paused.get() || this.phase.get() == Phase::Flushing)
    {
        let left = encrypt(this, first)?;
        first = false;
        send_out(this)?;
        if this.below_stream().is_some_and(|stream| stream.lost.get() > 0) {
            // Nobody will get the rest.
            this.drop_backlog();
        }
        if !left {
            break;
        }
    }
    send_written(this)
}

/// asyncio's `_process_outgoing`: sends what OpenSSL has written.
pub fn send_written(this: &Tls) -> Res<()> {
    send_out(this)?;
    control_writing(this)
}

/// Encrypts a portion of the backlog; false if OpenSSL wants to read first.
fn encrypt(this: &Tls, mut first: bool) -> Res<bool> {
    if let Some(wire) = this.wire()
        && wire.written() == 0
    {
        drop(wire.take(scratch::take_out(this.py())));
    }
    let mut done = 0;
    while done < PORTION && this.backlog_size() > 0 {
        let limit = if first { FIRST_RECORD } else { PORTION };
        first = false;
        let Some(count) = encrypt_some(this, limit)? else { return Ok(false) };
        this.with_backlog(|backlog| backlog.advance(count.min(backlog.len()), drop));
        done += count;
    }
    Ok(true)
}

/// A piece of the backlog: of one chunk, or copied from several into a record.
fn encrypt_some(this: &Tls, limit: usize) -> Res<Option<usize>> {
    let mut record = [MaybeUninit::<u8>::uninit(); RECORD];
    let (mut size, mut start) = (0, std::ptr::null());
    let alone = this.with_backlog(|backlog| {
        let alone = backlog.chunk_count() == 1;
        let mut slices = backlog.slices();
        if let Some(only) = slices.next() {
            if alone || only.len() >= RECORD {
                // Whole records, unless nothing follows.
                let whole = if alone { only.len() } else { only.len() / RECORD * RECORD };
                (size, start) = (whole.min(limit), only.as_ptr());
                return backlog.first().map(|chunk| chunk.0.clone());
            }
            for slice in std::iter::once(only).chain(slices) {
                let count = slice.len().min(RECORD.min(limit) - size);
                fill(&mut record[size..], &slice[..count]);
                size += count;
            }
        }
        start = record.as_ptr().cast();
        None
    });
    // SAFETY: so many bytes of the record were filled; or they are those of a chunk, which `alone` holds.
    let done = engine::write(this, unsafe { std::slice::from_raw_parts(start, size) });
    drop(alone);
    done
}

/// Hands what OpenSSL has written to the transport below, unless that wants no more.
fn send_out(this: &Tls) -> Res<()> {
    if this.below_writing_paused.get() && this.phase.get() != Phase::Flushing {
        return Ok(());
    }
    // Held: callbacks may end the connection.
    let Some(below) = this.below.share() else { return Ok(()) };
    match this.wire() {
        Some(wire) if wire.written() > 0 => {
            let out = wire.take(Vec::new());
            let sent = send_slice(below.borrow(), &out);
            scratch::give_out_back(this.py(), out);
            sent
        }
        Some(_) => Ok(()),
        None => {
            let out = Chunk(engine::take(this)?);
            if out.as_ref().is_empty() { Ok(()) } else { send_slice(below.borrow(), out.as_ref()) }
        }
    }
}

fn send_slice(below: Ref, data: &[u8]) -> Res<()> {
    if let Some(stream) = below.cast() {
        return life::act(stream, send::write_now(stream, data)?);
    }
    let data = bytes(data)?;
    call_method(text(c"write")?, &[below, data.borrow()]).map(drop)
}

// -------------------------------------------------------------------------------------------------- flow control

/// Bytes that the peer's side of the kernel has not got, as plaintext, as ciphertext, or in the transport below.
pub fn write_buffer_size(this: &Tls) -> Res<usize> {
    let own = this.backlog_size() + engine::written(this)?;
    if let Some(stream) = this.below_stream() {
        return Ok(own + stream.queued());
    }
    // TLS over TLS: what is below counts, where its limits follow ours.
    let Some(below) = this.below.share() else { return Ok(own) };
    let size = call_method(text(c"_size_below")?, &[this.object(), below.borrow()])?;
    Ok(own + crate::ffi::number::as_i64(&size)?.max(0) as usize)
}

/// asyncio's `_control_app_writing`: tells the user to stop writing, or to go on.
pub fn control_writing(this: &Tls) -> Res<()> {
    let size = write_buffer_size(this)?;
    let paused = &this.app_writing_paused;
    let (name, message) = if size > this.outgoing_high.bytes() && !paused.get() {
        (interned().pause_writing, "protocol.pause_writing() failed")
    } else if size <= this.outgoing_low.bytes() && paused.get() {
        (interned().resume_writing, "protocol.resume_writing() failed")
    } else {
        return Ok(());
    };
    paused.set(!paused.get());
    let Some(app) = this.app.share() else { return Ok(()) };
    if call_method(name, &[app.borrow()]).is_ok() {
        return Ok(());
    }
    if error::is_exit() {
        return Err(Raised);
    }
    let Some(exception) = error::take() else { return Ok(()) };
    let message = string(message)?;
    call_method(text(c"_flow_failed")?, &[this.object(), exception.borrow(), message.borrow()]).map(drop)
}

/// The transport below takes more.
pub fn resume(this: &Tls) -> Res<()> {
    this.below_writing_paused.set(false);
    if this.phase.get() == Phase::Wrapped && this.backlog_size() > 0 {
        return or_fatal(this, send_backlog(this, false));
    }
    send_written(this)
}
