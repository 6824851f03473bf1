//! What a process pool and its workers say to each other: a fixed header outside the pickle, so that a body which cannot
//! be read spoils nothing but itself.

use std::ops::Range;

/// What a frame is. The numbers are the wire's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// To a worker: call a function. The body is the pickle of `(fn, args, kwargs)`.
    Task = 1,
    /// To a worker: end when all that came before is done.
    Exit = 2,
    /// Both ways: a slab's descriptor travels beside this frame; `id` is the slab's number.
    Slab = 3,
    /// Both ways: the sender will not mention the slab `id` again.
    Forget = 4,
    /// From a worker: the pickle of what the function returned.
    Result = 5,
    /// From a worker: the pickle of `(exception, traceback as text)`.
    Failure = 6,
    /// From a worker: the task could not be unpickled; the body is as of `Failure`.
    Unreadable = 7,
    /// From a worker: it is ready for work.
    Ready = 8,
    /// From a worker: its initializer failed; the body is a text.
    InitFailed = 9,
}

impl Kind {
    fn from_wire(number: u8) -> Option<Kind> {
        use Kind::*;
        [Task, Exit, Slab, Forget, Result, Failure, Unreadable, Ready, InitFailed]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// The body lies in the first of the frame's buffers.
pub const BODY_IN_SLAB: u8 = 1;
/// The worker that says this takes no more tasks.
pub const RETIRES: u8 = 2;
/// Of a slab: what lies in it is shared, not lent.
pub const SHARED: u8 = 4;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub kind: Kind,
    pub flags: u8,
    /// The place of the task in the worker's control page.
    pub slot: u16,
    /// How many buffer entries stand between header and body.
    pub buffers: u32,
    /// The number of the task.
    pub id: u64,
    /// Bytes of the body behind the entries.
    pub size: u64,
    /// How long the function ran, in nanoseconds.
    pub nanos: u64,
    /// Of a slab: how many bytes it has. On the wire in the place of `nanos`, which only answers have.
    pub slab_size: u64,
}

pub const HEADER: usize = 32;

/// Where a buffer lies: bytes `offset..offset + size` of a slab.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    pub slab: u64,
    pub offset: u64,
    pub size: u64,
}

const PLACE: usize = 24;

impl Header {
    pub fn new(kind: Kind) -> Header {
        Header { kind, flags: 0, slot: 0, buffers: 0, id: 0, size: 0, nanos: 0, slab_size: 0 }
    }

    /// Tells of a slab.
    pub fn of_slab(id: u64, slab_size: u64, shared: bool) -> Header {
        Header { id, slab_size, flags: if shared { SHARED } else { 0 }, ..Header::new(Kind::Slab) }
    }

    /// Appends the frame.
    pub fn write(mut self, places: &[Place], body: &[u8], out: &mut Vec<u8>) {
        self.buffers = places.len() as u32;
        self.size = body.len() as u64;
        out.reserve(HEADER + places.len() * PLACE + body.len());
        out.extend_from_slice(&[self.kind as u8, self.flags]);
        out.extend_from_slice(&self.slot.to_le_bytes());
        out.extend_from_slice(&self.buffers.to_le_bytes());
        let last = if self.kind == Kind::Slab { self.slab_size } else { self.nanos };
        for number in [self.id, self.size, last] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for place in places {
            for number in [place.slab, place.offset, place.size] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        out.extend_from_slice(body);
    }

    fn read(bytes: &[u8; HEADER]) -> Option<Header> {
        let number = |at: usize| number_at(bytes, at);
        let (kind, last) = (Kind::from_wire(bytes[0])?, number(24));
        let (nanos, slab_size) = if kind == Kind::Slab { (0, last) } else { (last, 0) };
        Some(Header {
            kind,
            flags: bytes[1],
            slot: u16::from_le_bytes([bytes[2], bytes[3]]),
            buffers: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
            id: number(8),
            size: number(16),
            nanos,
            slab_size,
        })
    }
}

fn number_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

/// The bytes that came are no frames: the peer's memory is damaged, or somebody else writes into its descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Garbage;

/// Larger bodies travel in slabs, and so does much less where there is room for slabs.
pub const LARGEST: u64 = 1 << 32;
/// As many buffers a frame may have at most.
const MOST_BUFFERS: u32 = 1 << 26;

/// A frame whose places and body lie in the decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub header: Header,
    places: usize,
    body: Range<usize>,
}

/// Cuts a stream of bytes into frames.
#[derive(Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// So much room is made for a frame that has begun as soon as its header says that it is so large. For the rest of a larger
/// one there is as much room as has come of it: a header may announce what never comes.
const ROOM_AT_ONCE: usize = 1 << 20;

