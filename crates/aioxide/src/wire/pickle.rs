//! Pickling as `multiprocessing` does it: its reducers, and the protocol that is the version's default. The memory of
//! large numpy arrays is kept apart.
//!
//! Up to 3.13 that protocol is 4, which has no buffers to keep apart. The pickle is of protocol 5 all the same, but every
//! object is asked for what it says to 4 (`wire::reduce`).

use std::cell::Cell;
use std::ffi::c_void;

use pyo3_ffi::*;

pub use super::pickled::Pickled;
use super::{reduce, slab};
use crate::ffi::buffer::View;
use crate::ffi::calls::{call, call_kw, call_method, tuple};
use crate::ffi::class::{Class, Native, derives};
use crate::ffi::guard::guarded;
use crate::ffi::names::text;
use crate::ffi::object::{bytes, getattr, import_from, int, setattr};
use crate::ffi::py::Object;
use crate::ffi::{Global, Leaf, NULL, Obj, Raised, Raw, Ref, Res, Slot, error, none};

/// Buffers of this size and more are kept apart: for small ones, a copy through the socket costs no more than a place in a
/// slab. Measured there and back, one at a time and 40 at a time: at 4 to 8 KiB there is no difference, at 16 KiB a slab
/// takes 0.95 and 0.8 of the time, at 32 KiB 0.85 and 0.7, at 64 KiB 0.6 and 0.4, at 512 KiB 0.15 and 0.3.
const LARGE_BUFFER: usize = 1 << 14;

/// What a pickler writes into.
#[repr(C)]
struct Sink {
    header: PyObject,
    body: Leaf<Vec<u8>>,
    inserts: Leaf<Vec<(usize, View)>>,
    buffers: Leaf<Vec<View>>,
    /// Buffers of this size and more are kept apart.
    small: Cell<usize>,
    /// The `PickleBuffer` that an array has just been reduced to; only compared with.
    of_array: Cell<Raw>,
}

/// Above this size no buffer of an array stays in a pickle, however scarce the memory to send in is.
const LARGEST_KEPT: usize = 16 << 20;

/// So many bytes are held where they are until they are copied into a slab.
const LARGE_INSERT: usize = 1 << 20;

fn sink_write(sink: &Sink, data: Ref) -> Res<()> {
    let view = View::new(data, PyBUF_ANY_CONTIGUOUS)?;
    if view.len() >= LARGE_INSERT {
        let at = sink.body.with(|body| body.len());
        sink.inserts.with(|inserts| inserts.push((at, view)));
    } else {
        sink.body.with(|body| body.extend_from_slice(view.bytes()));
    }
    Ok(())
}

/// False keeps the buffer apart, true leaves it in the pickle: what unpickles an array takes any kind of buffer, but others
/// get what the standard library gives them, bytes or a bytearray.
fn sink_buffer(sink: &Sink, object: Ref) -> Res<bool> {
    let of_array = sink.of_array.replace(NULL) == object.as_ptr();
    let Ok(view) = View::new(object, PyBUF_ANY_CONTIGUOUS) else {
        // The pickler has the words for a buffer that cannot be pickled.
        error::clear();
        return Ok(true);
    };
    let apart = of_array && view.len() >= sink.small.get();
    if !apart && slab::find_shared(&view).is_none() {
        return Ok(true);
    }
    sink.buffers.with(|buffers| buffers.push(view));
    Ok(false)
}

/// What an array is reduced to.
fn sink_reduce_array(sink: &Sink, array: Ref) -> Res {
    let (reduced, buffer) = reduce::array(array, sink.small.get())?;
    sink.of_array.set(buffer);
    Ok(reduced)
}

static SINK: Global<*mut PyTypeObject> = Global::new();

// SAFETY: as laid out above, with cells.
unsafe impl Native for Sink {
    fn is_in(kind: *mut PyTypeObject) -> bool {
        derives(kind, &SINK)
    }
}

/// `ForkingPickler`'s table of reducers, looked up live: what is registered later counts. And ours for arrays.
#[repr(C)]
struct Table {
    header: PyObject,
    for_arrays: Slot,
}

