//! The loop's attributes that asyncio's own code reads and sets.

use pyo3_ffi::*;

use crate::engine::LoopObject;
use crate::ffi::class::Class;
use crate::ffi::object::{boolean, truth};
use crate::ffi::{Obj, Raised, Ref, Res, error, none, number};
use crate::task::loop_state::LoopState;

/// What an attribute was set to: none where that is `None`, or it was deleted.
fn set(value: Option<Ref>) -> Option<Ref> {
    value.filter(|value| !value.is_none())
}

fn is_true(value: Option<Ref>) -> Res<bool> {
    value.map_or(Ok(false), truth)
}

fn set_closed(this: &LoopObject, value: Option<Ref>) -> Res<()> {
    if is_true(value)? {
        this.state.closed.set(true);
        this.state.overrides.set_closed();
    }
    Ok(())
}

/// What `set_debug` was given, as asyncio shows it.
pub fn debug_as_set(state: &LoopState) -> Obj {
    state.debug_as_set.share().unwrap_or_else(|| boolean(state.debug.get()))
}

fn set_debug(this: &LoopObject, value: Option<Ref>) -> Res<()> {
    let on = is_true(value)?;
    let state = &this.state;
    state.debug.set(on);
    state.overrides.set_debug(on);
    let odd = value.filter(|value| !number::is_bool(*value));
    drop(state.debug_as_set.replace(odd.map(Ref::to_obj)));
    Ok(())
}

fn get_thread_id(this: &LoopObject) -> Res {
    match this.state.thread.get() {
        0 => Ok(none()),
        // SAFETY: plain constructor.
        ident => unsafe { Obj::steal(PyLong_FromUnsignedLongLong(ident)) },
    }
}

fn set_thread_id(this: &LoopObject, value: Option<Ref>) -> Res<()> {
    // SAFETY: converts a live object, or raises.
    let ident = set(value).map_or(0, |value| unsafe { PyLong_AsUnsignedLongLong(value.as_ptr()) });
    this.state.thread.set(if error::occurred() { 0 } else { ident });
    if error::occurred() { Err(Raised) } else { Ok(()) }
}

pub fn add(class: Class<LoopObject>) -> Class<LoopObject> {
    class
        .getset(c"_closed", |this| this.state.closed.get(), set_closed)
        .getset(c"_debug", |this| debug_as_set(&this.state), set_debug)
        .getset(
            c"_stopping",
            |this| this.state.stopping.get(),
            |this, value| is_true(value).map(|value| this.state.stopping.set(value)),
        )
        .getset(c"_thread_id", get_thread_id, set_thread_id)
        .getset(
            c"_task_factory",
            |this| this.state.task_factory.or_none(),
            |this, value| {
                drop(this.state.task_factory.replace(set(value).map(Ref::to_obj)));
                Ok(())
            },
        )
        .getset(
            c"_current_handle",
            |this| this.state.current_handle.or_none(),
            |this, value| {
                drop(this.state.current_handle.replace(set(value).map(Ref::to_obj)));
                Ok(())
            },
        )
}
