//! Floor 7: the extension module `aioxide._aioxide`, a list of exports.

mod calls;
mod child;
mod engine;
mod event_loop;
mod ffi;
mod net;
mod processes;
mod task;
mod threads;
mod tls;
mod wire;

use std::ffi::{CStr, c_int, c_void};

use pyo3_ffi::*;

use ffi::calls::{call, dict};
use ffi::class::{function, function_fast, function_noargs};
use ffi::object::{boolean, check, none, string};
use ffi::{Args, Obj, Raised, Raw, Ref, Res, builtin, compat, error};

fn load(module: Ref) -> Res<()> {
    let py = module.py();
    if std::env::var_os("AIOXIDE_FREELIST").is_some_and(|value| value == "0") {
        ffi::freelist::disable(py);
    }
    aioxide_sys::clock::calibrate();
    ffi::names::load()?;
    ffi::snapshot::load()?;
    ffi::monotonic::load(py)?;
    ffi::async_exc::load(py)?;
    task::handle_type::load()?;
    task::iter::load()?;
    task::step::load()?;
    task::callables::load(task::step::run_called, task::step::wake_called)?;
    task::run_hook::load(py)?;
    engine::native_call::load()?;
    let missing = compat::Layout::probe()?.err();
    if missing.is_none() {
        task::future_type::load()?;
        task::task_type::load()?;
        task::classes::load()?;
        add(module, c"Future", task::classes::future())?;
        add(module, c"Task", task::classes::task())?;
    }
    net::server::load()?;
    net::sock_calls::load()?;
    add(module, c"SocketTransport", net::stream_type::load()?)?;
    add(module, c"DatagramTransport", net::datagram_type::load()?)?;
    add(module, c"TlsProtocol", tls::protocol_type::load()?)?;
    add(module, c"PoolFuture", calls::future_type::load()?)?;
    add(module, c"ThreadPool", threads::pool_type::load()?)?;
    add(module, c"WorkQueue", threads::queue_type::load()?)?;
    add(module, c"Loop", event_loop::load()?)?;
    add(module, c"ProcessPool", processes::pool_type::load()?)?;
    add(module, c"SharedBuffer", wire::buffer::class())?;
    BUILD.set(build_info(missing)?);
    Ok(())
}

static BUILD: ffi::Global<Obj> = ffi::Global::new();

fn show_build_info(_: Ref) -> Res {
    // SAFETY: set at import.
    unsafe { Obj::steal(PyDict_Copy(BUILD.get().as_ptr())) }
}

fn register_pool(_: Ref, args: Args) -> Res<()> {
    let [class, standard, mark] = args.first(["class", "standard", "mark"], "_register_pool")?;
    let standard = calls::standard::Standard::watch(standard.to_obj(), mark.to_obj());
    threads::pool_type::note_standard(class, standard);
    calls::executor::register(class, standard)
}

fn end_process_pools(_: Ref, end: Ref) -> Res<()> {
    let mut raised = ffi::First::default();
    raised.note(call(end, &[]));
    processes::reactor::end(end.py());
    raised.raise()
}

fn after_fork(_: Ref) {
    ffi::gil::after_fork();
    threads::seat::after_fork();
}

fn run_file(_: Ref, args: Args) -> Res {
    args.refuse_names("_run_file")?;
    ffi::program::run_file(args.given())
}

/// What `aioxide.build_info()` shows of the native part.
fn build_info(missing: Option<&str>) -> Res {
    let key = ffi::names::text;
    let layout = if compat::has_layout() { Some(*compat::layout()) } else { None };
    let features = dict(&[
        (key(c"native_tasks")?, boolean(missing.is_none()).borrow()),
        (key(c"native_tasks_missing")?, missing.map_or(Ok(none()), string)?.borrow()),
        (key(c"task_is_task")?, boolean(layout.is_some_and(|layout| layout.is_task.is_some())).borrow()),
        (
            key(c"tasks_listed_in_place")?,
            boolean(layout.is_some_and(|layout| layout.lists_in_place())).borrow(),
        ),
        (key(c"context_snapshots")?, boolean(ffi::snapshot::can_be_taken()).borrow()),
        (key(c"call_graph")?, boolean(layout.is_some_and(|layout| layout.awaited_by.is_some())).borrow()),
    ])?;
    dict(&[
        (key(c"version")?, string(env!("CARGO_PKG_VERSION"))?.borrow()),
        (key(c"rustc")?, string(env!("AIOXIDE_RUSTC"))?.borrow()),
        (key(c"profile")?, string(if cfg!(debug_assertions) { "debug" } else { "release" })?.borrow()),
        (key(c"profile_guided")?, boolean(cfg!(profile_guided)).borrow()),
        (key(c"target")?, string(env!("AIOXIDE_TARGET"))?.borrow()),
        (key(c"python")?, string(built_for())?.borrow()),
        (key(c"features")?, features.borrow()),
    ])
}

