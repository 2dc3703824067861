//! Fetching from real servers on loopback, kind and hostile ones.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod support;

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use model::memory::Accountant;
use scrape::NetFetchFactory;
use scrape::fetch::{FetchError, FetchFactory as _, FetchRequest, Fetched};
use testkit::TestClock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn serve(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A server that writes these bytes to whoever connects, again and again if so told.
async fn raw(head: &'static [u8], endless: bool) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _read = socket.read(&mut request).await;
                let mut failed = socket.write_all(head).await.is_err();
                let more = b"a 1\n".repeat(16 << 10);
                while endless && !failed {
                    failed = socket.write_all(&more).await.is_err();
                }
            });
        }
    });
    address
}

fn request(url: String) -> FetchRequest {
    FetchRequest {
        url: url.into(),
        accept: "text/plain".into(),
        accept_encoding: "gzip",
        timeout: Duration::from_secs(5),
        body_size_limit: 0,
    }
}

async fn fetch_on(request: &FetchRequest, accountant: Accountant) -> (Result<Fetched, FetchError>, Vec<u8>) {
    let options = net::ClientOptions::new("Prometheus/3.14.0", Arc::new(TestClock::new(0)));
    let factory = NetFetchFactory::new(options, accountant);
    let fetch = factory.fetcher(&config::ScrapeConfig::default(), None).unwrap();
    let mut page = Vec::new();
    let fetched = fetch.fetch(request, &mut page).await;
    (fetched, page)
}

async fn fetch(request: &FetchRequest) -> (Result<Fetched, FetchError>, Vec<u8>) {
    fetch_on(request, Accountant::unlimited()).await
}

async fn error_of(request: &FetchRequest) -> String {
    fetch(request).await.0.unwrap_err().to_string()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn gzip_router(body: Vec<u8>) -> Router {
    Router::new().route(
        "/metrics",
        get(move || async move {
            ([(header::CONTENT_ENCODING, "gzip"), (header::CONTENT_TYPE, "text/plain")], body)
        }),
    )
}

#[tokio::test]
async fn a_page_comes_with_its_type_and_the_headers_went_out() {
    let router = Router::new().route(
        "/metrics",
        get(|headers: HeaderMap| async move {
            let of = |name: &str| headers.get(name).map_or("-", |v| v.to_str().unwrap()).to_owned();
            let page =
                ["accept", "accept-encoding", "user-agent", "x-prometheus-scrape-timeout-seconds"].map(of);
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page.join("|"))
        }),
    );
    let address = serve(router).await;
    let mut request = request(format!("http://{address}/metrics"));
    request.timeout = Duration::from_millis(2500);
    let (fetched, page) = fetch(&request).await;
    assert_eq!(fetched.unwrap().content_type, "text/plain; version=0.0.4");
    assert_eq!(String::from_utf8(page).unwrap(), "text/plain|gzip|Prometheus/3.14.0|2.5");
}

