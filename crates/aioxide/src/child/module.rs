//! The module `_aioxide_worker._native`, in the same library as `aioxide._aioxide`: what `_aioxide_worker` calls.

use std::cell::Cell;
use std::ffi::c_void;
use std::os::fd::{FromRawFd, OwnedFd};

use aioxide_core::page::Page;
use aioxide_sys::memfd::Mapping;
use aioxide_sys::process;
use pyo3_ffi::*;

use super::worker::Worker;
use crate::ffi::cells::Locked;
use crate::ffi::class::{function_fast, function_noargs};
use crate::ffi::error::raise_io;
use crate::ffi::number::as_i64;
use crate::ffi::{Args, Leaf, Py, Raised, Raw, Ref, Res, builtin, error, module};
use crate::wire::{buffer, page, pickle, slab};

/// The box is taken out while tasks are served.
static CURRENT: Locked<Leaf<Option<Box<Worker>>>> = Locked::new(Leaf::new(None));

/// The control page of this process, for the signal handler; it is never unmapped.
static PAGE: Locked<Cell<Option<&'static Page>>> = Locked::new(Cell::new(None));

/// `connect(sock, page, lifeline, failure, max_rss, spin)`: takes the three descriptors over. False if the pool is gone already.
fn connect(module: Ref, args: Args) -> Res<bool> {
    let [sock, page, lifeline, failure, max_rss, spin] =
        args.first(["sock", "page", "lifeline", "failure", "max_rss", "spin"], "connect")?;
    let [sock, page, lifeline] = [as_i64(sock)?, as_i64(page)?, as_i64(lifeline)?];
    let (max_rss, spin) = (as_i64(max_rss)?, as_i64(spin)?);
    // SAFETY: `_aioxide_worker` hands over the descriptors that the process was started with.
    let [sock, page] = [sock, page].map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) });
    let map = Mapping::new(&page, page::SIZE).or_else(|why| raise_io(&why))?;
    // The descriptor must stay open for its signal to come.
    let alive = process::die_with(lifeline as i32).or_else(|why| raise_io(&why))?;
    let worker = Worker::new(sock, map, failure.to_obj(), max_rss as u64, spin as u64);
    let second = Mapping::new(&page, page::SIZE).or_else(|why| raise_io(&why))?;
    // SAFETY: the pool has made it as a control page, and it is never unmapped.
    PAGE.get(module.py()).set(Some(unsafe { page::of(&second) }));
    std::mem::forget(second);
    drop(CURRENT.get(module.py()).with(|current| current.replace(Box::new(worker))));
    Ok(alive)
}

fn with_worker(py: Py, body: impl FnOnce(&mut Worker) -> Res<()>) -> Res<()> {
    // Taken out of its place, so that what user code calls meanwhile finds nothing there.
    let Some(mut worker) = CURRENT.get(py).with(Option::take) else {
        return error::runtime_error(c"this process is no idle worker of a pool");
    };
    let result = body(&mut worker);
    drop(CURRENT.get(py).with(|current| current.replace(worker)));
    result
}

/// `initializer_failed(text)`: tells the pool why there will be no worker.
fn initializer_failed(module: Ref, args: Args) -> Res<()> {
    let [text] = args.first(["text"], "initializer_failed")?;
    let mut size = 0;
    // SAFETY: raises for what is no str, which the caller keeps, and its UTF-8 with it.
    let text = unsafe {
        let start = PyUnicode_AsUTF8AndSize(text.as_ptr(), &mut size);
        if start.is_null() {
            return Err(Raised);
        }
        std::slice::from_raw_parts(start.cast::<u8>(), size as usize)
    };
    with_worker(module.py(), |worker| worker.say_failed(text))
}

/// `serve(forget)`: runs tasks until the pool says that it is enough, or is gone; nothing when it has said so before.
fn serve(module: Ref, args: Args) -> Res<()> {
    let [forget] = args.first(["forget"], "serve")?;
    with_worker(module.py(), |worker| worker.serve(forget)).or_else(|Raised| hung_up())
}

/// That the pool does not listen any more is no error of the worker's.
fn hung_up() -> Res<()> {
    if error::matches(builtin::broken_pipe_error()) || error::matches(builtin::connection_reset_error()) {
        error::clear();
        return Ok(());
    }
    Err(Raised)
}

/// `stop_wanted()`: whether the task that runs now is the one that the pool wants stopped.
fn stop_wanted(module: Ref) -> bool {
    PAGE.get(module.py()).get().is_some_and(Page::is_to_stop)
}

/// `shared_memory(size)`: a new writable buffer that is passed between the processes of a pool without a copy.
fn shared_memory(_: Ref, args: Args) -> Res {
    let [size] = args.first(["size"], "shared_memory")?;
    buffer::new_shared(slab::size_from(size)?)
}

/// # Safety
/// Called by the import system, with the GIL.
unsafe extern "C" fn exec(_module: Raw) -> std::ffi::c_int {
    crate::ffi::guard::guarded(-1, || {
        let loaded =
            crate::ffi::names::load_interned().and_then(|()| buffer::load()).and_then(|()| pickle::load());
        if loaded.is_ok() { 0 } else { -1 }
    })
}

static mut SLOTS: module::Slots = module::slots(exec as *mut c_void);

static mut METHODS: [PyMethodDef; 6] = [
    function_fast(c"connect", connect, c"Take over the descriptors of a worker; False if its pool is gone."),
    function_fast(c"initializer_failed", initializer_failed, c"Tell the pool why there will be no worker."),
    function_fast(c"serve", serve, c"Run tasks until the pool has no more."),
    function_noargs(
        c"stop_wanted",
        stop_wanted,
        c"Return True if the pool wants the task stopped that runs.",
    ),
    function_fast(c"shared_memory", shared_memory, c"Return a new buffer that processes share."),
    PyMethodDef::zeroed(),
];

static mut DEFINITION: PyModuleDef = module::definition(
    c"_aioxide_worker._native",
    c"The native part of a process pool's worker.",
    &raw mut METHODS as *mut PyMethodDef,
    &raw mut SLOTS as *mut PyModuleDef_Slot,
);

/// The entry point that the interpreter calls.
#[allow(non_snake_case)]
#[unsafe(no_mangle)]
pub extern "C" fn PyInit__native() -> Raw {
    // SAFETY: the definition lives for ever and is written by the interpreter only.
    unsafe { PyModuleDef_Init(&raw mut DEFINITION) }
}
