//! Answers that a row of a table cannot judge.

use std::io::Read;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use web::{Readiness, WebOptions};

use crate::server::{Server, all_on, defaults};

fn request(path: &str) -> axum::http::request::Builder {
    Request::get(path)
}

#[tokio::test]
async fn answers_are_compressed_as_the_client_asks_first() {
    let server = Server::new(all_on());
    let plain = server.get("/api/v1/query?query=up").await;
    assert_eq!(plain.header("content-encoding"), "");
    for (accept, encoding) in [("gzip", "gzip"), ("deflate, gzip", "deflate"), ("br", "")] {
        let asked = request("/api/v1/query?query=up").header("accept-encoding", accept);
        let reply = server.send(asked.body(Body::empty()).unwrap()).await;
        assert_eq!(reply.header("content-encoding"), encoding);
        let vary: Vec<&str> = reply.headers.get_all("vary").iter().map(|v| v.to_str().unwrap()).collect();
        assert_eq!(vary, ["Origin", "Accept-Encoding"], "{accept}");
        let mut body = Vec::new();
        match encoding {
            "gzip" => flate2::read::GzDecoder::new(&reply.body[..]).read_to_end(&mut body).unwrap(),
            "deflate" => flate2::read::ZlibDecoder::new(&reply.body[..]).read_to_end(&mut body).unwrap(),
            _ => reply.body.as_slice().read_to_end(&mut body).unwrap(),
        };
        assert_eq!(body, plain.body);
    }
    let asked = request("/api/v1/search/metric_names").header("accept-encoding", "gzip");
    let reply = server.send(asked.body(Body::empty()).unwrap()).await;
    assert_eq!(reply.header("content-encoding"), "", "streams of lines leave as they are");
}

#[tokio::test]
async fn pages_of_other_origins_read_only_what_they_may() {
    let server = Server::new(all_on());
    for (origin, allowed) in [("https://grafana.example.org", true), ("https://evil.example.org", false)] {
        for method in ["GET", "OPTIONS"] {
            let asked = Request::builder().method(method).uri("/api/v1/labels").header("origin", origin);
            let reply = server.send(asked.body(Body::empty()).unwrap()).await;
            assert_eq!(reply.header("access-control-allow-origin"), if allowed { origin } else { "" });
            assert_eq!(reply.header("access-control-allow-methods"), "GET, POST, OPTIONS");
            assert_eq!(reply.header("access-control-expose-headers"), "Date");
        }
    }
    let server = Server::new(defaults());
    let asked = request("/api/v1/labels").header("origin", "https://any.test");
    assert_eq!(
        server.send(asked.body(Body::empty()).unwrap()).await.header("access-control-allow-origin"),
        "https://any.test"
    );
}

