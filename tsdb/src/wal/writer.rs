//! Puts records into segments.
//!
//! A batch of records is framed into one buffer and handed to the file in one
//! write, so that a commit costs one system call. Nothing is synced here unless
//! asked: see [`LogWriter::sync`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Fs;
use model::env::FsFile;

use super::WalPosition;
use super::checkpoint::last_checkpoint;
use super::compression::Payload;
use super::segment::{FRAGMENT_HEADER_LEN, PAGE_BYTES, SEGMENT_BYTES, fragment, list_segments, segment_path};
use crate::corruption::FileError;
use crate::crc::crc32c;

/// More memory than this is given back after a write.
const PENDING_BYTES_MAX: usize = 1 << 20;

/// How a log is written.
#[derive(Clone, Copy, Debug)]
pub struct LogWriterOptions {
    /// Bytes of a segment, a multiple of [`PAGE_BYTES`].
    pub segment_bytes: u64,
}

impl Default for LogWriterOptions {
    fn default() -> LogWriterOptions {
        LogWriterOptions { segment_bytes: SEGMENT_BYTES }
    }
}

/// What a writer wrote since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Pages that are full.
    pub pages: u64,
    /// Fragments of records.
    pub parts: u64,
    /// Their bytes, with their headers.
    pub bytes: u64,
}

/// Writes the newest segment of a log.
pub struct LogWriter {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    segment_bytes: u64,
    segment: u64,
    /// The segment's file; `None` before the first one is made.
    file: Option<Box<dyn FsFile>>,
    /// Bytes of the segment that are written and well formed.
    offset: u64,
    /// Framed, not yet written.
    pending: Vec<u8>,
    /// Earlier segments that were not synced yet.
    unsynced: Vec<(u64, Box<dyn FsFile>)>,
    /// A write failed: the segment's end is unknown and nothing may follow in it.
    broken: bool,
    written: Written,
}

impl LogWriter {
    /// Opens a log for writing: makes the folder where it is missing and starts
    /// a new segment behind all there are and all that a checkpoint covers, as
    /// every start does.
    ///
    /// # Errors
    /// The folder cannot be listed or the segment not be made.
    ///
    /// # Panics
    /// The segment size is not a multiple of the page size.
    pub fn open(fs: Arc<dyn Fs>, dir: &Path, options: LogWriterOptions) -> Result<LogWriter, FileError> {
        let mut writer = LogWriter::deferred(fs, dir, options)?;
        writer.next_segment()?;
        Ok(writer)
    }

    /// As [`LogWriter::open`], but makes neither folder nor segment before
    /// something is written: for a disk that may be full.
    ///
    /// # Errors
    /// The folder is there and cannot be listed.
    ///
    /// # Panics
    /// As [`LogWriter::open`].
    pub fn deferred(fs: Arc<dyn Fs>, dir: &Path, options: LogWriterOptions) -> Result<LogWriter, FileError> {
        assert!(
            options.segment_bytes > 0 && options.segment_bytes.is_multiple_of(PAGE_BYTES as u64),
            "segments are whole pages"
        );
        let mut newest = None;
        if fs.exists(dir) {
            // Of a log whose segments are gone the checkpoint may be left, and what
            // it covers is never read again.
            let covered = last_checkpoint(&*fs, dir)?.map(|checkpoint| checkpoint.covers);
            newest = list_segments(&*fs, dir)?.last().map(|last| last.number).max(covered);
        }
        Ok(LogWriter {
            fs,
            dir: dir.to_path_buf(),
            segment_bytes: options.segment_bytes,
            segment: newest.map_or(0, |newest| newest + 1),
            file: None,
            offset: 0,
            pending: Vec::new(),
            unsynced: Vec::new(),
            broken: false,
            written: Written::default(),
        })
    }

    /// Starts behind another segment as well, before anything is written.
    pub(crate) fn start_behind(&mut self, segment: u64) {
        assert!(self.file.is_none(), "nothing was written yet");
        self.segment = self.segment.max(segment + 1);
    }

    /// Bytes of the largest record that fits a segment.
    pub fn record_bytes_max(&self) -> usize {
        let pages = usize::try_from(self.segment_bytes).unwrap_or(usize::MAX) / PAGE_BYTES;
        pages.saturating_mul(PAGE_BYTES - FRAGMENT_HEADER_LEN)
    }

