//! Reads and writes one SSL object: by OpenSSL's own functions, or by the methods of the `ssl.SSLObject`.

use std::mem::MaybeUninit;

use super::attach;
use super::library::{self, Functions, Pointer, WANT_NOTHING_END, WANT_NOTHING_ERROR};
use super::scratch::RECORD;
use super::state::Tls;
use crate::ffi::calls::call_method;
use crate::ffi::names::text;
use crate::ffi::object::{bytes, getattr, int};
use crate::ffi::{Obj, Raised, Ref, Res, buffer, error, number};

/// What a read gives.
pub enum Got {
    /// The front of the room is filled with so many bytes.
    Bytes(usize),
    /// Nothing before more is received, or sent.
    Again,
    /// The peer has closed its side.
    End,
}

/// OpenSSL is at work on a connection.
struct AtWork<'a>(&'a Tls);

impl AtWork<'_> {
    fn begin(this: &Tls) -> Option<AtWork<'_>> {
        (!this.busy.replace(true)).then_some(AtWork(this))
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.busy.set(false);
    }
}

#[inline(always)]
fn direct(this: &Tls) -> Option<(&'static Functions, Pointer)> {
    let ssl = this.ssl.get();
    if ssl.is_null() { None } else { library::functions().map(|functions| (functions, ssl)) }
}

/// Whether what was received can be lent to it.
#[inline(always)]
pub fn is_direct(this: &Tls) -> bool {
    !this.ssl.get().is_null()
}

/// Decrypts one record's worth at most.
#[inline]
pub fn read(this: &Tls, room: &mut [MaybeUninit<u8>]) -> Res<Got> {
    // A callback of the user's, from within OpenSSL: later.
    let Some(_at_work) = AtWork::begin(this) else { return Ok(Got::Again) };
    let Some((functions, ssl)) = direct(this) else { return read_by_method(this, room) };
    let mut count = 0;
    // SAFETY: `raw` keeps the SSL object, and only this thread, which has the GIL, uses it; there is room for so many bytes.
    let status = unsafe {
        (functions.ERR_clear_error)();
        (functions.SSL_read_ex)(ssl, room.as_mut_ptr().cast(), room.len(), &mut count)
    };
    if status == 1 { Ok(Got::Bytes(count)) } else { why(functions, ssl, status) }
}

/// Encrypts; says how much of it, nothing if that has to wait for the peer.
#[inline]
pub fn write(this: &Tls, data: &[u8]) -> Res<Option<usize>> {
    let Some(_at_work) = AtWork::begin(this) else { return Ok(None) };
    let Some((functions, ssl)) = direct(this) else { return write_by_method(this, data) };
    let mut count = 0;
    // SAFETY: as in `read`.
    let status = unsafe {
        (functions.ERR_clear_error)();
        (functions.SSL_write_ex)(ssl, data.as_ptr().cast(), data.len(), &mut count)
    };
    if status == 1 {
        return Ok(Some(count));
    }
    why(functions, ssl, status).map(|_| None)
}

/// What OpenSSL wants, or the exception that says what is wrong.
#[cold]
fn why(functions: &'static Functions, ssl: Pointer, status: i32) -> Res<Got> {
    // SAFETY: asked right after the call, in the same thread.
    match unsafe { (functions.SSL_get_error)(ssl, status) } {
        WANT_NOTHING_END => Ok(Got::End),
        WANT_NOTHING_ERROR => {
            let failure = functions.last_failure();
            // SAFETY: empties this thread's queue.
            unsafe { (functions.ERR_clear_error)() };
            if let Some(failure) = failure {
                attach::raise(functions, failure)?;
            }
            error::raise(&attach::ssl().error, c"OpenSSL has failed without a reason")
        }
        _ => Ok(Got::Again),
    }
}

fn read_by_method(this: &Tls, room: &mut [MaybeUninit<u8>]) -> Res<Got> {
    let size = int(room.len().min(RECORD) as i64)?;
    let data = match call_method(text(c"read")?, &[this.ssl_object.or_none().borrow(), size.borrow()]) {
        Ok(data) => data,
        Err(Raised) if error::matches(&attach::ssl().again) => {
            error::clear();
            return Ok(Got::Again);
        }
        Err(Raised) if error::matches(&attach::ssl().zero_return) => {
            error::clear();
            return Ok(Got::End);
        }
        Err(Raised) => return Err(Raised),
    };
    let count = buffer::lend(&data, |data| {
        let count = data.len().min(room.len());
        // SAFETY: so many bytes, of two places.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), room.as_mut_ptr().cast(), count) };
        count
    })?;
    Ok(if count == 0 { Got::End } else { Got::Bytes(count) })
}

fn write_by_method(this: &Tls, data: &[u8]) -> Res<Option<usize>> {
    let data = bytes(data)?;
    match call_method(text(c"write")?, &[this.ssl_object.or_none().borrow(), data.borrow()]) {
        Ok(count) => Ok(Some(number::as_i64(&count)?.max(0) as usize)),
        Err(Raised) if error::matches(&attach::ssl().again) => {
            error::clear();
            Ok(None)
        }
        Err(Raised) => Err(Raised),
    }
}

/// Keeps ciphertext for the next read.
pub fn keep(this: &Tls, data: &[u8]) -> Res<()> {
    match this.wire() {
        Some(wire) if wire.keep(data) => Ok(()),
        Some(_) => error::no_memory(),
        None => keep_object(this, bytes(data)?.borrow()),
    }
}

/// The same for an object that has a buffer.
pub fn keep_object(this: &Tls, data: Ref) -> Res<()> {
    if let Some(wire) = this.wire() {
        return if buffer::lend(data, |data| wire.keep(data))? { Ok(()) } else { error::no_memory() };
    }
    let incoming = this.incoming.or_none();
    call_method(text(c"write")?, &[incoming.borrow(), data]).map(drop)
}

/// Ciphertext that was received, and OpenSSL has not read.
pub fn received(this: &Tls) -> Res<usize> {
    this.wire().map_or_else(|| pending(&this.incoming.or_none()), |wire| Ok(wire.received()))
}

/// Ciphertext that the transport below has not taken.
pub fn written(this: &Tls) -> Res<usize> {
    this.wire().map_or_else(|| pending(&this.outgoing.or_none()), |wire| Ok(wire.written()))
}

fn pending(bio: &Obj) -> Res<usize> {
    if bio.borrow().is_none() {
        return Ok(0);
    }
    Ok(number::as_i64(&getattr(bio, text(c"pending")?)?)?.max(0) as usize)
}

/// What OpenSSL has written, as `bytes`.
pub fn take(this: &Tls) -> Res {
    if let Some(wire) = this.wire() {
        return bytes(&wire.take(Vec::new()));
    }
    let outgoing = this.outgoing.or_none();
    if outgoing.borrow().is_none() { bytes(b"") } else { call_method(text(c"read")?, &[outgoing.borrow()]) }
}
