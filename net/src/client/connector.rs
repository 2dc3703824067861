//! From a URL to a connection: directly, by a unix socket, or through a proxy;
//! then TLS where the URL asks for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::ClientOptions;
use super::destination::Destination;
use super::dial;
use super::dials::DialCounters;
use super::proxy::{Proxy, ProxyKind, ProxyRules};
use super::stream::{Raw, Stream, Tcp};
use crate::error::{ConnectError, io_text, tls_text};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a proxy's answer to `CONNECT`, head only.
const CONNECT_ANSWER_MAX: usize = 16 * 1024;

/// How TLS is set up.
pub(super) struct TlsConfigs {
    /// Offers all versions of HTTP that the client speaks.
    pub(super) all: Arc<ClientConfig>,
    /// Offers those that it would rather speak, where there are such.
    pub(super) preferred: Option<Arc<ClientConfig>>,
}

/// Makes the connections of one pool.
pub(super) struct Connector {
    tls: TlsConfigs,
    /// The name that certificates must bear, instead of the URL's host.
    server_name: Option<ServerName<'static>>,
    proxy: Arc<ProxyRules>,
    unix_socket: Option<PathBuf>,
    round_robin_dns: bool,
    dials: DialCounters,
}

impl Connector {
    pub(super) fn new(
        tls: TlsConfigs,
        server_name: Option<ServerName<'static>>,
        proxy: Arc<ProxyRules>,
        options: &ClientOptions,
    ) -> Connector {
        Connector {
            tls,
            server_name,
            proxy,
            unix_socket: options.unix_socket.clone(),
            round_robin_dns: options.round_robin_dns,
            dials: options.dials.clone(),
        }
    }

    /// Whether a place is to be offered less than all versions of HTTP at first.
    pub(super) fn has_preference(&self, to: &Destination) -> bool {
        to.is_https && self.tls.preferred.is_some()
    }

    /// Connects to a place; with `preferred`, offering it the preferred version only.
    pub(super) async fn connect(&self, to: &Destination, preferred: bool) -> Result<Stream, ConnectError> {
        let tls = self.tls.preferred.as_ref().filter(|_| preferred).unwrap_or(&self.tls.all);
        let (host, port) = (to.host.as_str(), to.port.as_str());
        let mut through_proxy = false;
        let raw = if let Some(path) = &self.unix_socket {
            let (stream, closing) = self.dials.count(unix(path)).await?;
            Raw::Unix(stream, closing)
        } else if let Some(proxy) = self.proxy.route(&to.uri) {
            let raw = self.reach_proxy(proxy).await?;
            if proxy.kind == ProxyKind::Socks5 {
                let port = port.parse().map_err(|_| ConnectError::Port(port.to_owned()))?;
                socks5(raw, proxy, host, port).await?
            } else if to.is_https {
                self.tunnel(raw, proxy, to).await?
            } else {
                through_proxy = true;
                raw
            }
        } else {
            self.tcp(host, port, self.round_robin_dns).await?
        };
        if !to.is_https {
            return Ok(Stream::Plain { raw, through_proxy });
        }
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => server_name(host)?,
        };
        Ok(Stream::Tls(Box::new(handshake(Arc::clone(tls), name, raw).await?)))
    }

    async fn tcp(&self, host: &str, port: &str, round_robin: bool) -> Result<Raw, ConnectError> {
        let (stream, closing) = self.dials.count(dial::tcp(host, port, round_robin)).await?;
        Ok(Raw::Tcp(Tcp::new(stream, closing)))
    }

    async fn reach_proxy(&self, proxy: &Proxy) -> Result<Raw, ConnectError> {
        let bare = proxy.host.trim_matches(['[', ']']);
        let raw = self.tcp(bare, &proxy.port.to_string(), false).await;
        let raw = raw.map_err(|error| proxy_fault(format!("proxyconnect tcp: {error}")))?;
        if proxy.kind != ProxyKind::Https {
            return Ok(raw);
        }
        let mut tls = (*self.tls.all).clone();
        tls.alpn_protocols.clear();
        let name = server_name(&proxy.host)?;
        Ok(Raw::Tunnel(Box::new(handshake(Arc::new(tls), name, raw).await?)))
    }

    async fn tunnel(&self, mut raw: Raw, proxy: &Proxy, to: &Destination) -> Result<Raw, ConnectError> {
        let place = to.host_and_port();
        let mut request = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n").into_bytes();
        let authorization = proxy.authorization().map(|value| (http::header::PROXY_AUTHORIZATION, value));
        for (name, value) in self.proxy.connect_headers.iter().cloned().chain(authorization) {
            request.extend_from_slice(name.as_str().as_bytes());
            request.extend_from_slice(b": ");
            request.extend_from_slice(value.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        let lost = |error: std::io::Error| proxy_fault(io_text(&error));
        raw.write_all(&request).await.map_err(lost)?;
        raw.flush().await.map_err(lost)?;
        let status = connect_answer(&mut raw).await?;
        match status.split_once(' ') {
            Some((_, rest)) if rest.starts_with('2') => Ok(raw),
            // Go says the status text alone.
            Some((_, rest)) => {
                Err(proxy_fault(rest.split_once(' ').map_or(rest, |(_, text)| text).to_owned()))
            }
            None => Err(proxy_fault("malformed HTTP response from proxy".to_owned())),
        }
    }
}

fn proxy_fault(why: String) -> ConnectError {
    ConnectError::Proxy(why)
}

/// The status line of a proxy's answer; its head is read to the end.
async fn connect_answer(raw: &mut Raw) -> Result<String, ConnectError> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= CONNECT_ANSWER_MAX {
            return Err(proxy_fault("response of the proxy is too long".to_owned()));
        }
        // Byte by byte: what follows belongs to the tunnel.
        let byte = raw.read_u8().await.map_err(|_| proxy_fault("unexpected EOF".to_owned()))?;
        head.push(byte);
    }
    let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
    Ok(String::from_utf8_lossy(line).into_owned())
}

