//! Anything at all, sent to every route: never a panic, never a 500 but those
//! that the ledger has.

use axum::body::Body;
use axum::http::Request;
use proptest::prelude::*;
use web::router::PATTERNS;

use crate::server::{Server, all_on};

const NAMES: [&str; 36] = [
    "query",
    "time",
    "start",
    "end",
    "step",
    "timeout",
    "limit",
    "lookback_delta",
    "stats",
    "match[]",
    "search[]",
    "label",
    "fuzz_threshold",
    "fuzz_alg",
    "sort_by",
    "scrapePool",
    "labels",
    "metric",
    "match_target",
    "skip_head",
    "metric_name_pattern",
    "openapi_version",
    "limit_per_metric",
    "state",
    "type",
    "rule_name[]",
    "file[]",
    "exclude_alerts",
    "group_limit",
    "group_next_token",
    "include_metadata",
    "batch_size",
    "case_sensitive",
    "sort_dir",
    "seconds",
    "debug",
];

const VALUES: [&str; 28] = [
    "up",
    "{job=~\".*\"}",
    "sum by (job) (rate(up[5m]))",
    "0",
    "-1",
    "1e308",
    "NaN",
    "9223372036854775807",
    "-9223372036854775808",
    "1700000000",
    "2023-11-14T22:13:20Z",
    "-292273086-05-16T16:47:06Z",
    "5m",
    "1y",
    "all",
    "node",
    "{\"a\":\"b\"}",
    "((((",
    "\u{0}",
    "jarowinkler",
    "-Inf",
    "0x1p-1074",
    "1_0",
    "100000000000000000000000000000000000000000",
    "{\"a.b\"=\"c\"}[1y] @ end() offset -1y",
    "topk(1e300, up) ^ -1e300",
    "label_replace(up, \"a\", \"$1\", \"b\", \"(.*)*\")",
    "up[5m:1s]",
];

/// Headers that some code looks at.
const HEADERS: [&str; 14] = [
    "content-encoding",
    "content-length",
    "content-type",
    "accept",
    "accept-encoding",
    "origin",
    "host",
    "range",
    "if-none-match",
    "expect",
    "upgrade",
    "x-forwarded-for",
    "x-prometheus-remote-write-version",
    "x-prometheus-scrape-timeout-seconds",
];

const HEADER_VALUES: [&str; 12] = [
    "",
    "gzip",
    "snappy",
    "zstd",
    "18446744073709551616",
    "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    "multipart/form-data",
    "application/openmetrics-text;version=1.0.0;q=NaN,*/*;q=1e999",
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
    "*/*;q=-1;;,,=",
    "100-continue",
    "bytes=0-18446744073709551615",
];

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        12 => proptest::sample::select(&VALUES[..]).prop_map(str::to_owned),
        4 => any::<String>(),
        1 => (any::<char>(), 1usize..20_000).prop_map(|(c, times)| c.to_string().repeat(times)),
    ]
}

/// A query string or form: well formed, or anything in its place.
fn encoded_form() -> impl Strategy<Value = String> {
    prop_oneof![4 => form(), 1 => "[ -~]{0,60}".prop_map(|text| encoded_but(&text, b"&=;%+"))]
}

/// Escapes all but these.
fn encoded_but(text: &str, kept: &[u8]) -> String {
    text.bytes()
        .map(|b| {
            if kept.contains(&b) || b.is_ascii_alphanumeric() {
                char::from(b).to_string()
            } else {
                format!("%{b:02x}")
            }
        })
        .collect()
}

fn headers() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let value = prop_oneof![
        3 => proptest::sample::select(&HEADER_VALUES[..]).prop_map(str::to_owned),
        1 => "[ -~]{0,200}",
        1 => "[a-z]{1,20}".prop_map(|text| text.repeat(500)),
    ];
    proptest::collection::vec((proptest::sample::select(&HEADERS[..]), value), 0..5)
}

fn form() -> impl Strategy<Value = String> {
    proptest::collection::vec((proptest::sample::select(&NAMES[..]), value()), 0..7)
        .prop_map(|pairs| form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish())
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn no_request_brings_the_server_down(
        pattern in proptest::sample::select(PATTERNS),
        segment in any::<String>(),
        method in proptest::sample::select(vec!["GET", "GET", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "BREW"]),
        query in encoded_form(),
        tail in proptest::sample::select(vec!["", "", "", "/", "//", "/..", "/./x", "%2F", "%00", "%FF"]),
        headers in headers(),
        body in prop_oneof![form().prop_map(String::into_bytes), any::<Vec<u8>>()],
        kind in proptest::sample::select(vec!["application/x-www-form-urlencoded", "application/x-protobuf", ""]),
        accept in prop_oneof![Just("gzip".to_owned()), Just("application/vnd.google.protobuf".to_owned()), "[ -~]{0,40}"],
    ) {
        // A query that takes long is the engine's matter, and a stream has no end.
        prop_assume!(!pattern.ends_with("/live") && !pattern.starts_with("/-/re") && !pattern.starts_with("/-/qu"));
        let segment = encoded(&segment);
        let path: String = pattern
            .split('/')
            .map(|part| if part.starts_with('{') { segment.as_str() } else { part })
            .collect::<Vec<_>>()
            .join("/");
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{path}{tail}?{query}"))
            .header("content-type", kind)
            .header("accept", &accept)
            .header("accept-encoding", &accept)
            .header("origin", "null");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        // Some of it is not even a request.
        let Ok(request) = request.body(Body::from(body)) else { return Ok(()) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let reply = runtime.block_on(async { Server::new(all_on()).with_targets().await.send(request).await });
        let status = reply.status.as_u16();
        let known = status < 500 || status == 503;
        prop_assert!(known, "{method} {path}?{query}: {status} {}", reply.text());
        prop_assert!(!reply.text().contains("internal error"), "a handler panicked: {path}?{query}");
    }
}
