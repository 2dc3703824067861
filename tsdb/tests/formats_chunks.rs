//! Chunk encodings against upstream's own bytes, and against damage.

mod formats_support;

use formats_support::{as_float, bytes_of_hex, sample_text, stored_samples, value_text};
use model::query::{Columns, ReadOptions, SampleKind};
use model::{FloatHistogram, Histogram, Span, TimeRange};
use serde_json::Value;
use testkit::{Rng, conformance_dir, json_lines};
use tsdb::chunk::histogram::{Appender, Kind, ResetHeader};
use tsdb::chunk::{
    APPEND_BYTES_MAX, Appended, ChunkEncoding, FloatHistogramAppender, HistogramAppender, StartState,
    StoredSample, StoredValue, XorState, decode, num_samples, samples, time_bounds, xor, xor2,
};

const WITH_STARTS: ReadOptions = ReadOptions { start_timestamps: true, histogram_stats_only: false };

/// Appends floats to a growing buffer, as a head would.
struct FloatChunk {
    buffer: Vec<u8>,
    state: XorState,
}

impl FloatChunk {
    fn new(start: fn(&mut [u8]) -> XorState) -> FloatChunk {
        let mut buffer = vec![0xee; APPEND_BYTES_MAX];
        let state = start(&mut buffer);
        FloatChunk { buffer, state }
    }

    fn push(&mut self, append: impl FnOnce(&mut XorState, &mut [u8])) {
        // Garbage behind the end must not matter.
        self.buffer.resize(self.state.byte_len() + APPEND_BYTES_MAX, 0xee);
        append(&mut self.state, &mut self.buffer);
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.buffer[..self.state.byte_len()].to_vec();
        self.state.seal(&mut bytes);
        bytes
    }
}

fn encode_floats(encoding: ChunkEncoding, rows: &[StoredSample]) -> Vec<u8> {
    let mut chunk = FloatChunk::new(if encoding == ChunkEncoding::Xor { xor::start } else { xor2::start });
    let mut starts = StartState::default();
    for row in rows {
        let StoredValue::Float(value) = row.value else { panic!("a float chunk holds floats") };
        chunk.push(|state, buffer| match encoding {
            ChunkEncoding::Xor => xor::append(state, buffer, row.timestamp_ms, value),
            _ => {
                let st = row.start_timestamp_ms;
                xor2::append_with_start(state, &mut starts, buffer, st, row.timestamp_ms, value);
            }
        });
        assert_eq!(chunk.state.last_value().to_bits(), value.to_bits());
        assert_eq!(chunk.state.last_timestamp_ms(), row.timestamp_ms);
    }
    chunk.bytes()
}

/// Appends histograms; answers the chunks and upstream's words for what happened.
fn encode_histograms<K: Kind>(
    mut appender: Appender<K>,
    rows: &[StoredSample],
    pick: impl Fn(&StoredValue) -> K::Histogram,
) -> (Vec<Vec<u8>>, Vec<String>) {
    let mut chunks = Vec::new();
    let mut events = Vec::new();
    for row in rows {
        let t = row.timestamp_ms;
        match appender.append(row.start_timestamp_ms, t, &pick(&row.value)) {
            Appended::Appended => {}
            Appended::Recoded => events.push(format!("recoded at t={t}")),
            Appended::NewChunk(bytes) => {
                chunks.push(bytes);
                events.push(format!("new chunk at t={t}"));
            }
        }
    }
    chunks.push(appender.into_bytes());
    (chunks, events)
}

