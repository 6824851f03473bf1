//! The threads of process pools, for which the end of the interpreter waits.

use std::io;
use std::thread::JoinHandle;

use crate::ffi::cells::Locked;
use crate::ffi::{Leaf, Py, gil};

/// The threads that were started and may not have ended yet.
static THREADS: Locked<Leaf<Vec<JoinHandle<()>>>> = Locked::new(Leaf::new(Vec::new()));

/// Starts a thread that `join` waits for.
pub fn start_thread(py: Py, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = std::thread::Builder::new().name("aioxide-pools".into()).spawn(body)?;
    THREADS.get(py).with(|threads| {
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
    });
    Ok(())
}

/// Waits until they are gone, without the GIL.
pub fn join(py: Py) {
    let threads = THREADS.get(py).with(std::mem::take);
    // SAFETY: waits for threads.
    unsafe { gil::without(|| threads.into_iter().for_each(|each| drop(each.join()))) };
}

/// In a child of fork: they are not there.
pub fn forked(py: Py) {
    THREADS.get(py).with(|threads| threads.drain(..).for_each(std::mem::forget));
}
