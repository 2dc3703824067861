//! Chunk encodings: any bytes as a chunk, any samples into one.

use model::query::ReadOptions;
use model::{Columns, FloatHistogram, Histogram, HistogramValue, Span, TimeRange};
use testkit::Rng;
use tsdb::chunk::{
    self, APPEND_BYTES_MAX, Appended, ChunkEncoding, FloatHistogramAppender, HistogramAppender, StoredSample,
    StoredValue,
};

const OPTIONS: ReadOptions = ReadOptions { start_timestamps: true, histogram_stats_only: false };

fn walk(encoding: ChunkEncoding, bytes: &[u8]) -> Option<Vec<StoredSample>> {
    chunk::samples::samples(encoding, bytes).ok()?.collect::<Result<_, _>>().ok()
}

/// A sample as text, floats by their bits, histograms without empty buckets.
fn text(sample: &StoredSample) -> String {
    let value = match &sample.value {
        StoredValue::Float(value) => format!("{:x}", value.to_bits()),
        StoredValue::Histogram(h) => histogram_text(&h.to_float()),
        StoredValue::FloatHistogram(h) => histogram_text(h),
    };
    format!("{} {} {value}", sample.timestamp_ms, sample.start_timestamp_ms)
}

fn histogram_text(histogram: &FloatHistogram) -> String {
    if histogram.is_stale() {
        return "stale".to_owned();
    }
    let mut h = histogram.clone();
    h.compact(0);
    h.counter_reset_hint = model::CounterResetHint::Unknown;
    // The encoding has one zero for the threshold, as upstream's.
    h.zero_threshold += 0.0;
    format!("{h:?}")
}

/// Two ways to read a chunk agree; then what it holds.
fn read(encoding: ChunkEncoding, bytes: &[u8]) -> Option<Vec<StoredSample>> {
    let mut columns = Columns::default();
    let whole = chunk::decode(encoding, bytes, TimeRange::ALL, OPTIONS, &mut columns);
    let walked = walk(encoding, bytes);
    assert_eq!(whole.is_ok(), walked.is_some(), "columns and samples agree on damage: {whole:?}");
    let Some(walked) = walked else {
        assert!(columns.is_empty(), "damage leaves the columns as they were");
        return None;
    };
    assert_eq!(walked.len(), usize::from(chunk::num_samples(encoding, bytes).expect("it has a header")));
    let times: Vec<i64> = walked.iter().map(|sample| sample.timestamp_ms).collect();
    assert_eq!(columns.timestamps_ms, times);
    let starts: Vec<i64> = walked.iter().map(|sample| sample.start_timestamp_ms).collect();
    assert_eq!(columns.start_timestamps_ms, starts);
    let bounds = chunk::time_bounds(encoding, bytes).expect("it was read");
    assert_eq!(bounds, times.first().map(|first| (*first, times[times.len() - 1])));
    if let (true, Some(&middle)) = (times.is_sorted(), times.get(times.len() / 2)) {
        let range = TimeRange::new(middle, middle.saturating_add(10_000));
        columns.clear();
        chunk::decode(encoding, bytes, range, OPTIONS, &mut columns).expect("it was read");
        let inside: Vec<i64> = times.iter().copied().filter(|t| range.contains(*t)).collect();
        assert_eq!(columns.timestamps_ms, inside);
    }
    Some(walked)
}

fn same(encoding: ChunkEncoding, chunks: &[Vec<u8>], samples: &[StoredSample]) {
    let again: Vec<String> = chunks
        .iter()
        .flat_map(|bytes| read(encoding, bytes).expect("what was written is a chunk"))
        .map(|sample| text(&sample))
        .collect();
    assert_eq!(again, samples.iter().map(text).collect::<Vec<_>>());
}

fn put_floats(encoding: ChunkEncoding, samples: &[(i64, i64, f64)]) -> Vec<u8> {
    let mut bytes = vec![0; (samples.len() + 2) * APPEND_BYTES_MAX];
    if encoding == ChunkEncoding::Xor {
        let mut state = chunk::xor::start(&mut bytes);
        for &(t, _, v) in samples {
            chunk::xor::append(&mut state, &mut bytes, t, v);
        }
        state.seal(&mut bytes);
        bytes.truncate(state.byte_len());
        return bytes;
    }
    let mut state = chunk::xor2::start(&mut bytes);
    let mut starts = chunk::StartState::default();
    for &(t, st, v) in samples {
        chunk::xor2::append_with_start(&mut state, &mut starts, &mut bytes, st, t, v);
    }
    state.seal(&mut bytes);
    bytes.truncate(state.byte_len());
    bytes
}

