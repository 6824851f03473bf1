//! The two BIOs of a connection: OpenSSL reads ciphertext from one, which the loop has received, and writes to the other what the
//! loop is to send.
//!
//! What was just received is lent, not copied: OpenSSL takes it from the loop's own buffer, and only what it leaves is kept. OpenSSL may
//! call from any thread that uses the SSL object, without the GIL: so a lock guards the bytes, and nothing here touches Python.

use std::ffi::{c_char, c_int, c_long};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::library::{self, Failure, Functions, Pointer};

const RETRY_READ: c_int = 0x01 | 0x08;
const RETRY: c_int = 0x0f;
const CONTROL_PENDING: c_int = 10;
const CONTROL_FLUSH: c_int = 11;
const CONTROL_WRITE_PENDING: c_int = 13;

/// What is on its way between OpenSSL and the connection.
#[derive(Default)]
pub struct Wire(Mutex<Bytes>);

#[derive(Default)]
struct Bytes {
    /// Received, and not read by OpenSSL: this first, from `taken` on, then what is lent.
    kept: Vec<u8>,
    taken: usize,
    lent: Lent,
    /// To be sent.
    out: Vec<u8>,
    /// The next read fails with this.
    failure: Option<Failure>,
}

/// Memory of somebody else's, for the time that `Wire::lend` runs.
struct Lent(*const u8, usize);

impl Default for Lent {
    fn default() -> Lent {
        Lent(std::ptr::null(), 0)
    }
}

// SAFETY: whoever lends the memory waits, and nobody changes it, until the loan ends; `Wire`'s lock guards the place in it.
unsafe impl Send for Lent {}

impl Bytes {
    /// Fills `room` with what was received.
    fn read(&mut self, room: &mut [u8]) -> usize {
        let kept = self.kept.len() - self.taken;
        if kept > 0 {
            let count = kept.min(room.len());
            room[..count].copy_from_slice(&self.kept[self.taken..self.taken + count]);
            self.taken += count;
            if self.taken == self.kept.len() {
                self.taken = 0;
                self.kept = Vec::new();
            }
            return count;
        }
        let count = self.lent.1.min(room.len());
        if count > 0 {
            // SAFETY: so many bytes are lent, which are not `room`: that is OpenSSL's.
            unsafe { std::ptr::copy_nonoverlapping(self.lent.0, room.as_mut_ptr(), count) };
            // SAFETY: the end of what is lent at most.
            self.lent = Lent(unsafe { self.lent.0.add(count) }, self.lent.1 - count);
        }
        count
    }

    /// Keeps more for OpenSSL to read; false where there is no memory for it.
    fn keep(&mut self, data: &[u8]) -> bool {
        if self.taken > 0 {
            self.kept.drain(..self.taken);
            self.taken = 0;
        }
        let room = self.kept.try_reserve(data.len()).is_ok();
        if room {
            self.kept.extend_from_slice(data);
        }
        room
    }
}

impl Wire {
    fn bytes(&self) -> MutexGuard<'_, Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets OpenSSL read `data` while `body` runs, then keeps what it has left; without memory for that, false is added.
    pub fn lend<T>(&self, data: &[u8], body: impl FnOnce() -> T) -> (T, bool) {
        struct Ends<'a>(&'a Wire);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                self.0.bytes().lent = Lent::default();
            }
        }
        self.bytes().lent = Lent(data.as_ptr(), data.len());
        let ends = Ends(self);
        let done = body();
        let kept = {
            let mut bytes = self.bytes();
            let left = bytes.lent.1.min(data.len());
            bytes.lent = Lent::default();
            bytes.keep(&data[data.len() - left..])
        };
        drop(ends);
        (done, kept)
    }

    pub fn keep(&self, data: &[u8]) -> bool {
        self.bytes().keep(data)
    }

    /// Received, and not read by OpenSSL.
    pub fn received(&self) -> usize {
        let bytes = self.bytes();
        bytes.kept.len() - bytes.taken + bytes.lent.1
    }

    /// To be sent.
    pub fn written(&self) -> usize {
        self.bytes().out.len()
    }

    /// Takes what is to be sent; `instead` is filled with what comes next.
    pub fn take(&self, instead: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.bytes().out, instead)
    }

    /// Has the next read fail.
    pub fn fail_next(&self, failure: Failure) {
        self.bytes().failure = Some(failure);
    }
}

