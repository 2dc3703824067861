//! The receiver against a store that records: what is kept, what is refused,
//! what is told.

use std::sync::Arc;

use crate::recording::Store;
use model::metrics::{MetricValue, Registry};
use proptest::prelude::*;
use remote::body::Encoding;
use remote::{Message, Receiver, ReceiverOptions, Reply, V2Options};
use testkit::TestClock;

const NOW_MS: i64 = 1_000_000;

fn receiver_with(store: &Store, v2: V2Options, registry: &Registry) -> Receiver {
    let options = ReceiverOptions { accepted: vec![Message::V1, Message::V2], v2, cache_bytes: 1 << 20 };
    Receiver::new(options, Arc::new(store.clone()), Arc::new(TestClock::new(NOW_MS)), registry)
}

fn receiver(store: &Store) -> Receiver {
    receiver_with(store, V2Options::default(), &Registry::new())
}

/// Protobuf, as far as the tests write it.
#[derive(Clone, Default)]
struct Wire(Vec<u8>);

impl Wire {
    fn varint(mut self, mut n: u64) -> Wire {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
        self
    }

    fn number(self, field: u64, n: i64) -> Wire {
        self.varint(field << 3).varint(n as u64)
    }

    fn double(self, field: u64, value: f64) -> Wire {
        let mut wire = self.varint(field << 3 | 1);
        wire.0.extend_from_slice(&value.to_le_bytes());
        wire
    }

    fn bytes(self, field: u64, bytes: &[u8]) -> Wire {
        let mut wire = self.varint(field << 3 | 2).varint(bytes.len() as u64);
        wire.0.extend_from_slice(bytes);
        wire
    }

    fn message(self, field: u64, message: &Wire) -> Wire {
        self.bytes(field, &message.0)
    }
}

fn label(name: &str, value: &str) -> Wire {
    Wire::default().bytes(1, name.as_bytes()).bytes(2, value.as_bytes())
}

