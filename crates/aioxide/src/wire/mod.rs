//! Floor 4: the wire of process pools, what both sides share: the control page, pickles, and the memory in which large data
//! travels. It knows no pool and no asyncio: a worker process uses it.
//!
//! From below: `page` (the control page), `slab` (one piece of that memory), `pickled` (what pickling gives) < `arena` (the slabs of a
//! process), `told` (who knows of which), `reduce` (what objects are taken apart to) < `pickle`, `payload` (what one frame carries),
//! `buffer` (what has arrived).

pub mod arena;
pub mod buffer;
pub mod page;
pub mod payload;
pub mod pickle;
pub mod pickled;
pub mod reduce;
pub mod slab;
pub mod told;
