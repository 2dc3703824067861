//! Many bad targets beside a good one, from socket to store: each is down with
//! an error that says why, each is counted where it should be, and the good
//! one is scraped as if it were alone.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod support;

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use model::labels::Labels;
use model::memory::Accountant;
use model::metrics::{MetricValue, Registry};
use model::time::PromDuration;
use scrape::target::TargetHealth;
use scrape::{ManagerOptions, NetFetchFactory, ScrapeManager};
use support::{Recorder, SystemClock};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

const TEXT: &str = "Content-Type: text/plain; version=0.0.4\r\n";
const OPEN_METRICS: &str = "Content-Type: application/openmetrics-text; version=1.0.0\r\n";
const PROTOBUF: &str = "Content-Type: application/vnd.google.protobuf; \
                        proto=io.prometheus.client.MetricFamily; encoding=delimited\r\n";
/// Long enough for whatever ends by itself, on a busy machine too.
const INTERVAL_MS: i64 = 2_000;
const SHORT_TIMEOUT: PromDuration = PromDuration(300);

/// What a target sends, and whether it ever stops.
struct Case {
    name: &'static str,
    answer: Vec<u8>,
    then: Then,
    change: fn(&mut config::ScrapeConfig),
    /// Why it is down; empty for one that is up. After an ellipsis, how that ends.
    error: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Close,
    Wait,
    Repeat,
}

fn answer(headers: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).unwrap();
    let packed = encoder.finish().unwrap();
    answer(&format!("{TEXT}Content-Encoding: gzip\r\n"), &packed)
}

fn case(name: &'static str, answer: Vec<u8>, error: &'static str) -> Case {
    Case { name, answer, then: Then::Close, change: |_| {}, error }
}

fn text(name: &'static str, body: &str, error: &'static str) -> Case {
    case(name, answer(TEXT, body.as_bytes()), error)
}

fn cases(now_ms: i64) -> Vec<Case> {
    let endless = format!("HTTP/1.1 200 OK\r\n{TEXT}\r\n").into_bytes();
    let limited = |case: Case| Case { change: |config| config.body_size_limit.0 = 1 << 20, ..case };
    let waiting = |case: Case| Case {
        then: Then::Wait,
        change: |config| config.scrape_timeout = SHORT_TIMEOUT,
        ..case
    };
    let labels: String = (0..1000).map(|i| format!("l{i}=\"v\",")).collect();
    let future = format!("future 1 {}\nplain 1\n", now_ms + 3_600_000);
    let whole = gzip(&b"a 1\n".repeat(10_000));
    let status = |line: &str| {
        format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into_bytes()
    };
    vec![
        Case { then: Then::Repeat, ..limited(case("endless", endless.clone(), "body size limit exceeded")) },
        limited(case("bomb", gzip(&vec![b'a'; 8 << 20]), "body size limit exceeded")),
        waiting(case("silent", Vec::new(), "Get \"URL\": context deadline exceeded")),
        waiting(case("slow", endless, "context deadline exceeded")),
        case("short", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na 1\n".to_vec(), "unexpected EOF"),
        case("gone", status("404 Not Found"), "server returned HTTP status 404 Not Found"),
        case("strange", status("999 Strange"), "server returned HTTP status 999 Strange"),
        case(
            "circle",
            b"HTTP/1.1 302 Found\r\nLocation: /metrics\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                .to_vec(),
            "…stopped after 10 redirects",
        ),
        case(
            "untyped",
            answer("", b"a 1\n"),
            "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target",
        ),
        case(
            "html",
            answer("Content-Type: text/html\r\n", b"<html>"),
            "received unsupported Content-Type \"text/html\" and no fallback_scrape_protocol specified for target",
        ),
        case(
            "typed_badly",
            answer("Content-Type: text/plain; version\r\n", b"a 1\n"),
            "cannot parse Content-Type \"text/plain; version\" and no fallback_scrape_protocol for target\n\
             mime: invalid media parameter",
        ),
        Case {
            change: |config| {
                config.fallback_scrape_protocol = Some(config::ScrapeProtocol::PrometheusText0_0_4);
            },
            ..case("fallback", answer("", b"fallback 1\n"), "")
        },
        case("no_text", answer(TEXT, b"a{x=\"\xff\"} 1\n"), "invalid UTF-8 label value: \"\\\"\\xff\\\"\""),
        text(
            "half",
            "a 1\nb",
            "expected value after metric, got \"\\n\" (\"INVALID\") while parsing: \"b\\n\"",
        ),
        text(
            "half_value",
            "a 1\nb{x=\"1",
            "expected label value, got \"\\\"1\\n\" (\"INVALID\") while parsing: \"b{x=\\\"1\\n\"",
        ),
        case(
            "no_end",
            answer(OPEN_METRICS, b"# TYPE a counter\na_total 1\n"),
            "data does not end with # EOF",
        ),
        case(
            "cut_message",
            answer(PROTOBUF, b"\x50abc"),
            "clientpb: insufficient length of buffer, expected at least 81 bytes, got 4 bytes",
        ),
        text("twice", "twice 1\ntwice 2\n", ""),
        text("label_twice", "a{x=\"1\",x=\"2\"} 1\n", "label name \"x\" is not unique: invalid sample"),
        text("future", &future, ""),
        Case {
            change: |config| config.label_limit = 30,
            ..text(
                "labels",
                &format!("m{{{labels}}} 1\n"),
                "label_limit exceeded (metric: m, number of labels: 1003, limit: 30)",
            )
        },
        Case {
            change: |config| config.sample_limit = 2,
            ..text("many", "a 1\nb 1\nc 1\n", "sample limit exceeded")
        },
        case("no_gzip", answer("Content-Encoding: gzip\r\n", b"aaaaaaaaaaaaaaaa"), "gzip: invalid header"),
        case("cut_gzip", whole[..whole.len() - 20].to_vec(), "unexpected EOF"),
    ]
}

async fn serve(case: &Case) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (answer, then) = (case.answer.clone(), case.then);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(talk(socket, answer.clone(), then));
        }
    });
    address
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(mut socket: S, answer: Vec<u8>, then: Then) {
    let mut request = [0; 4096];
    let _read = socket.read(&mut request).await;
    let mut failed = socket.write_all(&answer).await.is_err() || socket.flush().await.is_err();
    let more = b"a 1\n".repeat(16 << 10);
    while then == Then::Repeat && !failed {
        failed = socket.write_all(&more).await.is_err();
    }
    if then == Then::Wait {
        // Until the client gives up.
        let _gone = socket.read(&mut request).await;
    }
    let _closed = socket.shutdown().await;
}