/// A BIO that the caller owns.
pub struct Bio(&'static Functions, Pointer);

impl Bio {
    /// None where OpenSSL has no memory, or does not take our kind of BIO.
    pub fn new(functions: &'static Functions, wire: &Arc<Wire>) -> Option<Bio> {
        let method = method(functions)?;
        // SAFETY: a method with all that a BIO needs; the wire has one reference for it, which `destroy` gives back.
        unsafe {
            let bio = (functions.BIO_new)(method);
            if bio.is_null() {
                return None;
            }
            (functions.BIO_set_data)(bio, Arc::into_raw(wire.clone()).cast_mut().cast());
            (functions.BIO_set_init)(bio, 1);
            Some(Bio(functions, bio))
        }
    }

    pub fn pointer(&self) -> Pointer {
        self.1
    }
}

impl Drop for Bio {
    fn drop(&mut self) {
        // SAFETY: this value's own reference.
        unsafe { (self.0.BIO_free)(self.1) };
    }
}

/// Our kind of BIO, made once.
fn method(functions: &Functions) -> Option<Pointer> {
    static METHOD: OnceLock<usize> = OnceLock::new();
    let made = *METHOD.get_or_init(|| {
        // SAFETY: a new method, filled with functions of the right signatures, that lives for ever.
        unsafe {
            // A source and sink of bytes: BIO_TYPE_SOURCE_SINK.
            let kind = (functions.BIO_get_new_index)() | 0x0400;
            let method = (functions.BIO_meth_new)(kind, c"aioxide".as_ptr());
            if method.is_null() {
                return 0;
            }
            (functions.BIO_meth_set_read)(method, read);
            (functions.BIO_meth_set_write)(method, write);
            (functions.BIO_meth_set_ctrl)(method, control);
            (functions.BIO_meth_set_destroy)(method, destroy);
            method as usize
        }
    });
    (made != 0).then_some(made as Pointer)
}

/// # Safety
/// `bio` is one of ours, which lives for `'a`.
unsafe fn wire_of<'a>(functions: &Functions, bio: Pointer) -> Option<&'a Wire> {
    // SAFETY: what `Bio::new` has put there, or null before.
    unsafe { (functions.BIO_get_data)(bio).cast::<Wire>().as_ref() }
}

/// What both directions begin with: whose BIO it is, or the answer where there is nothing to do.
///
/// # Safety
/// `bio` is one of ours, which lives for `'a`.
unsafe fn called<'a>(bio: Pointer, size: c_int) -> Result<(&'static Functions, &'a Wire), c_int> {
    // SAFETY: the caller's word.
    unsafe {
        let functions = library::functions().ok_or(-1)?;
        let wire = wire_of(functions, bio).ok_or(-1)?;
        (functions.BIO_clear_flags)(bio, RETRY);
        if size <= 0 { Err(0) } else { Ok((functions, wire)) }
    }
}

/// # Safety
/// OpenSSL calls it for a BIO of ours, with room for so many bytes.
unsafe extern "C" fn read(bio: Pointer, room: *mut c_char, size: c_int) -> c_int {
    // SAFETY: the caller's word.
    unsafe {
        let (functions, wire) = match called(bio, if room.is_null() { 0 } else { size }) {
            Ok(called) => called,
            Err(answer) => return answer,
        };
        let mut bytes = wire.bytes();
        let count = bytes.read(std::slice::from_raw_parts_mut(room.cast(), size as usize));
        if count > 0 {
            return count as c_int;
        }
        match bytes.failure.take() {
            Some(failure) => functions.fail_with(failure),
            None => (functions.BIO_set_flags)(bio, RETRY_READ),
        }
        -1
    }
}

/// # Safety
/// OpenSSL calls it for a BIO of ours, with so many bytes.
unsafe extern "C" fn write(bio: Pointer, data: *const c_char, size: c_int) -> c_int {
    // SAFETY: the caller's word.
    unsafe {
        let wire = match called(bio, if data.is_null() { 0 } else { size }) {
            Ok((_, wire)) => wire,
            Err(answer) => return answer,
        };
        let mut bytes = wire.bytes();
        if bytes.out.try_reserve(size as usize).is_err() {
            return -1;
        }
        bytes.out.extend_from_slice(std::slice::from_raw_parts(data.cast(), size as usize));
        size
    }
}

/// # Safety
/// OpenSSL calls it for a BIO of ours.
unsafe extern "C" fn control(bio: Pointer, command: c_int, _: c_long, _: Pointer) -> c_long {
    // SAFETY: the caller's word.
    let wire = unsafe { library::functions().and_then(|functions| wire_of(functions, bio)) };
    match (command, wire) {
        (CONTROL_FLUSH, _) => 1,
        (CONTROL_PENDING, Some(wire)) => wire.received() as c_long,
        (CONTROL_WRITE_PENDING, Some(wire)) => wire.written() as c_long,
        _ => 0,
    }
}

/// # Safety
/// OpenSSL calls it for a BIO of ours at its end.
unsafe extern "C" fn destroy(bio: Pointer) -> c_int {
    // SAFETY: the reference that `Bio::new` has given, taken back once.
    unsafe {
        let Some(functions) = library::functions() else { return 0 };
        let data = (functions.BIO_get_data)(bio).cast::<Wire>();
        if !data.is_null() {
            (functions.BIO_set_data)(bio, std::ptr::null_mut());
            drop(Arc::from_raw(data.cast_const()));
        }
    }
    1
}
