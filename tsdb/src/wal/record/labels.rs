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
    // Where all are short and in order, a record has them as a set packs them.
    let mut behind = cursor.clone();
    if (0..count * 2).all(|_| behind.prefixed("a label").is_ok())
        && let Some(labels) =
            std::str::from_utf8(cursor.rest_until(&behind)).ok().and_then(Labels::from_packed)
    {
        *cursor = behind;
        return Ok(labels);
    }
    let mut pairs = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        pairs.push((cursor.string("a label name")?, cursor.string("a label value")?));
    }
    Ok(Labels::from_pairs(pairs))
}