    /// The folder of the log.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The number of the newest segment.
    pub fn segment(&self) -> u64 {
        self.segment
    }

    /// What was written so far.
    pub fn written(&self) -> Written {
        self.written
    }

    /// Where the next record will start.
    pub fn position(&self) -> WalPosition {
        WalPosition { segment: self.segment, offset: self.offset }
    }

    /// Logs a batch of records, in order, and answers the position behind them.
    /// When it returns, they are with the system: they survive the end of the
    /// process, though not yet a power cut.
    ///
    /// # Errors
    /// The file could not be written. Records of the batch may be in the log or
    /// not; the next batch goes to a new segment.
    ///
    /// # Panics
    /// A record has more than [`LogWriter::record_bytes_max`] bytes.
    pub fn log<'a>(
        &mut self,
        records: impl IntoIterator<Item = Payload<'a>>,
    ) -> Result<WalPosition, FileError> {
        if self.broken || self.file.is_none() {
            self.next_segment()?;
        }
        for record in records {
            if self.page_left() < FRAGMENT_HEADER_LEN {
                self.pad_page();
            }
            if record.bytes.len() as u64 > self.segment_left() {
                self.flush()?;
                self.next_segment()?;
                assert!(record.bytes.len() as u64 <= self.segment_left(), "a record fits a segment");
            }
            self.frame(record);
        }
        self.flush()?;
        Ok(self.position())
    }

    /// Where the framed bytes end.
    fn end(&self) -> u64 {
        self.offset + self.pending.len() as u64
    }

    fn page_left(&self) -> usize {
        PAGE_BYTES - (self.end() % PAGE_BYTES as u64) as usize
    }

    /// Data that still fits the segment.
    fn segment_left(&self) -> u64 {
        let pages_behind =
            (self.segment_bytes / PAGE_BYTES as u64).saturating_sub(self.end() / PAGE_BYTES as u64 + 1);
        (self.page_left() as u64).saturating_sub(FRAGMENT_HEADER_LEN as u64)
            + pages_behind * (PAGE_BYTES - FRAGMENT_HEADER_LEN) as u64
    }

    fn pad_page(&mut self) {
        let left = self.page_left();
        if left < PAGE_BYTES {
            self.pending.resize(self.pending.len() + left, 0);
        }
    }

    fn frame(&mut self, record: Payload<'_>) {
        let mut rest = record.bytes;
        let mut is_first = true;
        loop {
            let fits = (self.page_left() - FRAGMENT_HEADER_LEN).min(rest.len());
            let (part, behind) = rest.split_at(fits);
            let kind = match (is_first, behind.is_empty()) {
                (true, true) => fragment::FULL,
                (true, false) => fragment::FIRST,
                (false, true) => fragment::LAST,
                (false, false) => fragment::MIDDLE,
            };
            self.pending.push(kind | record.compression.flag());
            self.pending.extend_from_slice(&(part.len() as u16).to_be_bytes());
            self.pending.extend_from_slice(&crc32c(part).to_be_bytes());
            self.pending.extend_from_slice(part);
            self.written.parts += 1;
            self.written.bytes += (FRAGMENT_HEADER_LEN + part.len()) as u64;
            if self.page_left() < FRAGMENT_HEADER_LEN {
                self.pad_page();
            }
            rest = behind;
            is_first = false;
            if rest.is_empty() {
                return;
            }
        }
    }

    fn flush(&mut self) -> Result<(), FileError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let result = file.write_all(&self.pending);
        let written = self.pending.len() as u64;
        self.pending.clear();
        if self.pending.capacity() > PENDING_BYTES_MAX {
            self.pending = Vec::new();
        }
        match result {
            Ok(()) => {
                let page = PAGE_BYTES as u64;
                self.written.pages += (self.offset + written) / page - self.offset / page;
                self.offset += written;
                Ok(())
            }
            Err(source) => {
                // Half a record in the middle of the log would end it for
                // upstream. If this fails too, the reader passes over it.
                let is_cut = file.set_len(self.offset).is_ok();
                // An empty segment can be begun anew: as long as the disk is
                // full, tries shall not leave one each.
                self.broken = !(is_cut && self.offset == 0);
                Err(FileError::io("write", &segment_path(&self.dir, self.segment), source))
            }
        }
    }

    /// Ends the segment, its last page padded, and starts the next.
    ///
    /// # Errors
    /// The page could not be padded or the file not be made.
    pub fn next_segment(&mut self) -> Result<u64, FileError> {
        let next = if self.file.is_none() {
            self.create_dir()?;
            self.segment
        } else {
            if !self.broken && !self.end().is_multiple_of(PAGE_BYTES as u64) {
                self.pad_page();
                self.flush()?;
            }
            self.segment + 1
        };
        let file = create_segment(&*self.fs, &self.dir, next)?;
        if let Some(ended) = self.file.replace(file) {
            self.unsynced.push((self.segment, ended));
        }
        self.segment = next;
        self.offset = 0;
        self.broken = false;
        Ok(next)
    }

    fn create_dir(&self) -> Result<(), FileError> {
        if self.fs.exists(&self.dir) {
            return Ok(());
        }
        self.fs.create_dir_all(&self.dir).map_err(|source| FileError::io("create", &self.dir, source))?;
        match self.dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => self.fs.sync_dir(parent).map_err(|source| FileError::io("sync", parent, source)),
            None => Ok(()),
        }
    }

    /// Makes everything logged so far survive a power cut.
    ///
    /// # Errors
    /// A file could not be synced: what was written since the last sync may be
    /// lost, all of it. The log goes on in a new segment, and none of these files
    /// is ever synced again.
    pub fn sync(&mut self) -> Result<(), FileError> {
        self.sync_files().inspect_err(|_| self.abandon())
    }

    /// What was written since the last sync is given up: the log goes on in a new
    /// segment.
    pub(crate) fn abandon(&mut self) {
        self.unsynced.clear();
        if self.file.take().is_some() {
            self.segment += 1;
            self.offset = 0;
            self.broken = false;
        }
    }

    /// The segments that a sync would sync now: for [`sync_segments`], which needs
    /// no writer, so that the log goes on meanwhile.
    pub(crate) fn to_sync(&self) -> Vec<u64> {
        let ended = self.unsynced.iter().map(|(segment, _)| *segment);
        ended.chain(self.file.is_some().then_some(self.segment)).collect()
    }

    /// Segments were synced. Those that ended need no sync any more.
    pub(crate) fn synced(&mut self, segments: &[u64]) {
        self.unsynced.retain(|(segment, _)| !segments.contains(segment));
    }

    fn sync_files(&mut self) -> Result<(), FileError> {
        let current = self.file.as_mut().map(|file| (self.segment, file));
        let ended = self.unsynced.iter_mut().map(|(segment, file)| (*segment, file));
        for (segment, file) in ended.chain(current) {
            file.sync().map_err(|source| FileError::io("sync", &segment_path(&self.dir, segment), source))?;
        }
        self.unsynced.clear();
        Ok(())
    }

    /// Removes all segments below a number.
    ///
    /// # Errors
    /// A file cannot be removed; lower ones are gone.
    pub fn truncate(&mut self, keep_from: u64) -> Result<(), FileError> {
        let below = keep_from.min(self.segment);
        self.unsynced.retain(|(segment, _)| *segment >= below);
        for segment in list_segments(&*self.fs, &self.dir)? {
            if segment.number < below {
                let path = segment_path(&self.dir, segment.number);
                self.fs.remove_file(&path).map_err(|source| FileError::io("remove", &path, source))?;
            }
        }
        Ok(())
    }
}

/// Makes what was written to segments so far survive a power cut. Those that are gone
/// need it no more.
///
/// # Errors
/// A file could not be synced: as for [`LogWriter::sync`], what was written since the
/// last sync may be lost, and the writer is to be told.
pub(crate) fn sync_segments(fs: &dyn Fs, dir: &Path, segments: &[u64]) -> Result<(), FileError> {
    for &segment in segments {
        let path = segment_path(dir, segment);
        // A failure that nobody was told of yet is told to whoever opens the file.
        match fs.open(&path).and_then(|mut file| file.sync()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(FileError::io("sync", &path, error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn create_segment(fs: &dyn Fs, dir: &Path, number: u64) -> Result<Box<dyn FsFile>, FileError> {
    let path = segment_path(dir, number);
    let file = fs.create(&path).map_err(|source| FileError::io("create", &path, source))?;
    fs.sync_dir(dir).map_err(|source| FileError::io("sync", dir, source))?;
    Ok(file)
}