impl Decoder {
    /// Room for at least `least` more bytes, behind what was received; for more where that is known to come.
    pub fn room(&mut self, least: usize) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        let wanted = least.max(self.missing().min(ROOM_AT_ONCE.max(self.end - self.start)));
        if self.bytes.len() - self.end < wanted {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.bytes.len() - self.end < wanted {
                self.bytes.resize(self.end + wanted, 0);
            }
        }
        &mut self.bytes[self.end..]
    }

    /// How many bytes the frame that has begun still lacks, as far as is known.
    fn missing(&self) -> usize {
        match self.peek() {
            Ok(Some((_, total))) => total.saturating_sub(self.end - self.start),
            _ => 0,
        }
    }

    /// Records that the first `count` bytes of `room` were filled.
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    fn peek(&self) -> Result<Option<(Header, usize)>, Garbage> {
        let bytes = &self.bytes[self.start..self.end];
        let Some(head) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
        let header = Header::read(head).ok_or(Garbage)?;
        if header.size > LARGEST || header.buffers > MOST_BUFFERS {
            return Err(Garbage);
        }
        let total = HEADER + header.buffers as usize * PLACE + header.size as usize;
        Ok(Some((header, total)))
    }

    /// The next frame that is there whole. Its bytes stay where they are until `room` is called.
    pub fn take(&mut self) -> Result<Option<Frame>, Garbage> {
        let Some((header, total)) = self.peek()? else { return Ok(None) };
        if self.end - self.start < total {
            return Ok(None);
        }
        let places = self.start + HEADER;
        let body = places + header.buffers as usize * PLACE;
        self.start += total;
        Ok(Some(Frame { header, places, body: body..self.start }))
    }

    pub fn body(&self, frame: &Frame) -> &[u8] {
        &self.bytes[frame.body.clone()]
    }

    pub fn places(&self, frame: &Frame) -> Vec<Place> {
        let one = |i: usize| {
            let at = frame.places + i * PLACE;
            let number = |n: usize| number_at(&self.bytes, at + n * 8);
            Place { slab: number(0), offset: number(1), size: number(2) }
        };
        (0..frame.header.buffers as usize).map(one).collect()
    }

    /// Whether nothing is left in it, not even a part of a frame: then any other decoder will do as well.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether it has memory.
    pub fn has_room(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Gives memory back that one large frame has taken.
    pub fn shrink(&mut self, limit: usize) {
        if self.start == self.end && self.bytes.len() > limit {
            *self = Decoder::default();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Written = (u8, u16, u64, Vec<(u64, u64)>, Vec<u8>);

    fn frames() -> impl Strategy<Value = Vec<Written>> {
        let place = (any::<u64>(), any::<u64>());
        let frame = (
            1u8..10,
            any::<u16>(),
            any::<u64>(),
            prop::collection::vec(place, 0..3),
            prop::collection::vec(any::<u8>(), 0..200),
        );
        prop::collection::vec(frame, 0..12)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_in_whatever_pieces_it_comes(
            frames in frames(),
            pieces in prop::collection::vec(1usize..90, 1..40),
        ) {
            let mut wire = Vec::new();
            let mut expected = Vec::new();
            for (kind, slot, id, places, body) in &frames {
                let mut header = Header::new(Kind::from_wire(*kind).unwrap());
                (header.slot, header.id) = (*slot, *id);
                let last = if header.kind == Kind::Slab { &mut header.slab_size } else { &mut header.nanos };
                *last = id ^ 7;
                let places: Vec<Place> =
                    places.iter().map(|(a, b)| Place { slab: *a, offset: *b, size: a ^ b }).collect();
                header.write(&places, body, &mut wire);
                (header.buffers, header.size) = (places.len() as u32, body.len() as u64);
                expected.push((header, places, body.clone()));
            }
            let mut decoder = Decoder::default();
            let mut read = Vec::new();
            let mut at = 0;
            for piece in pieces.iter().cycle() {
                let count = (*piece).min(wire.len() - at);
                decoder.room(count)[..count].copy_from_slice(&wire[at..at + count]);
                decoder.filled(count);
                at += count;
                while let Some(frame) = decoder.take().unwrap() {
                    read.push((frame.header, decoder.places(&frame), decoder.body(&frame).to_vec()));
                }
                if at == wire.len() { break; }
            }
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn any_bytes_are_frames_or_garbage_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut decoder = Decoder::default();
            decoder.room(bytes.len())[..bytes.len()].copy_from_slice(&bytes);
            decoder.filled(bytes.len());
            while let Ok(Some(frame)) = decoder.take() {
                prop_assert!(decoder.body(&frame).len() < bytes.len());
                decoder.places(&frame);
            }
        }
    }

    proptest! {
        #[test]
        fn damaged_frames_are_cut_inside_what_came_or_are_garbage(
            frames in frames(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            pieces in prop::collection::vec(1usize..90, 1..40),
        ) {
            let mut wire = Vec::new();
            for (kind, slot, id, places, body) in &frames {
                let mut header = Header::new(Kind::from_wire(*kind).unwrap());
                (header.slot, header.id) = (*slot, *id);
                let places: Vec<Place> =
                    places.iter().map(|(a, b)| Place { slab: *a, offset: *b, size: a ^ b }).collect();
                header.write(&places, body, &mut wire);
            }
            if wire.is_empty() { return Ok(()); }
            for (at, byte) in &damage {
                let at = at.index(wire.len());
                wire[at] = *byte;
            }
            let mut decoder = Decoder::default();
            let (mut at, mut taken) = (0, 0);
            'wire: for piece in pieces.iter().cycle() {
                let count = (*piece).min(wire.len() - at);
                decoder.room(count)[..count].copy_from_slice(&wire[at..at + count]);
                decoder.filled(count);
                at += count;
                // Frames may be of gigabytes, for which no room is made before they come.
                prop_assert!(decoder.bytes.len() <= 2 * ROOM_AT_ONCE);
                loop {
                    match decoder.take() {
                        Ok(Some(frame)) => {
                            taken += HEADER + decoder.places(&frame).len() * PLACE + decoder.body(&frame).len();
                            prop_assert!(taken <= at);
                        }
                        Ok(None) => break,
                        Err(Garbage) => break 'wire,
                    }
                }
                if at == wire.len() { break; }
            }
        }
    }

    #[test]
    fn what_is_larger_than_any_frame_is_garbage() {
        let garbage = |at: usize, bytes: &[u8]| {
            let mut header = Vec::new();
            Header::new(Kind::Result).write(&[], &[], &mut header);
            header[at..at + bytes.len()].copy_from_slice(bytes);
            let mut decoder = Decoder::default();
            decoder.room(HEADER)[..HEADER].copy_from_slice(&header);
            decoder.filled(HEADER);
            decoder.take() == Err(Garbage)
        };
        assert!(!garbage(4, &MOST_BUFFERS.to_le_bytes()) && garbage(4, &(MOST_BUFFERS + 1).to_le_bytes()));
        assert!(!garbage(16, &LARGEST.to_le_bytes()) && garbage(16, &(LARGEST + 1).to_le_bytes()));
    }

    #[test]
    fn room_for_a_large_frame_grows_with_what_comes() {
        let mut header = Vec::new();
        Header::new(Kind::Result).write(&[], &[], &mut header);
        header[16..24].copy_from_slice(&LARGEST.to_le_bytes());
        let mut decoder = Decoder::default();
        decoder.room(HEADER)[..HEADER].copy_from_slice(&header);
        decoder.filled(HEADER);
        let mut came = HEADER;
        while came < 16 << 20 {
            let count = decoder.room(64).len();
            assert!(count <= came.max(ROOM_AT_ONCE), "room for {count} bytes, where {came} have come");
            decoder.filled(count);
            came += count;
        }
        assert!(decoder.bytes.len() < 64 << 20);
    }

    #[test]
    fn a_large_frame_comes_whole_in_few_reads() {
        let body = vec![7; 100 << 20];
        let mut wire = Vec::new();
        Header::new(Kind::Result).write(&[], &body, &mut wire);
        let mut decoder = Decoder::default();
        let (mut at, mut reads) = (0, 0);
        while at < wire.len() {
            let room = decoder.room(64);
            let count = room.len().min(wire.len() - at);
            room[..count].copy_from_slice(&wire[at..at + count]);
            decoder.filled(count);
            (at, reads) = (at + count, reads + 1);
        }
        let frame = decoder.take().unwrap().unwrap();
        assert!(decoder.body(&frame) == body && reads < 12, "{reads} reads");
    }

    #[test]
    fn a_large_frame_does_not_keep_its_memory() {
        let mut wire = Vec::new();
        Header::new(Kind::Result).write(&[], &vec![7; 1 << 20], &mut wire);
        let mut decoder = Decoder::default();
        decoder.room(wire.len())[..wire.len()].copy_from_slice(&wire);
        decoder.filled(wire.len());
        assert!(decoder.take().unwrap().is_some());
        decoder.shrink(1 << 16);
        assert!(decoder.room(64).len() < 1 << 16);
    }
}
