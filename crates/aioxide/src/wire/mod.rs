//! Floor 4: the wire of process pools, what both sides share: the control page, pickles, and the memory in which large data
//! travels. It knows no pool and no asyncio: a worker process uses it.

pub mod arena;
pub mod buffer;
pub mod page;
pub mod payload;
pub mod pickle;
pub mod pickled;
pub mod reduce;
pub mod slab;
pub mod told;
