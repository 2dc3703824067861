//! From a host and port to a TCP connection.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};

use crate::error::{ConnectError, io_text};

/// How long one address may take before the other family is tried beside it.
const FALLBACK_DELAY: Duration = Duration::from_millis(300);
/// How long one address may take at all; the request's own time limit is
/// mostly shorter.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(30);

static TURN: AtomicUsize = AtomicUsize::new(0);

/// Connects to a host; where `round_robin`, to one of its addresses by turns.
pub(super) async fn tcp(host: &str, port: u16, round_robin: bool) -> Result<TcpStream, ConnectError> {
    let addresses = lookup(host, port).await?;
    if round_robin {
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        return connect(addresses[turn % addresses.len()]).await;
    }
    let prefers_v6 = addresses[0].is_ipv6();
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv6() == prefers_v6);
    if second.is_empty() {
        return any_of(&first).await;
    }
    race(&first, &second).await
}

async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let failed = |why: String| ConnectError::Lookup { host: bare.to_owned(), why };
    let found = tokio::net::lookup_host((bare, port)).await;
    let addresses: Vec<SocketAddr> = found.map_err(|error| failed(lookup_text(&error)))?.collect();
    if addresses.is_empty() { Err(failed("no such host".to_owned())) } else { Ok(addresses) }
}

/// The resolver's reasons in Go's words.
fn lookup_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    if text.contains("Name or service not known") || text.contains("No address associated") {
        return "no such host".to_owned();
    }
    if text.contains("Temporary failure") {
        return "server misbehaving".to_owned();
    }
    io_text(error)
}

async fn race(first: &[SocketAddr], second: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    let preferred = any_of(first);
    tokio::pin!(preferred);
    tokio::select! {
        outcome = &mut preferred => match outcome {
            Ok(stream) => return Ok(stream),
            Err(fault) => return any_of(second).await.map_err(|_| fault),
        },
        () = tokio::time::sleep(FALLBACK_DELAY) => {}
    }
    let fallback = any_of(second);
    tokio::pin!(fallback);
    tokio::select! {
        outcome = &mut preferred => match outcome {
            Ok(stream) => Ok(stream),
            Err(fault) => fallback.await.map_err(|_| fault),
        },
        outcome = &mut fallback => match outcome {
            Ok(stream) => Ok(stream),
            Err(_) => preferred.await,
        },
    }
}

/// The first address that answers, tried in order; else the first one's fault.
async fn any_of(addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    let mut first_fault = None;
    for address in addresses {
        match connect(*address).await {
            Ok(stream) => return Ok(stream),
            Err(fault) => first_fault = first_fault.or(Some(fault)),
        }
    }
    Err(first_fault.unwrap_or(ConnectError::NoHost))
}

async fn connect(address: SocketAddr) -> Result<TcpStream, ConnectError> {
    let failed = |why: String| ConnectError::Tcp { address: address.to_string(), why };
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(|error| failed(io_text(&error)))?;
    // Best effort: a connection without it works as well.
    let _ = socket.set_keepalive(true);
    let connected = tokio::time::timeout(ADDRESS_TIMEOUT, socket.connect(address)).await;
    let stream = connected.map_err(|_| failed("i/o timeout".to_owned()))?;
    let stream = stream.map_err(|error| failed(io_text(&error)))?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}
