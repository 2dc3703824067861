//! From matchers to slots of the head.
//!
//! A series without a label is one whose label is empty. A matcher that refuses
//! the empty value selects the union of the values it accepts; one that accepts
//! it takes away the union of the values it refuses.

use std::sync::Arc;

use model::{MatchOp, Matcher};
use roaring::RoaringBitmap;

use crate::head::Head;
use crate::head::postings::{List, NamePostings};
use crate::head::symbols::Tables;

/// The slots of all series that match, perhaps a few more that are just being
/// removed.
pub(crate) fn matching_slots(head: &Head, matchers: &[Matcher]) -> RoaringBitmap {
    let tables = head.symbols.read();
    let mut equal: Vec<List> = Vec::new();
    let mut others: Vec<(&Matcher, bool, Arc<NamePostings>)> = Vec::new();
    for matcher in matchers {
        let accepts_empty = matcher.matches_empty();
        let postings = tables.names.find(matcher.name()).and_then(|name| head.postings.name(name));
        let Some(postings) = postings else {
            if accepts_empty {
                continue;
            }
            return RoaringBitmap::new();
        };
        if matcher.op() == MatchOp::Equal && !accepts_empty {
            match tables.values.find(matcher.value()).and_then(|value| postings.get(value)) {
                Some(list) => equal.push(list),
                None => return RoaringBitmap::new(),
            }
        } else {
            others.push((matcher, accepts_empty, postings));
        }
    }
    equal.sort_by_key(List::len);
    let mut result: Option<RoaringBitmap> = None;
    for list in &equal {
        result = Some(match (result, list) {
            (None, list) => list.to_bitmap(),
            (Some(have), List::Many(slots)) => have & slots.as_ref(),
            (Some(have), list) => have & list.to_bitmap(),
        });
    }
    // Those that narrow down first.
    others.sort_by_key(|(_, accepts_empty, _)| *accepts_empty);
    for (matcher, accepts_empty, postings) in others {
        if result.as_ref().is_some_and(RoaringBitmap::is_empty) {
            break;
        }
        let union = union_of(&tables, matcher, !accepts_empty, &postings);
        result = Some(match (result, accepts_empty) {
            (None, false) => union,
            (Some(have), false) => have & union,
            (None, true) => head.postings.all().as_ref() - union,
            (Some(have), true) => have - union,
        });
    }
    result.unwrap_or_else(|| head.postings.all().as_ref().clone())
}

/// The slots of all values that the matcher accepts (or refuses).
fn union_of(tables: &Tables, matcher: &Matcher, accepted: bool, postings: &NamePostings) -> RoaringBitmap {
    let mut union = RoaringBitmap::new();
    let single = match matcher.op() {
        MatchOp::Equal | MatchOp::NotEqual if !matcher.value().is_empty() => Some(matcher.value()),
        _ => None,
    };
    // `!=` with a value refuses just that value.
    if let (Some(value), false) = (single, accepted) {
        if let Some(list) = tables.values.find(value).and_then(|value| postings.get(value)) {
            list.union_into(&mut union);
        }
        return union;
    }
    let mut few: Vec<u32> = Vec::new();
    postings.for_each(|value, list| {
        if matcher.matches(tables.values.text(value)) == accepted {
            match list {
                List::One(slot) => few.push(*slot),
                list => list.union_into(&mut union),
            }
        }
    });
    few.sort_unstable();
    union |= RoaringBitmap::from_sorted_iter(few).unwrap_or_default();
    union
}
