//! Which connections serve again, which end, and how they are counted.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world must fail")]

mod servers;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use config::HttpClientConfig;
use http::{Request, Response, Version};
use http_body_util::BodyExt;
use net::{ClientOptions, HttpClient};
use servers::{Server, TlsFiles};
use testkit::TestClock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn options() -> ClientOptions {
    ClientOptions::new("test", Arc::new(TestClock::new(0)))
}

fn client(options: ClientOptions) -> HttpClient {
    HttpClient::new(&HttpClientConfig::default(), options).unwrap()
}

fn get(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).unwrap()
}

async fn read(client: &HttpClient, url: &str) -> Result<Bytes, String> {
    let response = client.send(get(url)).await.map_err(|error| error.to_string())?;
    let body = response.into_body().collect().await.map_err(|error| error.to_string())?;
    Ok(body.to_bytes())
}

/// A server that answers each connection by a script of its own, counted.
async fn scripted<F>(
    script: impl Fn(tokio::net::TcpStream) -> F + Send + 'static,
) -> (String, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(script(stream));
        }
    });
    (url, count)
}

/// A server that gives each request the same answer.
async fn answering(answer: &'static str) -> (String, Arc<AtomicUsize>) {
    scripted(move |mut stream| async move {
        while request_of(&mut stream).await {
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await
}

async fn request_of(stream: &mut tokio::net::TcpStream) -> bool {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return false,
        }
    }
    true
}

#[tokio::test]
async fn a_connection_serves_again_however_its_answer_ends() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ] {
        let (url, count) = answering(answer).await;
        let client = client(options());
        for _ in 0..3 {
            read(&client, &url).await.unwrap();
        }
        assert_eq!(count.load(Ordering::SeqCst), 1, "{answer}");
    }
}

#[tokio::test]
async fn a_connection_that_cannot_serve_again_is_not_kept() {
    for answer in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody",
        "HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbody",
        // What follows the answer would be taken for the next one.
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbodyHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother",
    ] {
        let (url, count) = answering(answer).await;
        let client = client(options());
        for _ in 0..3 {
            assert_eq!(read(&client, &url).await.unwrap(), "body");
        }
        assert_eq!(count.load(Ordering::SeqCst), 3, "{answer}");
    }
    let server = Server::http(|_| Response::new("x".to_owned())).await;
    let unkept = client(ClientOptions { keep_alive: false, ..options() });
    for _ in 0..2 {
        read(&unkept, &server.url("/")).await.unwrap();
    }
    assert_eq!(server.n_connections(), 2);
}

