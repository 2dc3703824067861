//! The web configuration file, read again when it changes.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use config::WebConfig;
use parking_lot::Mutex;

use crate::error::io_text;

/// Why the web configuration file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebConfigError {
    /// It cannot be read.
    #[error("open {}: {why}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        why: String,
    },
    /// It has faults.
    #[error(transparent)]
    Faults(#[from] config::ConfigErrors),
    /// A user's hash is none of bcrypt.
    #[error("{0}")]
    Hash(&'static str),
    /// A user's hash would take too little or too much work.
    #[error("crypto/bcrypt: cost {0} is outside allowed inclusive range 4..31")]
    Cost(u32),
    /// TLS cannot be spoken as it says.
    #[error("{0}")]
    Tls(String),
}

/// A file's state; any change of the file changes it.
pub(super) type Stamp = Option<(u64, u64, i64, i64)>;

pub(super) fn stamp(path: &Path) -> Stamp {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
}

/// Where the web configuration comes from. Clones share what was read last.
#[derive(Clone, Debug, Default)]
pub struct WebConfigSource {
    path: Option<PathBuf>,
    last: Arc<Mutex<Last>>,
}

#[derive(Debug, Default)]
struct Last {
    stamp: Stamp,
    outcome: Option<Result<Arc<WebConfig>, WebConfigError>>,
}

impl WebConfigSource {
    /// No file: plain HTTP without users.
    pub fn none() -> WebConfigSource {
        WebConfigSource::default()
    }

    /// A file.
    pub fn file(path: impl Into<PathBuf>) -> WebConfigSource {
        WebConfigSource { path: Some(path.into()), last: Arc::default() }
    }

    /// The file's path.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What the file says now; it is read only when it changed.
    ///
    /// # Errors
    /// It cannot be read or has faults.
    pub fn load(&self) -> Result<Arc<WebConfig>, WebConfigError> {
        let Some(path) = &self.path else { return Ok(Arc::default()) };
        let stamp = stamp(path);
        let mut last = self.last.lock();
        if let Some(outcome) = &last.outcome
            && last.stamp == stamp
            && stamp.is_some()
        {
            return outcome.clone();
        }
        let outcome = read(path).map(Arc::new);
        last.stamp = stamp;
        last.outcome = Some(outcome.clone());
        outcome
    }

    /// Checks the file as a start would, certificates included.
    ///
    /// # Errors
    /// The server could not start with it.
    pub fn validate(&self) -> Result<(), WebConfigError> {
        let web = self.load()?;
        super::tls::ServerTls::new(self, &web).map(drop)
    }
}

fn read(path: &Path) -> Result<WebConfig, WebConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| WebConfigError::Open { path: path.to_owned(), why: io_text(&error) })?;
    let web = WebConfig::load(&text, path.parent().unwrap_or(Path::new("")))?;
    web.basic_auth_users.values().try_for_each(|hash| check_hash(hash.expose()))?;
    Ok(web)
}

/// Bytes of a bcrypt hash.
const HASH_LEN: usize = 60;

fn check_hash(hash: &str) -> Result<(), WebConfigError> {
    if hash.len() < HASH_LEN - 1 {
        let text = "crypto/bcrypt: hashedSecret too short to be a bcrypted password";
        return Err(WebConfigError::Hash(text));
    }
    if !hash.starts_with('$') {
        return Err(WebConfigError::Hash("crypto/bcrypt: bcrypt hashes must start with '$'"));
    }
    let parts = bcrypt::HashParts::from_str(hash)
        .map_err(|_| WebConfigError::Hash("crypto/bcrypt: a hash of basic_auth_users is malformed"))?;
    match parts.get_cost() {
        4..=31 => Ok(()),
        cost => Err(WebConfigError::Cost(cost)),
    }
}
