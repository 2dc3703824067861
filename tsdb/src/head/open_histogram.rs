//! The open chunk of a series whose newest sample is a histogram.

use model::query::ChunkEncoding;
use model::{FloatHistogram, Histogram, HistogramValue, Span, stale_nan};

use super::open::{ChunkRules, ClosedChunk, estimate_end, range_end};
use super::page::{PageData, flag};
use crate::chunk::{Appended, ChunkError, FloatHistogramAppender, HistogramAppender};

/// Bytes that a histogram chunk aims at.
const TARGET_BYTES: usize = 1024;
/// No histogram chunk is ended for its size with fewer samples.
const SAMPLES_MIN: u16 = 10;

#[derive(Clone)]
enum Kind {
    Integer(HistogramAppender),
    Float(FloatHistogramAppender),
}

/// An open histogram chunk.
#[derive(Clone)]
pub(crate) struct OpenHistogram {
    kind: Kind,
    min_ms: i64,
    /// Time of the newest sample.
    pub(crate) last_t: i64,
    /// The chunk ends before this.
    next_at: i64,
    estimated: bool,
    /// The chunk was closed: only the newest sample is of interest.
    closed: bool,
}

impl OpenHistogram {
    fn new(value: &HistogramValue, t: i64, start: i64, rules: &ChunkRules) -> OpenHistogram {
        let kind = match value {
            HistogramValue::Integer(h) => {
                let mut appender = HistogramAppender::new(rules.histogram_starts);
                appender.append(start, t, h);
                Kind::Integer(appender)
            }
            HistogramValue::Float(h) => {
                let mut appender = FloatHistogramAppender::new(rules.histogram_starts);
                appender.append(start, t, h);
                Kind::Float(appender)
            }
        };
        OpenHistogram {
            kind,
            min_ms: t,
            last_t: t,
            next_at: range_end(t, rules.range_ms),
            estimated: false,
            closed: false,
        }
    }

    /// Goes on with a chunk's bytes, whose first sample is at `min_ms`.
    ///
    /// # Errors
    /// The bytes are no chunk of the encoding.
    pub(crate) fn resume(
        encoding: ChunkEncoding,
        bytes: &[u8],
        min_ms: i64,
    ) -> Result<OpenHistogram, ChunkError> {
        let kind = match encoding {
            ChunkEncoding::Histogram => Kind::Integer(HistogramAppender::resume(bytes, false)?),
            ChunkEncoding::HistogramSt => Kind::Integer(HistogramAppender::resume(bytes, true)?),
            ChunkEncoding::FloatHistogram => Kind::Float(FloatHistogramAppender::resume(bytes, false)?),
            ChunkEncoding::FloatHistogramSt => Kind::Float(FloatHistogramAppender::resume(bytes, true)?),
            ChunkEncoding::Xor | ChunkEncoding::Xor2 => {
                return Err(ChunkError::Malformed("a float chunk is no histogram chunk"));
            }
        };
        let last_t = match &kind {
            Kind::Integer(appender) => appender.last_timestamp_ms(),
            Kind::Float(appender) => appender.last_timestamp_ms(),
        };
        let last_t = last_t.unwrap_or(min_ms);
        Ok(OpenHistogram { kind, min_ms, last_t, next_at: i64::MAX, estimated: false, closed: false })
    }

    fn bytes(&self) -> &[u8] {
        match &self.kind {
            Kind::Integer(appender) => appender.bytes(),
            Kind::Float(appender) => appender.bytes(),
        }
    }

    fn num_samples(&self) -> u16 {
        match &self.kind {
            Kind::Integer(appender) => appender.num_samples(),
            Kind::Float(appender) => appender.num_samples(),
        }
    }

    fn keeps_start(&self) -> bool {
        match &self.kind {
            Kind::Integer(appender) => appender.keeps_start(),
            Kind::Float(appender) => appender.keeps_start(),
        }
    }

    fn encoding(&self) -> ChunkEncoding {
        match (&self.kind, self.keeps_start()) {
            (Kind::Integer(_), false) => ChunkEncoding::Histogram,
            (Kind::Integer(_), true) => ChunkEncoding::HistogramSt,
            (Kind::Float(_), false) => ChunkEncoding::FloatHistogram,
            (Kind::Float(_), true) => ChunkEncoding::FloatHistogramSt,
        }
    }

