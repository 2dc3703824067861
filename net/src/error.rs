//! What can go wrong with a request, said as Go says it: these texts stand on
//! the targets page and in logs that people search.

use std::fmt;
use std::io;
use std::path::PathBuf;

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
        /// `file x`, or `<inline>`.
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
    /// Without password.
    pub(crate) url: String,
    /// Why.
    pub fault: Fault,
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
    /// The answer is no HTTP.
    #[error("net/http: HTTP/1.x transport connection broken: malformed HTTP response")]
    Malformed,
    /// Any other fault of the exchange.
    #[error("{0}")]
    Exchange(String),
    /// More redirects than a client follows.
    #[error("stopped after {0} redirects")]
    Redirects(usize),
    /// A redirect leads nowhere.
    #[error("failed to parse Location header: {0}")]
    Location(String),
    /// A secret cannot be had.
    #[error("unable to read {what}: {why}")]
    Secret {
        /// What it is for.
        what: &'static str,
        /// The reason.
        why: String,
    },
    /// No token or credentials came from their server.
    #[error("{0}")]
    Token(String),
    /// The client cannot be rebuilt from its changed files.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The URL cannot be asked for.
    #[error("{0}")]
    Url(&'static str),
    /// A header's value has characters that headers cannot have.
    #[error("net/http: invalid header field value for {0}")]
    HeaderValue(String),
}

/// No connection could be made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// The host has no address.
    #[error("dial tcp: lookup {host}: {why}")]
    Lookup {
        /// The host.
        host: String,
        /// The resolver's reason.
        why: String,
    },
    /// The address refuses or does not answer.
    #[error("dial tcp {address}: connect: {why}")]
    Tcp {
        /// Address and port.
        address: String,
        /// The system's reason.
        why: String,
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

/// An I/O error's text as Go has it: lower case, without the number.
pub fn io_text(error: &io::Error) -> String {
    let text = error.to_string();
    let plain = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = plain.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// What Go says to a failed handshake.
pub(crate) fn tls_text(error: &io::Error) -> String {
    use rustls::{CertificateError as Cert, Error as Tls};
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>());
    let Some(tls) = inner else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
            _ => io_text(error),
        };
    };
    let verify = "tls: failed to verify certificate: x509: ";
    match tls {
        Tls::InvalidCertificate(cert) => match cert {
            // Go does not say more when a namesake of the issuer did not sign.
            Cert::UnknownIssuer | Cert::BadSignature => {
                format!("{verify}certificate signed by unknown authority")
            }
            Cert::Expired
            | Cert::ExpiredContext { .. }
            | Cert::NotValidYet
            | Cert::NotValidYetContext { .. } => {
                format!("{verify}certificate has expired or is not yet valid")
            }
            Cert::NotValidForName => format!("{verify}certificate is not valid for the requested name"),
            Cert::NotValidForNameContext { expected, presented } => {
                let shown: Vec<&str> = presented.iter().map(|name| bare_name(name)).collect();
                format!("{verify}certificate is valid for {}, not {}", shown.join(", "), expected.to_str())
            }
            other => format!("{verify}{other}"),
        },
        Tls::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => {
            "http: server gave HTTP response to HTTPS client".to_owned()
        }
        Tls::AlertReceived(alert) => format!("remote error: tls: {}", alert_text(*alert)),
        other => format!("tls: {other}"),
    }
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
