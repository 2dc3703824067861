//! The server's side, asked by the client of this crate and by bare sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world must fail")]

mod servers;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use config::HttpClientConfig;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use net::server::{Peer, RequestBody, ServeOptions, WebConfigSource, serve};
use net::{ClientOptions, HttpClient};
use servers::TlsFiles;
use testkit::TestClock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};

/// A bcrypt hash of `secret`, of the lowest cost.
fn hash() -> String {
    bcrypt::hash_with_result("secret", 4).unwrap().to_string()
}

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<Result<(), net::server::WebConfigError>>,
    clock: Arc<TestClock>,
    connections: net::server::Connections,
    /// Told when a request to `/slow` has come.
    arrived: Arc<Notify>,
    /// Lets requests to `/slow` end.
    release: Arc<Notify>,
}

async fn start(source: WebConfigSource, max_connections: usize) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let clock = Arc::new(TestClock::new(0));
    let read_timeout = Duration::from_millis(300);
    let connections = net::server::Connections::default();
    let options = ServeOptions {
        max_connections,
        read_timeout,
        connections: connections.clone(),
        ..ServeOptions::new(Arc::clone(&clock) as Arc<dyn model::Clock>)
    };
    let (arrived, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let gates = (Arc::clone(&arrived), Arc::clone(&release));
    let service = tower::service_fn(move |request: Request<RequestBody>| {
        let (arrived, release) = gates.clone();
        async move {
            let peer = *request.extensions().get::<Peer>().unwrap();
            if request.uri().path() == "/slow" {
                arrived.notify_one();
                release.notified().await;
            }
            if request.uri().path() == "/echo" {
                let (status, text) = match request.into_body().collect().await {
                    Ok(body) => (StatusCode::OK, body.to_bytes()),
                    Err(error) => (StatusCode::BAD_REQUEST, Bytes::from(error.to_string())),
                };
                let response = Response::builder().status(status).body(Full::new(text));
                return Ok::<_, Infallible>(response.unwrap());
            }
            Ok(Response::new(Full::new(Bytes::from(format!("tls={}", peer.is_tls)))))
        }
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        let _ = stopped.await;
    };
    let ended = tokio::spawn(serve(vec![listener], source, service, options, shutdown));
    Running { address, stop, ended, clock, connections, arrived, release }
}

async fn with_file(dir: &Path, text: &str) -> Running {
    let path = dir.join("web.yml");
    std::fs::write(&path, text).unwrap();
    start(WebConfigSource::file(path), 512).await
}

fn client(yaml: &str) -> HttpClient {
    let clock: Arc<dyn model::Clock> = Arc::new(TestClock::new(0));
    let options = ClientOptions { keep_alive: false, ..ClientOptions::new("test", clock) };
    HttpClient::new(&HttpClientConfig::load(yaml).unwrap(), options).unwrap()
}

async fn ask(client: &HttpClient, url: &str) -> Result<(StatusCode, http::HeaderMap, String), String> {
    let request = Request::get(url).body(Bytes::new()).unwrap();
    let response = client.send(request).await.map_err(|error| error.to_string())?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    Ok((parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap()))
}

#[tokio::test]
async fn users_are_asked_for_and_changes_of_the_file_count_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "basic_auth_users: {{alice: '{}'}}\nhttp_server_config: {{headers: {{X-Frame-Options: deny}}}}",
        hash()
    );
    let server = with_file(dir.path(), &text).await;
    let url = format!("http://{}/", server.address);
    let (status, headers, body) = ask(&client("{}"), &url).await.unwrap();
    assert_eq!((status, body.as_str()), (StatusCode::UNAUTHORIZED, "Unauthorized\n"));
    assert_eq!(headers["www-authenticate"], "Basic");
    let alice = client("basic_auth: {username: alice, password: secret}");
    for _ in 0..3 {
        let (status, headers, body) = ask(&alice, &url).await.unwrap();
        assert_eq!((status, body.as_str()), (StatusCode::OK, "tls=false"));
        assert_eq!(headers["x-frame-options"], "deny");
    }
    for wrong in ["{username: alice, password: secreT}", "{username: bob, password: secret}"] {
        let (status, ..) = ask(&client(&format!("basic_auth: {wrong}")), &url).await.unwrap();
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    std::fs::write(dir.path().join("web.yml"), "basic_auth_usrs: {}").unwrap();
    let (status, _, body) = ask(&alice, &url).await.unwrap();
    assert_eq!((status, body.as_str()), (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error\n"));
    std::fs::write(dir.path().join("web.yml"), "{}").unwrap();
    assert_eq!(ask(&client("{}"), &url).await.unwrap().0, StatusCode::OK);
}

#[tokio::test]
async fn requests_beyond_the_rate_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = with_file(dir.path(), "rate_limit: {burst: 1, interval: 1s}").await;
    let url = format!("http://{}/", server.address);
    let client = client("{}");
    assert_eq!(ask(&client, &url).await.unwrap().0, StatusCode::OK);
    let (status, _, body) = ask(&client, &url).await.unwrap();
    assert_eq!((status, body.as_str()), (StatusCode::TOO_MANY_REQUESTS, "Too Many Requests\n"));
    server.clock.advance(Duration::from_secs(1));
    assert_eq!(ask(&client, &url).await.unwrap().0, StatusCode::OK);
}

fn tls_text(files: &TlsFiles, more: &str) -> String {
    let (cert, key) = (files.cert.display(), files.key.display());
    format!("tls_server_config: {{cert_file: {cert}, key_file: {key}{more}}}")
}

#[tokio::test]
async fn certificates_are_exchanged_while_running() {
    let dir = tempfile::tempdir().unwrap();
    let old = TlsFiles::new(&["localhost"]);
    let new = TlsFiles::new(&["localhost"]);
    let server = with_file(dir.path(), &tls_text(&old, "")).await;
    let url = format!("https://localhost:{}/", server.address.port());
    let trusts = |files: &TlsFiles| client(&format!("tls_config: {{ca_file: {}}}", files.ca.display()));
    assert_eq!(ask(&trusts(&old), &url).await.unwrap().2, "tls=true");
    assert!(ask(&trusts(&new), &url).await.is_err());
    std::fs::copy(&new.cert, &old.cert).unwrap();
    std::fs::copy(&new.key, &old.key).unwrap();
    assert_eq!(ask(&trusts(&new), &url).await.unwrap().2, "tls=true");
}

#[tokio::test]
async fn plain_requests_to_a_tls_port_are_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let files = TlsFiles::new(&["localhost"]);
    let server = with_file(dir.path(), &tls_text(&files, "")).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.0 400 Bad Request"), "{answer:?}");
    assert!(answer.ends_with("Client sent an HTTP request to an HTTPS server.\n"));
}

