//! Which buckets two histograms have, laid side by side.
//!
//! ```text
//! a      [0][1]    [3]
//! b         [1][2]     [4]
//! union  [0][1][2][3][4]     a lacks 2, 4; b lacks 0, 3
//! ```

use model::Span;

/// Empty buckets to put in before the bucket at `position`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insert {
    position: usize,
    number: usize,
}

/// How two histograms' buckets go together.
#[derive(Debug, Default)]
pub struct Alignment {
    /// What the first one lacks.
    pub(super) into_first: Vec<Insert>,
    /// What the second one lacks.
    pub(super) into_second: Vec<Insert>,
    /// Spans of all buckets, without empty or touching spans.
    pub(super) union: Vec<Span>,
}

/// The index of each bucket.
fn indexes(spans: &[Span]) -> impl Iterator<Item = i64> {
    let mut next = 0i64;
    spans.iter().flat_map(move |span| {
        let start = next + i64::from(span.offset);
        next = start + i64::from(span.length);
        start..next
    })
}

fn note(inserts: &mut Vec<Insert>, position: usize) {
    match inserts.last_mut() {
        Some(last) if last.position == position => last.number += 1,
        _ => inserts.push(Insert { position, number: 1 }),
    }
}

fn extend(union: &mut Vec<Span>, end: &mut i64, index: i64) {
    match union.last_mut() {
        Some(last) if *end == index => last.length += 1,
        _ => union.push(Span { offset: (index - *end) as i32, length: 1 }),
    }
    *end = index + 1;
}

/// Lays the buckets of two histograms side by side. `goes_on(first, second)`
/// says whether a bucket may have gone from one position's value to the
/// other's; `None` stands for a bucket that one of them lacks. The positions
/// are those among the histogram's own buckets. `None` as soon as one may not.
pub(super) fn align(
    first: &[Span],
    second: &[Span],
    mut goes_on: impl FnMut(Option<usize>, Option<usize>) -> bool,
) -> Option<Alignment> {
    let mut alignment = Alignment::default();
    let mut end = 0;
    let (mut a, mut b) = (indexes(first).peekable(), indexes(second).peekable());
    let (mut at_a, mut at_b) = (0, 0);
    loop {
        let (in_a, in_b, index) = match (a.peek().copied(), b.peek().copied()) {
            (None, None) => return Some(alignment),
            (Some(x), None) => (true, false, x),
            (None, Some(y)) => (false, true, y),
            (Some(x), Some(y)) => (x <= y, y <= x, x.min(y)),
        };
        if !goes_on(in_a.then_some(at_a), in_b.then_some(at_b)) {
            return None;
        }
        extend(&mut alignment.union, &mut end, index);
        if !in_a {
            note(&mut alignment.into_first, at_a);
        }
        if !in_b {
            note(&mut alignment.into_second, at_b);
        }
        if in_a {
            a.next();
            at_a += 1;
        }
        if in_b {
            b.next();
            at_b += 1;
        }
    }
}

/// Absolute bucket values with empty buckets put in.
pub(super) fn widen_values(values: &[f64], inserts: &[Insert]) -> Vec<f64> {
    widen(values, inserts, 0.0)
}

/// Bucket values as differences to their left neighbours, with empty buckets put in.
pub(super) fn widen_deltas(deltas: &[i64], inserts: &[Insert]) -> Vec<i64> {
    let mut sum = 0i64;
    let absolute: Vec<i64> = deltas
        .iter()
        .map(|delta| {
            sum = sum.wrapping_add(*delta);
            sum
        })
        .collect();
    let mut widened = widen(&absolute, inserts, 0);
    let mut previous = 0i64;
    for value in &mut widened {
        let delta = value.wrapping_sub(previous);
        previous = *value;
        *value = delta;
    }
    widened
}

fn widen<V: Copy>(values: &[V], inserts: &[Insert], empty: V) -> Vec<V> {
    let added: usize = inserts.iter().map(|insert| insert.number).sum();
    let mut out = Vec::with_capacity(values.len() + added);
    let mut inserts = inserts.iter().peekable();
    for position in 0..=values.len() {
        while let Some(insert) = inserts.next_if(|insert| insert.position == position) {
            out.resize(out.len() + insert.number, empty);
        }
        out.extend(values.get(position));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(pairs: &[(i32, u32)]) -> Vec<Span> {
        pairs.iter().map(|&(offset, length)| Span { offset, length }).collect()
    }

    #[test]
    fn two_layouts_make_a_union() {
        // a: 0 1 3, b: 1 2 4
        let (a, b) = (spans(&[(0, 2), (1, 1)]), spans(&[(1, 2), (1, 1)]));
        let alignment = align(&a, &b, |_, _| true).expect("nothing stops it");
        assert_eq!(alignment.union, spans(&[(0, 5)]));
        assert_eq!(widen_values(&[1.0, 2.0, 3.0], &alignment.into_first), [1.0, 2.0, 0.0, 3.0, 0.0]);
        assert_eq!(widen_values(&[5.0, 6.0, 7.0], &alignment.into_second), [0.0, 5.0, 6.0, 0.0, 7.0]);
        assert_eq!(widen_deltas(&[1, 1, 1], &alignment.into_first), [1, 1, -2, 3, -3]);
    }

    #[test]
    fn empty_and_negative_spans_are_walked() {
        let a = spans(&[(-5, 1), (0, 0), (2, 1)]);
        assert_eq!(indexes(&a).collect::<Vec<_>>(), [-5, -2]);
        let alignment = align(&a, &[], |_, _| true).expect("nothing stops it");
        assert_eq!(alignment.union, spans(&[(-5, 1), (2, 1)]));
        assert!(alignment.into_first.is_empty());
    }
}
