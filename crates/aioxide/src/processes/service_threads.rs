//! The threads of process pools, for which the end of the interpreter waits.

use std::io;
use std::thread::JoinHandle;

use pyo3_ffi::*;

use crate::ffi::Leaf;

/// The threads that were started and may not have ended yet.
struct Threads(Leaf<Vec<JoinHandle<()>>>);

// SAFETY: used under the GIL.
unsafe impl Sync for Threads {}

static THREADS: Threads = Threads(Leaf::new(Vec::new()));

fn with_threads<T>(body: impl FnOnce(&mut Vec<JoinHandle<()>>) -> T) -> T {
    THREADS.0.with(body)
}

/// Starts a thread that `join` waits for.
pub fn start_thread(body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = std::thread::Builder::new().name("aioxide-pools".into()).spawn(body)?;
    with_threads(|threads| {
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
    });
    Ok(())
}

/// Waits until they are gone, without the GIL.
pub fn join() {
    let threads = with_threads(std::mem::take);
    // SAFETY: nothing between the two calls touches a Python object.
    unsafe {
        let thread = PyEval_SaveThread();
        for each in threads {
            let _ = each.join();
        }
        PyEval_RestoreThread(thread);
    }
}

/// In a child of fork: they are not there.
pub fn forked() {
    with_threads(|threads| threads.drain(..).for_each(std::mem::forget));
}