#[tokio::test]
async fn requests_are_counted_by_route_when_their_answer_has_left() {
    let server = Server::new(all_on());
    server.get("/api/v1/label/job/values").await;
    server.get("/api/v1/label/path/values").await;
    server.get("/api/v1/query").await;
    server.get("/nothing").await;
    // No route without its flag.
    server.get("/user/x").await;
    let asked = Request::builder().method("OPTIONS").uri("/api/v1/query").body(Body::empty()).unwrap();
    assert_eq!(server.send(asked).await.status, StatusCode::NO_CONTENT);
    let page = server.get("/metrics").await.text();
    for line in [
        r#"prometheus_http_requests_total{code="200",handler="/api/v1/label/:name/values"} 2"#,
        r#"prometheus_http_requests_total{code="400",handler="/api/v1/query"} 1"#,
        r#"prometheus_http_requests_total{code="200",handler="/api/v1/query"} 0"#,
        r#"prometheus_http_requests_total{code="204",handler="/api/v1/*path"} 1"#,
        r#"prometheus_http_request_duration_seconds_count{handler="/api/v1/query"} 1"#,
        r#"promhttp_metric_handler_requests_in_flight 1"#,
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
    assert!(!page.contains("nothing"), "a path is no label");
    assert!(!page.contains("/user/"), "and what is no route is not counted");
}

#[tokio::test]
async fn a_client_that_leaves_is_counted_as_such() {
    let server = Server::new(all_on());
    let body = Body::new(Never);
    let asked = Request::post("/api/v1/query").header("content-type", "application/x-www-form-urlencoded");
    let waiting = server.open(asked.body(body).unwrap());
    assert!(tokio::time::timeout(std::time::Duration::from_millis(20), waiting).await.is_err());
    let page = server.get("/metrics").await.text();
    assert!(page.contains(r#"prometheus_http_requests_total{code="499",handler="/api/v1/query"} 1"#));
}

#[tokio::test]
async fn a_query_is_listed_until_it_ends_and_may_be_stopped() {
    let server = Server::new(WebOptions { query_concurrency: 1, ..all_on() });
    let seen = std::sync::Arc::new(Seen::default());
    assert!(server.web.observer.set(seen.clone()).is_ok());
    // Somebody else has the only place: the query waits.
    let place = server.web.query_slots.clone().acquire_owned().await.unwrap();
    let asked = request("/api/v1/query?query=sum(up)&time=12.5").body(Body::empty()).unwrap();
    let waiting = server.send(asked);
    tokio::pin!(waiting);
    let short = std::time::Duration::from_millis(20);
    assert!(tokio::time::timeout(short, &mut waiting).await.is_err());
    assert_eq!((seen.arrived.load(Relaxed), seen.begun.load(Relaxed)), (1, 0), "it counts while it waits");
    let listed = server.get("/api/v1/narthex/queries").await.json();
    let query = &listed["data"][0];
    assert_eq!((&query["query"], &query["state"]), (&"sum(up)".into(), &"waiting".into()), "{listed}");
    assert_eq!(query["start"], "1970-01-01T00:00:12.5Z");
    let id = query["id"].as_u64().unwrap();
    let cancel = Request::post(format!("/api/v1/narthex/queries/cancel?id={id}"));
    assert_eq!(server.send(cancel.body(Body::empty()).unwrap()).await.status, StatusCode::NO_CONTENT);
    let reply = waiting.await;
    assert_eq!(reply.status.as_u16(), 499);
    assert_eq!(reply.json()["errorType"], "canceled");
    assert_eq!(server.get("/api/v1/narthex/queries").await.json()["data"], serde_json::json!([]));
    drop(place);
    assert_eq!(server.get("/api/v1/query?query=sum(up)").await.status, StatusCode::OK);
    assert_eq!((seen.arrived.load(Relaxed), seen.begun.load(Relaxed)), (2, 1));
    assert_eq!(server.get("/api/v1/query?query=sum(").await.status, StatusCode::BAD_REQUEST);
    let failing = "/api/v1/query?query=label_replace(up,%22x%22,%22%22,%22%22,%22(%22)";
    assert_eq!(server.get(failing).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let range = "/api/v1/query_range?query=up&start=0&end=60&step=15";
    assert_eq!(server.get(range).await.status, StatusCode::OK);
    let ended = seen.ended.lock().clone();
    assert_eq!(ended, ["sum(up)", "label_replace(up,\"x\",\"\",\"\",\"(\") failed", "up sorted"]);
    assert_eq!(seen.waited.load(Relaxed), 4, "for what is no expression, too");
}

/// Counts what it is told of.
#[derive(Default)]
struct Seen {
    arrived: AtomicUsize,
    waited: AtomicUsize,
    begun: AtomicUsize,
    ended: parking_lot::Mutex<Vec<String>>,
}

impl promql::observer::QueryObserver for Seen {
    fn arrived(&self) -> Box<dyn std::any::Any + Send> {
        self.arrived.fetch_add(1, Relaxed);
        Box::new(())
    }

    fn begin(&self, _text: &str) -> Box<dyn std::any::Any + Send> {
        self.begun.fetch_add(1, Relaxed);
        Box::new(())
    }

    fn waited(&self, _seconds: f64) {
        self.waited.fetch_add(1, Relaxed);
    }

    fn ended(&self, record: &promql::observer::QueryRecord<'_>) {
        let failed = if record.error.is_some() { " failed" } else { "" };
        let sorted = if record.sorted { " sorted" } else { "" };
        self.ended.lock().push(format!("{}{failed}{sorted}", record.text));
    }
}

#[tokio::test]
async fn what_gathers_much_is_refused_where_memory_runs_short() {
    let server = Server::new(all_on());
    let paths = [
        "/api/v1/series?match%5B%5D=up",
        "/api/v1/series?match%5B%5D=up&match%5B%5D=latency",
        "/api/v1/labels",
        "/api/v1/label/job/values",
        "/api/v1/search/metric_names",
        "/api/v1/query_exemplars?query=up",
        "/api/v1/query?query=up",
        "/federate?match%5B%5D=up",
    ];
    for path in paths {
        assert_eq!(server.get(path).await.status, StatusCode::OK, "{path}");
    }
    let memory = &server.web.engine.options().memory;
    assert_eq!(memory.used(), 0, "what was sent holds nothing");
    memory.set_limit(1000);
    for path in paths {
        let reply = server.get(path).await;
        let wanted = if path.starts_with("/federate") { 503 } else { 422 };
        assert_eq!(reply.status.as_u16(), wanted, "{path}");
        assert!(reply.text().contains("of 1000 are in use"), "{path}: {}", reply.text());
    }
}

/// A body that never comes.
struct Never;

impl http_body::Body for Never {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn remote_write_is_stored_and_read_back() {
    let server = Server::new(all_on());
    // A request with the series {__name__="written"} and one sample, 7 at 1700000000000.
    let mut message = vec![0x0a, 39, 0x0a, 19, 0x0a, 8];
    message.extend_from_slice(b"__name__\x12\x07written\x12\x10\x09");
    message.extend_from_slice(&7f64.to_le_bytes());
    message.extend_from_slice(&[0x10, 0x80, 0xd0, 0x95, 0xff, 0xbc, 0x31]);
    let mut packed = vec![message.len() as u8, ((message.len() - 1) << 2) as u8];
    packed.extend_from_slice(&message);
    let write = |kind: &str, encoding: &str, body: Vec<u8>| {
        let asked =
            Request::post("/api/v1/write").header("content-type", kind).header("content-encoding", encoding);
        asked.body(Body::from(body)).unwrap()
    };
    let reply = server.send(write("application/x-protobuf", "snappy", packed.clone())).await;
    assert_eq!((reply.status, reply.text().as_str()), (StatusCode::NO_CONTENT, ""));
    assert_eq!(reply.header("vary"), "");
    let found = server.get("/api/v1/query?query=written").await.json();
    assert_eq!(found["data"]["result"][0]["value"][1], "7");
    let reply = server.send(write("application/x-protobuf", "gzip", packed.clone())).await;
    assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(
        reply.text(),
        "gzip encoding (compression) is not accepted by this server; only snappy is acceptable\n"
    );
    let reply = server.send(write("application/x-protobuf", "snappy", vec![0; (32 << 20) + 1])).await;
    assert_eq!(
        (reply.status, reply.text().as_str()),
        (StatusCode::PAYLOAD_TOO_LARGE, "http: request body too large\n")
    );
    let v2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    let reply = server.send(write(v2, "snappy", vec![2, 4, 0x22, 0])).await;
    assert_eq!(reply.status, StatusCode::NO_CONTENT);
    for kind in ["samples", "histograms", "exemplars"] {
        assert_eq!(reply.header(&format!("x-prometheus-remote-write-{kind}-written")), "0");
    }
    assert!(server.store.series_count() > 7);
}

#[tokio::test]
async fn notifications_stream_until_the_server_stops() {
    let server = Server::starting(all_on());
    let live = || request("/api/v1/notifications/live").body(Body::empty()).unwrap();
    let response = server.open(live()).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    let second = server.open(live()).await;
    assert_eq!(second.status(), StatusCode::OK);
    assert_eq!(
        server.get("/api/v1/notifications/live").await.status,
        StatusCode::NO_CONTENT,
        "two may listen"
    );
    server.web.set_readiness(Readiness::Ready);
    server.web.set_readiness(Readiness::Stopping);
    let mut events = String::new();
    while let Some(frame) = body.frame().await {
        events.push_str(std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap());
    }
    let lines: Vec<&str> = events.split("\n\n").filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), 3, "{events}");
    assert!(
        lines[0].starts_with("data: {\"text\":\"Prometheus is starting")
            && lines[0].ends_with("\"active\":true}")
    );
    assert!(lines[1].ends_with("\"active\":false}"));
    assert!(lines[2].starts_with("data: {\"text\":\"Prometheus is shutting down"));
    let stopping = server.get("/api/v1/query?query=up").await;
    assert_eq!(stopping.header("x-prometheus-stopping"), "true");
}

#[tokio::test]
async fn lifecycle_calls_reach_the_server() {
    let mut server = Server::new(all_on());
    for (outcome, status, text) in [
        (Ok(()), StatusCode::OK, ""),
        (Err("bad".to_owned()), StatusCode::INTERNAL_SERVER_ERROR, "failed to reload config: bad\n"),
    ] {
        let (_, placeholder) = tokio::sync::mpsc::channel(1);
        let mut reloads = std::mem::replace(&mut server.reloads, placeholder);
        let answering = tokio::spawn(async move {
            reloads.recv().await.unwrap().send(outcome).unwrap();
            reloads
        });
        let reply = server.post_form("/-/reload", "").await;
        assert_eq!((reply.status, reply.text().as_str()), (status, text));
        server.reloads = answering.await.unwrap();
    }
    assert_eq!(server.post_form("/-/quit", "").await.text(), "Requesting termination... Goodbye!");
    assert_eq!(server.post_form("/-/quit", "").await.text(), "Termination already in progress.");
    assert!(server.quits.try_recv().is_ok());
}

#[tokio::test]
async fn everything_lies_below_the_route_prefix() {
    let options = web::WebOptions { route_prefix: "/prom".to_owned(), ..all_on() };
    let server = Server::new(options);
    assert_eq!(server.get("/").await.header("location"), "/prom");
    assert_eq!(server.get("/prom/").await.header("location"), "/base/query");
    for (path, status, location) in [
        ("/prom?a=b", 301, "/prom/?a=b"),
        ("/prom//-/ready", 307, "/prom/-/ready"),
        ("/x/../prom/-/ready", 307, "/prom/-/ready"),
        ("/PROM/-/Ready", 301, "/prom/-/ready"),
        ("/prom/-/READY", 301, "/prom/-/ready"),
        ("/promx/-/ready", 404, ""),
        ("/PROM/api/v1/query", 404, ""),
    ] {
        let answer = server.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (status, location), "{path}");
    }
    let answer = server.send(request("/").method(Method::HEAD).body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "GET, OPTIONS"));
    assert_eq!(server.get("/prom/-/ready").await.status, StatusCode::OK);
    assert_eq!(server.get("/-/ready").await.status, StatusCode::NOT_FOUND);
    assert_eq!(server.get("/prom/api/v1/query?query=1").await.status, StatusCode::OK);
    assert_eq!(server.get("/prom/nothing").await.text(), "404 page not found\n");
    assert_eq!(server.get("/prom/metrics/").await.header("location"), "/prom/metrics");
    let page = server.get("/prom/metrics").await.text();
    assert!(page.contains(r#"{code="200",handler="/api/v1/query"} 1"#), "{page}");
}

#[tokio::test]
async fn a_route_prefix_may_have_any_characters() {
    for (prefix, path) in [
        ("/:x", "/:x"),
        ("/*x", "/*x"),
        ("/{x}", "/{x}"),
        ("/a b", "/a%20b"),
        ("/é", "/%c3%a9"),
        ("/x/y", "/x/%79"),
    ] {
        let server = Server::new(web::WebOptions { route_prefix: prefix.to_owned(), ..all_on() });
        assert_eq!(server.get(&format!("{path}/-/ready")).await.status, StatusCode::OK, "{prefix}");
        let page = server.get(&format!("{path}/metrics")).await.text();
        assert!(
            page.contains(r#"prometheus_http_requests_total{code="200",handler="/-/ready"} 1"#),
            "{page}"
        );
    }
    let server = Server::new(web::WebOptions { route_prefix: "/é".to_owned(), ..all_on() });
    assert_eq!(server.get("/").await.header("location"), "/%c3%a9");
}

#[tokio::test]
async fn files_of_operators_are_served_but_none_outside() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("assets")).unwrap();
    std::fs::write(dir.path().join("assets/a.css"), "a {}").unwrap();
    std::fs::write(dir.path().join("secret"), "s").unwrap();
    let mut options = all_on();
    options.flags.insert("web.user-assets".to_owned(), dir.path().join("assets").display().to_string());
    let server = Server::new(options);
    let reply = server.get("/user/a.css").await;
    assert_eq!((reply.text().as_str(), reply.header("content-type")), ("a {}", "text/css; charset=utf-8"));
    assert_eq!(server.get("/user/../secret").await.header("location"), "/secret");
    for path in ["/user/%2e%2e/secret", "/user/..%2fsecret", "/user/b.css", "/user/%00"] {
        assert_eq!(server.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(Server::new(all_on()).get("/user").await.status, StatusCode::NOT_FOUND, "no folder is named");
}

#[tokio::test]
async fn folders_of_operators_have_index_pages_or_listings() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("sub/deep")).unwrap();
    std::fs::write(dir.path().join("index.html"), "<p>").unwrap();
    std::fs::write(dir.path().join("sub/a<b.css"), "a {}").unwrap();
    let mut options = all_on();
    options.flags.insert("web.user-assets".to_owned(), dir.path().display().to_string());
    let server = Server::new(options);
    for (path, location) in [
        ("/user", "/user/"),
        ("/user/index.html", "./"),
        ("/user/sub", "sub/"),
        ("/user/sub?x=1", "sub/?x=1"),
        ("/user/sub/a%3Cb.css/", "../a<b.css"),
        ("/consoles", "/consoles/"),
        ("/debug", "/debug/"),
    ] {
        let reply = server.get(path).await;
        assert_eq!(reply.status, StatusCode::MOVED_PERMANENTLY, "{path}");
        assert_eq!(reply.header("location"), location, "{path}");
    }
    let index = server.get("/user/").await;
    assert_eq!((index.text().as_str(), index.header("content-type")), ("<p>", "text/html; charset=utf-8"));
    assert_eq!(
        server.get("/user/sub/").await.text(),
        "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n\
         <a href=\"a%3Cb.css\">a&lt;b.css</a>\n<a href=\"deep/\">deep/</a>\n</pre>\n"
    );
    let part = request("/user/sub/a%3Cb.css").header("range", "bytes=2-2").body(Body::empty()).unwrap();
    let part = server.send(part).await;
    assert_eq!((part.status, part.text().as_str()), (StatusCode::PARTIAL_CONTENT, "{"));
    assert_eq!(part.header("content-range"), "bytes 2-2/4");
    let seen = part.header("last-modified").to_owned();
    let again = request("/user/").header("if-modified-since", &seen).body(Body::empty()).unwrap();
    assert_eq!(server.send(again).await.status, StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn a_title_of_the_page_is_text() {
    let page = Server::new(all_on()).get("/query").await;
    assert!(page.text().contains("<title>A &lt;title&gt;</title>"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none'; script-src 'self'"));
}