    /// Time of the chunk's first sample, `None` once it is closed.
    pub(crate) fn min_ms(&self) -> Option<i64> {
        (!self.closed).then_some(self.min_ms)
    }

    /// A copy of the chunk, `None` once it is closed.
    pub(crate) fn copy(&self, series_ref: u64) -> Option<ClosedChunk> {
        (!self.closed).then(|| self.chunk(series_ref, self.bytes().to_vec(), self.last_t))
    }

    fn chunk(&self, series_ref: u64, bytes: Vec<u8>, max_ms: i64) -> ClosedChunk {
        ClosedChunk {
            series_ref,
            min_ms: self.min_ms,
            max_ms,
            encoding: self.encoding(),
            out_of_order: false,
            bytes,
        }
    }

    /// A staleness marker of the same kind.
    pub(crate) fn stale_marker(&self) -> HistogramValue {
        match &self.kind {
            Kind::Integer(_) => {
                HistogramValue::Integer(Histogram { sum: stale_nan(), ..Histogram::default() })
            }
            Kind::Float(_) => {
                HistogramValue::Float(FloatHistogram { sum: stale_nan(), ..FloatHistogram::default() })
            }
        }
    }

    /// The newest sample.
    pub(crate) fn last_sample(&self) -> Option<HistogramValue> {
        match &self.kind {
            Kind::Integer(appender) => appender.last_sample().map(HistogramValue::Integer),
            Kind::Float(appender) => appender.last_sample().map(HistogramValue::Float),
        }
    }

    /// How many buckets the newest sample has.
    pub(crate) fn num_buckets(&self) -> usize {
        match self.last_sample() {
            Some(HistogramValue::Integer(h)) => h.positive_buckets.len() + h.negative_buckets.len(),
            Some(HistogramValue::Float(h)) => h.positive_buckets.len() + h.negative_buckets.len(),
            None => 0,
        }
    }

    /// Whether the newest sample is this one.
    pub(crate) fn is_same(&self, value: &HistogramValue) -> bool {
        match (self.last_sample(), value) {
            (Some(HistogramValue::Integer(a)), HistogramValue::Integer(b)) => same_integer(&a, b),
            (Some(HistogramValue::Float(a)), HistogramValue::Float(b)) => same_float(&a, b),
            _ => false,
        }
    }

    /// Whether the chunk ends before a sample at `t`.
    fn is_full(&mut self, t: i64, rules: &ChunkRules) -> bool {
        let (samples, bytes) = (self.num_samples(), self.bytes().len());
        let range_end = if self.estimated { range_end(self.min_ms, rules.range_ms) } else { self.next_at };
        if !self.estimated && bytes * 4 >= TARGET_BYTES {
            let share = TARGET_BYTES as f64 / bytes as f64;
            self.next_at = estimate_end(self.min_ms, self.last_t, self.next_at, share);
            self.estimated = true;
        }
        let ends = t >= self.next_at || bytes >= TARGET_BYTES * 2;
        ends && (samples >= SAMPLES_MIN || t >= range_end)
    }

    /// Adds a sample of the same kind. Answers the old chunk where a new one
    /// had to be started.
    fn push(
        &mut self,
        series_ref: u64,
        t: i64,
        start: i64,
        value: &HistogramValue,
        rules: &ChunkRules,
    ) -> Option<ClosedChunk> {
        let reopen = self.closed || self.keeps_start() != rules.histogram_starts;
        let cut = reopen || self.is_full(t, rules);
        let old_bytes = match (&mut self.kind, value) {
            (Kind::Integer(appender), HistogramValue::Integer(h)) if cut => {
                Appended::NewChunk(appender.append_to_new_chunk(start, t, h))
            }
            (Kind::Float(appender), HistogramValue::Float(h)) if cut => {
                Appended::NewChunk(appender.append_to_new_chunk(start, t, h))
            }
            (Kind::Integer(appender), HistogramValue::Integer(h)) => appender.append(start, t, h),
            (Kind::Float(appender), HistogramValue::Float(h)) => appender.append(start, t, h),
            _ => unreachable!("the caller closes the chunk when the kind changes"),
        };
        let closed = match old_bytes {
            Appended::NewChunk(bytes) => {
                let old = (!self.closed).then(|| self.chunk(series_ref, bytes, self.last_t));
                self.min_ms = t;
                self.next_at = range_end(t, rules.range_ms);
                // As upstream: a chunk that begins because the layout changed is not
                // estimated anew if the one before it was.
                self.estimated &= !cut;
                self.closed = false;
                old
            }
            Appended::Appended | Appended::Recoded => None,
        };
        self.last_t = t;
        closed
    }

