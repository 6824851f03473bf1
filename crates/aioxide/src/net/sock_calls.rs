//! What `sock_recv`, `sock_recv_into` and `sock_sendall` do at once: one system call, with the GIL kept. `socket.recv` lets go of it,
//! and gets it back after a whole switch interval where another thread computes.
//!
//! The answer is None where the call would block, and NotImplemented for what asyncio's own method is to do: in debug mode, for other
//! classes than `socket.socket`, whose methods may be anything, and for arguments that the socket's own method refuses.

use std::io;
use std::mem::MaybeUninit;

use super::received::{self, LARGE_READ, READ_SIZE};
use crate::engine::loop_object::LoopObject;
use crate::ffi::calls::call_method;
use crate::ffi::class::Native;
use crate::ffi::names::{imported, interned, text};
use crate::ffi::object::{getattr, import_from, int, not_implemented};
use crate::ffi::{Global, Obj, Raised, Ref, Res, buffer, error, none, number};
use aioxide_sys::socket;

/// Who asks for no more gets a copy out of the common buffer. Of who asks for more it is asked how much there is.
const SMALL: usize = 64 * 1024;

/// The socket's own methods, as `_socket` has them.
struct Methods {
    recv: Method,
    recv_into: Method,
    send: Method,
}

struct Method {
    name: Ref<'static>,
    own: Obj,
}

static METHODS: Global<Methods> = Global::new();

fn methods() -> &'static Methods {
    // SAFETY: `load` has set it before there is a loop.
    unsafe { METHODS.get() }
}

/// The descriptor of a socket, unless asyncio's own method is to serve it, or the call is replaced: then its error.
fn plain(this: &LoopObject, sock: Ref, method: &Method) -> Res<Option<i32>> {
    let class = imported().socket_type;
    if this.state.debug.get() || sock.type_of().cast() != class.as_ptr() {
        return Ok(None);
    }
    if getattr(class, method.name)?.as_ptr() != method.own.as_ptr() {
        return Ok(None);
    }
    let fd = number::as_i64(&call_method(interned().fileno, &[sock])?)?;
    // One that is closed has none: the socket's own method says so.
    Ok(i32::try_from(fd).ok().filter(|fd| *fd >= 0))
}

/// `_recv_now(sock, n)`: the bytes.
pub fn recv(this: &LoopObject, sock: Ref, size: Ref) -> Res {
    let Some(fd) = plain(this, sock, &methods().recv)? else { return Ok(not_implemented()) };
    let size = if number::is_int(size) { number::as_i64(size) } else { Ok(0) };
    let size = size.unwrap_or_else(|Raised| {
        error::clear();
        0
    });
    if size <= 0 {
        return Ok(not_implemented());
    }
    let size = size as usize;
    let waiting = if size <= SMALL { 0 } else { socket::waiting(fd).unwrap_or(size) };
    let read = |room: &mut [MaybeUninit<u8>]| socket::recv_now(fd, room);
    let received = if waiting < LARGE_READ {
        received::small(this.py(), size.min(READ_SIZE), read)?
    } else {
        // No more memory than can be filled: of messages all, of a stream what has come by now, or the next read's worth.
        received::large(waiting.max(READ_SIZE).min(size), read)?
    };
    answer(received)
}

/// `_recv_into_now(sock, buf)`: how many bytes.
pub fn recv_into(this: &LoopObject, sock: Ref, target: Ref) -> Res {
    let Some(fd) = plain(this, sock, &methods().recv_into)? else { return Ok(not_implemented()) };
    let read = |room: &mut [MaybeUninit<u8>]| {
        if room.is_empty() { Ok(0) } else { socket::recv_now(fd, room) }
    };
    match buffer::lend_to_fill(target, read) {
        Ok(Ok(count)) => int(count as i64),
        Ok(Err(why)) => answer(Err(why)),
        Err(Raised) => refused(),
    }
}

/// `_send_now(sock, data, start)`: None once all has been sent, else how much of `data` has.
pub fn send(this: &LoopObject, sock: Ref, data: Ref, start: Ref) -> Res {
    let Some(fd) = plain(this, sock, &methods().send)? else { return Ok(not_implemented()) };
    let start = number::as_i64(start)? as usize;
    let sent = buffer::lend(data, |all| {
        let rest = all.get(start..).unwrap_or_default();
        socket::send_now(fd, rest).map(|count| (start + count, count == rest.len()))
    });
    this.engine.io_touched.set(true);
    match sent {
        Ok(Ok((_, true))) => Ok(none()),
        Ok(Ok((sent, false))) => int(sent as i64),
        Ok(Err(why)) if socket::would_block(&why) => int(start as i64),
        Ok(Err(why)) => error::raise_io(&why),
        Err(Raised) => refused(),
    }
}

fn answer(received: io::Result<Obj>) -> Res {
    match received {
        Ok(received) => Ok(received),
        Err(why) if socket::would_block(&why) => Ok(none()),
        Err(why) => error::raise_io(&why),
    }
}

/// What is no buffer, or the wrong one: the socket's own method says so.
#[cold]
fn refused() -> Res {
    if error::is_exit() {
        return Err(Raised);
    }
    error::clear();
    Ok(not_implemented())
}

pub fn load() -> Res<()> {
    let class = import_from(c"_socket", c"socket")?;
    let method = |name| -> Res<Method> {
        let name = text(name)?;
        Ok(Method { name, own: getattr(&class, name)? })
    };
    METHODS.set(Methods { recv: method(c"recv")?, recv_into: method(c"recv_into")?, send: method(c"send")? });
    Ok(())
}
