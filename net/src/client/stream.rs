//! A connection in any of its forms.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use super::dials::Closing;

/// A connection before TLS.
pub(super) enum Raw {
    Tcp(Tcp),
    Unix(UnixStream, #[expect(dead_code, reason = "counts it as closed when it is")] Closing),
    /// Through a proxy that is itself reached by TLS.
    Tunnel(Box<TlsStream<Raw>>),
}

/// A connection that knows its ends, which the system forgets when it breaks off.
pub(super) struct Tcp {
    stream: TcpStream,
    ends: Ends,
    /// The first bytes that came, by which a server without TLS is known.
    first: [u8; FIRST_BYTES],
    n_first: u8,
    /// Counts it as closed when it is.
    _closing: Closing,
}

/// As many as the head of a record of TLS has.
const FIRST_BYTES: usize = 5;

/// This side and the other of a TCP connection.
pub(super) type Ends = Option<(SocketAddr, SocketAddr)>;

impl Tcp {
    pub(super) fn new(stream: TcpStream, closing: Closing) -> Tcp {
        let ends = stream.local_addr().ok().zip(stream.peer_addr().ok());
        Tcp { stream, ends, first: [0; FIRST_BYTES], n_first: 0, _closing: closing }
    }
}

/// A connection as requests use it.
pub(super) enum Stream {
    Plain { raw: Raw, through_proxy: bool },
    Tls(Box<TlsStream<Raw>>),
}

impl Tcp {
    fn note(&mut self, read: &[u8]) {
        let n_first = usize::from(self.n_first);
        let room = &mut self.first[n_first..];
        let n_noted = room.len().min(read.len());
        room[..n_noted].copy_from_slice(&read[..n_noted]);
        self.n_first = u8::try_from(n_first + n_noted).unwrap_or(u8::MAX);
    }
}

impl Raw {
    /// The first bytes that came, where they are known.
    pub(super) fn first(&self) -> &[u8] {
        match self {
            Raw::Tcp(tcp) => &tcp.first[..usize::from(tcp.n_first)],
            Raw::Unix(..) | Raw::Tunnel(_) => &[],
        }
    }

    fn ends(&self) -> Ends {
        match self {
            Raw::Tcp(tcp) => tcp.ends,
            Raw::Unix(..) => None,
            Raw::Tunnel(stream) => stream.get_ref().0.ends(),
        }
    }
}

impl Stream {
    /// Both ends, for errors to tell.
    pub(super) fn ends(&self) -> Ends {
        match self {
            Stream::Plain { raw, .. } => raw.ends(),
            Stream::Tls(stream) => stream.get_ref().0.ends(),
        }
    }

    /// The version of HTTP that the two sides agreed on by name.
    pub(super) fn agreed_protocol(&self) -> Option<&[u8]> {
        match self {
            Stream::Plain { .. } => None,
            Stream::Tls(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }

    /// Whether a proxy reads the requests.
    pub(super) fn is_through_proxy(&self) -> bool {
        matches!(self, Stream::Plain { through_proxy: true, .. })
    }

    /// Whether a connection that nothing is expected from can be used: it has
    /// neither ended nor said anything.
    pub(super) fn poll_is_silent(&mut self, cx: &mut Context<'_>) -> bool {
        let mut byte = [0u8; 1];
        Pin::new(self).poll_read(cx, &mut ReadBuf::new(&mut byte)).is_pending()
    }
}

macro_rules! delegate {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Raw::Tcp(Tcp { stream: $stream, .. }) => $call,
            Raw::Unix($stream, _) => $call,
            Raw::Tunnel($stream) => $call,
        }
    };
}

impl AsyncRead for Raw {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Raw::Tcp(tcp) => {
                let before = buf.filled().len();
                let polled = Pin::new(&mut tcp.stream).poll_read(cx, buf);
                if usize::from(tcp.n_first) < FIRST_BYTES {
                    tcp.note(&buf.filled()[before..]);
                }
                polled
            }
            Raw::Unix(stream, _) => Pin::new(stream).poll_read(cx, buf),
            Raw::Tunnel(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Raw {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain { raw, .. } => Pin::new(raw).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain { raw, .. } => Pin::new(raw).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain { raw, .. } => Pin::new(raw).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain { raw, .. } => Pin::new(raw).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
