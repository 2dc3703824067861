//! What can go wrong with a request, said as Go says it: these texts stand on
//! the targets page and in logs that people search.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::go_url::UrlFault;

/// A client cannot be built from its block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A field names a secret manager's entry; no server has a manager.
    #[error("unable to use {what}: cannot use secret ref without manager")]
    SecretRef {
        /// What the secret is for.
        what: &'static str,
    },
    /// A file cannot be read.
    #[error("unable to read {what}: unable to read file {}: {why}", path.display())]
    Read {
        /// What the file holds.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        why: String,
    },
    /// The authorities are no PEM certificates.
    #[error("unable to use specified CA cert {place}")]
    Ca {
        /// `file x`, or `inline`.
        place: String,
    },
    /// Certificate and key are malformed, or do not belong together.
    #[error("unable to use specified client cert ({cert}) & key ({key}): {why}")]
    ClientCert {
        /// Where the certificate stands.
        cert: String,
        /// Where the key stands.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// The versions of TLS leave nothing.
    #[error("{0}")]
    Versions(&'static str),
    /// The proxy's URL cannot be used.
    #[error("invalid proxy URL: {0}")]
    Proxy(&'static str),
    /// Requests cannot be signed as the block says.
    #[error("{0}")]
    Cloud(String),
    /// TLS itself refuses its settings.
    #[error("unable to set up TLS: {0}")]
    Tls(String),
}

/// A request failed. Prints as Go's `url.Error`: `Get "http://x/": EOF`.
#[derive(Debug)]
pub struct HttpError {
    pub(crate) method: http::Method,
    /// Without password; what was asked for, or what a redirect said.
    pub(crate) url: Box<str>,
    /// Why.
    pub fault: Fault,
}

impl HttpError {
    /// What was asked for when it failed, without password.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Fault::Url(fault) = &self.fault {
            return write!(f, "parse {}: {fault}", model::labels::go_quote(&self.url));
        }
        let method = self.method.as_str();
        let (first, rest) = method.split_at(method.len().min(1));
        let url = model::labels::go_quote(&self.url);
        write!(f, "{first}{} {url}: {}", rest.to_ascii_lowercase(), self.fault)
    }
}

impl std::error::Error for HttpError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.fault)
    }
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// No connection could be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection ended before an answer.
    #[error("EOF")]
    Closed,
    /// The time was up before an answer.
    #[error("context deadline exceeded")]
    Deadline,
    /// The answer is no HTTP, and what is wrong with it.
    #[error("net/http: HTTP/1.x transport connection broken: {0}")]
    Broken(String),
    /// The connection broke off.
    #[error(transparent)]
    Io(#[from] IoFault),
    /// Any other fault of the exchange.
    #[error("{0}")]
    Exchange(String),
    /// More redirects than a client follows.
    #[error("stopped after {0} redirects")]
    Redirects(usize),
    /// A redirect leads nowhere.
    #[error(
        "failed to parse Location header {}: parse {}: {why}",
        model::labels::go_quote(location),
        model::labels::go_quote(location)
    )]
    Location {
        /// What the header says.
        location: String,
        /// Why that is no URL.
        why: UrlFault,
    },
    /// A secret cannot be had.
    #[error("unable to read {what}: {why}")]
    Secret {
        /// What it is for.
        what: &'static str,
        /// The reason.
        why: String,
    },
    /// A header's file cannot be read.
    #[error("unable to read headers file {}: {why}", path.display())]
    HeaderFile {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        why: String,
    },
    /// No token or credentials came from their server.
    #[error("{0}")]
    Token(String),
    /// The client cannot be rebuilt from its changed files.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The URL is none.
    #[error(transparent)]
    Url(#[from] UrlFault),
    /// A header's value has characters that headers cannot have.
    #[error("net/http: invalid header field value for {0}")]
    HeaderValue(String),
}

/// No connection could be made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// The host has no address.
    #[error("dial tcp: lookup {host}{}: {why}", server.as_ref().map(|server| format!(" on {server}")).unwrap_or_default())]
    Lookup {
        /// The host.
        host: String,
        /// The resolver that was asked, where one was.
        server: Option<String>,
        /// The resolver's reason.
        why: String,
    },
    /// The port is above all ports.
    #[error("dial tcp: address {0}: invalid port")]
    Port(String),
    /// The address refuses.
    #[error("dial tcp {address}: connect: {why}")]
    Tcp {
        /// Address and port.
        address: String,
        /// The system's reason.
        why: String,
    },
    /// The address does not answer.
    #[error("dial tcp {address}: i/o timeout")]
    TcpTimeout {
        /// Address and port.
        address: String,
    },
    /// The socket refuses.
    #[error("dial unix {}: connect: {why}", path.display())]
    Unix {
        /// The socket's file.
        path: PathBuf,
        /// The system's reason.
        why: String,
    },
    /// The two sides do not agree on TLS.
    #[error("{0}")]
    Tls(String),
    /// The two sides have no version of HTTP in common.
    #[error("remote error: tls: no application protocol")]
    NoApplicationProtocol,
    /// The handshake took too long.
    #[error("net/http: TLS handshake timeout")]
    TlsTimeout,
    /// The proxy does not let the connection through.
    #[error("{0}")]
    Proxy(String),
    /// The URL names no host.
    #[error("http: no Host in request URL")]
    NoHost,
    /// The URL's scheme is none that this client speaks.
    #[error("unsupported protocol scheme {}", model::labels::go_quote(.0))]
    Scheme(String),
}