    fn same_kind(&self, value: &HistogramValue) -> bool {
        matches!(
            (&self.kind, value),
            (Kind::Integer(_), HistogramValue::Integer(_)) | (Kind::Float(_), HistogramValue::Float(_))
        )
    }

    /// Bytes held.
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of::<OpenHistogram>()
            + match &self.kind {
                Kind::Integer(appender) => appender.heap_bytes(),
                Kind::Float(appender) => appender.heap_bytes(),
            }
    }
}

impl PageData {
    /// Makes a chunk the open one of series `i`, which has none.
    pub(super) fn put_open_histogram(&mut self, i: usize, mut open: Box<OpenHistogram>, rules: &ChunkRules) {
        open.next_at = range_end(open.min_ms, rules.range_ms);
        self.cold[i].extra_mut().histogram = Some(open);
        self.hot[i].flags &= !flag::STALE;
        self.hot[i].flags |= flag::HISTOGRAM | flag::EVER_HISTOGRAM;
    }

    /// Adds a histogram to series `i`; its time is after all of its in-order
    /// samples. Answers the chunk before where a new one had to be started.
    pub(crate) fn push_histogram(
        &mut self,
        i: usize,
        t: i64,
        start: i64,
        value: &HistogramValue,
        rules: &ChunkRules,
    ) -> Option<ClosedChunk> {
        let stale = match value {
            HistogramValue::Integer(h) => h.is_stale(),
            HistogramValue::Float(h) => h.is_stale(),
        };
        let series_ref = self.hot[i].series_ref;
        let mut closed = None;
        if self.hot[i].flags & flag::HISTOGRAM == 0 {
            closed = self.close_float(i);
        }
        let slot = &mut self.cold[i].extra_mut().histogram;
        match slot {
            Some(open) if closed.is_none() && open.same_kind(value) => {
                closed = open.push(series_ref, t, start, value, rules);
            }
            _ => {
                if let Some(old) = slot.take() {
                    closed = closed.or_else(|| old.copy(series_ref));
                }
                *slot = Some(Box::new(OpenHistogram::new(value, t, start, rules)));
            }
        }
        let hot = &mut self.hot[i];
        hot.flags &= !(flag::STALE | flag::CONDEMNED);
        hot.flags |= flag::HISTOGRAM | flag::EVER_HISTOGRAM;
        if stale {
            hot.flags |= flag::STALE;
        }
        closed
    }

    /// The newest sample of series `i`, which is a histogram.
    pub(crate) fn last_histogram(&self, i: usize) -> Option<HistogramValue> {
        self.cold[i].extra.as_ref()?.histogram.as_ref()?.last_sample()
    }

    /// Ends the open histogram chunk of series `i`; the newest sample stays known.
    pub(crate) fn close_histogram(&mut self, i: usize) -> Option<ClosedChunk> {
        let series_ref = self.hot[i].series_ref;
        let open = self.cold[i].extra.as_mut()?.histogram.as_mut()?;
        let chunk = open.copy(series_ref)?;
        open.closed = true;
        Some(chunk)
    }

    /// Forgets the newest histogram of series `i`, whose newest sample is a float again.
    pub(crate) fn forget_histogram(&mut self, i: usize) {
        if let Some(extra) = &mut self.cold[i].extra {
            extra.histogram = None;
        }
    }
}

