//! Labels of a series as numbers: how many, then (name, value) pairs, each a
//! base-128 number, in order of the names' text.

use model::{Label, Labels};
use smallvec::SmallVec;

use super::symbols::Tables;

/// (name number, value number) pairs of one series.
pub(crate) type Pairs = SmallVec<[(u32, u32); 16]>;

/// Packs pairs behind what `out` holds.
pub(crate) fn pack(pairs: &[(u32, u32)], out: &mut Vec<u8>) {
    push(pairs.len() as u32, out);
    for &(name, value) in pairs {
        push(name, out);
        push(value, out);
    }
}

fn push(mut number: u32, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Walks the pairs that start at the first byte of `bytes`.
pub(crate) struct PairIter<'a> {
    bytes: &'a [u8],
    at: usize,
    left: u32,
}

/// The pairs packed at the start of `bytes`.
pub(crate) fn unpack(bytes: &[u8]) -> PairIter<'_> {
    let mut iter = PairIter { bytes, at: 0, left: 0 };
    iter.left = iter.number();
    iter
}

impl PairIter<'_> {
    fn number(&mut self) -> u32 {
        let mut number = 0;
        let mut shift = 0;
        loop {
            let byte = self.bytes[self.at];
            self.at += 1;
            number |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return number;
            }
            shift += 7;
        }
    }

    /// Bytes that all pairs take.
    pub(crate) fn packed_len(mut self) -> usize {
        while self.next().is_some() {}
        self.at
    }
}

impl Iterator for PairIter<'_> {
    type Item = (u32, u32);

    fn next(&mut self) -> Option<(u32, u32)> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let name = self.number();
        Some((name, self.number()))
    }
}

/// Whether packed pairs stand for a label set.
pub(crate) fn equal(tables: &Tables, packed: &[u8], labels: &Labels) -> bool {
    let mut pairs = unpack(packed);
    let mut wanted = labels.iter();
    loop {
        match (pairs.next(), wanted.next()) {
            (None, None) => return true,
            (Some((name, value)), Some(Label { name: wanted_name, value: wanted_value })) => {
                if tables.names.text(name) != wanted_name || tables.values.text(value) != wanted_value {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

/// The label set that pairs stand for.
pub(crate) fn to_labels(tables: &Tables, pairs: impl Iterator<Item = (u32, u32)>) -> Labels {
    Labels::from_sorted(pairs.map(|(name, value)| (tables.names.text(name), tables.values.text(value))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_pairs_come_back_and_compare() {
        let mut tables = Tables::default();
        let labels = Labels::from_pairs((0..300).map(|i| (format!("n{i:03}"), format!("v{i}"))));
        let pairs: Pairs =
            labels.iter().map(|l| (tables.names.acquire(l.name), tables.values.acquire(l.value))).collect();
        let mut packed = Vec::new();
        pack(&pairs, &mut packed);
        let len = packed.len();
        packed.extend_from_slice(&[0xff; 4]);
        assert_eq!(unpack(&packed).packed_len(), len);
        assert!(equal(&tables, &packed, &labels));
        assert_eq!(to_labels(&tables, unpack(&packed)), labels);
        assert!(!equal(&tables, &packed, &labels.filter(|name| name != "n000")));
    }
}