/// A connection broke off under a request or an answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}{}: {what}: {why}", ends.as_ref().map(|ends| format!(" tcp {}->{}", ends.0, ends.1)).unwrap_or_default())]
pub struct IoFault {
    /// `read` or `write`.
    pub what: &'static str,
    /// Both ends of a TCP connection.
    pub ends: Option<Box<(SocketAddr, SocketAddr)>>,
    /// The system's reason.
    pub why: String,
}

/// An answer's body did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection ended early.
    #[error("unexpected EOF")]
    Cut,
    /// A chunk has no length.
    #[error("invalid byte in chunk length")]
    ChunkLength,
    /// The connection broke off.
    #[error(transparent)]
    Io(#[from] IoFault),
    /// The other side, speaking HTTP/2, broke off.
    #[error("{0}")]
    Stream(String),
}

/// An I/O error's text as Go has it: lower case, without the number.
pub fn io_text(error: &io::Error) -> String {
    let text = error.to_string();
    let plain = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = plain.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// What Go says where a file cannot be read.
pub(crate) fn file_text(path: &Path, error: &io::Error) -> String {
    // A folder can be opened, but not read.
    let verb = if error.kind() == io::ErrorKind::IsADirectory { "read" } else { "open" };
    format!("{verb} {}: {}", path.display(), io_text(error))
}

/// What Go says to a failed handshake.
pub(crate) fn tls_text(error: &io::Error) -> String {
    use rustls::Error as Tls;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>());
    let Some(tls) = inner else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
            _ => io_text(error),
        };
    };
    match tls {
        Tls::InvalidCertificate(cert) => {
            format!("tls: failed to verify certificate: x509: {}", certificate_text(cert))
        }
        Tls::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => {
            "http: server gave HTTP response to HTTPS client".to_owned()
        }
        Tls::AlertReceived(alert) => format!("remote error: tls: {}", alert_text(*alert)),
        other => format!("tls: {other}"),
    }
}

fn certificate_text(error: &rustls::CertificateError) -> String {
    use rustls::CertificateError as Cert;
    let dates = "certificate has expired or is not yet valid";
    match error {
        // Go does not say more when a namesake of the issuer did not sign.
        Cert::UnknownIssuer | Cert::BadSignature => "certificate signed by unknown authority".to_owned(),
        Cert::Expired | Cert::NotValidYet => dates.to_owned(),
        Cert::ExpiredContext { time, not_after } => {
            format!("{dates}: current time {} is after {}", rfc3339(*time), rfc3339(*not_after))
        }
        Cert::NotValidYetContext { time, not_before } => {
            format!("{dates}: current time {} is before {}", rfc3339(*time), rfc3339(*not_before))
        }
        Cert::NotValidForNameContext { expected, presented } => name_text(expected, presented),
        Cert::Other(other) => match other.0.downcast_ref::<LegacyName>() {
            Some(legacy) => legacy.to_string(),
            // An authority that was shown as a server and is not configured.
            None => "certificate signed by unknown authority".to_owned(),
        },
        other => other.to_string(),
    }
}

/// A certificate that names its host where only old programs look.
#[derive(Debug, thiserror::Error)]
#[error("certificate relies on legacy Common Name field, use SANs instead")]
pub(crate) struct LegacyName;

/// A certificate for other hosts: Go tells of names of the kind that was wanted.
fn name_text(expected: &rustls::pki_types::ServerName<'_>, presented: &[String]) -> String {
    /// Names that are told at most.
    const SHOWN_MAX: usize = 100;
    let wants_ip = matches!(expected, rustls::pki_types::ServerName::IpAddress(_));
    let kind = if wants_ip { "IpAddress(" } else { "DnsName(" };
    let names: Vec<&str> =
        presented.iter().filter(|name| name.starts_with(kind)).map(|name| bare_name(name)).collect();
    let expected = expected.to_str();
    match names.len() {
        0 if wants_ip => {
            format!("cannot validate certificate for {expected} because it doesn't contain any IP SANs")
        }
        0 => format!("certificate is not valid for any names, but wanted to match {expected}"),
        many if many > SHOWN_MAX => {
            format!("certificate is valid for {many} names, but none matched {expected}")
        }
        _ => format!("certificate is valid for {}, not {expected}", names.join(", ")),
    }
}

fn rfc3339(time: rustls::pki_types::UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default()
}

/// `DnsName("a")` without its frame.
fn bare_name(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, rest)| rest.trim_end_matches(')'));
    inner.trim_matches('"')
}

fn alert_text(alert: rustls::AlertDescription) -> String {
    use rustls::AlertDescription as Alert;
    match alert {
        Alert::BadCertificate => "bad certificate".to_owned(),
        Alert::UnknownCA => "unknown certificate authority".to_owned(),
        Alert::CertificateRequired => "certificate required".to_owned(),
        Alert::HandshakeFailure => "handshake failure".to_owned(),
        Alert::ProtocolVersion => "protocol version not supported".to_owned(),
        Alert::UnrecognisedName => "unrecognized name".to_owned(),
        Alert::InternalError => "internal error".to_owned(),
        other => format!("{other:?}"),
    }
}