/// # Safety
/// `slf` is a table, `key` a live object.
unsafe extern "C" fn table_get(slf: Raw, key: Raw) -> Raw {
    // SAFETY: both are dicts, which live for ever; looking up a type runs no code of users but hashing of metaclasses.
    guarded(NULL, || unsafe {
        let this: &Table = Ref::new(slf).cast_unchecked();
        for dict in [&pickling().extra, &pickling().usual] {
            let found = PyDict_GetItemWithError(dict.as_ptr(), key);
            if !found.is_null() {
                return Ref::new(found).to_obj().into_raw();
            }
            if error::occurred() {
                return NULL;
            }
        }
        if reduce::is_array_type(Ref::new(key)) {
            return this.for_arrays.or_none().into_raw();
        }
        PyErr_SetObject(PyExc_KeyError, key);
        NULL
    })
}

static TABLE: Global<*mut PyTypeObject> = Global::new();

// SAFETY: as laid out above; nobody writes to it when it is made.
unsafe impl Native for Table {
    fn is_in(kind: *mut PyTypeObject) -> bool {
        derives(kind, &TABLE)
    }
}

struct Pickling {
    pickler_type: Obj,
    loads: Obj,
    /// The reducers of `ForkingPickler`, and those of `copyreg`: dicts.
    extra: Obj,
    usual: Obj,
    kw_callback: Obj,
    kw_buffers: Obj,
    dump: Ref<'static>,
    clear_memo: Ref<'static>,
    dispatch_table: Ref<'static>,
    release: Ref<'static>,
    /// Picklers that nobody uses now, each with its sink.
    spare: Leaf<Vec<(Obj, Obj)>>,
}

static PICKLING: Global<Pickling> = Global::new();

fn pickling() -> &'static Pickling {
    // SAFETY: filled by `load` at import.
    unsafe { PICKLING.get() }
}

/// Looks the standard library's parts up, when the first pool is made: it imports multiprocessing.
pub fn load() -> Res<()> {
    if PICKLING.is_set() {
        return Ok(());
    }
    let sink = Class::<Sink>::new(c"aioxide.PickleSink")
        .also(|def| def.flags(Py_TPFLAGS_DISALLOW_INSTANTIATION))
        .onearg(c"write", sink_write, c"Append bytes.")
        .onearg(c"buffer", sink_buffer, c"Decide where a buffer travels.")
        .onearg(c"reduce_array", sink_reduce_array, c"Reduce a numpy array.")
        .onearg(c"reduce", |_, object| reduce::by_default_protocol(object), c"Reduce an object, up to 3.13.")
        .dropped();
    SINK.set(sink.build(None)?);
    let table = Class::<Table>::new(c"aioxide.ReducerTable").dropped().also(|def| {
        def.flags(Py_TPFLAGS_DISALLOW_INSTANTIATION).slot(Py_mp_subscript, table_get as *mut c_void)
    });
    TABLE.set(table.build(None)?);
    let forking = import_from(c"multiprocessing.reduction", c"ForkingPickler")?;
    let extra = getattr(&forking, text(c"_extra_reducers")?)?;
    let usual = import_from(c"copyreg", c"dispatch_table")?;
    // SAFETY: looks at the types of two objects that are alive.
    if unsafe { PyDict_Check(extra.as_ptr()) == 0 || PyDict_Check(usual.as_ptr()) == 0 } {
        return error::type_error(c"multiprocessing keeps its reducers in no dict");
    }
    reduce::load(&extra, &usual)?;
    PICKLING.set(Pickling {
        pickler_type: reduce::pickler_type(import_from(c"_pickle", c"Pickler")?)?,
        loads: import_from(c"_pickle", c"loads")?,
        extra,
        usual,
        kw_callback: tuple(&[text(c"buffer_callback")?])?,
        kw_buffers: tuple(&[text(c"buffers")?])?,
        dump: text(c"dump")?,
        clear_memo: text(c"clear_memo")?,
        dispatch_table: text(c"dispatch_table")?,
        release: text(c"release")?,
        spare: Leaf::default(),
    });
    Ok(())
}

/// The table of one pickler, whose sink sees to arrays.
fn make_table(sink: &Obj) -> Res {
    // SAFETY: the type is made with the first pickler; a zeroed body is an empty slot.
    let made = unsafe { Obj::steal(PyType_GenericAlloc(*TABLE.get(), 0)) }?;
    // SAFETY: just made.
    let this: &Table = unsafe { made.borrow().cast_unchecked() };
    this.for_arrays.set(getattr(sink, text(c"reduce_array")?)?);
    Ok(made)
}

fn make_pickler() -> Res<(Obj, Obj)> {
    let p = pickling();
    let (pickler, sink) = make_with(&p.pickler_type)?;
    setattr(&pickler, p.dispatch_table, &make_table(&sink)?)?;
    reduce::set_up(&pickler, || getattr(&sink, text(c"reduce")?))?;
    Ok((pickler, sink))
}

