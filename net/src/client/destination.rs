//! Where a request goes: what a URL comes down to on the wire.

use http::Uri;

use crate::error::{ConnectError, Fault};
use crate::go_url::GoUrl;

/// Where a request goes.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    /// The request's, with a host of ASCII.
    pub(super) uri: Uri,
    pub(super) is_https: bool,
    /// Without brackets; empty for this machine.
    pub(super) host: String,
    /// As written, or the scheme's own.
    pub(super) port: String,
}

impl Destination {
    pub(super) fn new(url: &GoUrl) -> Result<Destination, Fault> {
        let is_https = match url.scheme() {
            "http" => false,
            "https" => true,
            other => return Err(ConnectError::Scheme(other.to_owned()).into()),
        };
        if url.host().is_empty() {
            return Err(ConnectError::NoHost.into());
        }
        let host = ascii_host(url.hostname());
        let port = match url.port() {
            "" => {
                if is_https {
                    "443"
                } else {
                    "80"
                }
            }
            port => port,
        };
        let shown_host = match host.split_once('%') {
            // A zone means something on this machine only.
            Some((address, _zone)) if address.contains(':') => format!("[{address}]"),
            None if host.contains(':') => format!("[{host}]"),
            _ => host.clone(),
        };
        let authority = match (url.port(), shown_host.as_str()) {
            ("", shown) => shown.to_owned(),
            // A URI has a host: that of this machine.
            (port, "") => format!("localhost:{port}"),
            (port, shown) => format!("{shown}:{port}"),
        };
        let target = request_target(&url.request_target());
        let uri = Uri::builder().scheme(url.scheme()).authority(authority).path_and_query(target).build();
        // What cannot be written as a host cannot be looked up either.
        let uri = uri.map_err(|_| ConnectError::Lookup {
            host: host.clone(),
            server: None,
            why: "no such host".to_owned(),
        })?;
        Ok(Destination { uri, is_https, port: port.to_owned(), host })
    }

    /// `host:port`, an IPv6 address in brackets.
    pub(super) fn host_and_port(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Connections to equal places serve each other's requests.
    pub(super) fn pool_key(&self) -> String {
        let scheme = if self.is_https { 's' } else { 'p' };
        format!("{scheme}{}", self.host_and_port())
    }
}

/// A host's name as it is looked up.
fn ascii_host(host: &str) -> String {
    if host.is_ascii() {
        return host.to_owned();
    }
    let parsed = url::Url::parse(&format!("http://{host}/"));
    parsed.ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_else(|| host.to_owned())
}

/// Path and query with what no request can have escaped.
fn request_target(target: &str) -> String {
    if target.bytes().all(|b| b.is_ascii_graphic()) {
        return target.to_owned();
    }
    let escaped = |b: u8| if b.is_ascii_graphic() { char::from(b).to_string() } else { format!("%{b:02X}") };
    target.bytes().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_comes_down_to_a_place_and_a_first_line() {
        for (url, uri, host, port) in [
            ("http://a/x?y", "http://a/x?y", "a", "80"),
            ("https://a", "https://a/", "a", "443"),
            ("http://[::1]:9090/", "http://[::1]:9090/", "::1", "9090"),
            ("http://[fe80::1%25eth0]:1/", "http://[fe80::1]:1/", "fe80::1%eth0", "1"),
            ("http://b%C3%BCcher.example/", "http://xn--bcher-kva.example/", "xn--bcher-kva.example", "80"),
            ("http://:21/x", "http://localhost:21/x", "", "21"),
            ("http://a/?b c", "http://a/?b%20c", "a", "80"),
        ] {
            let found = Destination::new(&GoUrl::parse(url).unwrap()).unwrap();
            let found = (found.uri.to_string(), found.host, found.port);
            assert_eq!(found, (uri.to_owned(), host.to_owned(), port.to_owned()), "{url}");
        }
        for (url, error) in [
            ("ftp://a/", "unsupported protocol scheme \"ftp\""),
            ("http:///x", "http: no Host in request URL"),
            ("http://%25zz:80/", "dial tcp: lookup %zz: no such host"),
        ] {
            let found = Destination::new(&GoUrl::parse(url).unwrap()).unwrap_err();
            assert_eq!(found.to_string(), error, "{url}");
        }
    }
}
