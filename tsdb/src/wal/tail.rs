//! Follows a log that is being written: what the remote-write sender reads.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Fs;

use super::WalPosition;
use super::reader::{Found, LogReader, RawRecord, ReadMode};
use super::segment::list_segments;
use crate::corruption::{Corruption, FileError};

/// Reads a growing log from a place on.
pub struct TailReader {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    reader: LogReader,
    position: WalPosition,
    /// The next segment, once it is known that this one is complete.
    following: Option<u64>,
    damage: Option<Corruption>,
}

impl TailReader {
    /// Starts just behind a record, or at the start of a segment.
    ///
    /// # Errors
    /// The segment cannot be opened.
    pub fn open(fs: Arc<dyn Fs>, dir: &Path, from: WalPosition) -> Result<TailReader, FileError> {
        let mut reader = LogReader::new(fs.clone(), dir, [from.segment], ReadMode::Salvage);
        reader.seek(from.offset)?;
        Ok(TailReader { fs, dir: dir.to_path_buf(), reader, position: from, following: None, damage: None })
    }

    /// Just behind the last record that was read.
    pub fn position(&self) -> WalPosition {
        self.position
    }

    /// Damage that was passed over since this was last asked.
    pub fn take_damage(&mut self) -> Option<Corruption> {
        self.damage.take()
    }

    /// The next record, `None` where the log has none yet: ask again later.
    ///
    /// # Errors
    /// A segment cannot be read. Asking again may succeed.
    pub fn next_record(&mut self) -> Result<Option<RawRecord<'_>>, FileError> {
        loop {
            let ends_at = match self.reader.advance()? {
                Found::Record => break,
                Found::Damage { corruption, .. } => {
                    self.damage = Some(corruption);
                    continue;
                }
                Found::Torn { at, .. } => at,
                Found::End => self.reader.position().unwrap_or(self.position),
            };
            if let Some(number) = self.following.take() {
                self.reader.push_segment(number);
                self.position = WalPosition { segment: number, offset: 0 };
                continue;
            }
            // The next segment is looked for before the length is: if it was there
            // already, what this one lacks afterwards it will never have.
            self.following = self.next_segment()?;
            let grew = self.reader.look_again(ends_at.offset)?;
            if !grew && self.following.is_none() {
                return Ok(None);
            }
        }
        let record = self.reader.record();
        self.position = record.end;
        Ok(Some(record))
    }

    fn next_segment(&self) -> Result<Option<u64>, FileError> {
        let current = self.position.segment;
        let segments = list_segments(&*self.fs, &self.dir)?;
        Ok(segments.into_iter().map(|segment| segment.number).find(|&number| number > current))
    }
}
