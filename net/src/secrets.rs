//! Where a secret comes from: the file itself, or a file that is read at each use.

use std::path::PathBuf;

use config::Secret;

use crate::error::{BuildError, file_text};

/// A source of one secret.
#[derive(Clone, Debug)]
pub(crate) enum SecretSource {
    /// Nothing is configured: the empty text.
    None,
    /// Written in the configuration.
    Inline(Secret),
    /// In a file, read at each use; surrounding white space does not count.
    File(PathBuf),
}

impl SecretSource {
    /// The one that is configured; `what` is said when it is a reference.
    pub(crate) fn new(
        text: &Secret,
        file: &str,
        reference: &str,
        what: &'static str,
    ) -> Result<SecretSource, BuildError> {
        if !text.is_empty() {
            return Ok(SecretSource::Inline(text.clone()));
        }
        if !file.is_empty() {
            return Ok(SecretSource::File(PathBuf::from(file)));
        }
        if !reference.is_empty() {
            return Err(BuildError::SecretRef { what });
        }
        Ok(SecretSource::None)
    }

    /// The secret now, or why there is none.
    pub(crate) fn fetch(&self) -> Result<Secret, String> {
        match self {
            SecretSource::None => Ok(Secret::default()),
            SecretSource::Inline(secret) => Ok(secret.clone()),
            SecretSource::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => Ok(Secret::new(text.trim())),
                Err(error) => {
                    Err(format!("unable to read file {}: {}", path.display(), file_text(path, &error)))
                }
            },
        }
    }
}