/// A series of version 1.
fn series1(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Wire {
    let mut series = Wire::default();
    for (name, value) in labels {
        series = series.message(1, &label(name, value));
    }
    for &(at, value) in samples {
        series = series.message(2, &Wire::default().double(1, value).number(2, at));
    }
    series
}

fn request1(series: &[Wire]) -> Vec<u8> {
    series.iter().fold(Wire::default(), |request, series| request.message(1, series)).0
}

/// A series of version 2; samples are (time, start, value).
fn series2(references: &[u64], samples: &[(i64, i64, f64)]) -> Wire {
    let packed = references.iter().fold(Wire::default(), |packed, &at| packed.varint(at));
    let mut series = Wire::default().message(1, &packed);
    for &(at, start, value) in samples {
        series = series.message(2, &Wire::default().double(1, value).number(2, at).number(3, start));
    }
    series
}

fn request2(symbols: &[&str], series: &[Wire]) -> Vec<u8> {
    let head = symbols.iter().fold(Wire::default(), |request, text| request.bytes(4, text.as_bytes()));
    series.iter().fold(head, |request, series| request.message(5, series)).0
}

fn send(receiver: &Receiver, message: Message, request: &[u8]) -> Reply {
    let body = snap::raw::Encoder::new().compress_vec(request).unwrap();
    receiver.receive(message, Encoding::Snappy, &body)
}

fn refused(reply: &Reply) -> (u16, &str) {
    (reply.status, reply.body.as_str())
}

#[test]
fn version_1_stores_all_or_nothing() {
    let store = Store::default();
    let receiver = receiver(&store);
    let good = series1(&[("__name__", "a")], &[(10, 1.0), (20, 2.0)]);
    assert_eq!(send(&receiver, Message::V1, &request1(std::slice::from_ref(&good))).status, 204);
    let new = series1(&[("__name__", "b")], &[(10, 1.0)]);
    let old = series1(&[("__name__", "a")], &[(5, 1.0)]);
    let reply = send(&receiver, Message::V1, &request1(&[new.clone(), old]));
    assert_eq!(refused(&reply), (400, "out of order sample"));
    assert_eq!(reply.stats, None);
    assert_eq!(store.series().keys().collect::<Vec<_>>(), [r#"{__name__="a"}"#]);
    let other = series1(&[("__name__", "a")], &[(20, 3.0)]);
    let reply = send(&receiver, Message::V1, &request1(&[new.clone(), other]));
    let text = "duplicate sample for timestamp 20; overrides not allowed: existing 2, new value 3";
    assert_eq!(refused(&reply), (400, text));
    // Series b was made by a batch that is gone: its handle must not be remembered.
    let c = series1(&[("__name__", "c")], &[(10, 7.0)]);
    assert_eq!(send(&receiver, Message::V1, &request1(&[c, new])).status, 204);
    let series = store.series();
    assert_eq!(series[r#"{__name__="b"}"#].floats, [(10, 0, 1.0)]);
    assert_eq!(series[r#"{__name__="c"}"#].floats, [(10, 0, 7.0)]);
}

#[test]
fn version_1_skips_and_counts_series_without_usable_labels() {
    let (store, registry) = (Store::default(), Registry::new());
    let receiver = receiver_with(&store, V2Options::default(), &registry);
    let samples = [(10, 1.0)];
    let bad = [
        series1(&[("a", "1")], &samples),
        series1(&[("__name__", "x"), ("a", "1"), ("a", "2")], &samples),
        series1(&[("__name__", "x"), ("", "1")], &samples),
        Wire::default().message(1, &Wire::default().bytes(1, b"__name__").bytes(2, b"\xff\xfe")),
        series1(&[], &samples),
    ];
    let mut all = bad.to_vec();
    all.push(series1(&[("__name__", "good"), ("ünï", "🦀")], &samples));
    assert_eq!(send(&receiver, Message::V1, &request1(&all)).status, 204);
    assert_eq!(store.series().len(), 1);
    let families = registry.gather();
    let family =
        families.iter().find(|f| f.name == "prometheus_api_remote_write_invalid_labels_samples_total");
    assert!(matches!(family.unwrap().metrics[0].value, MetricValue::Single(n) if n == bad.len() as f64));
}

#[test]
fn samples_of_the_future_are_out_of_bounds() {
    let store = Store::default();
    let receiver = receiver(&store);
    let at = |ms: i64| request1(&[series1(&[("__name__", "a")], &[(ms, 1.0)])]);
    assert_eq!(send(&receiver, Message::V1, &at(NOW_MS + 600_000)).status, 204);
    let reply = send(&receiver, Message::V1, &at(NOW_MS + 600_001));
    assert_eq!(refused(&reply), (400, "out of bounds: timestamp is too far in the future"));
    let request =
        request2(&["", "__name__", "b"], &[series2(&[1, 2], &[(NOW_MS + 600_001, 0, 1.0), (5, 0, 2.0)])]);
    let reply = send(&receiver, Message::V2, &request);
    let text = "out of bounds: timestamp is too far in the future for series {__name__=\"b\"}";
    assert_eq!(refused(&reply), (400, text));
    assert_eq!(reply.stats.unwrap().samples, 1);
}

#[test]
fn an_exemplar_that_is_there_already_counts_as_written() {
    let store = Store::default();
    let receiver = receiver(&store);
    let exemplar = Wire::default().number(1, 2).number(1, 3).double(2, 1.0).number(3, 9);
    for at in [100, 200] {
        let series = series2(&[1, 2], &[(at, 0, 1.0)]).message(4, &exemplar);
        let reply = send(&receiver, Message::V2, &request2(&["", "__name__", "a", "b"], &[series]));
        assert_eq!((reply.status, reply.stats.unwrap().exemplars), (204, 1), "at {at}");
    }
    assert_eq!(store.series()[r#"{__name__="a"}"#].exemplars.len(), 1);
}

#[test]
fn version_2_keeps_what_is_good_and_names_the_rest_in_order() {
    let store = Store::default();
    let receiver = receiver(&store);
    let symbols = ["", "__name__", "a", "b", "x", "c"];
    let first = request2(&symbols, &[series2(&[1, 2], &[(100, 0, 1.0)])]);
    assert_eq!(send(&receiver, Message::V2, &first).status, 204);
    let request = request2(
        &symbols,
        &[
            series2(&[1, 2], &[(50, 0, 1.0), (200, 0, 2.0)]),
            series2(&[1, 2, 4], &[(50, 0, 1.0)]),
            series2(&[1, 99], &[(50, 0, 1.0)]),
            series2(&[4, 3], &[(50, 0, 1.0)]),
            series2(&[1, 3, 4, 3, 4, 2], &[(50, 0, 1.0)]),
            series2(&[1, 3], &[]),
            series2(&[1, 5], &[(60, 0, 6.0)]),
        ],
    );
    let reply = send(&receiver, Message::V2, &request);
    let text = [
        r#"out of order sample for series {__name__="a"}"#,
        "parsing labels for series [1 2 4]: invalid labelRefs length 3",
        "parsing labels for series [1 99]: labelRefs 1 (name) = 99 (value) outside of symbols table (size 6)",
        r#"invalid metric name or labels, got {x="b"}"#,
        r#"invalid labels for series, labels {__name__="b", x="b", x="a"}, duplicated label x"#,
        r#"TimeSeries must contain at least one sample or histogram for series {__name__="b"}"#,
    ];
    assert_eq!((reply.status, reply.body), (400, text.join("\n")));
    let stats = reply.stats.unwrap();
    assert_eq!((stats.samples, stats.histograms, stats.exemplars), (2, 0, 0));
    assert_eq!(store.series()[r#"{__name__="a"}"#].floats, [(100, 0, 1.0), (200, 0, 2.0)]);
    assert_eq!(store.series()[r#"{__name__="c"}"#].floats, [(60, 0, 6.0)]);
}

#[test]
fn a_failed_store_keeps_nothing_and_asks_to_try_again() {
    let store = Store::default();
    let receiver = receiver(&store);
    *store.fail_commit.lock() = true;
    let request = request2(&["", "__name__", "a"], &[series2(&[1, 2], &[(100, 0, 1.0)])]);
    let reply = send(&receiver, Message::V2, &request);
    assert_eq!(reply.status, 503);
    assert_eq!(reply.stats, Some(remote::Stats::default()));
    *store.fail_commit.lock() = false;
    assert_eq!(send(&receiver, Message::V2, &request).status, 204);
    assert_eq!(store.series().len(), 1);
}

#[test]
fn what_is_only_in_memory_is_not_acknowledged() {
    let store = Store::of_any_order();
    let receiver = receiver(&store);
    *store.memory_only.lock() = true;
    let request = request2(&["", "__name__", "a"], &[series2(&[1, 2], &[(100, 0, 1.0)])]);
    for message in [Message::V1, Message::V2] {
        let body = match message {
            Message::V1 => request1(&[series1(&[("__name__", "a")], &[(100, 1.0)])]),
            Message::V2 => request.clone(),
        };
        let reply = send(&receiver, message, &body);
        assert_eq!(reply.status, 503);
        assert!(reply.body.contains("not durable"), "{}", reply.body);
    }
    *store.memory_only.lock() = false;
    assert_eq!(send(&receiver, Message::V2, &request).status, 204);
}

#[test]
fn handles_that_went_stale_are_found_anew() {
    let store = Store::default();
    let receiver = receiver(&store);
    let names = ["a", "b", "c"];
    for round in 1..6 {
        let one: Vec<Wire> = names
            .iter()
            .map(|name| series1(&[("__name__", name)], &[(round * 10, 1.0), (round * 10 + 1, 2.0)]))
            .collect();
        assert_eq!(send(&receiver, Message::V1, &request1(&one)).status, 204);
        store.move_all();
        let two: Vec<Wire> = (0..3).map(|i| series2(&[1, 2 + i], &[(round * 10 + 5, 0, 3.0)])).collect();
        let reply = send(&receiver, Message::V2, &request2(&["", "__name__", "a", "b", "c"], &two));
        assert_eq!(refused(&reply), (204, ""));
        assert_eq!(reply.stats.unwrap().samples, 3);
        store.move_all();
    }
    for name in names {
        let floats = &store.series()[&format!("{{__name__=\"{name}\"}}")].floats;
        assert_eq!(floats.len(), 15, "{floats:?}");
    }
}

#[test]
fn zeros_are_written_where_a_counter_starts() {
    let store = Store::default();
    let options = V2Options { start_zero: true, ..V2Options::default() };
    let receiver = receiver_with(&store, options, &Registry::new());
    let samples = [(100, 50, 1.0), (110, 50, 2.0), (200, 150, 1.0)];
    let request = request2(&["", "__name__", "a"], &[series2(&[1, 2], &samples)]);
    assert_eq!(send(&receiver, Message::V2, &request).status, 204);
    let floats: Vec<(i64, f64)> =
        store.series()[r#"{__name__="a"}"#].floats.iter().map(|&(at, _, value)| (at, value)).collect();
    assert_eq!(floats, [(50, 0.0), (100, 1.0), (110, 2.0), (150, 0.0), (200, 1.0)]);
}

#[test]
fn type_and_unit_become_labels_where_asked_for() {
    let store = Store::default();
    let options = V2Options { type_and_unit_labels: true, metadata: true, ..V2Options::default() };
    let receiver = receiver_with(&store, options, &Registry::new());
    let metadata = Wire::default().number(1, 1).number(3, 3).number(4, 4);
    let series = series2(&[1, 2], &[(10, 0, 1.0)]).message(5, &metadata);
    let request = request2(&["", "__name__", "a_total", "Help.", "bytes"], &[series]);
    assert_eq!(send(&receiver, Message::V2, &request).status, 204);
    let series = store.series();
    let recorded = &series[r#"{__name__="a_total", __type__="counter", __unit__="bytes"}"#];
    assert_eq!(recorded.metadata.as_ref().unwrap().help, "Help.");
}

#[test]
fn finer_histograms_than_are_stored_are_reduced() {
    let store = Store::default();
    let receiver = receiver(&store);
    // Schema 9 (zig-zag 18), count 2, one span of two buckets with one observation each.
    let histogram = Wire::default()
        .number(1, 2)
        .double(3, 1.5)
        .number(4, 18)
        .message(11, &Wire::default().number(1, 0).number(2, 2))
        .bytes(12, &[2, 0])
        .number(15, 10);
    let series = series1(&[("__name__", "h")], &[]).message(4, &histogram);
    assert_eq!(refused(&send(&receiver, Message::V1, &request1(&[series]))), (204, ""));
    let series = store.series();
    let (_, _, value) = &series[r#"{__name__="h"}"#].histograms[0];
    let float = value.to_float();
    assert_eq!((float.schema, float.count), (8, 2.0));
    assert!(float.validate().is_ok());
}

#[test]
fn a_label_set_larger_than_the_request_is_refused() {
    let store = Store::default();
    let receiver = receiver(&store);
    let long = "x".repeat(500_000);
    let references: Vec<u64> = [1, 2].into_iter().chain((0..100).flat_map(|i| [4 + i, 3])).collect();
    let names: Vec<String> = (0..100).map(|i| format!("l{i}")).collect();
    let mut symbols = vec!["", "__name__", "a", long.as_str()];
    symbols.extend(names.iter().map(String::as_str));
    let request = request2(&symbols, &[series2(&references, &[(1, 0, 1.0)])]);
    let reply = send(&receiver, Message::V2, &request);
    assert_eq!(reply.status, 400);
    assert!(reply.body.starts_with("labels of 50000"), "{}", reply.body);
    assert!(store.series().is_empty());
}

#[test]
fn more_samples_than_are_gathered_keep_their_order() {
    let store = Store::default();
    let receiver = receiver(&store);
    let samples: Vec<(i64, f64)> = (0..40_000).map(|i| (i, i as f64)).collect();
    let request = request1(&[series1(&[("__name__", "a")], &samples)]);
    assert_eq!(send(&receiver, Message::V1, &request).status, 204);
    assert_eq!(store.series()[r#"{__name__="a"}"#].floats.len(), 40_000);
}

#[test]
fn series_under_a_longer_tag_than_needed_are_stored_as_others() {
    let store = Store::default();
    let receiver = receiver(&store);
    let mut request = request2(&["", "__name__", "a"], &[]);
    for time in 0..10_000 {
        let series = series2(&[1, 2], &[(time, 0, 1.0)]).0;
        // Field 5, with a length, in two bytes.
        request.extend([0xaa, 0x00, u8::try_from(series.len()).unwrap()]);
        request.extend(series);
    }
    assert_eq!(send(&receiver, Message::V2, &request).status, 204);
    assert_eq!(store.series()[r#"{__name__="a"}"#].floats.len(), 10_000);
}

#[test]
fn a_table_of_more_symbols_than_there_can_be_is_refused() {
    let store = Store::default();
    let receiver = receiver(&store);
    let names: Vec<String> = (0..70_000).map(|i| format!("{i:06}")).collect();
    let mut different = vec!["", "__name__"];
    different.extend(names.iter().map(String::as_str));
    let request = request2(&different, &[series2(&[1, 70_001], &[(1, 0, 1.0)])]);
    assert_eq!(send(&receiver, Message::V2, &request).status, 204);
    let empty = vec![""; 200_000];
    let reply = send(&receiver, Message::V2, &request2(&empty, &[]));
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (400, "more symbols than different ones have room in the request")
    );
    assert_eq!(store.series().len(), 1);
}

#[test]
fn bad_bodies_are_told_apart() {
    let receiver = receiver(&Store::default());
    assert_eq!(receiver.receive(Message::V1, Encoding::Snappy, b"\xff\xff\xff\xff\x0fx").status, 400);
    assert_eq!(receiver.receive(Message::V1, Encoding::Snappy, b"junk").status, 400);
    assert_eq!(receiver.receive(Message::V1, Encoding::Zstd, b"junk").status, 400);
    assert_eq!(receiver.receive(Message::V1, Encoding::Snappy, &vec![0; (32 << 20) + 1]).status, 413);
    let reply = send(&receiver, Message::V2, b"\x0a\xff");
    assert_eq!((reply.status, reply.stats), (400, Some(remote::Stats::default())));
    let request = request1(&[series1(&[("__name__", "a")], &[(1, 1.0)])]);
    let packed = zstd::bulk::compress(&request, 1).unwrap();
    assert_eq!(receiver.receive(Message::V1, Encoding::Zstd, &packed).status, 204);
}

fn valid_requests() -> Vec<(Message, Vec<u8>)> {
    let histogram =
        Wire::default().number(1, 3).number(4, 2).bytes(8, &[0x10, 2]).bytes(9, &[2, 2]).number(15, 12);
    let exemplar = Wire::default().message(1, &label("trace", "1")).double(2, 1.0).number(3, 9);
    let one = series1(&[("__name__", "a"), ("b", "c")], &[(10, 1.0), (11, 2.0)])
        .message(3, &exemplar)
        .message(4, &histogram);
    let two = series2(&[1, 2, 3, 4], &[(10, 5, 1.0), (11, 5, 2.0)])
        .message(3, &histogram)
        .message(4, &Wire::default().bytes(1, &[3, 4]).double(2, 1.0).number(3, 9))
        .message(5, &Wire::default().number(1, 2).number(3, 3).number(4, 4));
    vec![
        (Message::V1, request1(&[one.clone(), one])),
        (Message::V2, request2(&["", "__name__", "a", "b", "c"], &[two.clone(), two])),
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes: Vec<u8>, v2: bool) {
        let receiver = receiver(&Store::default());
        let message = if v2 { Message::V2 } else { Message::V1 };
        let reply = send(&receiver, message, &bytes);
        prop_assert!(matches!(reply.status, 204 | 400), "{reply:?}");
        for encoding in [Encoding::Snappy, Encoding::Zstd] {
            let reply = receiver.receive(message, encoding, &bytes);
            prop_assert!(matches!(reply.status, 204 | 400), "{reply:?}");
        }
    }

    #[test]
    fn flipped_bits_are_answered(flips in proptest::collection::vec((any::<proptest::sample::Index>(), 0u8..8), 1..6), which in 0usize..2) {
        let (message, mut request) = valid_requests().swap_remove(which);
        for (at, bit) in flips {
            let at = at.index(request.len());
            request[at] ^= 1 << bit;
        }
        let store = Store::default();
        let options = V2Options { metadata: true, type_and_unit_labels: true, start_zero: true, start_timestamps: true };
        let receiver = receiver_with(&store, options, &Registry::new());
        let reply = send(&receiver, message, &request);
        prop_assert!(matches!(reply.status, 204 | 400), "{reply:?}");
        if message == Message::V1 && reply.status == 400 {
            prop_assert!(store.series().is_empty(), "version 1 keeps nothing of a refused request");
        }
        if let Some(stats) = reply.stats {
            let kept: usize = store.series().values().map(|s| s.histograms.len()).sum();
            prop_assert_eq!(stats.histograms, kept as u64);
        }
    }
}
