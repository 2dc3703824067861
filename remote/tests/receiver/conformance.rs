//! Messages made by upstream's code, and the headers that upstream accepts.

use std::sync::Arc;

use crate::recording::{Recorded, Store};
use model::append::HistogramValue;
use model::metrics::Registry;
use remote::body::Encoding;
use remote::{Message, Receiver, ReceiverOptions, V2Options};
use serde_json::Value;
use testkit::TestClock;

const NOW_MS: i64 = 1_700_000_060_000;

fn receiver(store: &Store, accepted: Vec<Message>) -> Receiver {
    let v2 = V2Options { metadata: true, start_timestamps: true, ..V2Options::default() };
    let options = ReceiverOptions { accepted, v2, cache_bytes: 1 << 20 };
    Receiver::new(options, Arc::new(store.clone()), Arc::new(TestClock::new(NOW_MS)), &Registry::new())
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

/// A number that may be written as text: NaN, infinities.
fn number(value: &Value) -> f64 {
    match value {
        Value::String(text) => match text.as_str() {
            "+Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            "stale" => model::stale_nan(),
            text => text.parse().unwrap_or_else(|_| panic!("a number: {text}")),
        },
        value => value.as_f64().unwrap(),
    }
}

/// Whether two values are the same; a zero's sign does not survive the encoding,
/// which leaves zeros out.
fn same(a: f64, b: f64) -> bool {
    if a == 0.0 && b == 0.0 {
        return true;
    }
    a.to_bits() == b.to_bits()
        || (a.is_nan() && b.is_nan() && model::is_stale_nan(a) == model::is_stale_nan(b))
}

fn spans(value: &Value) -> Vec<(i32, u32)> {
    let pairs = value.as_array().unwrap().iter();
    pairs.map(|pair| (pair[0].as_i64().unwrap() as i32, pair[1].as_u64().unwrap() as u32)).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn check_histogram(have: &HistogramValue, want: &Value) {
    let of = |spans: &[model::Span]| spans.iter().map(|s| (s.offset, s.length)).collect::<Vec<_>>();
    let deltas = |deltas: &[i64]| deltas.iter().map(|&d| d as f64).collect::<Vec<_>>();
    let (kind, schema, zero, count, sum, zero_count, hint, custom, spans_of, buckets);
    match have {
        HistogramValue::Integer(h) => {
            (kind, schema, zero, count, sum) = ("int", h.schema, h.zero_threshold, h.count as f64, h.sum);
            (zero_count, hint, custom) =
                (h.zero_count as f64, h.counter_reset_hint, h.custom_values.to_vec());
            spans_of = [of(&h.positive_spans), of(&h.negative_spans)];
            buckets = [deltas(&h.positive_buckets), deltas(&h.negative_buckets)];
        }
        HistogramValue::Float(h) => {
            (kind, schema, zero, count, sum) = ("float", h.schema, h.zero_threshold, h.count, h.sum);
            (zero_count, hint, custom) = (h.zero_count, h.counter_reset_hint, h.custom_values.to_vec());
            spans_of = [of(&h.positive_spans), of(&h.negative_spans)];
            buckets = [h.positive_buckets.clone(), h.negative_buckets.clone()];
        }
    }
    assert_eq!(want["kind"], kind);
    assert_eq!(want["schema"].as_i64().unwrap() as i32, schema);
    assert!(same(number(&want["zero_threshold"]), zero));
    assert!(same(number(&want["count"]), count));
    assert!(same(number(&want["sum"]), sum));
    assert!(same(number(&want["zero_count"]), zero_count));
    let hint =
        format!("{hint:?}").to_lowercase().replace("counterreset", "reset").replace("notreset", "not_reset");
    let wanted = want["counter_reset_hint"].as_str().unwrap();
    assert!(hint == wanted || wanted.contains(&hint) || hint.contains(wanted), "{hint} {wanted}");
    assert_eq!(numbers(&want["custom_values"]), custom);
    assert_eq!([spans(&want["positive_spans"]), spans(&want["negative_spans"])], spans_of);
    let key = if kind == "int" { "deltas" } else { "buckets" };
    assert_eq!(numbers(&want[format!("positive_{key}")]), buckets[0]);
    assert_eq!(numbers(&want[format!("negative_{key}")]), buckets[1]);
}

fn check_series(have: &Recorded, want: &Value) {
    let none = Vec::new();
    let list = |key: &str| want[key].as_array().unwrap_or(&none);
    let samples = list("samples");
    assert_eq!(have.floats.len(), samples.len());
    for (have, want) in have.floats.iter().zip(samples) {
        assert_eq!(have.0, want["t"].as_i64().unwrap());
        assert_eq!(have.1, want["start_timestamp"].as_i64().unwrap_or(0));
        assert!(same(have.2, number(&want["v"])), "{} {}", have.2, want["v"]);
    }
    let histograms = list("histograms");
    assert_eq!(have.histograms.len(), histograms.len());
    for (have, want) in have.histograms.iter().zip(histograms) {
        assert_eq!(have.0, want["t"].as_i64().unwrap());
        assert_eq!(have.1, want["start_timestamp"].as_i64().unwrap_or(0));
        check_histogram(&have.2, &want["histogram"]);
    }
    let exemplars = list("exemplars");
    assert_eq!(have.exemplars.len(), exemplars.len());
    for (have, want) in have.exemplars.iter().zip(exemplars) {
        assert_eq!(have.timestamp_ms, want["t"].as_i64().unwrap());
        assert!(same(have.value, number(&want["v"])));
        let labels: Vec<(&str, &str)> = have.labels.iter().map(|l| (l.name, l.value)).collect();
        let wanted = want["labels"].as_object().unwrap();
        assert_eq!(labels, wanted.iter().map(|(n, v)| (n.as_str(), v.as_str().unwrap())).collect::<Vec<_>>());
    }
    if let (Some(have), Some(want)) = (&have.metadata, want.get("metadata")) {
        assert_eq!(have.metric_type.as_str(), want["type"].as_str().unwrap().to_lowercase());
        assert_eq!(
            (have.help.as_str(), have.unit.as_str()),
            (want["help"].as_str().unwrap(), want["unit"].as_str().unwrap())
        );
    }
}

fn labels_text(labels: &Value) -> String {
    let pairs = labels.as_object().unwrap().iter().map(|(n, v)| (n.clone(), v.as_str().unwrap().to_owned()));
    model::Labels::from_pairs(pairs).to_string()
}

#[test]
fn upstreams_payloads_are_stored_as_they_were_encoded() {
    let Some(dir) = testkit::conformance_dir("remote-write") else { return };
    let (mut passed, mut total, mut reads) = (0, 0, 0);
    for payload in testkit::json_lines(&dir.join("payloads.jsonl")) {
        let Some(message) = Message::from_name(payload["message"].as_str().unwrap()) else {
            reads += 1;
            continue;
        };
        total += 1;
        let store = Store::of_any_order();
        let receiver = receiver(&store, vec![Message::V1, Message::V2]);
        let content_type = payload["content_type"].as_str().unwrap();
        assert_eq!(receiver.negotiate(content_type, "snappy").unwrap(), (message, Encoding::Snappy));
        let body = bytes(payload["snappy_hex"].as_str().unwrap());
        assert_eq!(
            remote::body::unpack(Encoding::Snappy, &body, &mut Vec::new()).unwrap(),
            bytes(payload["protobuf_hex"].as_str().unwrap())
        );
        let reply = receiver.receive(message, Encoding::Snappy, &body);
        assert_eq!((reply.status, reply.body.as_str()), (204, ""), "{}", payload["name"]);
        let none = Vec::new();
        let wanted = payload["decoded"]["timeseries"].as_array().unwrap_or(&none);
        let have = store.series();
        assert_eq!(have.len(), wanted.len(), "{}", payload["name"]);
        for want in wanted {
            check_series(&have[&labels_text(&want["labels"])], want);
        }
        let count =
            |key: &str| wanted.iter().map(|s| s[key].as_array().map_or(0, Vec::len) as u64).sum::<u64>();
        if message == Message::V2 {
            let stats = reply.stats.unwrap();
            let have = (stats.samples, stats.histograms, stats.exemplars);
            assert_eq!(have, (count("samples"), count("histograms"), count("exemplars")));
        }
        passed += 1;
    }
    println!("remote-write payloads: {passed} / {total} ({reads} of remote read are not for the receiver)");
    assert_eq!((passed, total, reads), (7, 7, 3));
}

#[test]
fn headers_are_judged_as_upstream_does_but_for_zstd() {
    let Some(dir) = testkit::conformance_dir("remote-write") else { return };
    let text = std::fs::read_to_string(dir.join("header-cases.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    let bodies: Vec<Value> = testkit::json_lines(&dir.join("payloads.jsonl"));
    let (mut passed, mut zstd) = (0, 0);
    for case in &cases {
        let names = case["receiver_accepts"].as_array().unwrap().iter();
        let accepted = names.map(|name| Message::from_name(name.as_str().unwrap()).unwrap()).collect();
        let receiver = receiver(&Store::default(), accepted);
        let header = |name: &str| case["headers"][name].as_str().unwrap_or_default();
        if header("Content-Encoding") == "zstd" {
            // Taken on purpose, see `remote::body::Encoding::Zstd`.
            assert!(receiver.negotiate(header("Content-Type"), "zstd").is_ok());
            zstd += 1;
            continue;
        }
        let body =
            bodies.iter().find(|b| b["message"] == case["body"] && b["name"] == "one float series").unwrap();
        let body = bytes(body["snappy_hex"].as_str().unwrap());
        let reply = match receiver.negotiate(header("Content-Type"), header("Content-Encoding")) {
            Ok((message, encoding)) => receiver.receive(message, encoding, &body),
            Err(refused) => refused,
        };
        assert_eq!(u64::from(reply.status), case["status"].as_u64().unwrap(), "{case}");
        if let Some(text) = case["error_body"].as_str() {
            assert_eq!(reply.body, text);
        }
        passed += 1;
    }
    println!("remote-write headers: {passed} / {} ({zstd} zstd cases differ on purpose)", cases.len());
    assert_eq!((passed, zstd, cases.len()), (15, 2, 17));
}
