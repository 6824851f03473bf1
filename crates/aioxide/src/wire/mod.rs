//! Floor 4: the wire of process pools, what both sides share: the control page, pickles, and the memory in which large data
//! travels. It knows no pool and no asyncio: of this crate, a worker process uses nothing else but this, `ffi` and `child`.

pub mod arena;
pub mod buffer;
pub mod page;
pub mod payload;
pub mod pickle;
pub mod pickled;
pub mod reduce;
pub mod slab;
pub mod told;
