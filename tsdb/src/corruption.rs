//! What is said about damaged bytes: where they are and what is wrong with
//! them, in numbers. Every decoder of the crate answers with these types and
//! none of them panics, whatever the bytes.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use model::StorageError;

use crate::chunk::ChunkError;

/// What is wrong with some bytes.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Damage {
    /// The stored checksum is not that of the bytes.
    #[error("checksum mismatch: stored {stored:08x}, computed {computed:08x}")]
    Checksum {
        /// As stored.
        stored: u32,
        /// As computed from the bytes.
        computed: u32,
    },
    /// There are fewer bytes than there should be.
    #[error("{what} needs {need} bytes, {have} are left")]
    Short {
        /// What was being read.
        what: &'static str,
        /// Bytes it needs.
        need: u64,
        /// Bytes there are.
        have: u64,
    },
    /// The file does not start as its kind does.
    #[error("invalid magic number {found:08x}, want {want:08x}")]
    Magic {
        /// As stored.
        found: u32,
        /// Of this kind of file.
        want: u32,
    },
    /// A format version that is not known.
    #[error("invalid {what} version {found}")]
    Version {
        /// The kind of file.
        what: &'static str,
        /// As stored.
        found: u64,
    },
    /// A chunk's encoding number is not known.
    #[error("invalid chunk encoding {0}")]
    Encoding(u8),
    /// A chunk's bytes are no chunk.
    #[error("chunk: {0}")]
    Chunk(#[from] ChunkError),
    /// The bytes break a rule of the format.
    #[error("{0}")]
    Malformed(&'static str),
    /// A number is outside what it may be.
    #[error("{what} is {found}, limit {limit}")]
    OutOfRange {
        /// What the number is.
        what: &'static str,
        /// As stored.
        found: u64,
        /// The bound it breaks.
        limit: u64,
    },
    /// A string is not UTF-8.
    #[error("{0} is not valid UTF-8")]
    Utf8(&'static str),
    /// Compressed bytes do not decompress.
    #[error("{codec} cannot decompress: {message}")]
    Compression {
        /// The method.
        codec: &'static str,
        /// What its decoder says.
        message: String,
    },
}

impl Damage {
    /// The kind of damage in a word, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Damage::Checksum { .. } => "checksum",
            Damage::Short { .. } => "short",
            Damage::Magic { .. } => "magic",
            Damage::Version { .. } => "version",
            Damage::Encoding(_) | Damage::Chunk(_) => "chunk",
            Damage::Malformed(_) => "malformed",
            Damage::OutOfRange { .. } => "out_of_range",
            Damage::Utf8(_) => "utf8",
            Damage::Compression { .. } => "compression",
        }
    }
}

/// Damaged bytes of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Corruption {
    /// The file.
    pub path: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub what: Damage,
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: corrupt at byte {}: {}", self.path.display(), self.offset, self.what)
    }
}

impl std::error::Error for Corruption {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.what)
    }
}

/// Why a file cannot be used: the disk failed, or what it holds is damaged.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A file operation failed.
    #[error("{op} {}: {source}", .path.display())]
    Io {
        /// The operation, as a verb.
        op: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is damaged.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
}

impl FileError {
    /// A failed operation on a file.
    pub fn io(op: &'static str, path: &Path, source: io::Error) -> FileError {
        FileError::Io { op, path: path.to_path_buf(), source }
    }

    /// Damage at an offset of a file.
    pub fn corrupt(path: &Path, offset: u64, what: Damage) -> FileError {
        FileError::Corrupt(Corruption { path: path.to_path_buf(), offset, what })
    }

    /// The damage, where it is that.
    pub fn as_corruption(&self) -> Option<&Corruption> {
        match self {
            FileError::Corrupt(corruption) => Some(corruption),
            FileError::Io { .. } => None,
        }
    }
}

impl From<FileError> for StorageError {
    fn from(error: FileError) -> StorageError {
        match error {
            FileError::Io { op, path, source } => StorageError::Io { op, path, source },
            FileError::Corrupt(Corruption { path, offset, what }) => {
                StorageError::Corrupt { path, offset, what: what.to_string() }
            }
        }
    }
}