fn encode(encoding: ChunkEncoding, rows: &[StoredSample]) -> (Vec<Vec<u8>>, Vec<String>) {
    let integer = |value: &StoredValue| match value {
        StoredValue::Histogram(h) => h.clone(),
        other => panic!("not whole: {other:?}"),
    };
    let float = |value: &StoredValue| match as_float(value) {
        StoredValue::FloatHistogram(h) => h,
        other => panic!("no histogram: {other:?}"),
    };
    match encoding {
        ChunkEncoding::Xor | ChunkEncoding::Xor2 => (vec![encode_floats(encoding, rows)], Vec::new()),
        ChunkEncoding::Histogram => encode_histograms(HistogramAppender::new(false), rows, integer),
        ChunkEncoding::HistogramSt => encode_histograms(HistogramAppender::new(true), rows, integer),
        ChunkEncoding::FloatHistogram => encode_histograms(FloatHistogramAppender::new(false), rows, float),
        ChunkEncoding::FloatHistogramSt => encode_histograms(FloatHistogramAppender::new(true), rows, float),
    }
}

/// The samples that a decode into columns gives, in one list.
fn column_texts(columns: &Columns) -> Vec<String> {
    let mut floats = columns.floats.iter();
    let mut histograms = columns.histograms.iter();
    let mut texts = Vec::new();
    for run in &columns.runs {
        for _ in 0..run.len {
            let i = texts.len();
            let value = match run.kind {
                SampleKind::Float => StoredValue::Float(*floats.next().expect("a float for each sample")),
                SampleKind::Histogram => {
                    StoredValue::FloatHistogram(histograms.next().expect("one for each sample").clone())
                }
            };
            texts.push(sample_text(&StoredSample {
                timestamp_ms: columns.timestamps_ms[i],
                start_timestamp_ms: columns.start_timestamps_ms[i],
                value,
            }));
        }
    }
    assert_eq!(texts.len(), columns.len());
    texts
}

fn all_vectors() -> Option<Vec<Value>> {
    let dir = conformance_dir("tsdb")?;
    Some(json_lines(&dir.join("chunk-encodings/vectors.jsonl")))
}

fn encoding_of(vector: &Value) -> ChunkEncoding {
    let number = vector["encoding_byte"].as_u64().expect("a number") as u8;
    ChunkEncoding::from_number(number).expect("a known encoding")
}

#[test]
fn upstreams_chunks_decode() {
    let Some(vectors) = all_vectors() else { return };
    let (mut passed, mut total) = (0, 0);
    for vector in &vectors {
        let encoding = encoding_of(vector);
        let mut good = true;
        for chunk in vector["chunks"].as_array().expect("chunks") {
            let bytes = bytes_of_hex(chunk["hex"].as_str().expect("hex"));
            let want: Vec<String> = stored_samples(&chunk["decoded"]).iter().map(sample_text).collect();
            let stored: Vec<String> = samples::samples(encoding, &bytes)
                .expect("a chunk")
                .map(|sample| sample_text(&sample.expect("a sample")))
                .collect();
            let mut columns = Columns::default();
            decode(encoding, &bytes, TimeRange::ALL, WITH_STARTS, &mut columns).expect("a chunk");
            let floats: Vec<String> = stored_samples(&chunk["decoded"])
                .into_iter()
                .map(|sample| sample_text(&StoredSample { value: as_float(&sample.value), ..sample }))
                .collect();
            let count = num_samples(encoding, &bytes).expect("a count");
            good &= stored == want
                && column_texts(&columns) == floats
                && u64::from(count) == chunk["num_samples"].as_u64().expect("a number");
            if let Some(i) = (0..want.len()).find(|&i| stored.get(i) != want.get(i)) {
                println!(
                    "{} {encoding:?} sample {i}:\n want {}\n got {:?}",
                    vector["name"],
                    want[i],
                    stored.get(i)
                );
            }
        }
        total += 1;
        passed += usize::from(good);
    }
    println!("chunk-encodings decode: {passed} / {total}");
    assert_eq!(passed, total);
}