/// Absolute counts by bucket, empty buckets left out.
fn buckets<T: Copy>(
    spans: &[Span],
    counts: impl Iterator<Item = T>,
    empty: impl Fn(T) -> bool,
) -> Vec<(i64, T)> {
    let mut index = 0i64;
    let indices = spans.iter().flat_map(|span| {
        index += i64::from(span.offset);
        let from = index;
        index += i64::from(span.length);
        from..index
    });
    let all: Vec<i64> = indices.collect();
    all.into_iter().zip(counts).filter(|(_, count)| !empty(*count)).collect()
}

fn absolute(deltas: &[i64]) -> impl Iterator<Item = i64> + '_ {
    deltas.iter().scan(0i64, |sum, delta| {
        *sum = sum.wrapping_add(*delta);
        Some(*sum)
    })
}

fn same_bounds(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

fn same_integer(a: &Histogram, b: &Histogram) -> bool {
    let side = |spans: &[Span], deltas: &[i64]| buckets(spans, absolute(deltas), |count| count == 0);
    a.sum.to_bits() == b.sum.to_bits()
        && (a.is_stale()
            || a.schema == b.schema
                && a.zero_threshold == b.zero_threshold
                && a.zero_count == b.zero_count
                && a.count == b.count
                && same_bounds(&a.custom_values, &b.custom_values)
                && side(&a.positive_spans, &a.positive_buckets)
                    == side(&b.positive_spans, &b.positive_buckets)
                && side(&a.negative_spans, &a.negative_buckets)
                    == side(&b.negative_spans, &b.negative_buckets))
}

fn same_float(a: &FloatHistogram, b: &FloatHistogram) -> bool {
    let side = |spans: &[Span], counts: &[f64]| -> Vec<(i64, u64)> {
        let found = buckets(spans, counts.iter().copied(), |count| count == 0.0);
        found.into_iter().map(|(index, count)| (index, count.to_bits())).collect()
    };
    a.sum.to_bits() == b.sum.to_bits()
        && (a.is_stale()
            || a.schema == b.schema
                && a.zero_threshold == b.zero_threshold
                && a.zero_count.to_bits() == b.zero_count.to_bits()
                && a.count.to_bits() == b.count.to_bits()
                && same_bounds(&a.custom_values, &b.custom_values)
                && side(&a.positive_spans, &a.positive_buckets)
                    == side(&b.positive_spans, &b.positive_buckets)
                && side(&a.negative_spans, &a.negative_buckets)
                    == side(&b.negative_spans, &b.negative_buckets))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: ChunkRules =
        ChunkRules { samples: 120, range_ms: 7_200_000, xor2: false, starts: false, histogram_starts: false };

    /// Forty buckets that grow faster each time.
    fn growing(n: i64, schema: i32) -> HistogramValue {
        let counts: Vec<i64> = (0..40).map(|bucket| n * n * (bucket % 7 + 1) * 1000).collect();
        let deltas = counts.iter().scan(0, |before, &count| Some(count - std::mem::replace(before, count)));
        HistogramValue::Integer(Histogram {
            schema,
            count: counts.iter().sum::<i64>() as u64,
            positive_spans: [Span { offset: 0, length: 40 }].as_slice().into(),
            positive_buckets: deltas.collect(),
            ..Histogram::default()
        })
    }

    #[test]
    fn a_chunk_that_begins_with_a_new_layout_is_not_estimated_anew() {
        let mut open = OpenHistogram::new(&growing(1, 0), 0, 0, &RULES);
        let mut n = 1;
        let mut push = |open: &mut OpenHistogram, schema: i32| {
            n += 1;
            open.push(1, n * 1000, 0, &growing(n, schema), &RULES)
        };
        while !open.estimated {
            assert!(push(&mut open, 0).is_none());
        }
        assert!(open.next_at < RULES.range_ms);
        assert!(push(&mut open, 1).is_some(), "another schema, another chunk");
        assert_eq!((open.estimated, open.next_at), (true, RULES.range_ms));
        let ended = loop {
            if let Some(ended) = push(&mut open, 1) {
                break ended;
            }
        };
        assert!(ended.bytes.len() >= 2 * TARGET_BYTES, "{}", ended.bytes.len());
        assert!(!open.estimated, "one that was ended for its size");
    }
}
