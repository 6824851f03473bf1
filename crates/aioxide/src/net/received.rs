//! What one read makes `bytes` of: a small one is copied out of a buffer that all share, a large one lands in the object itself.

use std::io;
use std::mem::MaybeUninit;

use pyo3_ffi::*;

use crate::ffi::cells::Locked;
use crate::ffi::object::bytes;
use crate::ffi::{Leaf, Obj, Py, Raised, Raw, Res, error};

/// What one read takes at most, and with it what one connection may read in a turn: asyncio's `max_size`.
pub const READ_SIZE: usize = 256 * 1024;
/// From so many bytes on, a read had better go straight into a `bytes` object: copying costs more than shrinking it.
pub const LARGE_READ: usize = 32 * 1024;

/// Where small reads land first: one buffer for all, as reading keeps the GIL.
static SCRATCH: Locked<Leaf<Vec<u8>>> = Locked::new(Leaf::new(Vec::new()));

/// Reads into the common buffer, `READ_SIZE` bytes at most, and copies: nearly all messages are small. `read` fills what it is
/// given, and says how much of it.
#[inline(always)]
pub fn small(
    py: Py,
    size: usize,
    read: impl FnOnce(&mut [MaybeUninit<u8>]) -> io::Result<usize>,
) -> Res<io::Result<Obj>> {
    SCRATCH.get(py).with(|scratch| {
        if scratch.capacity() == 0 && scratch.try_reserve_exact(READ_SIZE).is_err() {
            return error::no_memory();
        }
        let room = &mut scratch.spare_capacity_mut()[..size];
        match read(room) {
            // SAFETY: `read` has filled so many bytes.
            Ok(count) => bytes(unsafe { std::slice::from_raw_parts(room.as_ptr().cast(), count) }).map(Ok),
            Err(why) => Ok(Err(why)),
        }
    })
}

/// Reads into a `bytes` object of this size, then gives back what was not needed.
pub fn large(
    size: usize,
    read: impl FnOnce(&mut [MaybeUninit<u8>]) -> io::Result<usize>,
) -> Res<io::Result<Obj>> {
    // SAFETY: the object is new, so nobody else sees it change; `_PyBytes_Resize` takes its only reference over, and on failure
    // there is no object any more.
    unsafe {
        let target = Obj::steal(PyBytes_FromStringAndSize(std::ptr::null(), size as Py_ssize_t))?;
        let data = PyBytes_AsString(target.as_ptr()).cast::<MaybeUninit<u8>>();
        match read(std::slice::from_raw_parts_mut(data, size)) {
            Ok(count) => {
                let mut raw = target.into_raw();
                let status = _PyBytes_Resize(&mut raw, count as Py_ssize_t);
                if status < 0 { Err(Raised) } else { Ok(Ok(Obj::own(raw))) }
            }
            Err(why) => Ok(Err(why)),
        }
    }
}

unsafe extern "C" {
    fn _PyBytes_Resize(object: *mut Raw, size: Py_ssize_t) -> std::ffi::c_int;
}