#[test]
fn encoding_gives_upstreams_bytes() {
    let Some(vectors) = all_vectors() else { return };
    let (mut passed, mut total) = (0, 0);
    for vector in &vectors {
        let encoding = encoding_of(vector);
        let chunks = vector["chunks"].as_array().expect("chunks");
        let appended = vector.get("appended").unwrap_or(&chunks[0]["decoded"]);
        let (got, events) = encode(encoding, &stored_samples(appended));
        let want: Vec<Vec<u8>> =
            chunks.iter().map(|chunk| bytes_of_hex(chunk["hex"].as_str().expect("hex"))).collect();
        let want_events: Vec<&str> =
            vector["events"].as_array().expect("events").iter().filter_map(Value::as_str).collect();
        let good = got == want && events == want_events;
        if !good {
            println!("{} {encoding:?}: events {events:?}, want {want_events:?}", vector["name"]);
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                let at = got.iter().zip(want).position(|(a, b)| a != b);
                println!("  chunk {i}: {} bytes, want {}, first difference {at:?}", got.len(), want.len());
            }
        }
        total += 1;
        passed += usize::from(good);
    }
    println!("chunk-encodings encode: {passed} / {total}");
    assert_eq!(passed, total);
}

#[test]
fn an_appender_resumed_anywhere_goes_on_with_the_same_bytes() {
    let Some(vectors) = all_vectors() else { return };
    for vector in &vectors {
        let encoding = encoding_of(vector);
        let rows = stored_samples(&vector["chunks"][0]["decoded"]);
        let whole = bytes_of_hex(vector["chunks"][0]["hex"].as_str().expect("hex"));
        if encoding.is_histogram() {
            let with_start = matches!(encoding, ChunkEncoding::HistogramSt | ChunkEncoding::FloatHistogramSt);
            // What is stored has the chunk's own spans, so that nothing is recoded.
            match &rows[0].value {
                StoredValue::Histogram(_) => resume_histograms(
                    &rows,
                    &whole,
                    with_start,
                    |value| match value {
                        StoredValue::Histogram(h) => h.clone(),
                        other => panic!("{other:?}"),
                    },
                    HistogramAppender::new,
                    HistogramAppender::resume,
                ),
                _ => resume_histograms(
                    &rows,
                    &whole,
                    with_start,
                    |value| match value {
                        StoredValue::FloatHistogram(h) => h.clone(),
                        other => panic!("{other:?}"),
                    },
                    FloatHistogramAppender::new,
                    FloatHistogramAppender::resume,
                ),
            }
            continue;
        }
        for cut in 0..rows.len() {
            let head = encode_floats(encoding, &rows[..cut]);
            let (mut state, mut starts) = if encoding == ChunkEncoding::Xor {
                (xor::resume(&head).expect("own bytes"), StartState::default())
            } else {
                xor2::resume(&head).expect("own bytes")
            };
            let mut buffer = head;
            for row in &rows[cut..] {
                let StoredValue::Float(value) = row.value else { panic!("floats") };
                buffer.resize(state.byte_len() + APPEND_BYTES_MAX, 0);
                let t = row.timestamp_ms;
                if encoding == ChunkEncoding::Xor {
                    xor::append(&mut state, &mut buffer, t, value);
                } else {
                    let st = row.start_timestamp_ms;
                    xor2::append_with_start(&mut state, &mut starts, &mut buffer, st, t, value);
                }
            }
            buffer.truncate(state.byte_len());
            state.seal(&mut buffer);
            assert_eq!(buffer, whole, "{} cut at {cut}", vector["name"]);
        }
    }
}

fn resume_histograms<K: Kind>(
    rows: &[StoredSample],
    whole: &[u8],
    with_start: bool,
    pick: impl Fn(&StoredValue) -> K::Histogram,
    new: impl Fn(bool) -> Appender<K>,
    resume: impl Fn(&[u8], bool) -> Result<Appender<K>, tsdb::chunk::ChunkError>,
) {
    let mut appender = new(with_start);
    let header = resume(whole, with_start).expect("upstream's bytes").reset_header();
    for (i, row) in rows.iter().enumerate() {
        let did = appender.append(row.start_timestamp_ms, row.timestamp_ms, &pick(&row.value));
        assert_eq!(did, Appended::Appended, "sample {i}");
        appender = resume(appender.bytes(), with_start).expect("own bytes");
        assert_eq!(usize::from(appender.num_samples()), i + 1);
    }
    if header == appender.reset_header() {
        assert_eq!(appender.bytes(), whole);
    }
}

