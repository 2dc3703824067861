//! `series_state.json` beside the segments: how far series numbers and segments
//! had gone, for a start that does not wait for the replay (upstream's feature
//! `fast-startup`). Rewritten each second and at a clean stop; a missing or
//! damaged file only means that the log must be read.

use std::path::Path;

use model::Fs;
use serde::{Deserialize, Serialize};

use crate::corruption::FileError;

/// The file's name in the log's folder.
pub const FILE_NAME: &str = "series_state.json";

/// What the file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SeriesState {
    /// The highest number given to a series.
    pub last_series_id: u64,
    /// The newest segment.
    pub last_wal_segment: i64,
    /// Whether everything was written before the process ended.
    pub clean_shutdown: bool,
}

/// Reads the file; `None` where it is missing or says nothing.
///
/// # Errors
/// It is there but cannot be read.
pub fn read_series_state(fs: &dyn Fs, wal_dir: &Path) -> Result<Option<SeriesState>, FileError> {
    let path = wal_dir.join(FILE_NAME);
    if !fs.exists(&path) {
        return Ok(None);
    }
    let bytes = fs.read(&path).map_err(|source| FileError::io("read", &path, source))?;
    Ok(serde_json::from_slice(&bytes).ok())
}

/// Writes the file anew through a temporary one.
///
/// # Errors
/// The file cannot be written or renamed; the old one stays.
pub fn write_series_state(fs: &dyn Fs, wal_dir: &Path, state: &SeriesState) -> Result<(), FileError> {
    let bytes = serde_json::to_vec(state).expect("numbers always serialize into memory");
    crate::block::replace_file(fs, wal_dir, FILE_NAME, &bytes).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::RealFs;

    #[test]
    fn the_state_survives_and_damage_counts_as_absence() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(read_series_state(&RealFs, dir.path()).expect("readable"), None);
        let state = SeriesState { last_series_id: 7, last_wal_segment: 3, clean_shutdown: true };
        write_series_state(&RealFs, dir.path(), &state).expect("a file");
        let text = std::fs::read_to_string(dir.path().join(FILE_NAME)).expect("a file");
        assert_eq!(text, r#"{"last_series_id":7,"last_wal_segment":3,"clean_shutdown":true}"#);
        assert_eq!(read_series_state(&RealFs, dir.path()).expect("readable"), Some(state));
        std::fs::write(dir.path().join(FILE_NAME), "{").expect("a file");
        assert_eq!(read_series_state(&RealFs, dir.path()).expect("readable"), None);
    }
}