/// A target behind a certificate that was good once.
async fn serve_expired(authority: &std::path::Path) -> SocketAddr {
    let mut params = rcgen::CertificateParams::new(["targets".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(authority, certificate.pem()).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            if let Ok(socket) = acceptor.accept(socket).await {
                tokio::spawn(talk(socket, answer(TEXT, b"a 1\n"), Then::Close));
            }
        }
    });
    address
}

fn job(name: &str, change: impl FnOnce(&mut config::ScrapeConfig)) -> Arc<config::ScrapeConfig> {
    let mut config = config::ScrapeConfig {
        job_name: name.to_owned(),
        scrape_interval: PromDuration(INTERVAL_MS),
        scrape_timeout: PromDuration(INTERVAL_MS),
        ..config::ScrapeConfig::default()
    };
    change(&mut config);
    Arc::new(config)
}

struct World {
    manager: ScrapeManager,
    store: Recorder,
    registry: Registry,
    cancel: tokio_util::sync::CancellationToken,
}

impl World {
    fn new() -> World {
        let clock: Arc<dyn model::Clock> = Arc::new(SystemClock::new());
        let fetchers =
            NetFetchFactory::new(net::ClientOptions::new("x", clock.clone()), Accountant::unlimited());
        let mut options = ManagerOptions::new(Arc::new(fetchers));
        options.update_interval = Duration::from_millis(10);
        let (store, registry) = (Recorder::new(), Registry::new());
        let manager = ScrapeManager::new(options, Arc::new(store.clone()), clock, &registry);
        let cancel = tokio_util::sync::CancellationToken::new();
        let (running, stop) = (manager.clone(), cancel.clone());
        tokio::spawn(async move { running.run(stop).await });
        World { manager, store, registry, cancel }
    }

    fn discover(&self, job: &str, address: SocketAddr) {
        let target = Labels::from_pairs([("__address__", address.to_string())]);
        let group =
            discovery::TargetGroup { source: "0".to_owned(), labels: Labels::empty(), targets: vec![target] };
        self.manager.update_groups(job, vec![group]);
    }