#[test]
fn a_range_keeps_what_lies_inside() {
    let rows: Vec<StoredSample> = (0..300)
        .map(|i| StoredSample {
            timestamp_ms: 1000 * i,
            start_timestamp_ms: 0,
            value: StoredValue::Float(if i % 7 == 0 { i as f64 } else { 1.0 }),
        })
        .collect();
    for encoding in [ChunkEncoding::Xor, ChunkEncoding::Xor2] {
        let bytes = encode_floats(encoding, &rows);
        assert_eq!(time_bounds(encoding, &bytes), Ok(Some((0, 299_000))));
        for (from, to) in [(0, 299_000), (-5, 0), (5_500, 200_100), (299_000, 400_000), (300_000, 1), (7, 8)]
        {
            let mut columns = Columns::default();
            columns.push_float(-1000, 9.0);
            columns.start_timestamps_ms.push(0);
            decode(encoding, &bytes, TimeRange::new(from, to), WITH_STARTS, &mut columns).expect("own bytes");
            let want: Vec<i64> = std::iter::once(-1000)
                .chain((0..300).map(|i| 1000 * i).filter(|t| (from..=to).contains(t)))
                .collect();
            assert_eq!(columns.timestamps_ms, want, "{from}..{to}");
            assert_eq!(columns.floats.len(), want.len());
            assert_eq!(columns.start_timestamps_ms.len(), want.len());
            assert_eq!(columns.runs.iter().map(|run| run.len).sum::<usize>(), want.len());
        }
    }
}

/// Random floats that use every class of either coding.
fn random_rows(rng: &mut Rng, len: usize, with_starts: bool) -> Vec<StoredSample> {
    let mut t = rng.next_u64() as i64 >> 20;
    let mut step = 15_000i64;
    let mut value = 1.0f64;
    let mut start = 0;
    (0..len)
        .map(|_| {
            if rng.one_in(3) {
                let bits = 1 + rng.below(36) as u32;
                step = 1 + (rng.next_u64() >> (64 - bits)) as i64;
            }
            t += step;
            value = match rng.below(6) {
                0 | 1 => value,
                2 => value + 1.0,
                3 => f64::from_bits(rng.next_u64()),
                4 => model::stale_nan(),
                _ => f64::from_bits(value.to_bits() ^ (rng.next_u64() & 0xff00)),
            };
            if with_starts && rng.one_in(9) {
                start = t - rng.below(100_000) as i64;
            }
            StoredSample { timestamp_ms: t, start_timestamp_ms: start, value: StoredValue::Float(value) }
        })
        .collect()
}

#[test]
fn random_floats_survive() {
    let mut rng = Rng::new(11);
    for round in 0..400 {
        let len = rng.below(400) as usize;
        for (encoding, with_starts) in
            [(ChunkEncoding::Xor, false), (ChunkEncoding::Xor2, false), (ChunkEncoding::Xor2, true)]
        {
            let rows = random_rows(&mut rng, len, with_starts);
            let bytes = encode_floats(encoding, &rows);
            let got: Vec<String> = samples::samples(encoding, &bytes)
                .expect("own bytes")
                .map(|sample| sample_text(&sample.expect("own bytes")))
                .collect();
            let want: Vec<String> = rows.iter().map(sample_text).collect();
            assert_eq!(got, want, "seed 11, round {round}, {encoding:?}");
        }
    }
}

#[test]
fn xor2_without_start_state_gives_the_same_bytes() {
    let mut rng = Rng::new(12);
    let rows = random_rows(&mut rng, 300, false);
    let mut chunk = FloatChunk::new(xor2::start);
    for row in &rows {
        let StoredValue::Float(value) = row.value else { panic!("floats") };
        chunk.push(|state, buffer| xor2::append(state, buffer, row.timestamp_ms, value));
    }
    assert_eq!(chunk.bytes(), encode_floats(ChunkEncoding::Xor2, &rows));
}

