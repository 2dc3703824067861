//! Targets: one listener that answers for every address of the loopback net,
//! with pages rendered before.
//!
//! ```text
//! GET /metrics   the next of the pages
//! GET /served    how many pages there were
//! GET /sd        so many targets, for http_sd
//! ```

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::pages::{VARIANTS, gzip, text_page};

const REQUEST_BYTES_MAX: usize = 16 << 10;

/// How targets answer.
pub struct Exporter {
    /// The port of pages.
    pub port: u16,
    /// Series of a page.
    pub series: usize,
    /// Whether `/metrics` speaks TLS; then its authority is written here.
    pub authority: Option<PathBuf>,
    /// Targets that `/sd` lists.
    pub targets: usize,
    /// Whether pages are packed; otherwise they are not even if they may be.
    pub gzip: bool,
}

/// The address of a target: each has a host of its own.
pub fn address(target: usize, port: u16) -> String {
    format!("127.{}.{}.{}:{port}", 1 + (target >> 16), target >> 8 & 255, target & 255)
}

/// All targets as a list for file_sd and http_sd, with labels as clusters have.
pub fn target_list(targets: usize, port: u16) -> String {
    let mut list = String::from("[");
    for target in 0..targets {
        let comma = if target == 0 { "" } else { "," };
        list.push_str(&format!(
            "{comma}{{\"targets\":[\"{}\"],\"labels\":{{\"rack\":\"r{}\",\"team\":\"t{}\"}}}}",
            address(target, port),
            target / 40,
            target % 7
        ));
    }
    list.push(']');
    list
}

struct Answers {
    pages: Vec<Vec<u8>>,
    encoding: &'static str,
    list: String,
    served: AtomicU64,
}

impl Exporter {
    /// Answers until the process ends. Says `ready` on standard output once it
    /// listens. The port after that of the pages always speaks plain HTTP.
    ///
    /// # Errors
    /// A port is taken, or the certificate cannot be written.
    pub async fn run(self) -> io::Result<()> {
        let answers = Arc::new(Answers {
            pages: (0..VARIANTS)
                .map(|variant| text_page(self.series, variant))
                .map(|page| if self.gzip { gzip(&page) } else { page })
                .collect(),
            encoding: if self.gzip { "Content-Encoding: gzip\r\n" } else { "" },
            list: target_list(self.targets, self.port),
            served: AtomicU64::new(0),
        });
        let tls = self.authority.as_deref().map(acceptor).transpose()?;
        let pages = TcpListener::bind(("0.0.0.0", self.port)).await?;
        let control = TcpListener::bind(("127.0.0.1", self.port + 1)).await?;
        writeln!(io::stdout(), "ready")?;
        tokio::try_join!(accept(pages, tls, answers.clone()), accept(control, None, answers))?;
        Ok(())
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, answers: Arc<Answers>) -> io::Result<()> {
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let (tls, answers) = (tls.clone(), answers.clone());
        // A client that leaves ends its task only.
        tokio::spawn(async move {
            match tls {
                None => answer(socket, &answers).await,
                Some(tls) => answer(tls.accept(socket).await?, &answers).await,
            }
        });
    }
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, answers: &Answers) -> io::Result<()> {
    let mut request = Vec::new();
    loop {
        request.clear();
        while !request.ends_with(b"\r\n\r\n") {
            if request.len() > REQUEST_BYTES_MAX || stream.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
        }
        let text = String::from_utf8_lossy(&request);
        let path = text.split(' ').nth(1).unwrap_or("");
        if path == "/metrics" {
            let turn = answers.served.fetch_add(1, Ordering::Relaxed) as usize % VARIANTS;
            let page = &answers.pages[turn];
            send(&mut stream, "text/plain; version=0.0.4", answers.encoding, page).await?;
        } else if path == "/sd" {
            send(&mut stream, "application/json", "", answers.list.as_bytes()).await?;
        } else {
            let served = answers.served.load(Ordering::Relaxed).to_string();
            send(&mut stream, "text/plain", "", served.as_bytes()).await?;
        }
    }
}

async fn send<S: AsyncWrite + Unpin>(
    stream: &mut S,
    content_type: &str,
    encoding: &str,
    body: &[u8],
) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{encoding}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    stream.flush().await
}

/// TLS with a certificate of its own, which is also its authority.
fn acceptor(authority: &Path) -> io::Result<TlsAcceptor> {
    let made = rcgen::generate_simple_self_signed(["targets".to_owned()]).map_err(io::Error::other)?;
    std::fs::write(authority, made.cert.pem())?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .map_err(io::Error::other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
