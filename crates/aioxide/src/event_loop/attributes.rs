//! The loop's attributes that asyncio's own code reads and sets.

use pyo3_ffi::*;

use crate::engine::loop_object::of;
use crate::ffi::guard::{getter, setter};
use crate::ffi::object::{boolean, is_none, truth};
use crate::ffi::typedef::TypeDef;
use crate::ffi::{Obj, Raised, error, none};
use crate::task::loop_state::LoopState;

getter!(get_closed, |slf| Ok(boolean(of(slf).state.closed.get())));
setter!(set_closed, |slf, value| {
    if !value.is_null() && truth(value)? {
        of(slf).state.closed.set(true);
        of(slf).state.overrides.set_closed();
    }
    Ok(())
});

/// What `set_debug` was given, as asyncio shows it.
pub fn debug_as_set(state: &LoopState) -> Obj {
    state.debug_as_set.share().unwrap_or_else(|| boolean(state.debug.get()))
}

getter!(get_debug, |slf| Ok(debug_as_set(&of(slf).state)));
setter!(set_debug, |slf, value| {
    let on = !value.is_null() && truth(value)?;
    let state = &of(slf).state;
    state.debug.set(on);
    state.overrides.set_debug(on);
    let plain = value.is_null() || PyBool_Check(value) != 0;
    drop(state.debug_as_set.replace(if plain { None } else { Some(Obj::new(value)) }));
    Ok(())
});

getter!(get_stopping, |slf| Ok(boolean(of(slf).state.stopping.get())));
setter!(set_stopping, |slf, value| {
    of(slf).state.stopping.set(!value.is_null() && truth(value)?);
    Ok(())
});

getter!(get_thread_id, |slf| {
    match of(slf).state.thread.get() {
        0 => Ok(none()),
        ident => Obj::steal(PyLong_FromUnsignedLongLong(ident)),
    }
});
setter!(set_thread_id, |slf, value| {
    let ident = if value.is_null() || is_none(value) { 0 } else { PyLong_AsUnsignedLongLong(value) };
    of(slf).state.thread.set(if error::occurred() { 0 } else { ident });
    if error::occurred() { Err(Raised) } else { Ok(()) }
});

getter!(get_task_factory, |slf| Ok(of(slf).state.task_factory.or_none()));
setter!(set_task_factory, |slf, value| {
    let factory = if value.is_null() || is_none(value) { None } else { Some(Obj::new(value)) };
    drop(of(slf).state.task_factory.replace(factory));
    Ok(())
});

getter!(get_current_handle, |slf| Ok(of(slf).state.current_handle.or_none()));
setter!(set_current_handle, |slf, value| {
    let handle = if value.is_null() || is_none(value) { None } else { Some(Obj::new(value)) };
    drop(of(slf).state.current_handle.replace(handle));
    Ok(())
});

pub fn add(def: TypeDef) -> TypeDef {
    def.getset(c"_closed", get_closed, set_closed)
        .getset(c"_debug", get_debug, set_debug)
        .getset(c"_stopping", get_stopping, set_stopping)
        .getset(c"_thread_id", get_thread_id, set_thread_id)
        .getset(c"_task_factory", get_task_factory, set_task_factory)
        .getset(c"_current_handle", get_current_handle, set_current_handle)
}
