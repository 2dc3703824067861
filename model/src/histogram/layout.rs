//! Walking spans and making them anew.

use std::sync::Arc;

use super::{Span, no_spans};

/// The buckets of spans: (position in the list of counts, index), ascending or
/// from the back. Ends with the shorter of spans and counts, so that malformed
/// histograms are harmless.
#[derive(Clone, Debug)]
pub(super) struct Positions<'a> {
    spans: &'a [Span],
    /// Positions not yet given: `front.position..end`.
    end: usize,
    front: Cursor,
    /// Set when walking back begins.
    back: Option<Cursor>,
}

/// A bucket's place.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    span: usize,
    in_span: u32,
    position: usize,
    index: i32,
}

impl<'a> Positions<'a> {
    pub(super) fn new(spans: &'a [Span], buckets: usize) -> Positions<'a> {
        let total: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
        let end = usize::try_from(total).unwrap_or(usize::MAX).min(buckets);
        let index = spans.first().map_or(0, |span| span.offset);
        Positions { spans, end, front: Cursor { index, ..Cursor::default() }, back: None }
    }

    /// Just behind the last bucket.
    fn end_cursor(&self) -> Cursor {
        let mut cursor = Cursor::default();
        for (i, span) in self.spans.iter().enumerate() {
            cursor.span = i;
            cursor.index = cursor.index.wrapping_add(span.offset);
            let left = u32::try_from(self.end - cursor.position).unwrap_or(u32::MAX);
            cursor.in_span = span.length.min(left);
            cursor.position += cursor.in_span as usize;
            cursor.index = cursor.index.wrapping_add(cursor.in_span as i32);
            if cursor.position == self.end {
                break;
            }
        }
        cursor
    }
}

impl Iterator for Positions<'_> {
    type Item = (usize, i32);

    fn next(&mut self) -> Option<(usize, i32)> {
        if self.front.position >= self.end {
            return None;
        }
        let at = &mut self.front;
        while at.in_span >= self.spans[at.span].length {
            at.span += 1;
            at.in_span = 0;
            at.index = at.index.wrapping_add(self.spans[at.span].offset);
        }
        let item = (at.position, at.index);
        at.in_span += 1;
        at.position += 1;
        at.index = at.index.wrapping_add(1);
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end - self.front.position;
        (left, Some(left))
    }
}

impl DoubleEndedIterator for Positions<'_> {
    fn next_back(&mut self) -> Option<(usize, i32)> {
        if self.front.position >= self.end {
            return None;
        }
        let mut at = match self.back {
            Some(cursor) => cursor,
            None => self.end_cursor(),
        };
        while at.in_span == 0 {
            at.index = at.index.wrapping_sub(self.spans[at.span].offset);
            at.span -= 1;
            at.in_span = self.spans[at.span].length;
        }
        at.in_span -= 1;
        at.position -= 1;
        at.index = at.index.wrapping_sub(1);
        self.back = Some(at);
        self.end = at.position;
        Some((at.position, at.index))
    }
}

impl ExactSizeIterator for Positions<'_> {}

/// Makes spans from the indexes of buckets, which come in ascending order.
#[derive(Debug, Default)]
pub(super) struct SpanBuilder {
    spans: Vec<Span>,
    /// The index behind the last bucket; 0 before the first.
    next: i32,
}

impl SpanBuilder {
    pub(super) fn push(&mut self, index: i32) {
        let gap = index.wrapping_sub(self.next);
        match self.spans.last_mut() {
            Some(last) if gap == 0 => last.length += 1,
            _ => self.spans.push(Span { offset: gap, length: 1 }),
        }
        self.next = index.wrapping_add(1);
    }

    pub(super) fn finish(self) -> Arc<[Span]> {
        if self.spans.is_empty() { no_spans() } else { Arc::from(self.spans) }
    }
}