async fn unix(path: &Path) -> Result<UnixStream, ConnectError> {
    let stream = UnixStream::connect(path).await;
    let failed = |error: std::io::Error| ConnectError::Unix { path: path.to_owned(), why: io_text(&error) };
    stream.map_err(failed)
}

fn server_name(host: &str) -> Result<ServerName<'static>, ConnectError> {
    let bare = host.trim_matches(['[', ']']).trim_end_matches('.').to_owned();
    ServerName::try_from(bare)
        .map_err(|_| ConnectError::Tls("tls: the host is no valid server name".to_owned()))
}

async fn handshake(
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    raw: Raw,
) -> Result<TlsStream<Raw>, ConnectError> {
    let connecting = TlsConnector::from(config).connect(name, raw).into_fallible();
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err((error, raw))) => Err(tls_fault(&error, raw.first())),
        Err(_) => Err(ConnectError::TlsTimeout),
    }
}

/// Why there is no TLS, to a server whose first bytes these are.
fn tls_fault(error: &std::io::Error, first: &[u8]) -> ConnectError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
            ConnectError::NoApplicationProtocol
        }
        Some(rustls::Error::InvalidMessage(_)) if let Some(why) = no_record(first) => {
            ConnectError::Tls(why.to_owned())
        }
        _ => ConnectError::Tls(tls_text(error)),
    }
}

/// Why bytes are no head of a server's first record, where they are not.
/// Source: Go `crypto/tls.Conn.readRecordOrCCS`.
fn no_record(first: &[u8]) -> Option<&'static str> {
    /// Kinds of records that a server may begin with.
    const BEGINNINGS: [u8; 2] = [21, 22];
    match first {
        [] | b"HTTP/" => None,
        [0x80, ..] => Some("tls: unsupported SSLv2 handshake received"),
        // Versions of TLS are 3.x.
        [kind, major, ..] if BEGINNINGS.contains(kind) && *major < 0x10 => None,
        _ => Some("tls: first record does not look like a TLS handshake"),
    }
}

/// RFC 1928 and 1929: the proxy resolves the host's name.
async fn socks5(mut raw: Raw, proxy: &Proxy, host: &str, port: u16) -> Result<Raw, ConnectError> {
    let failed = |what: &str| proxy_fault(format!("socks connect tcp {}:{}: {what}", proxy.host, proxy.port));
    let lost = |_| failed("unexpected EOF");
    let methods: &[u8] = if proxy.credentials.is_some() { &[5, 2, 0, 2] } else { &[5, 1, 0] };
    raw.write_all(methods).await.map_err(lost)?;
    let mut chosen = [0u8; 2];
    raw.read_exact(&mut chosen).await.map_err(lost)?;
    match (chosen, &proxy.credentials) {
        ([5, 0], _) => {}
        ([5, 2], Some((user, password))) => {
            let (user, password) = (user.as_bytes(), password.as_bytes());
            let lens = (u8::try_from(user.len()), u8::try_from(password.len()));
            let (Ok(user_len), Ok(password_len)) = lens else { return Err(failed("credentials too long")) };
            let mut message = vec![1, user_len];
            message.extend_from_slice(user);
            message.push(password_len);
            message.extend_from_slice(password);
            raw.write_all(&message).await.map_err(lost)?;
            let mut answer = [0u8; 2];
            raw.read_exact(&mut answer).await.map_err(lost)?;
            if answer[1] != 0 {
                return Err(failed("username/password authentication failed"));
            }
        }
        _ => return Err(failed("no acceptable authentication methods")),
    }
    let bare = host.trim_matches(['[', ']']);
    let mut message = vec![5, 1, 0];
    match bare.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(ip)) => {
            message.push(1);
            message.extend_from_slice(&ip.octets());
        }
        Ok(std::net::IpAddr::V6(ip)) => {
            message.push(4);
            message.extend_from_slice(&ip.octets());
        }
        Err(_) => {
            let len = u8::try_from(bare.len()).map_err(|_| failed("host name too long"))?;
            message.extend_from_slice(&[3, len]);
            message.extend_from_slice(bare.as_bytes());
        }
    }
    message.extend_from_slice(&port.to_be_bytes());
    raw.write_all(&message).await.map_err(lost)?;
    let mut answer = [0u8; 4];
    raw.read_exact(&mut answer).await.map_err(lost)?;
    if answer[1] != 0 {
        return Err(failed(socks_reason(answer[1])));
    }
    let address_len = match answer[3] {
        1 => 4,
        4 => 16,
        3 => usize::from(raw.read_u8().await.map_err(lost)?),
        _ => return Err(failed("unknown address type")),
    };
    let mut rest = vec![0u8; address_len + 2];
    raw.read_exact(&mut rest).await.map_err(lost)?;
    Ok(raw)
}

fn socks_reason(code: u8) -> &'static str {
    match code {
        1 => "general SOCKS server failure",
        2 => "connection not allowed by ruleset",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "TTL expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "unknown code",
    }
}