fn floats(encoding: ChunkEncoding, bytes: &[u8]) {
    let Some(samples) = read(encoding, bytes) else { return };
    let rows: Vec<(i64, i64, f64)> = samples
        .iter()
        .map(|sample| match sample.value {
            StoredValue::Float(value) => (sample.timestamp_ms, sample.start_timestamp_ms, value),
            _ => unreachable!("a float chunk holds floats"),
        })
        .collect();
    let again = put_floats(encoding, &rows);
    same(encoding, std::slice::from_ref(&again), &samples);
    // Goes on where the bytes end.
    let resumed = match encoding {
        ChunkEncoding::Xor => chunk::xor::resume(&again).map(|state| (state.num_samples(), state.byte_len())),
        _ => chunk::xor2::resume(&again).map(|(state, _)| (state.num_samples(), state.byte_len())),
    };
    if !samples.is_empty() {
        assert_eq!(resumed, Ok((samples.len() as u16, again.len())));
    }
}

pub(crate) fn xor(bytes: &[u8]) {
    floats(ChunkEncoding::Xor, bytes);
}

pub(crate) fn xor2(bytes: &[u8]) {
    floats(ChunkEncoding::Xor2, bytes);
}

/// Bytes as floats and times: what goes in comes out.
pub(crate) fn floats_in(bytes: &[u8]) {
    let mut t = 0i64;
    let mut rows = Vec::new();
    for row in bytes.chunks_exact(18).take(2000) {
        let number = |at: usize| i64::from_be_bytes(row[at..at + 8].try_into().expect("eight bytes"));
        let delta = number(0) >> (row[16] % 64);
        t = t.wrapping_add(delta);
        let start = if row[17] % 3 == 0 { 0 } else { t.wrapping_sub(i64::from(row[17])) };
        rows.push((t, start, f64::from_bits(number(8) as u64)));
    }
    for encoding in [ChunkEncoding::Xor, ChunkEncoding::Xor2] {
        let chunk = put_floats(encoding, &rows);
        let samples: Vec<StoredSample> = rows
            .iter()
            .map(|&(timestamp_ms, start, value)| StoredSample {
                timestamp_ms,
                start_timestamp_ms: if encoding == ChunkEncoding::Xor { 0 } else { start },
                value: StoredValue::Float(value),
            })
            .collect();
        same(encoding, &[chunk], &samples);
    }
}

macro_rules! histograms {
    ($name:ident, $appender:ident, $kind:ident) => {
        fn $name(encoding: ChunkEncoding, with_start: bool, bytes: &[u8]) {
            let Some(samples) = read(encoding, bytes) else { return };
            // What no store accepts need not survive.
            let valid = samples.iter().all(|sample| match &sample.value {
                StoredValue::$kind(h) => h.is_stale() || h.validate().is_ok(),
                _ => unreachable!("a chunk holds its own kind"),
            });
            if let Ok(mut resumed) = $appender::resume(bytes, with_start)
                && valid
                && let Some(last) = resumed.last_sample()
            {
                let t = resumed.last_timestamp_ms().unwrap_or(0);
                resumed.append(0, t.saturating_add(1), &last);
            }
            if !valid {
                return;
            }
            let mut appender = $appender::new(with_start);
            let mut chunks = Vec::new();
            for sample in &samples {
                let StoredValue::$kind(h) = &sample.value else { continue };
                if let Appended::NewChunk(old) =
                    appender.append(sample.start_timestamp_ms, sample.timestamp_ms, h)
                {
                    chunks.push(old);
                }
            }
            chunks.push(appender.into_bytes());
            same(encoding, &chunks, &samples);
        }
    };
}

histograms!(integers, HistogramAppender, Histogram);
histograms!(float_counts, FloatHistogramAppender, FloatHistogram);

pub(crate) fn histogram(bytes: &[u8]) {
    integers(ChunkEncoding::Histogram, false, bytes);
}

pub(crate) fn histogram_st(bytes: &[u8]) {
    integers(ChunkEncoding::HistogramSt, true, bytes);
}

pub(crate) fn float_histogram(bytes: &[u8]) {
    float_counts(ChunkEncoding::FloatHistogram, false, bytes);
}

pub(crate) fn float_histogram_st(bytes: &[u8]) {
    float_counts(ChunkEncoding::FloatHistogramSt, true, bytes);
}

