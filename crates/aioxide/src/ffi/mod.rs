//! Floor 1: CPython's C API with ownership, errors and panics made safe to handle.
//!
//! Every function here needs the GIL, and so does everything above: the module declares that it needs the GIL
//! (`lib.rs`), every entry point is called by the interpreter with the GIL held, and `Obj` and `Ref` cannot leave their
//! thread. `py` makes types of that, `cells` tells what else a build without the GIL has to look at.
//!
//! From below: `py`, `gil`, `refcount`, `room` (is there memory?), `module` < `builtin` (exception classes), `cells`, `nesting` < `leaf` < `object`
//! (ownership) < `error`, `first`, `buffer`, `named_tuple`, `places`, `number`, `calls`, `program` < `names`, `async_exc`, `thread_state` < `args`,
//! `context`, `monotonic`, `task_names` < `guard` (panics) < `held`, `typedef` < `compat` (versions) < `class` (types of ours), `snapshot`, `freelist`.

pub mod args;
pub mod async_exc;
pub mod buffer;
pub mod builtin;
pub mod calls;
pub mod cells;
pub mod class;
pub mod compat;
pub mod context;
pub mod error;
pub mod first;
pub mod freelist;
pub mod gil;
pub mod guard;
pub mod held;
pub mod leaf;
pub mod module;
pub mod monotonic;
pub mod named_tuple;
pub mod names;
pub mod nesting;
pub mod number;
pub mod object;
pub mod places;
pub mod program;
pub mod py;
pub mod refcount;
pub mod room;
pub mod snapshot;
pub mod task_names;
#[cfg(Py_3_14)]
pub mod thread_state;
pub mod typedef;

pub use args::Args;
pub use first::First;
pub use leaf::Leaf;
pub use object::{Global, NULL, Obj, Raised, Raw, Res, Slot, none};
pub use py::{Py, Ref};
