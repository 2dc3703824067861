//! Label sets inside records: their number, then names and values behind their
//! lengths, sorted by name.

use model::Labels;

use crate::corruption::Damage;
use crate::cursor::{Cursor, put_string, put_uvarint};

/// Writes a label set.
pub(crate) fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    put_uvarint(out, labels.len() as u64);
    for label in labels {
        put_string(out, label.name);
        put_string(out, label.value);
    }
}

/// Reads a label set. One that is not sorted, as only foreign writers leave it,
/// is sorted.
pub(crate) fn take_labels(cursor: &mut Cursor<'_>) -> Result<Labels, Damage> {
    let count = cursor.count(2, "labels")?;
    let mut look_ahead = cursor.clone();
    let mut sorted = true;
    let mut last: Option<&str> = None;
    for _ in 0..count {
        let name = look_ahead.string("a label name")?;
        let value = look_ahead.string("a label value")?;
        sorted &= !value.is_empty() && last.is_none_or(|last| last < name);
        last = Some(name);
    }
    let mut again = std::mem::replace(cursor, look_ahead);
    let mut pair = || Some((again.string("a label name").ok()?, again.string("a label value").ok()?));
    let pairs = (0..count).map_while(|_| pair());
    Ok(if sorted { Labels::from_sorted(pairs) } else { Labels::from_pairs(pairs) })
}