#[tokio::test]
async fn clients_must_be_vouched_for_and_bear_an_allowed_name() {
    let dir = tempfile::tempdir().unwrap();
    let files = TlsFiles::new(&["localhost"]);
    let stranger = TlsFiles::new(&["localhost"]);
    let (ca, cert, key) = (files.ca.display(), files.cert.display(), files.key.display());
    let policy = |more: &str| {
        let auth = ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ";
        tls_text(&files, &format!("{auth}{ca}{more}"))
    };
    let server = with_file(dir.path(), &policy(", client_allowed_sans: [localhost]")).await;
    let url = format!("https://localhost:{}/", server.address.port());
    let known = client(&format!("tls_config: {{ca_file: {ca}, cert_file: {cert}, key_file: {key}}}"));
    assert_eq!(ask(&known, &url).await.unwrap().0, StatusCode::OK);
    assert!(ask(&client(&format!("tls_config: {{ca_file: {ca}}}")), &url).await.is_err());
    let (cert, key) = (stranger.cert.display(), stranger.key.display());
    let text = format!("tls_config: {{ca_file: {ca}, cert_file: {cert}, key_file: {key}}}");
    assert!(ask(&client(&text), &url).await.is_err());
    std::fs::write(dir.path().join("web.yml"), policy(", client_allowed_sans: [other]")).unwrap();
    assert!(ask(&known, &url).await.is_err());
}

#[tokio::test]
async fn a_client_whose_certificate_is_its_own_authority_is_let_in() {
    let dir = tempfile::tempdir().unwrap();
    let files = TlsFiles::new(&["localhost"]);
    let (own, other) = (TlsFiles::self_signed("client"), TlsFiles::self_signed("client"));
    let auth = ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ";
    let server = with_file(dir.path(), &tls_text(&files, &format!("{auth}{}", own.cert.display()))).await;
    let url = format!("https://localhost:{}/", server.address.port());
    let with = |shown: &TlsFiles| {
        let (ca, cert, key) = (files.ca.display(), shown.cert.display(), shown.key.display());
        client(&format!("tls_config: {{ca_file: {ca}, cert_file: {cert}, key_file: {key}}}"))
    };
    assert_eq!(ask(&with(&own), &url).await.unwrap().0, StatusCode::OK);
    assert!(ask(&with(&other), &url).await.is_err());
}

