//! The decoders beside prost's: what it writes is stored as it was meant, and of
//! damaged messages both say the same.
//!
//! `NARTHEX_MESSAGES` sets how many messages are made (some hundreds otherwise).

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Labels;
use model::metrics::Registry;
use prost::Message as _;
use remote::body::Encoding;
use remote::{Message, Receiver, ReceiverOptions, Reply, V2Options};
use testkit::{Rng, TestClock};

use crate::recording::Store;

const NOW_MS: i64 = 1_000_000;

/// `prometheus.WriteRequest`; texts are bytes, as Go does not look at them.
#[derive(Clone, PartialEq, prost::Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    series: Vec<Series1>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Series1 {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    exemplars: Vec<Exemplar>,
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<Histogram>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Label {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Span {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

/// `Histogram` of both versions; those made here have integers and no bounds.
#[derive(Clone, PartialEq, prost::Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, optional, tag = "2")]
    float_count: Option<f64>,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(double, tag = "5")]
    zero_threshold: f64,
    #[prost(uint64, tag = "6")]
    zero_count: u64,
    #[prost(double, optional, tag = "7")]
    float_zero_count: Option<f64>,
    #[prost(message, repeated, tag = "8")]
    negative_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "9")]
    negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    positive_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "12")]
    positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    reset_hint: i32,
    #[prost(int64, tag = "15")]
    timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    bounds: Vec<f64>,
}

/// `io.prometheus.write.v2.Request`.
#[derive(Clone, PartialEq, prost::Message)]
struct Request2 {
    #[prost(bytes = "vec", repeated, tag = "4")]
    symbols: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "5")]
    series: Vec<Series2>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Series2 {
    #[prost(uint32, repeated, tag = "1")]
    labels: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    histograms: Vec<Histogram>,
}

fn text(rng: &mut Rng) -> String {
    let len = if rng.one_in(20) { 100 + rng.below(200) } else { 1 + rng.below(12) };
    (0..len).map(|_| ['a', 'b', 'z', '_', 'ü', '語'][rng.below(6) as usize]).collect()
}

fn samples(rng: &mut Rng) -> Vec<Sample> {
    let mut timestamp = rng.below(1000) as i64;
    (0..rng.below(4))
        .map(|_| {
            timestamp += 1 + rng.below(100_000) as i64;
            let value = f64::from_bits(rng.next_u64());
            Sample { value: if rng.one_in(4) { 0.0 } else { value }, timestamp }
        })
        .collect()
}

/// A valid histogram whose buckets add up.
fn histogram(rng: &mut Rng, timestamp: i64) -> Histogram {
    let buckets: Vec<i64> = (0..1 + rng.below(6)).map(|_| rng.below(50) as i64).collect();
    let zero_count = rng.below(5);
    let deltas = std::iter::once(buckets[0]).chain(buckets.windows(2).map(|pair| pair[1] - pair[0]));
    Histogram {
        count: zero_count + buckets.iter().sum::<i64>() as u64,
        sum: rng.unit() * 100.0,
        schema: rng.below(5) as i32 - 2,
        zero_threshold: 0.001,
        zero_count,
        positive_spans: vec![Span { offset: rng.below(9) as i32 - 4, length: buckets.len() as u32 }],
        positive_deltas: deltas.collect(),
        timestamp,
        ..Histogram::default()
    }
}

/// Series with labels of their own, the newest sample maybe a histogram.
fn series(rng: &mut Rng) -> Vec<Series1> {
    (0..rng.below(6))
        .map(|nth| {
            let mut labels = vec![("__name__".to_owned(), format!("made_{nth}"))];
            labels.extend((0..rng.below(5)).map(|i| (format!("l{i}"), text(rng))));
            let samples = samples(rng);
            let newest = samples.last().map_or(0, |sample| sample.timestamp);
            let histograms = if rng.one_in(3) { vec![histogram(rng, newest + 1)] } else { Vec::new() };
            let label = |(name, value): (String, String)| Label { name: name.into(), value: value.into() };
            let labels = labels.into_iter().map(label).collect();
            Series1 { labels, samples, exemplars: Vec::new(), histograms }
        })
        .collect()
}

/// The same as version 2 says it.
fn request2(series: &[Series1]) -> Request2 {
    let mut request = Request2 { symbols: vec![Vec::new()], series: Vec::new() };
    // A series of version 2 has a sample at least.
    for one in series.iter().filter(|one| !(one.samples.is_empty() && one.histograms.is_empty())) {
        let mut labels = Vec::new();
        for text in one.labels.iter().flat_map(|label| [&label.name, &label.value]) {
            let place = request.symbols.iter().position(|have| have == text).unwrap_or_else(|| {
                request.symbols.push(text.clone());
                request.symbols.len() - 1
            });
            labels.push(place as u32);
        }
        let (samples, histograms) = (one.samples.clone(), one.histograms.clone());
        request.series.push(Series2 { labels, samples, histograms });
    }
    request
}

