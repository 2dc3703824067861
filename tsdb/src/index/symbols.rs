//! The strings of an index. The table is read in place: of every 32 strings one
//! offset is kept.

use std::cmp::Ordering;
use std::sync::Arc;

use model::env::Mapped;

use super::toc::section;
use super::{SAMPLING, VERSION_1};
use crate::corruption::Damage;
use crate::cursor::Cursor;

/// The sorted strings of an index.
#[derive(Clone)]
pub struct Symbols {
    map: Arc<dyn Mapped>,
    version: u8,
    /// Where the strings start and end in the file.
    start: usize,
    end: usize,
    count: u32,
    /// Offset of every 32nd string.
    samples: Arc<[u32]>,
}

impl Symbols {
    /// Reads the table at an offset, all of it, to find its checksum and strings right.
    pub(super) fn open(map: Arc<dyn Mapped>, version: u8, offset: u64) -> Result<Symbols, (u64, Damage)> {
        let (at, bytes) = section(&map, offset, "the symbols")?;
        let mut cursor = Cursor::new(bytes);
        let fail = |damage| (offset, damage);
        let count = cursor.be_u32("the symbols' number").map_err(fail)?;
        let mut samples = Vec::with_capacity((count as usize).min(bytes.len()) / SAMPLING + 1);
        for i in 0..count as usize {
            if i % SAMPLING == 0 {
                let offset = at + cursor.position();
                let limit = u64::from(u32::MAX);
                samples.push(u32::try_from(offset).map_err(|_| {
                    fail(Damage::OutOfRange { what: "symbol offset", found: offset as u64, limit })
                })?);
            }
            cursor.string("a symbol").map_err(fail)?;
        }
        let (start, end) = (at + 4, at + cursor.position());
        Ok(Symbols { map, version, start, end, count, samples: samples.into() })
    }

    /// How many strings there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn string_at(&self, offset: usize) -> Option<(&str, usize)> {
        let bytes = self.map.get(offset..self.end)?;
        let mut cursor = Cursor::new(bytes);
        let text = cursor.string("a symbol").ok()?;
        Some((text, offset + cursor.position()))
    }

    /// The string a series entry names: by its number, in the oldest version by
    /// its offset in the file.
    pub fn get(&self, symbol: u32) -> Option<&str> {
        if self.version == VERSION_1 {
            let offset = symbol as usize;
            return (offset >= self.start).then(|| self.string_at(offset)).flatten().map(|(text, _)| text);
        }
        if symbol >= self.count {
            return None;
        }
        let mut offset = *self.samples.get(symbol as usize / SAMPLING)? as usize;
        for _ in 0..symbol as usize % SAMPLING {
            offset = self.string_at(offset)?.1;
        }
        self.string_at(offset).map(|(text, _)| text)
    }

    /// What series entries call a string, `None` where no series has it.
    pub fn find(&self, text: &str) -> Option<u32> {
        let first_of = |sample: &u32| self.string_at(*sample as usize).map_or("", |(text, _)| text);
        let block = self.samples.partition_point(|sample| first_of(sample) <= text).checked_sub(1)?;
        let mut offset = self.samples[block] as usize;
        for i in block * SAMPLING..((block + 1) * SAMPLING).min(self.len()) {
            let (candidate, next) = self.string_at(offset)?;
            match candidate.cmp(text) {
                Ordering::Less => offset = next,
                Ordering::Equal if self.version == VERSION_1 => return u32::try_from(offset).ok(),
                Ordering::Equal => return u32::try_from(i).ok(),
                Ordering::Greater => return None,
            }
        }
        None
    }

    /// All strings in order, with what series entries call them.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        let mut offset = self.start;
        (0..self.count).map_while(move |number| {
            let at = offset;
            let (text, next) = self.string_at(at)?;
            offset = next;
            Some((if self.version == VERSION_1 { at as u32 } else { number }, text))
        })
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.samples.len() * 4
    }
}
