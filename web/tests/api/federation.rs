//! `/federate` in both formats.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use model::Labels;

use crate::server::{NOW_MS, Server, all_on};

const PROTOBUF: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,text/plain;q=0.5";

#[tokio::test]
async fn samples_are_told_with_their_times_and_external_labels() {
    let server = Server::new(all_on());
    let labels = Labels::from_pairs([("cluster", "c\"1"), ("region", "eu")]);
    server.web.external_labels.store(std::sync::Arc::new(labels));
    let selectors = "match[]=up&match[]={job=~%22.%2B%22}&match[]=stale_metric&match[]=my.metric";
    let selectors = selectors.replace("match[]=my.metric", "match[]={%22my.metric%22}");
    let reply = server
        .get(
            &format!("/federate?{selectors}&match[]=latency")
                .replace(['[', ']'], "")
                .replace("match=", "match%5B%5D=")
                .replace('{', "%7B")
                .replace('}', "%7D"),
        )
        .await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_eq!(
        reply.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
    );
    let wanted = format!(
        "# TYPE http_requests_total untyped\n\
         http_requests_total{{job=\"a\",path=\"/<x>&\",cluster=\"c\\\"1\",instance=\"\",region=\"eu\"}} 240 {NOW_MS}\n\
         http_requests_total{{job=\"b\",region=\"own\",cluster=\"c\\\"1\",instance=\"\"}} 340 {NOW_MS}\n\
         # TYPE my_metric untyped\n\
         my_metric{{my_label=\"v\",cluster=\"c\\\"1\",instance=\"\",region=\"eu\"}} 440 {NOW_MS}\n\
         # TYPE up untyped\n\
         up{{instance=\"one\",job=\"a\",cluster=\"c\\\"1\",region=\"eu\"}} 40 {NOW_MS}\n\
         up{{job=\"b\",cluster=\"c\\\"1\",instance=\"\",region=\"eu\"}} 140 {NOW_MS}\n"
    );
    assert_eq!(reply.text(), wanted);
}

#[tokio::test]
async fn native_histograms_leave_as_protobuf_only() {
    let server = Server::new(all_on());
    let path = "/federate?match%5B%5D=latency&match%5B%5D=up";
    assert!(!server.get(path).await.text().contains("latency"));
    let asked = Request::get(path).header("accept", PROTOBUF);
    let reply = server.send(asked.body(Body::empty()).unwrap()).await;
    assert_eq!(
        reply.header("content-type"),
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=underscores"
    );
    // The first family: its length, its name, its type (histogram), then one metric.
    let first = &reply.body[1..=usize::from(reply.body[0])];
    assert!(first.starts_with(b"\x0a\x07latency\x18\x04\x22"), "{first:?}");
    let sum = [&[0x11][..], &9.5f64.to_le_bytes()].concat();
    assert!(first.windows(sum.len()).any(|window| window == sum));
    let second = &reply.body[1 + first.len()..];
    assert!(second[1..].starts_with(b"\x0a\x02up\x18\x03\x22"), "{second:?}");
}

#[tokio::test]
async fn names_keep_their_characters_where_the_reader_can_take_them() {
    let server = Server::new(all_on());
    let asked = Request::get("/federate?match%5B%5D=%7B%22my.metric%22%7D")
        .header("accept", "text/plain;version=1.0.0;escaping=allow-utf-8");
    let reply = server.send(asked.body(Body::empty()).unwrap()).await;
    let wanted = format!(
        "# TYPE \"my.metric\" untyped\n{{\"my.metric\",\"my.label\"=\"v\",instance=\"\"}} 440 {NOW_MS}\n"
    );
    assert_eq!(reply.text(), wanted);
}

#[tokio::test]
async fn bad_selectors_are_refused_in_plain_text() {
    let server = Server::new(all_on());
    let reply = server.get("/federate?match%5B%5D=%7B").await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert!(reply.text().contains("parse error"), "{}", reply.text());
    let asked = Request::get("/federate?match%5B%5D=up").header("accept-encoding", "gzip");
    assert_eq!(server.send(asked.body(Body::empty()).unwrap()).await.header("content-encoding"), "gzip");
}