fn rows(seed: u64) -> Vec<(i64, i64, f64)> {
    let mut rng = Rng::new(seed);
    let mut t = 1_700_000_000_000;
    (0..rng.below(130))
        .map(|n| {
            t += 15_000 + rng.below(30) as i64 * i64::from(rng.one_in(3));
            let value = match rng.below(4) {
                0 => rng.unit(),
                1 => n as f64,
                2 => 7.0,
                _ => f64::from_bits(rng.next_u64()),
            };
            (t, if rng.one_in(2) { 0 } else { t - 1000 }, value)
        })
        .collect()
}

pub(crate) fn xor_corpus() -> Vec<Vec<u8>> {
    let made = (0..8).map(|seed| put_floats(ChunkEncoding::Xor, &rows(seed)));
    made.chain(crate::finds::of("chunk_xor")).collect()
}

pub(crate) fn xor2_corpus() -> Vec<Vec<u8>> {
    let made = (0..8).map(|seed| put_floats(ChunkEncoding::Xor2, &rows(seed)));
    made.chain(crate::finds::of("chunk_xor2")).collect()
}

pub(crate) fn floats_in_corpus() -> Vec<Vec<u8>> {
    let bytes = |seed| {
        let mut rng = Rng::new(seed);
        (0..18 * 40)
            .map(|n| if n % 18 == 16 { 20 + rng.below(44) as u8 } else { rng.next_u64() as u8 })
            .collect()
    };
    (0..4).map(bytes).chain(crate::finds::of("chunk_floats_in")).collect()
}

/// A histogram that has counted for a while.
pub(crate) fn sample_histogram(rng: &mut Rng, shape: u64, n: u64) -> Histogram {
    let custom = shape.is_multiple_of(3);
    let counts: Vec<u64> = (0..4).map(|_| n * 60 + rng.below(50)).collect();
    let deltas: Vec<i64> = counts
        .iter()
        .scan(0, |before, &count| Some(count as i64 - std::mem::replace(before, count as i64)))
        .collect();
    Histogram {
        schema: if custom { model::histogram::CUSTOM_BUCKETS_SCHEMA } else { (shape % 4) as i32 },
        zero_threshold: if custom { 0.0 } else { 0.001 },
        count: counts.iter().sum(),
        sum: rng.unit() * 100.0,
        positive_spans: if custom {
            [Span { offset: 0, length: 4 }].into()
        } else {
            [Span { offset: -1, length: 1 }, Span { offset: (shape % 3) as i32, length: 3 }].into()
        },
        positive_buckets: deltas,
        custom_values: if custom { [0.1, 1.0, 10.0].into() } else { [].into() },
        ..Histogram::default()
    }
}

pub(crate) fn sample_values(seed: u64) -> Vec<HistogramValue> {
    let mut rng = Rng::new(seed);
    (0..20u64)
        .map(|n| {
            let histogram = sample_histogram(&mut rng, seed + n / 7, n);
            if rng.one_in(2) {
                HistogramValue::Integer(histogram)
            } else {
                HistogramValue::Float(histogram.to_float())
            }
        })
        .collect()
}

fn histogram_chunks(with_start: bool, float: bool) -> Vec<Vec<u8>> {
    let mut chunks = Vec::new();
    for seed in 0..4u64 {
        let mut rng = Rng::new(seed);
        let (mut integers, mut floats) =
            (HistogramAppender::new(with_start), FloatHistogramAppender::new(with_start));
        for n in 0..30u64 {
            let histogram = sample_histogram(&mut rng, seed + n / 20, n);
            let t = 1_700_000_000_000 + n as i64 * 15_000;
            let start = if n.is_multiple_of(2) { 0 } else { t - 1 };
            let full = if float {
                floats.append(start, t, &histogram.to_float())
            } else {
                integers.append(start, t, &histogram)
            };
            if let Appended::NewChunk(old) = full {
                chunks.push(old);
            }
        }
        chunks.push(if float { floats.into_bytes() } else { integers.into_bytes() });
    }
    chunks
}

pub(crate) fn histogram_corpus() -> Vec<Vec<u8>> {
    histogram_chunks(false, false).into_iter().chain(crate::finds::of("chunk_histogram")).collect()
}

pub(crate) fn histogram_st_corpus() -> Vec<Vec<u8>> {
    histogram_chunks(true, false).into_iter().chain(crate::finds::of("chunk_histogram_st")).collect()
}

pub(crate) fn float_histogram_corpus() -> Vec<Vec<u8>> {
    histogram_chunks(false, true).into_iter().chain(crate::finds::of("chunk_float_histogram")).collect()
}

pub(crate) fn float_histogram_st_corpus() -> Vec<Vec<u8>> {
    histogram_chunks(true, true).into_iter().chain(crate::finds::of("chunk_float_histogram_st")).collect()
}
