//! What one frame carries, and where it travels: large buffers, and a large pickle, in a slab.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use aioxide_core::frames::{LARGEST, Place};

use super::arena::Arena;
use super::pickled::Pickled;
use super::slab::{IN_FRAME, Slab, find_shared, is_file_limit};

/// Buffers begin at multiples of this, as numpy's own do.
const ALIGN: usize = 64;
/// A pickle of this many bytes travels in a slab too. Measured with strings of bytes, as in `wire::pickle`: no difference at
/// 16 KiB one at a time, at 32 KiB 0.85 and 0.4 of the time through the socket, at 128 KiB 0.6 and 0.75.
const LARGE_BODY: usize = 1 << 15;
/// A pickle of more bytes does so in any case: it would be copied twice more on its way through a socket.
const LARGEST_SENT: usize = 32 << 20;

/// What one frame carries: the pickle, and where its buffers lie.
pub struct Payload {
    pub body: Vec<u8>,
    pub places: Vec<Place>,
    /// The pickle lies in the first place.
    pub body_in_slab: bool,
    /// The slabs that the receiver must know.
    pub slabs: Vec<Rc<Slab>>,
    /// The slab that was filled for this payload alone.
    own: Option<Rc<Slab>>,
    /// It is the receiver who gives `own` back.
    handed_over: Cell<bool>,
}

impl Drop for Payload {
    fn drop(&mut self) {
        if let Some(own) = &self.own
            && !self.handed_over.get()
            && own.is_ours()
        {
            own.release();
        }
    }
}

impl Payload {
    /// It is the receiver who gives the slab back from now on.
    pub fn hand_over(&self) {
        self.handed_over.set(true);
    }

    pub fn lend_to(&self, worker: u32) {
        self.hand_over();
        if let Some(own) = &self.own {
            own.lend_to(worker);
        }
    }

    /// The worker will not give it back: it has not begun with the task, or is dead.
    pub fn take_back(&self) {
        self.handed_over.set(false);
    }

    /// The rest of it: to release buffers may run code.
    pub fn with_body(mut self, pickled: Pickled) -> Payload {
        if !self.body_in_slab {
            self.body = pickled.into_body();
        }
        self
    }

    /// Copies large buffers, and a large pickle, into a slab of `arena`; leaves a small pickle where it is, and all of it
    /// held until `with_body`.
    /// `lent` is a slab of the receiver's that may be used for it.
    pub fn pack_borrowed(
        pickled: &Pickled,
        arena: &mut Arena,
        lent: Option<&Rc<Slab>>,
    ) -> io::Result<Payload> {
        let mut payload = Payload {
            body: Vec::new(),
            places: Vec::new(),
            body_in_slab: pickled.len() >= LARGE_BODY
                && (pickled.len() > LARGEST_SENT || !arena.is_crowded()),
            slabs: Vec::new(),
            own: None,
            handed_over: Cell::new(false),
        };
        if pickled.buffers.is_empty() && !payload.body_in_slab {
            return Ok(payload);
        }
        let mut parts = Vec::new();
        if payload.body_in_slab {
            parts.push(Part { pieces: pickled.pieces(), shared: None });
        }
        for view in &pickled.buffers {
            parts.push(Part { pieces: vec![view.bytes()], shared: find_shared(view) });
        }
        payload.place(parts, pickled, arena, lent)?;
        Ok(payload)
    }

    fn place(
        &mut self,
        parts: Vec<Part>,
        pickled: &Pickled,
        arena: &mut Arena,
        lent: Option<&Rc<Slab>>,
    ) -> io::Result<()> {
        let own = parts.iter().filter(|part| part.shared.is_none());
        let total: usize = own.map(|part| part.size().next_multiple_of(ALIGN)).sum();
        self.own = match arena.take_some(total, lent) {
            Err(why) if is_file_limit(&why) && total < LARGEST as usize => {
                self.place_in_frame(parts, pickled);
                return Ok(());
            }
            taken => taken?,
        };
        let (mut offset, mut pieces) = (0, Vec::new());
        for part in parts {
            let size = part.size();
            if let Some((slab, place)) = part.shared {
                self.places.push(place);
                self.slabs.push(slab);
                continue;
            }
            let slab = self.own.as_ref().map_or(IN_FRAME, |slab| slab.id);
            self.places.push(Place { slab, offset: offset as u64, size: size as u64 });
            let mut at = offset;
            for piece in part.pieces {
                if !piece.is_empty() {
                    pieces.push((at, piece));
                }
                at += piece.len();
            }
            offset += size.next_multiple_of(ALIGN);
        }
        if let Some(own) = &self.own {
            arena.fill(own, &pieces)?;
        }
        self.slabs.extend(self.own.clone());
        Ok(())
    }

    /// Where no file may be large enough (`ulimit -f`), all of it goes through the socket: the pickle and its buffers lie
    /// in the frame's body.
    #[cold]
    fn place_in_frame(&mut self, parts: Vec<Part>, pickled: &Pickled) {
        let mut body = Vec::new();
        let mut append = |pieces: &[&[u8]]| {
            let offset = body.len();
            pieces.iter().for_each(|piece| body.extend_from_slice(piece));
            Place { slab: IN_FRAME, offset: offset as u64, size: (body.len() - offset) as u64 }
        };
        if !self.body_in_slab {
            self.places.push(append(&pickled.pieces()));
        }
        for part in parts {
            match part.shared {
                Some((slab, place)) => {
                    self.places.push(place);
                    self.slabs.push(slab);
                }
                None => self.places.push(append(&part.pieces)),
            }
        }
        (self.body, self.body_in_slab) = (body, true);
    }
}

/// Bytes that are to lie together: in pieces here, or in a shared slab already.
struct Part<'a> {
    pieces: Vec<&'a [u8]>,
    shared: Option<(Rc<Slab>, Place)>,
}

impl Part<'_> {
    fn size(&self) -> usize {
        self.pieces.iter().map(|piece| piece.len()).sum()
    }
}