fn random_spans(rng: &mut Rng) -> Vec<Span> {
    (0..rng.below(4))
        .map(|i| Span {
            offset: rng.below(4) as i32 - if i == 0 { 2 } else { 0 },
            length: rng.below(4) as u32,
        })
        .collect()
}

fn random_histogram(rng: &mut Rng) -> Histogram {
    let (positive, negative) = (random_spans(rng), random_spans(rng));
    let mut buckets = |spans: &[Span]| -> Vec<i64> {
        let mut last = 0i64;
        (0..spans.iter().map(|s| s.length).sum())
            .map(|_| {
                let count = rng.below(3) as i64;
                let delta = count - last;
                last = count;
                delta
            })
            .collect()
    };
    let (positive_buckets, negative_buckets) = (buckets(&positive), buckets(&negative));
    Histogram {
        count: 10 + rng.below(3),
        zero_count: rng.below(2),
        sum: if rng.one_in(12) { model::stale_nan() } else { rng.unit() },
        counter_reset_hint: match rng.below(12) {
            0 => model::CounterResetHint::CounterReset,
            1..=4 => model::CounterResetHint::Gauge,
            _ => model::CounterResetHint::Unknown,
        },
        positive_spans: positive.into(),
        negative_spans: negative.into(),
        positive_buckets,
        negative_buckets,
        ..Histogram::default()
    }
}

/// The populated buckets of a histogram by index: what a recode must keep.
fn populated(spans: &[Span], counts: &[f64]) -> Vec<(i64, f64)> {
    let mut index = 0i64;
    let mut counts = counts.iter();
    let mut all = Vec::new();
    for span in spans {
        index += i64::from(span.offset);
        for _ in 0..span.length {
            all.push((index, *counts.next().expect("as many counts as the spans say")));
            index += 1;
        }
    }
    all.retain(|(_, count)| *count != 0.0);
    all
}

#[test]
fn random_histograms_keep_their_buckets_through_recodes_and_new_chunks() {
    let mut rng = Rng::new(13);
    let mut recoded = 0;
    for round in 0..300 {
        let mut appender = HistogramAppender::new(round % 2 == 0);
        let encoding = if round % 2 == 0 { ChunkEncoding::HistogramSt } else { ChunkEncoding::Histogram };
        let mut chunks = Vec::new();
        let mut want = Vec::new();
        for i in 0..20 {
            let h = random_histogram(&mut rng);
            match appender.append(0, i, &h) {
                Appended::NewChunk(bytes) => chunks.push(bytes),
                Appended::Recoded => recoded += 1,
                Appended::Appended => {}
            }
            let StoredValue::FloatHistogram(float) = as_float(&StoredValue::Histogram(h.clone())) else {
                panic!("a histogram")
            };
            want.push(if h.is_stale() {
                (Vec::new(), Vec::new())
            } else {
                (
                    populated(&float.positive_spans, &float.positive_buckets),
                    populated(&float.negative_spans, &float.negative_buckets),
                )
            });
        }
        chunks.push(appender.into_bytes());
        let mut columns = Columns::default();
        for bytes in &chunks {
            decode(encoding, bytes, TimeRange::ALL, ReadOptions::default(), &mut columns).expect("own bytes");
        }
        let got: Vec<_> = columns
            .histograms
            .iter()
            .map(|h: &FloatHistogram| {
                (
                    populated(&h.positive_spans, &h.positive_buckets),
                    populated(&h.negative_spans, &h.negative_buckets),
                )
            })
            .collect();
        assert_eq!(got, want, "seed 13, round {round}");
    }
    assert!(recoded > 50, "the test must reach recoding, it did {recoded} times");
}