#[tokio::test]
async fn targets_are_taken_as_people_type_them() {
    let server = start(WebConfigSource::none(), 8).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let body = "\"<>\nGET / HTTP/1.1";
    let request = format!(
        "POST /echo?query=up{{job=\"x\"}}>0 HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}\
         GET /?a=\"<é>\" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert!(answer.contains(&format!("\r\n\r\n{body}HTTP/1.1")), "{answer}");
    assert!(answer.ends_with("tls=false"), "{answer}");
}

#[tokio::test]
async fn a_request_names_its_host_once() {
    let server = start(WebConfigSource::none(), 8).await;
    for (head, status) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close", "200 OK"),
        ("GET / HTTP/1.0", "200 OK"),
        ("GET / HTTP/1.1", "400 Bad Request"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b", "400 Bad Request"),
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(format!("{head}\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.lines().next().unwrap().split_once(' ').unwrap().1, status, "{head}");
        assert!(answer.contains("\r\nContent-Length: ") || answer.contains("\r\nContent-Type: "), "{answer}");
    }
}

#[tokio::test]
async fn faulty_files_refuse_the_start() {
    let files = TlsFiles::new(&["localhost"]);
    let (cert, key) = (files.cert.display().to_string(), files.key.display().to_string());
    let others = TlsFiles::new(&["localhost"]);
    let other = others.key.display();
    for (text, fault) in [
        ("tls_server_config: {key_file: k}".to_owned(), "missing one of cert or cert_file"),
        ("tls_server_config: {cert_file: c}".to_owned(), "missing one of key or key_file"),
        ("tls_server_config: {cert_file: c, key_file: k}".to_owned(), "no such file"),
        (tls_text(&files, ", max_version: TLS11"), "no supported versions"),
        (tls_text(&files, ", client_auth_type: What"), "invalid ClientAuth: What"),
        (format!("tls_server_config: {{cert_file: {key}, key_file: {cert}}}"), "failed to load X509KeyPair"),
        ("basic_auth_users: {a: short}".to_owned(), "hashedSecret too short to be a bcrypted password"),
        (
            format!("basic_auth_users: {{a: '{}'}}", hash().replace("$04$", "$99$")),
            "cost 99 is outside allowed inclusive range 4..31",
        ),
        (
            format!("tls_server_config: {{cert_file: {cert}, key_file: {other}}}"),
            "tls: private key does not match public key",
        ),
        ("nonsense: 1".to_owned(), "yaml: unmarshal errors"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let server = with_file(dir.path(), &text).await;
        let error = server.ended.await.unwrap().unwrap_err().to_string();
        assert!(error.contains(fault), "{text}: {error}");
        drop(server.stop);
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let server = start(WebConfigSource::none(), 1).await;
    let url = format!("http://{}/", server.address);
    let mut first = TcpStream::connect(server.address).await.unwrap();
    first.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut some = [0u8; 8];
    first.read_exact(&mut some).await.unwrap();
    let client = client("{}");
    let waiting = tokio::time::timeout(Duration::from_millis(100), ask(&client, &url)).await;
    assert!(waiting.is_err(), "the second connection was served");
    drop(first);
    assert_eq!(ask(&client, &url).await.unwrap().0, StatusCode::OK);
}

#[tokio::test]
async fn requests_under_way_end_before_the_server_does() {
    let server = start(WebConfigSource::none(), 8).await;
    let url = format!("http://{}/slow", server.address);
    let slow = tokio::spawn(async move { ask(&client("{}"), &url).await });
    server.arrived.notified().await;
    server.stop.send(()).unwrap();
    server.release.notify_one();
    server.ended.await.unwrap().unwrap();
    assert_eq!(slow.await.unwrap().unwrap().0, StatusCode::OK);
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn slow_senders_are_cut_off() {
    let server = start(WebConfigSource::none(), 8).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf").await.unwrap();
    let mut answer = [0u8; 1024];
    let len = slow.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..len]);
    assert!(answer.contains("400 Bad Request") && answer.ends_with("i/o timeout"), "{answer}");
    assert_eq!(silent.read(&mut [0u8; 8]).await.unwrap(), 0, "the silent connection is closed");
}

/// What a bare connection is told until it is closed, or that it is not closed.
async fn until_closed(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the connection must end");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_head_that_trickles_in_is_cut_off() {
    let server = start(WebConfigSource::none(), 8).await;
    let (read, mut write) = TcpStream::connect(server.address).await.unwrap().into_split();
    let trickle = tokio::spawn(async move {
        let head = b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'a'));
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        for byte in head {
            ticks.tick().await;
            if write.write_all(&[*byte]).await.is_err() {
                return;
            }
        }
    });
    let mut read = read;
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), read.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "a slow head must not hold a connection for ever");
    assert!(!String::from_utf8_lossy(&answer).contains("tls="), "nothing was answered");
    trickle.abort();
}