/// (floats, histograms' counts and times) by label set.
type Stored = BTreeMap<String, (Vec<(i64, u64)>, Vec<(i64, u64)>)>;

/// What is to be stored; `None` where some labels are not what a series may have.
fn meant(series: &[Series1]) -> Option<Stored> {
    let mut all = Stored::new();
    for one in series {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for label in &one.labels {
            pairs.push((str::from_utf8(&label.name).ok()?, str::from_utf8(&label.value).ok()?));
        }
        let labels = Labels::from_pairs(pairs.iter().copied());
        if labels.len() != pairs.len() || labels.metric_name().is_empty() || labels.has("") {
            return None;
        }
        let held = all.entry(labels.to_string()).or_default();
        held.0.extend(one.samples.iter().map(|sample| (sample.timestamp, sample.value.to_bits())));
        held.1.extend(one.histograms.iter().map(|histogram| {
            (histogram.timestamp, histogram.float_count.map_or(histogram.count, |count| count as u64))
        }));
    }
    Some(all)
}

fn ask(message: Message, bytes: &[u8]) -> (Reply, Stored) {
    let store = Store::of_any_order();
    let options = ReceiverOptions { accepted: vec![message], v2: V2Options::default(), cache_bytes: 1 << 20 };
    let clock = Arc::new(TestClock::new(NOW_MS));
    let receiver = Receiver::new(options, Arc::new(store.clone()), clock, &Registry::new());
    let body = snap::raw::Encoder::new().compress_vec(bytes).unwrap();
    let reply = receiver.receive(message, Encoding::Snappy, &body);
    let stored = store.series().into_iter().map(|(labels, held)| {
        let floats = held.floats.iter().map(|&(at, _, value)| (at, value.to_bits())).collect();
        let count = |value: &model::HistogramValue| match value {
            model::HistogramValue::Integer(histogram) => histogram.count,
            model::HistogramValue::Float(histogram) => histogram.count as u64,
        };
        let histograms = held.histograms.iter().map(|(at, _, value)| (*at, count(value))).collect();
        (labels, (floats, histograms))
    });
    (reply, stored.collect())
}

#[expect(clippy::disallowed_methods, reason = "whoever runs the test sets its size")]
fn messages() -> u64 {
    std::env::var("NARTHEX_MESSAGES").ok().and_then(|text| text.parse().ok()).unwrap_or(400)
}

#[test]
fn what_prost_writes_is_stored_as_it_was_meant() {
    let mut samples = 0;
    for seed in 0..messages() {
        let mut rng = Rng::new(seed);
        let series = series(&mut rng);
        let mut meant = meant(&series).unwrap();
        // Version 2 knows no series without samples.
        meant.retain(|_, (floats, histograms)| !floats.is_empty() || !histograms.is_empty());
        samples += meant.values().map(|(floats, histograms)| floats.len() + histograms.len()).sum::<usize>();
        let two = request2(&series).encode_to_vec();
        let one = WriteRequest { series }.encode_to_vec();
        for (message, bytes) in [(Message::V1, one), (Message::V2, two)] {
            let (reply, mut stored) = ask(message, &bytes);
            assert!(reply.status < 300, "seed {seed}, {message:?}: {} {}", reply.status, reply.body);
            stored.retain(|_, (floats, histograms)| !floats.is_empty() || !histograms.is_empty());
            assert_eq!(stored, meant, "seed {seed}, {message:?}");
        }
    }
    assert!(samples as u64 > messages());
}

#[test]
fn of_damaged_messages_both_say_the_same() {
    let (mut refused, mut compared) = (0, 0);
    for seed in 0..messages() * 20 {
        let mut rng = Rng::new(seed);
        let mut bytes = WriteRequest { series: series(&mut rng) }.encode_to_vec();
        if bytes.is_empty() {
            continue;
        }
        for _ in 0..1 + rng.below(3) {
            let at = rng.below(bytes.len() as u64) as usize;
            match rng.below(4) {
                0 => bytes[at] ^= 1 << rng.below(8),
                1 => bytes.truncate(at.max(1)),
                2 => bytes.insert(at, rng.next_u64() as u8),
                _ => bytes[at] = [0, 0x80, 0xff, 0x7f][rng.below(4) as usize],
            }
        }
        let (reply, stored) = ask(Message::V1, &bytes);
        match WriteRequest::decode(&bytes[..]) {
            // Go takes field numbers of more bits than there should be.
            Err(error) if error.to_string().contains("invalid key value") => {}
            Err(error) => {
                refused += 1;
                assert_eq!(reply.status, 400, "seed {seed}: {} after {error}", reply.body);
                assert!(stored.is_empty(), "seed {seed}");
            }
            Ok(request) => {
                assert!(!reply.body.starts_with("proto:"), "seed {seed}: {}", reply.body);
                if let (200..300, Some(meant)) = (reply.status, meant(&request.series)) {
                    compared += 1;
                    assert_eq!(stored, meant, "seed {seed}");
                }
            }
        }
    }
    assert!(refused as u64 > messages() && compared as u64 > messages(), "{refused} {compared}");
}