#[test]
fn a_chunk_cut_by_its_size_says_whether_a_reset_came_between() {
    let one = Histogram { count: 5, sum: 1.0, ..Histogram::default() };
    let less = Histogram { count: 3, sum: 1.0, ..Histogram::default() };
    let mut appender = HistogramAppender::new(false);
    assert_eq!(appender.append(0, 1, &one), Appended::Appended);
    assert_eq!(appender.reset_header(), ResetHeader::Unknown);
    let first = appender.append_to_new_chunk(0, 2, &one);
    assert_eq!(num_samples(ChunkEncoding::Histogram, &first), Ok(1));
    assert_eq!(appender.reset_header(), ResetHeader::NotReset);
    appender.append_to_new_chunk(0, 3, &less);
    assert_eq!(appender.reset_header(), ResetHeader::Reset);
}

const ENCODINGS: [ChunkEncoding; 6] = [
    ChunkEncoding::Xor,
    ChunkEncoding::Histogram,
    ChunkEncoding::FloatHistogram,
    ChunkEncoding::Xor2,
    ChunkEncoding::HistogramSt,
    ChunkEncoding::FloatHistogramSt,
];

fn read_every_way(bytes: &[u8]) {
    for encoding in ENCODINGS {
        let mut columns = Columns::default();
        let _ = decode(encoding, bytes, TimeRange::ALL, WITH_STARTS, &mut columns);
        let _ = decode(encoding, bytes, TimeRange::new(5, 10), ReadOptions::default(), &mut columns);
        if let Ok(all) = samples::samples(encoding, bytes) {
            for sample in all {
                let Ok(sample) = sample else { break };
                let _ = value_text(&sample.value);
            }
        }
    }
    let _ = xor::resume(bytes);
    let _ = xor2::resume(bytes);
    let _ = HistogramAppender::resume(bytes, false);
    let _ = FloatHistogramAppender::resume(bytes, true);
}

#[test]
fn no_bytes_make_a_decoder_panic() {
    let mut rng = Rng::new(14);
    let mut seeds: Vec<(ChunkEncoding, Vec<u8>)> = Vec::new();
    let rows = random_rows(&mut rng, 40, true);
    seeds.push((ChunkEncoding::Xor, encode_floats(ChunkEncoding::Xor, &rows)));
    seeds.push((ChunkEncoding::Xor2, encode_floats(ChunkEncoding::Xor2, &rows)));
    for with_start in [false, true] {
        let mut integer = HistogramAppender::new(with_start);
        let mut float = FloatHistogramAppender::new(with_start);
        for i in 0..10 {
            let h = random_histogram(&mut rng);
            let StoredValue::FloatHistogram(f) = as_float(&StoredValue::Histogram(h.clone())) else {
                panic!("a histogram")
            };
            integer.append(i / 3, i, &h);
            float.append(i / 3, i, &f);
        }
        let kinds = if with_start {
            (ChunkEncoding::HistogramSt, ChunkEncoding::FloatHistogramSt)
        } else {
            (ChunkEncoding::Histogram, ChunkEncoding::FloatHistogram)
        };
        seeds.push((kinds.0, integer.into_bytes()));
        seeds.push((kinds.1, float.into_bytes()));
    }
    for (encoding, seed) in &seeds {
        for cut in 0..seed.len() {
            let mut columns = Columns::default();
            let result =
                decode(*encoding, &seed[..cut], TimeRange::ALL, ReadOptions::default(), &mut columns);
            assert!(
                result.is_err() || num_samples(*encoding, &seed[..cut]) == Ok(0),
                "{encoding:?} cut at {cut}"
            );
            assert!(columns.is_empty() || !encoding.is_histogram());
        }
        for bit in 0..seed.len() * 8 {
            let mut flipped = seed.clone();
            flipped[bit / 8] ^= 0x80 >> (bit % 8);
            read_every_way(&flipped);
        }
    }
    for _ in 0..3_000 {
        let len = rng.below(80) as usize;
        let mut bytes: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
        if len > 2 && rng.one_in(2) {
            bytes[0] = 0;
            bytes[1] = rng.below(30) as u8;
        }
        read_every_way(&bytes);
    }
}
