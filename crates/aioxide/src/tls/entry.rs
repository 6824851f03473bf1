//! What the stream transport below calls when something has come for a TLS connection.

use std::io;
use std::mem::MaybeUninit;

use super::flow;
use super::scratch;
use super::state::Tls;
use crate::ffi::class::Native;
use crate::ffi::{Ref, Res};
use crate::net::protocol::{self, Reader};

/// Reads once, by `fill`, and does what that means; nothing is done for the end of the stream and errors.
fn receive(
    protocol: Ref,
    fill: &mut dyn FnMut(&mut [MaybeUninit<u8>]) -> io::Result<usize>,
) -> Res<io::Result<usize>> {
    let Some(this) = protocol.cast::<Tls>() else { return Ok(Err(io::ErrorKind::WouldBlock.into())) };
    let mut scratch = scratch::take(this.py())?;
    let read = fill(&mut scratch.cipher.spare_capacity_mut()[..scratch::READ_SIZE]);
    match read {
        Ok(count) if count > 0 => {
            // SAFETY: `fill` has filled so many bytes.
            unsafe { scratch.cipher.set_len(count) };
            flow::received(this, scratch)?;
        }
        _ => scratch::give_back(this.py(), scratch),
    }
    Ok(read)
}

fn flush(protocol: Ref) -> Res<()> {
    protocol.cast::<Tls>().map_or(Ok(()), flow::flush)
}

pub fn load() {
    protocol::READER.set(Reader { is_for: Tls::is_in, receive, flush });
}
