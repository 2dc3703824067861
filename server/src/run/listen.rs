//! The sockets that the server listens on.

use net::server::Listener;
use tokio::net::{TcpListener, UnixListener};

use super::Server;
use crate::environment::{self, HandedSocket};

/// An address that cannot be listened on, in Go's words.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListenError {
    /// The address is malformed.
    #[error("listen tcp: {0}")]
    Address(String),
    /// The system refuses.
    #[error("listen tcp {address}: bind: {}", told(.source))]
    Bind { address: String, source: std::io::Error },
    /// The service manager's sockets cannot be had.
    #[error("sockets of the service manager: {0}")]
    Handed(std::io::Error),
}

/// An error of the system as Go words it: without its number, in small letters.
pub(super) fn told(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.chars()
        .next()
        .map_or(String::new(), |first| first.to_lowercase().chain(text.chars().skip(1)).collect())
}

impl Server {
    /// The service manager's sockets where it hands some over, else one for each
    /// address that is named.
    pub(super) async fn listen(&self) -> Result<Vec<(Listener, String)>, ListenError> {
        let handed = environment::handed_sockets(&self.environment).map_err(ListenError::Handed)?;
        if !handed.is_empty() {
            tracing::info!(
                component = "web",
                sockets = handed.len(),
                "Listening on sockets of the service manager"
            );
            let taken = handed.into_iter().map(|socket| {
                let listener = match socket {
                    HandedSocket::Tcp(socket) => Listener::from(TcpListener::from_std(socket)?),
                    HandedSocket::Unix(socket) => Listener::from(UnixListener::from_std(socket)?),
                };
                let address = listener.address()?;
                Ok((listener, address))
            });
            return taken.collect::<std::io::Result<_>>().map_err(ListenError::Handed);
        }
        let mut listeners = Vec::new();
        for given in self.flags.texts("web.listen-address") {
            listeners.push(bind(&given).await?);
        }
        Ok(listeners)
    }
}

async fn bind(given: &str) -> Result<(Listener, String), ListenError> {
    let Some((host, port)) = given.rsplit_once(':') else {
        return Err(ListenError::Address(format!("address {given}: missing port in address")));
    };
    if port.parse::<u16>().is_err() {
        let fault = if port.chars().all(|c| c.is_ascii_digit()) { "invalid port" } else { "unknown port" };
        return Err(ListenError::Address(format!("address {port}: {fault}")));
    }
    let address = match host {
        // Go listens on all addresses of both families where none is named.
        "" => format!("[::]:{port}"),
        _ => given.to_owned(),
    };
    let bound = match TcpListener::bind(&address).await {
        Err(_) if host.is_empty() => TcpListener::bind(format!("0.0.0.0:{port}")).await,
        bound => bound,
    };
    let unable = |source| ListenError::Bind { address: given.to_owned(), source };
    let listener = Listener::from(bound.map_err(unable)?);
    let address = listener.address().map_err(unable)?;
    Ok((listener, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_that_cannot_be_used_are_told_as_go_does() {
        let (_held, taken) = bind("127.0.0.1:0").await.unwrap();
        for (given, message) in [
            ("127.0.0.1:99999".to_owned(), "listen tcp: address 99999: invalid port".to_owned()),
            ("127.0.0.1:web".to_owned(), "listen tcp: address web: unknown port".to_owned()),
            (taken.clone(), format!("listen tcp {taken}: bind: address already in use")),
        ] {
            assert_eq!(bind(&given).await.unwrap_err().to_string(), message);
        }
    }
}
