//! From a host and port to a TCP connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
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
pub(super) async fn tcp(host: &str, port: &str, round_robin: bool) -> Result<TcpStream, ConnectError> {
    if let Some((address, zone)) = zoned(host) {
        let address = SocketAddrV6::new(address, port_of(port)?, 0, scope_of(zone)).into();
        return connect(address, format!("[{host}]:{port}")).await;
    }
    let addresses = lookup(host, port).await?;
    if round_robin {
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let address = addresses[turn % addresses.len()];
        let shown = if host.is_empty() { here(address) } else { address.to_string() };
        return connect(address, shown).await;
    }
    if host.is_empty() {
        return connect(addresses[0], here(addresses[0])).await;
    }
    let prefers_v6 = addresses[0].is_ipv6();
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv6() == prefers_v6);
    if second.is_empty() {
        return any_of(&first).await;
    }
    race(&first, &second).await
}

/// An address of this machine, whose host is not told.
fn here(address: SocketAddr) -> String {
    format!(":{}", address.port())
}

/// An address that holds on one of this machine's networks only, and which.
fn zoned(host: &str) -> Option<(Ipv6Addr, &str)> {
    let (address, zone) = host.split_once('%')?;
    Some((address.parse().ok()?, zone))
}

/// The number of a network, by its name or as it is; else none, as Go has it.
fn scope_of(zone: &str) -> u32 {
    let is_name = !zone.contains('/') && !zone.starts_with('.');
    let file = is_name.then(|| std::fs::read_to_string(format!("/sys/class/net/{zone}/ifindex")).ok());
    match file.flatten() {
        Some(index) => index.trim().parse().unwrap_or(0),
        None => {
            let digits = zone.bytes().take_while(u8::is_ascii_digit).count();
            zone[..digits].parse().unwrap_or(0)
        }
    }
}

fn port_of(port: &str) -> Result<u16, ConnectError> {
    port.parse().map_err(|_| ConnectError::Port(port.to_owned()))
}

async fn lookup(host: &str, port: &str) -> Result<Vec<SocketAddr>, ConnectError> {
    let port = port_of(port)?;
    if host.is_empty() {
        return Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))]);
    }
    if let Ok(ip) = host.parse() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let failed =
        |server: Option<String>, why: String| ConnectError::Lookup { host: host.to_owned(), server, why };
    if !is_domain_name(host) {
        return Err(failed(None, NO_SUCH_HOST.to_owned()));
    }
    let found = tokio::net::lookup_host((host, port)).await;
    let addresses: Vec<SocketAddr> =
        found.map_err(|error| failed(first_name_server(), lookup_text(&error)))?.collect();
    if addresses.is_empty() {
        return Err(failed(first_name_server(), NO_SUCH_HOST.to_owned()));
    }
    Ok(addresses)
}

const NO_SUCH_HOST: &str = "no such host";

/// Whether a text can be a name in the domain name system, as Go has it: a
/// number that looks like an address is none.
fn is_domain_name(name: &str) -> bool {
    /// Bytes of a name without the dot at its end.
    const NAME_BYTES_MAX: usize = 253;
    /// Bytes between two dots.
    const LABEL_BYTES_MAX: usize = 63;
    let bare = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    bare.len() <= NAME_BYTES_MAX
        && bare.split('.').all(is_label)
        && bare.bytes().any(|b| !b.is_ascii_digit() && b != b'.')
}

/// The server that names are asked of first.
fn first_name_server() -> Option<String> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = text.lines().filter_map(|line| line.strip_prefix("nameserver"));
    let mut addresses = servers.filter_map(|server| server.split_whitespace().next()?.parse().ok());
    let first = addresses.next().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    Some(SocketAddr::new(first, 53).to_string())
}

/// The resolver's reasons in Go's words.
fn lookup_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    if text.contains("Name or service not known") || text.contains("No address associated") {
        return NO_SUCH_HOST.to_owned();
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
        match connect(*address, address.to_string()).await {
            Ok(stream) => return Ok(stream),
            Err(fault) => first_fault = first_fault.or(Some(fault)),
        }
    }
    Err(first_fault.unwrap_or(ConnectError::NoHost))
}

/// Connects to an address, which faults tell as `shown`.
async fn connect(address: SocketAddr, shown: String) -> Result<TcpStream, ConnectError> {
    let failed = |error: std::io::Error| ConnectError::Tcp { address: shown.clone(), why: io_text(&error) };
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(failed)?;
    // Best effort: a connection without it works as well.
    let _ = socket.set_keepalive(true);
    let connected = tokio::time::timeout(ADDRESS_TIMEOUT, socket.connect(address)).await;
    let stream = connected.map_err(|_| ConnectError::TcpTimeout { address: shown.clone() })?;
    let stream = stream.map_err(failed)?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_numbers_names_or_nothing() {
        assert_eq!(zoned("fe80::1%25lo"), Some(("fe80::1".parse().unwrap(), "25lo")));
        assert_eq!((zoned("::1"), zoned("a%b")), (None, None));
        assert_eq!((scope_of("7x"), scope_of("nope"), scope_of("../lo")), (7, 0, 0));
        if let Ok(index) = std::fs::read_to_string("/sys/class/net/lo/ifindex") {
            assert_eq!(scope_of("lo").to_string(), index.trim());
        }
    }

    #[test]
    fn numbers_and_odd_signs_are_no_names() {
        for name in ["a", "a.b.", "ex_ample.invalid", "xn--bcher-kva.invalid", "1a"] {
            assert!(is_domain_name(name), "{name}");
        }
        for name in ["", ".", "127.1", "1", "a..b", "-a", "a-", "a b", "%zz", "a:b", "b\u{fc}cher"] {
            assert!(!is_domain_name(name), "{name}");
        }
        assert!(!is_domain_name(&"a".repeat(64)) && !is_domain_name(&"a.".repeat(128)));
    }
}