#[tokio::test]
async fn a_head_without_end_is_refused_before_it_fills_memory() {
    let server = start(WebConfigSource::none(), 8).await;
    for head in [
        format!("GET / HTTP/1.1\r\nHost: x\r\nX-Big: {}\r\n\r\n", "a".repeat(8 << 20)),
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(8 << 20)),
        format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-Many: a\r\n".repeat(100_000)),
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        // The server may stop reading before all is sent.
        let _ = stream.write_all(head.as_bytes()).await;
        let answer = until_closed(stream).await;
        let refused =
            answer.starts_with("HTTP/1.1 431 ") || answer.starts_with("HTTP/1.1 414 ") || answer.is_empty();
        assert!(refused, "{}", &answer[..answer.len().min(80)]);
    }
    let url = format!("http://{}/", server.address);
    assert_eq!(ask(&client("{}"), &url).await.unwrap().0, StatusCode::OK, "others are served");
}

#[tokio::test]
async fn a_handshake_that_never_comes_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let files = TlsFiles::new(&["localhost"]);
    let server = with_file(dir.path(), &tls_text(&files, "")).await;
    let silent = TcpStream::connect(server.address).await.unwrap();
    let mut half = TcpStream::connect(server.address).await.unwrap();
    half.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    assert_eq!(until_closed(silent).await, "");
    assert_eq!(until_closed(half).await, "");
}

#[tokio::test]
async fn connections_are_counted() {
    let server = start(WebConfigSource::none(), 8).await;
    let url = format!("http://{}/", server.address);
    for _ in 0..3 {
        ask(&client("{}"), &url).await.unwrap();
    }
    assert_eq!(server.connections.accepted.get(), 3.0);
    let all_closed = async {
        while server.connections.closed.get() < 3.0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), all_closed).await.unwrap();
}

#[tokio::test]
async fn a_password_is_asked_for_on_every_path_and_its_neighbours_do_not_pass() {
    let dir = tempfile::tempdir().unwrap();
    let server =
        with_file(dir.path(), &format!("basic_auth_users: {{alice: '{}', al: '{}'}}", hash(), hash())).await;
    let with = |user: &str, password: &str| {
        client(&format!("basic_auth: {{username: '{user}', password: '{password}'}}"))
    };
    for path in ["/", "/metrics", "/-/healthy", "/api/v1/query"] {
        let url = format!("http://{}{path}", server.address);
        assert_eq!(ask(&client("{}"), &url).await.unwrap().0, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(ask(&with("alice", "secret"), &url).await.unwrap().0, StatusCode::OK, "{path}");
    }
    let url = format!("http://{}/", server.address);
    // After a good answer was remembered, what only looks like it is asked anew.
    for (user, password) in
        [("alic", "esecret"), ("alice", ""), ("al", "icesecret"), ("alice", "secret "), ("ALICE", "secret")]
    {
        let (status, ..) = ask(&with(user, password), &url).await.unwrap();
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{user}:{password}");
    }
    // A changed hash counts at once, remembered or not.
    let other = bcrypt::hash_with_result("other", 4).unwrap();
    std::fs::write(dir.path().join("web.yml"), format!("basic_auth_users: {{alice: '{other}'}}")).unwrap();
    assert_eq!(ask(&with("alice", "secret"), &url).await.unwrap().0, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&with("alice", "other"), &url).await.unwrap().0, StatusCode::OK);
}