#[tokio::test]
async fn a_connection_that_ended_while_it_waited_is_made_anew() {
    let (hang_up, _) = tokio::sync::broadcast::channel::<()>(1);
    let waiting = hang_up.clone();
    let (gone, mut heard) = tokio::sync::mpsc::channel::<()>(1);
    let (url, count) = scripted(move |mut stream| {
        let (mut waiting, gone) = (waiting.subscribe(), gone.clone());
        async move {
            if request_of(&mut stream).await {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx").await.unwrap();
                let _ended = waiting.recv().await;
                drop(stream);
                gone.send(()).await.unwrap();
            }
        }
    })
    .await;
    let client = client(options());
    for turn in 1..=3 {
        assert_eq!(read(&client, &url).await.unwrap(), "x");
        assert_eq!(count.load(Ordering::SeqCst), turn);
        hang_up.send(()).unwrap();
        heard.recv().await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_that_is_not_read_costs_its_connection_only() {
    let (url, count) = scripted(move |mut stream| async move {
        while request_of(&mut stream).await {
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
            let _gone = stream.write_all(head).await;
        }
    })
    .await;
    let client = client(options());
    for _ in 0..2 {
        let response = client.send(get(&url)).await.unwrap();
        // More than is worth reading.
        response.into_body().discard().await;
    }
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_broken_connection_is_told_of_with_its_ends() {
    let (url, _) = scripted(move |mut stream| async move {
        request_of(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx").await.unwrap();
        stream.set_zero_linger().unwrap();
    })
    .await;
    let error = read(&client(options()), &url).await.unwrap_err();
    let peer = url.trim_start_matches("http://").trim_end_matches('/');
    assert!(error.starts_with("read tcp 127.0.0.1:"), "{error}");
    assert!(error.ends_with(&format!("->{peer}: read: connection reset by peer")), "{error}");
}

#[tokio::test]
async fn large_heads_are_read_and_endless_ones_end() {
    let (url, _) = scripted(move |mut stream| async move {
        request_of(&mut stream).await;
        let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 1\r\n\r\nx", "y".repeat(2 << 20));
        let _gone = stream.write_all(head.as_bytes()).await;
    })
    .await;
    assert_eq!(read(&client(options()), &url).await.unwrap(), "x");
    let (url, _) = scripted(move |mut stream| async move {
        request_of(&mut stream).await;
        let headers: String = (0..500).map(|i| format!("X-{i}: y\r\n")).collect();
        let head = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 1\r\n\r\nx");
        let _gone = stream.write_all(head.as_bytes()).await;
    })
    .await;
    assert_eq!(read(&client(options()), &url).await.unwrap(), "x");
    // One that comes in many pieces costs no more; the connection serves on.
    let (url, count) = scripted(move |mut stream| async move {
        stream.set_nodelay(true).unwrap();
        while request_of(&mut stream).await {
            let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 1\r\n\r\n", "y".repeat(1 << 20));
            for piece in head.as_bytes().chunks(1000) {
                stream.write_all(piece).await.unwrap();
            }
            stream.write_all(b"x").await.unwrap();
        }
    })
    .await;
    let patient = client(options());
    for _ in 0..2 {
        assert_eq!(read(&patient, &url).await.unwrap(), "x");
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let (url, _) = scripted(move |mut stream| async move {
        request_of(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n").await.unwrap();
    })
    .await;
    let error = read(&client(options()), &url).await.unwrap_err();
    assert!(error.ends_with("transport connection broken: bad Content-Length \"1x\""), "{error}");
    let (url, _) = scripted(move |mut stream| async move {
        request_of(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").await.unwrap();
        while stream.write_all(&[b'y'; 65536]).await.is_ok() {}
    })
    .await;
    let error = read(&client(options()), &url).await.unwrap_err();
    let wanted =
        "transport connection broken: net/http: server response headers exceeded 10485760 bytes; aborted";
    assert!(error.ends_with(wanted), "{error}");
}

#[tokio::test]
async fn unused_connections_end_in_time() {
    let (ended, mut heard) = tokio::sync::mpsc::channel::<()>(1);
    let (url, count) = scripted(move |mut stream| {
        let ended = ended.clone();
        async move {
            while request_of(&mut stream).await {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx").await.unwrap();
            }
            ended.send(()).await.unwrap();
        }
    })
    .await;
    let client = client(ClientOptions { idle_timeout: Duration::from_millis(20), ..options() });
    for turn in 1..=2 {
        read(&client, &url).await.unwrap();
        heard.recv().await.unwrap();
        assert_eq!(count.load(Ordering::SeqCst), turn);
    }
}

#[tokio::test]
async fn shared_connections_are_used_until_they_end() {
    let files = TlsFiles::new(&["localhost"]);
    let server = Server::https(&files, |_| Response::new("x".to_owned())).await;
    let url = server.url("/").replace("127.0.0.1", "localhost");
    let text = format!("tls_config: {{ca_file: {}}}", files.ca.display());
    let client = HttpClient::new(&HttpClientConfig::load(&text).unwrap(), options()).unwrap();
    for _ in 0..3 {
        assert_eq!(read(&client, &url).await.unwrap(), "x");
    }
    assert_eq!((server.seen().len(), server.n_connections()), (3, 1));
}

#[tokio::test]
async fn who_prefers_http1_speaks_http2_to_those_only_who_speak_nothing_else() {
    let files = TlsFiles::new(&["localhost"]);
    let config = HttpClientConfig::load(&format!("tls_config: {{ca_file: {}}}", files.ca.display())).unwrap();
    for (protocols, version, connections) in [
        (&["h2", "http/1.1"][..], Version::HTTP_11, 1),
        // The first connection finds out.
        (&["h2"], Version::HTTP_2, 2),
        (&[], Version::HTTP_11, 2),
    ] {
        let server = Server::https_speaking(&files, protocols, |_| Response::new("x".to_owned())).await;
        let url = server.url("/").replace("127.0.0.1", "localhost");
        let client = HttpClient::new(&config, ClientOptions { prefers_http1: true, ..options() }).unwrap();
        for _ in 0..3 {
            let response = client.send(get(&url)).await.unwrap();
            assert_eq!(response.version(), version, "{protocols:?}");
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "x");
        }
        assert_eq!(server.n_connections(), connections, "{protocols:?}");
    }
}

#[tokio::test]
async fn who_prefers_http1_lets_unused_connections_of_http2_end() {
    let files = TlsFiles::new(&["localhost"]);
    let config = HttpClientConfig::load(&format!("tls_config: {{ca_file: {}}}", files.ca.display())).unwrap();
    let server = Server::https_speaking(&files, &["h2"], |_| Response::new("x".to_owned())).await;
    let url = server.url("/").replace("127.0.0.1", "localhost");
    let short = ClientOptions { idle_timeout: Duration::from_millis(20), ..options() };
    let client = HttpClient::new(&config, ClientOptions { prefers_http1: true, ..short }).unwrap();
    for _ in 0..3 {
        assert_eq!(read(&client, &url).await.unwrap(), "x");
        while server.n_open() > 0 {
            tokio::task::yield_now().await;
        }
    }
    // The first found out what the server speaks.
    assert_eq!((server.seen().len(), server.n_connections()), (3, 4));
}