#[tokio::test]
async fn a_connection_serves_all_scrapes_even_refused_ones() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut request = [0; 4096];
                while stream.read(&mut request).await.is_ok_and(|n| n > 0) {
                    let status = if request.starts_with(b"GET /metrics") { "200 OK" } else { "503 Busy" };
                    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 4\r\n\r\na 1\n");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    let options = net::ClientOptions::new("x", Arc::new(TestClock::new(0)));
    let config = config::ScrapeConfig::default();
    let fetch = NetFetchFactory::new(options, Accountant::unlimited()).fetcher(&config, None).unwrap();
    for path in ["metrics", "busy", "metrics"] {
        let mut page = Vec::new();
        let fetched = fetch.fetch(&request(format!("http://{address}/{path}")), &mut page).await;
        assert_eq!(fetched.is_ok(), path == "metrics", "{fetched:?}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_timeout_tells_which_request_was_under_way() {
    let router = Router::new()
        .route("/start", get(|| async { (StatusCode::FOUND, [(header::LOCATION, "/silent")]) }))
        .route("/silent", get(std::future::pending::<StatusCode>));
    let address = serve(router).await;
    let mut request = request(format!("http://{address}/start"));
    request.timeout = Duration::from_millis(200);
    let wanted = format!("Get \"http://{address}/silent\": context deadline exceeded");
    assert_eq!(error_of(&request).await, wanted);
}

#[tokio::test]
async fn only_200_is_a_page() {
    let router = Router::new()
        .route("/none", get(|| async { StatusCode::NO_CONTENT }))
        .route("/broken", get(|| async { StatusCode::INTERNAL_SERVER_ERROR.into_response() }));
    let address = serve(router).await;
    for (path, text) in [
        ("missing", "server returned HTTP status 404 Not Found"),
        ("none", "server returned HTTP status 204 No Content"),
        ("broken", "server returned HTTP status 500 Internal Server Error"),
    ] {
        assert_eq!(error_of(&request(format!("http://{address}/{path}"))).await, text);
    }
}

#[tokio::test]
async fn gzip_is_unpacked_also_in_several_members() {
    let mut body = gzip(b"a 1\n");
    body.extend(gzip(b"b 2\n"));
    let address = serve(gzip_router(body)).await;
    let (fetched, page) = fetch(&request(format!("http://{address}/metrics"))).await;
    fetched.unwrap();
    assert_eq!(page, b"a 1\nb 2\n");
}

#[tokio::test]
async fn damaged_gzip_is_an_error() {
    let whole = gzip(&b"a 1\n".repeat(10_000));
    for (body, text) in [
        (b"a 1\na 1\na 1\n".to_vec(), "gzip: invalid header"),
        (b"a 1\n".to_vec(), "unexpected EOF"),
        (whole[..whole.len() / 2].to_vec(), "unexpected EOF"),
        (Vec::new(), "EOF"),
    ] {
        let address = serve(gzip_router(body)).await;
        assert_eq!(error_of(&request(format!("http://{address}/metrics"))).await, text);
    }
}

#[tokio::test]
async fn a_gzip_bomb_is_cut_at_the_limit() {
    let bomb = gzip(&vec![b'a'; 8 << 20]);
    assert!(bomb.len() < 100_000);
    let address = serve(gzip_router(bomb)).await;
    let mut request = request(format!("http://{address}/metrics"));
    request.body_size_limit = 1 << 20;
    assert_eq!(error_of(&request).await, "body size limit exceeded");
}

#[tokio::test]
async fn a_page_at_the_limit_is_too_large() {
    let address = serve(Router::new().route("/metrics", get(|| async { "a 1\n" }))).await;
    let mut request = request(format!("http://{address}/metrics"));
    request.body_size_limit = 5;
    assert_eq!(fetch(&request).await.1, b"a 1\n");
    request.body_size_limit = 4;
    assert_eq!(error_of(&request).await, "body size limit exceeded");
}

#[tokio::test]
async fn an_endless_page_ends_at_the_limit_or_for_want_of_memory() {
    let address = raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n", true).await;
    let mut limited = request(format!("http://{address}/metrics"));
    limited.body_size_limit = 1 << 20;
    assert_eq!(error_of(&limited).await, "body size limit exceeded");
    let unlimited = request(format!("http://{address}/metrics"));
    let (fetched, _) = fetch_on(&unlimited, Accountant::new(8 << 20)).await;
    assert!(matches!(fetched, Err(FetchError::Memory(_))), "{fetched:?}");
}

#[tokio::test]
async fn a_target_that_stops_talking_runs_into_the_timeout() {
    for (head, answered) in [
        (&b""[..], false),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na 1\n", true),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\na 1\n\r\n", true),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut sockets = Vec::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                let _read = socket.read(&mut [0; 4096]).await;
                let _written = socket.write_all(head).await;
                sockets.push(socket);
            }
        });
        let mut request = request(format!("http://{address}/metrics"));
        request.timeout = Duration::from_millis(200);
        let text = error_of(&request).await;
        let of_request = format!("Get \"http://{address}/metrics\": context deadline exceeded");
        assert_eq!(text, if answered { "context deadline exceeded" } else { &of_request });
    }
}

#[tokio::test]
async fn a_cut_body_is_an_error() {
    for (answer, error) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na 1\n"[..], "unexpected EOF"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\na 1\n", "unexpected EOF"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\na 1\n", "invalid byte in chunk length"),
    ] {
        let address = raw(answer, false).await;
        assert_eq!(error_of(&request(format!("http://{address}/metrics"))).await, error);
    }
}

#[tokio::test]
async fn what_is_no_http_is_an_error() {
    for head in [&b"SSH-2.0-OpenSSH_9.2\r\n"[..], b"HTTP/1.1 999999 ?\r\n\r\n", b"\0\0\0\0", b""] {
        let address = raw(head, false).await;
        assert!(fetch(&request(format!("http://{address}/metrics"))).await.0.is_err());
    }
}

