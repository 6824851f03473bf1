//! Memory that all TLS connections share. Who uses it takes it out, and puts it back before Python may run, so that no other
//! connection, loop or thread can come across it meanwhile: they would make their own.

use crate::ffi::cells::Locked;
use crate::ffi::{Leaf, Py, Res, error};

/// What one read takes of ciphertext at most: asyncio's `max_size`.
pub const READ_SIZE: usize = 256 * 1024;
/// A record's plaintext at most.
pub const RECORD: usize = 16 * 1024;
/// What one read gives of plaintext: all that was read, and what OpenSSL had of a record before.
pub const PLAIN_SIZE: usize = READ_SIZE + RECORD;

/// Where ciphertext lands, and plaintext.
pub struct Scratch {
    pub cipher: Vec<u8>,
    pub plain: Vec<u8>,
}

static SHARED: Locked<Leaf<Option<Scratch>>> = Locked::new(Leaf::new(None));
static SPARE_OUT: Locked<Leaf<Vec<u8>>> = Locked::new(Leaf::new(Vec::new()));

/// Both empty, with room for what the constants say.
pub fn take(py: Py) -> Res<Scratch> {
    if let Some(scratch) = SHARED.get(py).with(Option::take) {
        return Ok(scratch);
    }
    let (mut cipher, mut plain) = (Vec::new(), Vec::new());
    if cipher.try_reserve_exact(READ_SIZE).is_err() || plain.try_reserve_exact(PLAIN_SIZE).is_err() {
        return error::no_memory();
    }
    Ok(Scratch { cipher, plain })
}

pub fn give_back(py: Py, mut scratch: Scratch) {
    scratch.cipher.clear();
    scratch.plain.clear();
    SHARED.get(py).with(|shared| *shared = Some(scratch));
}

/// An empty list for what is to be sent.
pub fn take_out(py: Py) -> Vec<u8> {
    SPARE_OUT.get(py).with(std::mem::take)
}

pub fn give_out_back(py: Py, mut out: Vec<u8>) {
    if out.capacity() <= 2 * READ_SIZE {
        out.clear();
        SPARE_OUT.get(py).with(|spare| *spare = out);
    }
}
