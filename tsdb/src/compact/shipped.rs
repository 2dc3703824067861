//! Blocks that wait until a shipper has copied them elsewhere.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::block::BlockMeta;
use crate::db::Store;

/// A shipper's file; what else it says does not matter here.
#[derive(Deserialize)]
struct ShipperFile {
    #[serde(default)]
    uploaded: Option<Vec<String>>,
}

/// The blocks that were shipped; `None` where all may be compacted.
pub(super) struct Shipped(Option<BTreeSet<String>>);

impl Shipped {
    /// Whether the block must not be compacted yet: those of higher levels are
    /// made of blocks that were shipped.
    pub(super) fn must_wait(&self, meta: &BlockMeta) -> bool {
        let Shipped(Some(names)) = self else { return false };
        meta.compaction.level <= 1 && !names.contains(&meta.ulid.to_string())
    }
}

impl Store {
    /// Which blocks a shipper has copied.
    pub(super) fn shipped(&self) -> Shipped {
        let Some(path) = &self.options.delay_compact_file else { return Shipped(None) };
        let read = self.env.fs.read(path).map_err(|error| error.to_string());
        match read.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string())) {
            Ok(ShipperFile { uploaded }) => Shipped(Some(uploaded.unwrap_or_default().into_iter().collect())),
            Err(error) => {
                tracing::warn!(file = %path.display(), error, "the delay-compact file cannot be read: no block waits");
                Shipped(None)
            }
        }
    }
}