#[tokio::test]
async fn redirects_are_followed_but_not_in_circles() {
    let router = Router::new()
        .route("/metrics", get(|| async { "a 1\n" }))
        .route("/moved", get(|| async { (StatusCode::FOUND, [(header::LOCATION, "/metrics")]) }))
        .route("/circle", get(|| async { (StatusCode::FOUND, [(header::LOCATION, "/circle")]) }));
    let address = serve(router).await;
    assert_eq!(fetch(&request(format!("http://{address}/moved"))).await.1, b"a 1\n");
    let text = error_of(&request(format!("http://{address}/circle"))).await;
    assert!(text.contains("stopped after 10 redirects"), "{text}");
}

#[tokio::test]
async fn nobody_listening_is_told_as_upstream_does() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert_eq!(
        error_of(&request(format!("http://{address}/metrics"))).await,
        format!("Get \"http://{address}/metrics\": dial tcp {address}: connect: connection refused")
    );
}

#[tokio::test]
async fn a_socket_is_dialled_instead_of_the_address() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("target.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _read = socket.read(&mut request).await;
            let _written = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na 1\n").await;
        }
    });
    let options = net::ClientOptions::new("x", Arc::new(TestClock::new(0)));
    let factory = NetFetchFactory::new(options, Accountant::unlimited());
    let fetch = factory.fetcher(&config::ScrapeConfig::default(), path.to_str()).unwrap();
    let mut page = Vec::new();
    fetch.fetch(&request("http://localhost/metrics".to_owned()), &mut page).await.unwrap();
    assert_eq!(page, b"a 1\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_page_goes_from_socket_to_store_on_many_threads() {
    let mut page = String::from("# TYPE m counter\n");
    for i in 0..10_000 {
        page.push_str(&format!("m_total{{series=\"number {i}\"}} {i}\n"));
    }
    assert!(page.len() > 256 << 10);
    let body = gzip(page.as_bytes());
    let address = serve(gzip_router(body)).await;
    let store = support::Recorder::new();
    let clock: Arc<dyn model::Clock> = Arc::new(support::SystemClock::new());
    let accountant = Accountant::unlimited();
    let fetchers = NetFetchFactory::new(net::ClientOptions::new("x", clock.clone()), accountant.clone());
    let mut options = scrape::ManagerOptions::new(Arc::new(fetchers));
    options.update_interval = Duration::from_millis(10);
    options.accountant = accountant.clone();
    let manager =
        scrape::ScrapeManager::new(options, Arc::new(store.clone()), clock, &model::metrics::Registry::new());
    let config = config::ScrapeConfig {
        job_name: "j".to_owned(),
        scrape_interval: model::time::PromDuration(200),
        scrape_timeout: model::time::PromDuration(200),
        ..config::ScrapeConfig::default()
    };
    manager.apply(vec![Arc::new(config)], &model::Labels::empty()).await.unwrap();
    let running = manager.clone();
    let cancel = tokio_util::sync::CancellationToken::new();
    let stop = cancel.clone();
    tokio::spawn(async move { running.run(stop).await });
    let target = model::Labels::from_pairs([("__address__", address.to_string())]);
    let group = discovery::TargetGroup {
        source: "0".to_owned(),
        labels: model::Labels::empty(),
        targets: vec![target],
    };
    manager.update_groups("j", vec![group]);
    let name = format!(r#"{{__name__="m_total", instance="{address}", job="j", series="number 9999"}}"#);
    let arrived = async {
        while store.values(&name).len() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), arrived).await.unwrap();
    assert_eq!(store.values(&name)[..2], [Some(9999.0), Some(9999.0)]);
    let caches = accountant.by_owner().into_iter().find(|(owner, _)| *owner == "scrape_caches").unwrap().1;
    assert!((200_000..2_000_000).contains(&caches), "{caches} bytes");
    manager.stop().await;
    cancel.cancel();
}

#[test]
fn a_client_that_cannot_be_made_is_told_as_upstream_does() {
    let options = net::ClientOptions::new("test", Arc::new(TestClock::new(0)));
    let factory = NetFetchFactory::new(options, Accountant::unlimited());
    let mut config = config::ScrapeConfig::default();
    config.http_client.tls_config.ca_file = "/no/ca.pem".to_owned();
    let fault = factory.fetcher(&config, None).err().unwrap().to_string();
    let why =
        "unable to read CA cert: unable to read file /no/ca.pem: open /no/ca.pem: no such file or directory";
    assert_eq!(fault, format!("error creating HTTP client: {why}"));
}
