//! Servers that answer by a function and remember what they saw.

#![allow(dead_code, reason = "each test file uses a part")]
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world must fail")]

pub mod world;

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};

/// One request as a server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> String {
        self.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }
}

type Answer = Arc<dyn Fn(&Seen) -> Response<String> + Send + Sync>;

/// A server in this process; it ends with the test's runtime.
pub struct Server {
    address: SocketAddr,
    scheme: &'static str,
    log: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
}

impl Server {
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.log.lock().unwrap().clone()
    }

    pub fn n_connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many connections stand now.
    pub fn n_open(&self) -> usize {
        self.n_connections() - self.ended.load(Ordering::SeqCst)
    }

    pub async fn http(answer: impl Fn(&Seen) -> Response<String> + Send + Sync + 'static) -> Server {
        let answer: Answer = Arc::new(answer);
        Server::accept("http", move |stream, log| serve(stream, Arc::clone(&answer), log)).await
    }

    pub async fn https(
        files: &TlsFiles,
        answer: impl Fn(&Seen) -> Response<String> + Send + Sync + 'static,
    ) -> Server {
        Server::tls(files.server_config(false), answer).await
    }

    /// Agrees on these versions of HTTP only.
    pub async fn https_speaking(
        files: &TlsFiles,
        protocols: &[&str],
        answer: impl Fn(&Seen) -> Response<String> + Send + Sync + 'static,
    ) -> Server {
        let mut config = files.server_config(false);
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Server::tls(config, answer).await
    }

    pub async fn https_with_client_auth(
        files: &TlsFiles,
        answer: impl Fn(&Seen) -> Response<String> + Send + Sync + 'static,
    ) -> Server {
        Server::tls(files.server_config(true), answer).await
    }

    async fn tls(
        config: rustls::ServerConfig,
        answer: impl Fn(&Seen) -> Response<String> + Send + Sync + 'static,
    ) -> Server {
        let answer: Answer = Arc::new(answer);
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        Server::accept("https", move |stream, log| {
            let (acceptor, answer) = (acceptor.clone(), Arc::clone(&answer));
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream, answer, log).await;
                }
            }
        })
        .await
    }

    /// Reads a request's head, writes the bytes, and hangs up.
    pub async fn raw(bytes: &'static [u8]) -> Server {
        Server::accept("http", move |mut stream, _| async move {
            let mut head = [0u8; 4096];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(bytes).await;
        })
        .await
    }

    /// A proxy for plain requests and tunnels.
    pub async fn proxy() -> Server {
        Server::accept("http", |mut stream, log| async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { return };
                head.push(byte);
            }
            let text = String::from_utf8(head).unwrap();
            let mut lines = text.lines();
            let mut first = lines.next().unwrap().split(' ');
            let (method, path) = (first.next().unwrap().to_owned(), first.next().unwrap().to_owned());
            let mut headers = HeaderMap::new();
            for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
                let name: http::HeaderName = name.to_ascii_lowercase().parse().unwrap();
                headers.insert(name, value.parse().unwrap());
            }
            log.lock().unwrap().push(Seen {
                method: method.clone(),
                path: path.clone(),
                headers,
                body: String::new(),
            });
            if method == "CONNECT" {
                let mut upstream = TcpStream::connect(path).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
                return;
            }
            let host = path.trim_start_matches("http://").split('/').next().unwrap().to_owned();
            let mut upstream = TcpStream::connect(host).await.unwrap();
            let request = text.replacen(&path, "/a", 1).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
            upstream.write_all(request.as_bytes()).await.unwrap();
            let _ = tokio::io::copy(&mut upstream, &mut stream).await;
        })
        .await
    }

    pub async fn unix(
        path: &Path,
        answer: impl Fn(&Seen) -> Response<String> + Send + Sync + 'static,
    ) -> Server {
        let listener = UnixListener::bind(path).unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&log);
        let answer: Answer = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&answer), Arc::clone(&seen)));
            }
        });
        Server {
            address: "0.0.0.0:0".parse().unwrap(),
            scheme: "http",
            log,
            connections: Arc::default(),
            ended: Arc::default(),
        }
    }

    async fn accept<F>(
        scheme: &'static str,
        run: impl Fn(TcpStream, Arc<Mutex<Vec<Seen>>>) -> F + Send + 'static,
    ) -> Server
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let ended = Arc::new(AtomicUsize::new(0));
        let (seen, count) = (Arc::clone(&log), Arc::clone(&connections));
        let ends = Arc::clone(&ended);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (running, ends) = (run(stream, Arc::clone(&seen)), Arc::clone(&ends));
                tokio::spawn(async move {
                    running.await;
                    ends.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Server { address, scheme, log, connections, ended }
    }
}

async fn serve<S>(stream: S, answer: Answer, log: Arc<Mutex<Vec<Seen>>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let seen = Seen {
                method: parts.method.to_string(),
                path: parts.uri.to_string(),
                headers: parts.headers,
                body: String::from_utf8_lossy(&body).into_owned(),
            };
            let response = answer(&seen).map(|text| Full::new(Bytes::from(text)));
            log.lock().unwrap().push(seen);
            Ok::<_, hyper::Error>(response)
        }
    });
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

/// An authority and a certificate by it, in files.
pub struct TlsFiles {
    _dir: tempfile::TempDir,
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl TlsFiles {
    pub fn new(names: &[&str]) -> TlsFiles {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        TlsFiles::of(rcgen::CertificateParams::new(names).unwrap())
    }

    /// With a certificate of these parameters.
    pub fn of(params: rcgen::CertificateParams) -> TlsFiles {
        let dir = tempfile::tempdir().unwrap();
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca_params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        ca_params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = ca_params.self_signed(&ca_key).unwrap();
        let issuer = rcgen::Issuer::new(ca_params, ca_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &issuer).unwrap();
        let write = |name: &str, text: String| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (ca, cert, key) =
            (write("ca.pem", ca.pem()), write("cert.pem", cert.pem()), write("key.pem", key.serialize_pem()));
        TlsFiles { _dir: dir, ca, cert, key }
    }

    /// A certificate that is its own authority.
    pub fn self_signed(name: &str) -> TlsFiles {
        let dir = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let cert = params.self_signed(&key).unwrap();
        let (cert_path, key_path) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        std::fs::write(&cert_path, cert.pem()).unwrap();
        std::fs::write(&key_path, key.serialize_pem()).unwrap();
        TlsFiles { _dir: dir, ca: cert_path.clone(), cert: cert_path, key: key_path }
    }

    fn server_config(&self, client_auth: bool) -> rustls::ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = CertificateDer::pem_file_iter(&self.cert).unwrap().collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(&self.key).unwrap();
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if client_auth {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(&self.ca).unwrap()).unwrap();
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    }
}

/// A JSON part of a signed token.
pub fn decoded(part: &str) -> serde_json::Value {
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// A key made for these tests alone.
pub fn rsa_key() -> String {
    include_str!("rsa_key.pem").to_owned()
}