    /// Waits until a condition holds of what is known.
    async fn until(&self, what: impl Fn() -> String, holds: impl Fn() -> bool) {
        let waiting = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(60), waiting).await.is_ok(), "{}", what());
    }

    fn ups(&self, job: &str, address: SocketAddr) -> Vec<Option<f64>> {
        self.store.values(&format!(r#"{{__name__="up", instance="{address}", job="{job}"}}"#))
    }

    fn metric(&self, name: &str) -> f64 {
        let family = self.registry.gather().into_iter().find(|family| family.name == name);
        match family.map(|family| family.metrics[0].value.clone()) {
            Some(MetricValue::Single(value)) => value,
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_targets_are_down_with_their_reasons_and_disturb_nobody() {
    let world = World::new();
    let dir = tempfile::tempdir().unwrap();
    let authority = dir.path().join("authority.pem");
    let now_ms = model::Clock::now_ms(&SystemClock::new());
    let cases = cases(now_ms);
    let good = text("good", "good 1\n", "");
    let mut addresses = Vec::new();
    let mut jobs = vec![job("good", |_| {})];
    for case in &cases {
        addresses.push(serve(case).await);
        jobs.push(job(case.name, case.change));
    }
    let expired = serve_expired(&authority).await;
    jobs.push(job("expired", |config| {
        config.scheme = "https".to_owned();
        config.http_client.tls_config.ca_file = authority.to_str().unwrap().to_owned();
        config.http_client.tls_config.server_name = "targets".to_owned();
    }));
    world.manager.apply(jobs, &Labels::empty()).await.unwrap();
    let good_address = serve(&good).await;
    world.discover("good", good_address);
    for (case, address) in cases.iter().zip(&addresses) {
        world.discover(case.name, *address);
    }
    world.discover("expired", expired);
    let status = |job: &str| {
        let pools = world.manager.targets();
        pools.iter().find(|pool| pool.job == job).and_then(|pool| Some(pool.active.first()?.status()))
    };
    for (case, address) in cases.iter().zip(&addresses) {
        let error = case.error.replace("URL", &format!("http://{address}/metrics"));
        let health = if error.is_empty() { TargetHealth::Up } else { TargetHealth::Down };
        let said = |text: &str| match error.strip_prefix('…') {
            Some(end) => text.ends_with(end),
            None => text == error,
        };
        let as_expected = || {
            status(case.name)
                .is_some_and(|s| s.health == health && said(s.last_error.as_deref().unwrap_or_default()))
        };
        let why = || format!("{}: {:?}", case.name, status(case.name));
        world.until(why, as_expected).await;
        let up = if error.is_empty() { 1.0 } else { 0.0 };
        world.until(why, || world.ups(case.name, *address).contains(&Some(up))).await;
    }
    let is_down = || status("expired").is_some_and(|s| s.health == TargetHealth::Down);
    world.until(|| "expired".to_owned(), is_down).await;
    world.until(|| "good".to_owned(), || world.ups("good", good_address).len() >= 3).await;
    let text = status("expired").and_then(|s| s.last_error).unwrap();
    let prefix = format!("Get \"https://{expired}/metrics\": tls: failed to verify certificate: x509: ");
    assert!(text.starts_with(&format!("{prefix}certificate has expired or is not yet valid")), "{text}");

    // All that the bad ones left is what was good of them, and reports.
    let names: Vec<String> = world.store.names();
    let stored: Vec<&str> = ["a", "b", "c", "m", "future"]
        .into_iter()
        .filter(|name| names.iter().any(|n| n.starts_with(&format!("{{__name__=\"{name}\","))))
        .filter(|name| {
            names.iter().any(|n| {
                n.starts_with(&format!("{{__name__=\"{name}\","))
                    && world.store.values(n).iter().any(Option::is_some)
            })
        })
        .collect();
    assert!(stored.is_empty(), "{stored:?}");
    for (name, least) in [
        ("prometheus_target_scrapes_exceeded_body_size_limit_total", 2.0),
        ("prometheus_target_scrapes_exceeded_sample_limit_total", 1.0),
        ("prometheus_target_scrape_pool_exceeded_label_limits_total", 1.0),
        ("prometheus_target_scrapes_sample_duplicate_timestamp_total", 1.0),
        ("prometheus_target_scrapes_sample_out_of_bounds_total", 1.0),
    ] {
        assert!(world.metric(name) >= least, "{name}: {}", world.metric(name));
    }

    let series = format!(r#"{{__name__="good", instance="{good_address}", job="good"}}"#);
    assert!(world.store.values(&series).iter().all(|v| *v == Some(1.0)), "never stale");
    assert!(world.ups("good", good_address).iter().all(|v| *v == Some(1.0)), "never down");
    world.manager.stop().await;
    world.cancel.cancel();
}
