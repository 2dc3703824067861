//! Anything at all, sent to every route: never a panic, never a 500 but those
//! that the ledger has.

use axum::body::Body;
use axum::http::Request;
use proptest::prelude::*;
use web::router::PATTERNS;

use crate::server::{Server, all_on};

const NAMES: [&str; 22] = [
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
];

const VALUES: [&str; 20] = [
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
];

fn value() -> impl Strategy<Value = String> {
    prop_oneof![3 => proptest::sample::select(&VALUES[..]).prop_map(str::to_owned), 1 => any::<String>()]
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
        method in proptest::sample::select(vec!["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]),
        query in form(),
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
        let request = Request::builder()
            .method(method)
            .uri(format!("{path}?{query}"))
            .header("content-type", kind)
            .header("accept", &accept)
            .header("accept-encoding", &accept)
            .header("origin", "null")
            .body(Body::from(body))
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let reply = runtime.block_on(async { Server::new(all_on()).with_targets().await.send(request).await });
        let status = reply.status.as_u16();
        let known = status < 500 || status == 503 || (status == 500 && method == "DELETE" && path == "/api/v1/series");
        prop_assert!(known, "{method} {path}?{query}: {status} {}", reply.text());
        prop_assert!(!reply.text().contains("internal error"), "a handler panicked: {path}?{query}");
    }
}
