//! `meta.json`: what a block is and where it comes from.
//!
//! Written as upstream writes it, to the byte: tabs, fields in its order, zeros
//! left out, no newline at the end. Fields that are not known are passed over.

use std::path::{Path, PathBuf};

use model::{BlockRange, Fs};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::Ulid;

use crate::corruption::FileError;

/// The file's name in a block.
pub const META_FILE_NAME: &str = "meta.json";
/// The only version of the file.
const VERSION: u32 = 1;

/// Why a block's metadata cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not what it should be.
    #[error("{}: {source}", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// A version that is not known.
    #[error("{}: unexpected meta file version {version}", .path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// As stored.
        version: i64,
    },
}

/// Why a block is apart from others. Kept sorted by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlockHint {
    /// Its samples came out of order.
    FromOutOfOrder,
    /// It holds series selected by hand.
    FromSelectedSeries,
    /// It holds series that had gone stale.
    FromStaleSeries,
}

impl BlockHint {
    /// As in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            BlockHint::FromOutOfOrder => "from-out-of-order",
            BlockHint::FromSelectedSeries => "from-selected-series",
            BlockHint::FromStaleSeries => "from-stale-series",
        }
    }
}

/// What a block is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockMeta {
    /// Its name.
    #[serde(serialize_with = "put_ulid", deserialize_with = "take_ulid")]
    pub ulid: Ulid,
    /// First time inside, in ms.
    pub min_time: i64,
    /// First time behind it, in ms.
    pub max_time: i64,
    /// What it holds.
    #[serde(default)]
    pub stats: BlockStats,
    /// How it came to be.
    #[serde(default)]
    pub compaction: Compaction,
    #[serde(default)]
    version: i64,
}

/// What a block holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockStats {
    /// Samples of all kinds.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_samples: u64,
    /// Floats.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_float_samples: u64,
    /// Native histograms.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_histogram_samples: u64,
    /// Series.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_series: u64,
    /// Chunks.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_chunks: u64,
    /// Deleted intervals.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_tombstones: u64,
}

/// How a block came to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Compaction {
    /// How many times its data were compacted.
    pub level: i64,
    /// The blocks of level 1 that it goes back to, ascending.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "put_ulids",
        deserialize_with = "take_ulids"
    )]
    pub sources: Vec<Ulid>,
    /// It can be removed: nothing of it is left.
    #[serde(skip_serializing_if = "is_false")]
    pub deletable: bool,
    /// The blocks it was made from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<BlockDesc>,
    /// Its compaction failed; it is left alone.
    #[serde(skip_serializing_if = "is_false")]
    pub failed: bool,
    /// Why it is apart from others, as text: those not known are kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

impl Compaction {
    /// Whether the block has a hint.
    pub fn has_hint(&self, hint: BlockHint) -> bool {
        self.hints.iter().any(|text| text == hint.as_str())
    }

    /// Gives the block a hint.
    pub fn add_hint(&mut self, hint: BlockHint) {
        if !self.has_hint(hint) {
            self.hints.push(hint.as_str().to_owned());
            self.hints.sort_unstable();
        }
    }
}

/// A block that another was made from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockDesc {
    /// Its name.
    #[serde(serialize_with = "put_ulid", deserialize_with = "take_ulid")]
    pub ulid: Ulid,
    /// First time inside, in ms.
    pub min_time: i64,
    /// First time behind it, in ms.
    pub max_time: i64,
}

impl BlockMeta {
    /// A block of level 1 that goes back to itself.
    pub fn new(ulid: Ulid, range: BlockRange) -> BlockMeta {
        BlockMeta {
            ulid,
            min_time: range.min_ms,
            max_time: range.max_ms,
            stats: BlockStats::default(),
            compaction: Compaction { level: 1, sources: vec![ulid], ..Compaction::default() },
            version: i64::from(VERSION),
        }
    }

    /// The block's times.
    pub fn range(&self) -> BlockRange {
        BlockRange::new(self.min_time, self.max_time)
    }

    /// As another block's parent.
    pub fn desc(&self) -> BlockDesc {
        BlockDesc { ulid: self.ulid, min_time: self.min_time, max_time: self.max_time }
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
        let meta = BlockMeta { version: i64::from(VERSION), ..self.clone() };
        meta.serialize(&mut serializer).expect("numbers and text always serialize into memory");
        out
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

fn put_ulid<S: Serializer>(ulid: &Ulid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&ulid.to_string())
}

fn take_ulid<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Ulid, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ulid::from_string(&text).map_err(serde::de::Error::custom)
}

fn put_ulids<S: Serializer>(ulids: &[Ulid], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(ulids.iter().map(|ulid| ulid.to_string()))
}

fn take_ulids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Ulid>, D::Error> {
    let texts = Option::<Vec<String>>::deserialize(deserializer)?.unwrap_or_default();
    texts.iter().map(|text| Ulid::from_string(text).map_err(serde::de::Error::custom)).collect()
}

/// Reads a block's metadata.
///
/// # Errors
/// See [`MetaError`].
pub fn read_meta(fs: &dyn Fs, block: &Path) -> Result<BlockMeta, MetaError> {
    let path = block.join(META_FILE_NAME);
    let bytes = fs.read(&path).map_err(|source| FileError::io("read", &path, source))?;
    let meta: BlockMeta =
        serde_json::from_slice(&bytes).map_err(|source| MetaError::Json { path: path.clone(), source })?;
    if meta.version != i64::from(VERSION) {
        return Err(MetaError::Version { path, version: meta.version });
    }
    Ok(meta)
}

/// Writes a block's metadata through a temporary file.
///
/// # Errors
/// The file cannot be written or renamed; the old one stays.
pub fn write_meta(fs: &dyn Fs, block: &Path, meta: &BlockMeta) -> Result<u64, FileError> {
    super::replace_file(fs, block, META_FILE_NAME, &meta.encode())
}