/// The CPython that this module was built for.
fn built_for() -> &'static str {
    match () {
        () if cfg!(Py_3_15) => "3.15",
        () if cfg!(Py_3_14) => "3.14",
        () if cfg!(Py_3_13) => "3.13",
        () if cfg!(Py_3_12) => "3.12",
        () => "3.11",
    }
}

fn add(module: Ref, name: &CStr, class: *mut PyTypeObject) -> Res<()> {
    // SAFETY: a type that was just made and is kept for ever.
    check(unsafe { PyModule_AddObjectRef(module.as_ptr(), name.as_ptr(), class.cast()) })
}

/// # Safety
/// `module` is the module that is being imported.
unsafe extern "C" fn exec(module: Raw) -> c_int {
    ffi::guard::guarded(-1, || {
        if let Err(Raised) = refuse_second_interpreter() {
            return -1;
        }
        // SAFETY: the interpreter runs the `exec` of a module that it holds.
        if load(unsafe { Ref::new(module) }).is_ok() { 0 } else { -1 }
    })
}

/// The module keeps its objects in statics: it can live in one interpreter only.
fn refuse_second_interpreter() -> Res<()> {
    // SAFETY: compares addresses.
    if unsafe { PyInterpreterState_Get() == PyInterpreterState_Main() } {
        return Ok(());
    }
    error::raise(
        builtin::import_error(),
        c"aioxide does not support subinterpreters: import it in the main interpreter only",
    )
}

static mut SLOTS: ffi::module::Slots = ffi::module::slots(exec as *mut c_void);

static mut METHODS: [PyMethodDef; 16] = [
    function_noargs(
        c"build_info",
        show_build_info,
        c"Say how the native module was built and what it found in this interpreter.",
    ),
    function(
        c"_register_future",
        |_, class| calls::future::set_class(class.to_obj()),
        c"Tell which class the futures of pools are of.",
    ),
    function_fast(
        c"_register_pool",
        register_pool,
        c"Tell of a class of pools with a method _run_for_loop(loop, func, args), the standard class that it stands for, and \
          a name that the body of that one's submit() uses.",
    ),
    function(
        c"_submit_is_wrapped",
        |_, class| calls::executor::is_wrapped(class),
        c"Whether somebody has wrapped submit() of the standard class that a registered one stands for.",
    ),
    function_noargs(
        c"_end_pools",
        |_| threads::queue::end_all(),
        c"The interpreter ends: thread pools take no calls any more, and their workers end when idle.",
    ),
    function_noargs(c"_after_fork", after_fork, c"In a child of fork: forget the parent's threads."),
    function_noargs(
        c"_forked_pools",
        processes::pool_type::forked_pools,
        c"Close, in a child of fork, what it inherited of the parent's process pools.",
    ),
    function(
        c"_end_process_pools",
        end_process_pools,
        c"The interpreter ends: end its process pools by calling that function, and wait for the threads that served them.",
    ),
    function(
        c"_shared_memory",
        processes::pool_type::shared_memory,
        c"Return a new buffer that worker processes get without a copy.",
    ),
    function(
        c"_shared_id",
        processes::pool_type::shared_id,
        c"Return the number of the memory that a buffer of _shared_memory lies in.",
    ),
    function_fast(
        c"_run_file",
        run_file,
        c"_run_file(path, globals, fd): run a source file, or a descriptor by that name, as the interpreter does its main one.",
    ),
    function_fast(
        c"_whole",
        processes::interrupts::py_whole,
        c"_whole(function, *args): call it, again where an interrupt cuts it short, which is raised then.",
    ),
    function(
        c"_watch_running_loops",
        task::foreign::watch_running_loops,
        c"Have a function called with each loop that is not ours when it begins to run; None ends that.",
    ),
    function_fast(
        c"_set_in_type",
        task::foreign::set_in_type,
        c"_set_in_type(class, name[, value]): set or delete an attribute of a class in C.",
    ),
    function_noargs(
        c"_tls_engine",
        tls::protocol_type::tell,
        c"Return which engine TLS runs on, \"direct\" or \"memory-bio\", and why.",
    ),
    PyMethodDef::zeroed(),
];

static mut DEFINITION: PyModuleDef = ffi::module::definition(
    c"aioxide._aioxide",
    c"The native part of aioxide.",
    &raw mut METHODS as *mut PyMethodDef,
    &raw mut SLOTS as *mut PyModuleDef_Slot,
);

/// The entry point that the interpreter calls.
#[allow(non_snake_case)]
#[unsafe(no_mangle)]
pub extern "C" fn PyInit__aioxide() -> Raw {
    // SAFETY: the definition lives for ever and is written by the interpreter only.
    unsafe { PyModuleDef_Init(&raw mut DEFINITION) }
}