/// A pickler that `make` makes, and the sink that it writes into.
fn make_with(make: impl Object) -> Res<(Obj, Obj)> {
    // SAFETY: a fresh sink, whose body is filled before it is seen.
    let sink = unsafe {
        let sink = Obj::steal(PyType_GenericAlloc(*SINK.get(), 0))?;
        let this = Sink::place(sink.borrow());
        (&raw mut (*this).body).write(Leaf::default());
        (&raw mut (*this).inserts).write(Leaf::default());
        (&raw mut (*this).buffers).write(Leaf::default());
        sink
    };
    let (callback, protocol) = (getattr(&sink, text(c"buffer")?)?, int(5)?);
    let args = [sink.borrow(), protocol.borrow(), callback.borrow()];
    Ok((call_kw(make, &args, Some(pickling().kw_callback.borrow()))?, sink))
}

/// Pickles an object; where memory to send in is scarce (`keeps`), its buffers too. A pickler that failed, or that this very call is inside of, is not used again.
pub fn dump(object: impl Object, keeps: bool) -> Res<Pickled> {
    let p = pickling();
    let (pickler, sink) = match p.spare.with(Vec::pop) {
        Some(pair) => pair,
        None => make_pickler()?,
    };
    let pickled = dump_into(&pickler, &sink, object, keeps)?;
    drop(call_method(p.clear_memo, &[pickler.borrow()])?);
    p.spare.with(|spare| spare.push((pickler, sink)));
    Ok(pickled)
}

/// As `dump`, with a pickler made for this once by `make(sink, protocol, buffer_callback=...)`, a callable of Python's.
pub fn dump_with(make: impl Object, object: impl Object, keeps: bool) -> Res<Pickled> {
    let (pickler, sink) = make_with(make)?;
    dump_into(&pickler, &sink, object, keeps)
}

/// In a worker: pickles what `_aioxide_worker` has in place of a value that plain pickle could not send, if it has something.
#[cold]
pub fn dump_portable(value: impl Object, keeps: bool) -> Res<Pickled> {
    let why = error::take();
    let told = why.clone().unwrap_or_else(none);
    let portable = import_from(c"_aioxide_worker", c"portable")?;
    let instead = call(&portable, &[value.reference(), told.borrow()])?;
    if instead.borrow().is_none() {
        error::restore(why);
        return Err(Raised);
    }
    dump(&instead, keeps)
}

fn dump_into(pickler: &Obj, sink: &Obj, object: impl Object, keeps: bool) -> Res<Pickled> {
    // SAFETY: a sink, by the pair, which the caller holds.
    let this: &Sink = unsafe { sink.borrow().cast_unchecked() };
    this.small.set(if keeps { LARGEST_KEPT } else { LARGE_BUFFER });
    drop(call_method(pickling().dump, &[pickler.borrow(), object.reference()])?);
    Ok(Pickled {
        body: this.body.with(std::mem::take),
        inserts: this.inserts.with(std::mem::take),
        buffers: this.buffers.with(std::mem::take),
    })
}

/// Bodies up to this size are copied for the unpickler; larger ones are lent to it.
const SMALL: usize = 1 << 14;

/// Unpickles, with the buffers that were kept apart.
///
/// # Safety
/// `size` bytes are at `start` until this returns.
pub unsafe fn load_from(start: *const u8, size: usize, buffers: &[Obj]) -> Res {
    let p = pickling();
    let lent = size > SMALL;
    // SAFETY: the bytes stay until this returns; a view of lent memory is released before that.
    let data = unsafe {
        if lent {
            Obj::steal(PyMemoryView_FromMemory(start.cast_mut().cast(), size as Py_ssize_t, PyBUF_READ))?
        } else {
            bytes(if size == 0 { &[] } else { std::slice::from_raw_parts(start, size) })?
        }
    };
    let result = if buffers.is_empty() {
        call(&p.loads, &[data.borrow()])
    } else {
        let buffers = tuple(&buffers.iter().map(Obj::borrow).collect::<Vec<_>>())?;
        call_kw(&p.loads, &[data.borrow(), buffers.borrow()], Some(p.kw_buffers.borrow()))
    };
    if lent {
        let raised = error::take();
        if call_method(p.release, &[data.borrow()]).is_err() {
            error::unraisable(data.borrow());
        }
        error::restore(raised);
    }
    result
}
