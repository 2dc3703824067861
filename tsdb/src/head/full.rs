//! Where a series' full chunks lie, packed: about ten bytes a chunk.
//!
//! ```text
//! uvarint t - t before · zig-zag varint file - file before · uvarint offset · uvarint seconds
//! ```
//!
//! A head holds half a dozen a series, which are listed by every query that looks
//! back further than the open chunk and changed once in half an hour.

use super::page::FullChunk;
use crate::cursor::{put_uvarint, put_varint};

/// The full chunks of a series, ascending in time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FullChunks {
    packed: Box<[u8]>,
}

impl FullChunks {
    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    /// How many there are. Reads them.
    pub(crate) fn len(&self) -> usize {
        self.iter().count()
    }

    /// The first.
    pub(crate) fn first(&self) -> Option<FullChunk> {
        self.iter().next()
    }

    /// All, ascending in time.
    pub(crate) fn iter(&self) -> Iter<'_> {
        Iter { rest: &self.packed, before: None }
    }

    /// Adds a chunk, at its place.
    pub(crate) fn push(&mut self, chunk: FullChunk) {
        let last = self.iter().last();
        if last.is_some_and(|last| last.min_ms > chunk.min_ms) {
            let mut all: Vec<FullChunk> = self.iter().collect();
            let at = all.partition_point(|have| have.min_ms <= chunk.min_ms);
            all.insert(at, chunk);
            *self = all.into_iter().collect();
            return;
        }
        let mut packed = Vec::with_capacity(self.packed.len() + 16);
        packed.extend_from_slice(&self.packed);
        put(&mut packed, last, chunk);
        self.packed = packed.into();
    }

    /// Removes the first `n`.
    pub(crate) fn drop_first(&mut self, n: usize) {
        if n > 0 {
            *self = self.iter().skip(n).collect();
        }
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.packed.len()
    }
}

impl FromIterator<FullChunk> for FullChunks {
    fn from_iter<T: IntoIterator<Item = FullChunk>>(chunks: T) -> FullChunks {
        let mut packed = Vec::new();
        let mut before = None;
        for chunk in chunks {
            put(&mut packed, before, chunk);
            before = Some(chunk);
        }
        FullChunks { packed: packed.into() }
    }
}

fn put(packed: &mut Vec<u8>, before: Option<FullChunk>, chunk: FullChunk) {
    let (t, file) = before.map_or((0, 0), |before| (before.min_ms, before.file()));
    put_uvarint(packed, chunk.min_ms.wrapping_sub(t) as u64);
    put_varint(packed, chunk.file() as i64 - file as i64);
    put_uvarint(packed, chunk.offset());
    put_uvarint(packed, chunk.seconds());
}

/// The chunks of a series in order.
pub(crate) struct Iter<'a> {
    rest: &'a [u8],
    before: Option<FullChunk>,
}

impl Iter<'_> {
    /// The next number; what `put` wrote is always whole.
    fn number(&mut self) -> u64 {
        let mut value = 0;
        let mut shift = 0;
        while let Some((&byte, rest)) = self.rest.split_first() {
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        value
    }

    fn signed(&mut self) -> i64 {
        let value = self.number();
        (value >> 1) as i64 ^ -((value & 1) as i64)
    }
}

impl Iterator for Iter<'_> {
    type Item = FullChunk;

    fn next(&mut self) -> Option<FullChunk> {
        if self.rest.is_empty() {
            return None;
        }
        let (t, file) = self.before.map_or((0, 0), |before| (before.min_ms, before.file() as i64));
        let min_ms = t.wrapping_add(self.number() as i64);
        let file = file.wrapping_add(self.signed());
        let (offset, seconds) = (self.number(), self.number());
        let chunk = FullChunk::from_parts(file as u64, offset, min_ms, seconds);
        self.before = Some(chunk);
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_chunks_are_those_of_a_plain_list() {
        let mut state = 7u64;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 20) % below
        };
        for _ in 0..200 {
            let mut packed = FullChunks::default();
            let mut plain: Vec<FullChunk> = Vec::new();
            for _ in 0..random(12) {
                let min_ms = match random(8) {
                    0 => i64::MIN,
                    1 => i64::MAX,
                    _ => 1_700_000_000_000 + random(20_000_000) as i64,
                };
                let max_ms = min_ms.saturating_add(random(90_000_000) as i64);
                let chunk = FullChunk::new(random(1 << 20), random(1 << 28), min_ms, max_ms);
                packed.push(chunk);
                let at = plain.partition_point(|have| have.min_ms <= min_ms);
                plain.insert(at, chunk);
                assert_eq!(packed.iter().collect::<Vec<_>>(), plain);
                assert_eq!((packed.len(), packed.first()), (plain.len(), plain.first().copied()));
            }
            let n = random(4) as usize;
            packed.drop_first(n);
            assert_eq!(packed, plain.into_iter().skip(n).collect::<FullChunks>());
        }
    }

    #[test]
    fn six_chunks_of_half_an_hour_take_ten_bytes_each() {
        let chunks: FullChunks = (0..6)
            .map(|n| {
                let min = 1_700_000_000_000 + n * 1_800_003;
                FullChunk::new(3, 90_000_000 + n as u64 * 7_000_000, min, min + 1_785_007)
            })
            .collect();
        assert!(chunks.heap_bytes() <= 64, "{}", chunks.heap_bytes());
    }
}
