//! Which of its slabs a process has told another of.

use std::collections::HashSet;
use std::rc::{Rc, Weak};

use aioxide_core::frames::{Header, Kind};

use super::slab::{Known, Slab};

#[derive(Default)]
pub struct Told {
    slabs: HashSet<u64>,
    /// The shared ones among them, to tell when they are gone.
    shared: Vec<(u64, Weak<Slab>)>,
}

impl Told {
    /// The frame that tells of a slab, to travel with its descriptor; none where the other side knows it, by this or because it
    /// is its own (`known`).
    pub fn tell(&mut self, slab: &Rc<Slab>, known: &Known) -> Option<Vec<u8>> {
        // A shared slab may be gone where it came from.
        let there = !slab.shared && known.contains_key(&slab.id);
        if there || !self.slabs.insert(slab.id) {
            return None;
        }
        if slab.shared {
            self.shared.push((slab.id, Rc::downgrade(slab)));
        }
        let mut frame = Vec::new();
        Header::of_slab(slab.id, slab.size() as u64, slab.shared).write(&[], &[], &mut frame);
        Some(frame)
    }

    /// The frames that say that these slabs will not be mentioned again, of those that the other side was told of.
    pub fn forget(&mut self, slabs: &[u64]) -> Vec<u8> {
        let mut frames = Vec::new();
        for id in slabs {
            if self.slabs.remove(id) {
                Header { id: *id, ..Header::new(Kind::Forget) }.write(&[], &[], &mut frames);
            }
        }
        frames
    }

    /// Whether a shared slab that the other side knows has gone.
    pub fn has_lost(&self) -> bool {
        self.shared.iter().any(|(_, slab)| slab.strong_count() == 0)
    }

    /// The shared slabs that have gone, for `forget`.
    pub fn lost(&mut self) -> Vec<u64> {
        if !self.has_lost() {
            return Vec::new();
        }
        let (kept, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.shared).into_iter().partition(|(_, slab)| slab.strong_count() > 0);
        self.shared = kept;
        gone.into_iter().map(|(id, _)| id).collect()
    }
}
