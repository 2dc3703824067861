//! Reads records back out of segments.
//!
//! The reader goes segment by segment through a window of whole pages, checks
//! every fragment's checksum, and puts records together; decompression is left
//! to the caller, who may do it on other threads.
//!
//! Three ends are told apart: the log's end; a **torn** record, which the file's
//! end cuts off (the last write before a crash); and **damage**, after which a
//! salvaging reader goes on at the next page with the next record that starts
//! there, while a strict one stops.

use std::path::PathBuf;
use std::sync::Arc;

use model::Fs;
use model::env::FsFile;

use super::WalPosition;
use super::compression::{Compression, Payload};
use super::segment::{CRC_AT, FRAGMENT_HEADER_LEN, LENGTH_AT, PAGE_BYTES, TYPE_MASK, fragment, segment_path};
use crate::corruption::{Corruption, Damage, FileError};
use crate::crc::crc32c;

/// Pages that are read at once.
const WINDOW_PAGES: usize = 32;
const WINDOW_BYTES: usize = WINDOW_PAGES * PAGE_BYTES;

/// What the reader does after damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMode {
    /// It stops, as upstream does.
    Strict,
    /// It goes on at the next page.
    Salvage,
}

/// A record as it lies in the log.
#[derive(Clone, Copy, Debug)]
pub struct RawRecord<'a> {
    /// Where its first fragment starts.
    pub start: WalPosition,
    /// Just behind its last fragment.
    pub end: WalPosition,
    /// Its bytes, maybe compressed.
    pub payload: Payload<'a>,
}

/// What the reader came upon.
#[derive(Debug)]
pub enum Step<'a> {
    /// A record.
    Record(RawRecord<'a>),
    /// The file ends inside a record that starts here.
    Torn {
        /// Where it starts.
        at: WalPosition,
        /// Bytes from there to the file's end.
        bytes: u64,
    },
    /// Damaged bytes. In strict mode nothing follows.
    Damage {
        /// Where the record starts that is lost: cutting the segment here leaves
        /// a good one.
        at: WalPosition,
        /// The damage itself.
        corruption: Corruption,
    },
    /// There is nothing more.
    End,
}

/// What one fragment turned out to be.
enum Piece {
    Fragment {
        kind: u8,
        compression: Compression,
        start: u64,
        end: u64,
    },
    /// The end of the file, between fragments.
    End,
    /// The file ends inside a fragment that starts there.
    Cut(u64),
    Bad(u64, Damage),
}

/// Reads a run of segments in order.
pub struct LogReader {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    mode: ReadMode,
    /// Segments to be read, the next one last.
    waiting: Vec<u64>,
    open: Option<OpenSegment>,
    record: Vec<u8>,
    /// Of the record put together last: start, end, compression.
    found: (WalPosition, WalPosition, Compression),
    stopped: bool,
}

/// [`Step`] without the record's bytes.
pub(super) enum Found {
    Record,
    Torn { at: WalPosition, bytes: u64 },
    Damage { at: WalPosition, corruption: Corruption },
    End,
}

struct OpenSegment {
    number: u64,
    file: Box<dyn FsFile>,
    len: u64,
    /// Bytes of the file from `window_at` on; starts at a page.
    window: Vec<u8>,
    window_at: u64,
    /// Where the next fragment starts.
    offset: u64,
}

impl LogReader {
    /// Reads the segments with these numbers, in the order given.
    pub fn new(
        fs: Arc<dyn Fs>,
        dir: impl Into<PathBuf>,
        segments: impl IntoIterator<Item = u64>,
        mode: ReadMode,
    ) -> LogReader {
        let mut waiting: Vec<u64> = segments.into_iter().collect();
        waiting.reverse();
        LogReader {
            fs,
            dir: dir.into(),
            mode,
            waiting,
            open: None,
            record: Vec::new(),
            found: Default::default(),
            stopped: false,
        }
    }

    /// Starts in the middle of the first segment instead of at its start: just
    /// behind a record.
    ///
    /// # Errors
    /// The segment cannot be opened.
    pub fn seek(&mut self, offset: u64) -> Result<(), FileError> {
        if self.open.is_none() {
            self.open_next()?;
        }
        if let Some(segment) = &mut self.open {
            segment.offset = offset;
        }
        Ok(())
    }

    /// The segment being read, and where the next record starts.
    pub fn position(&self) -> Option<WalPosition> {
        self.open.as_ref().map(|segment| segment.at(segment.offset))
    }

    fn open_next(&mut self) -> Result<bool, FileError> {
        let Some(number) = self.waiting.pop() else { return Ok(false) };
        let path = segment_path(&self.dir, number);
        let file = self.fs.open(&path).map_err(|source| FileError::io("open", &path, source))?;
        let len = file.len().map_err(|source| FileError::io("read size of", &path, source))?;
        // The window's memory outlives the segment.
        let window = self.open.take().map(|old| old.window).unwrap_or_default();
        self.open = Some(OpenSegment { number, file, len, window, window_at: u64::MAX, offset: 0 });
        Ok(true)
    }

    /// The next record, or why there is none.
    ///
    /// # Errors
    /// A segment cannot be read.
    #[expect(clippy::should_implement_trait, reason = "a step borrows the reader")]
    pub fn next(&mut self) -> Result<Step<'_>, FileError> {
        Ok(match self.advance()? {
            Found::Record => Step::Record(self.record()),
            Found::Torn { at, bytes } => Step::Torn { at, bytes },
            Found::Damage { at, corruption } => Step::Damage { at, corruption },
            Found::End => Step::End,
        })
    }

    /// The record that was put together last.
    pub(super) fn record(&self) -> RawRecord<'_> {
        let (start, end, compression) = self.found;
        RawRecord { start, end, payload: Payload { compression, bytes: &self.record } }
    }

    pub(super) fn advance(&mut self) -> Result<Found, FileError> {
        if self.stopped || (self.open.is_none() && !self.open_next()?) {
            return Ok(Found::End);
        }
        self.record.clear();
        let mut start = None;
        let mut compression = Compression::None;
        loop {
            let Some(segment) = &mut self.open else { return Ok(Found::End) };
            let (dir, number) = (&self.dir, segment.number);
            let piece = segment
                .next_piece(&mut self.record)
                .map_err(|source| FileError::io("read", &segment_path(dir, number), source))?;
            let (at, damage) = match piece {
                Piece::End => match start {
                    Some(start) => {
                        let bytes = segment.len - start;
                        return Ok(self.torn(start, bytes));
                    }
                    None if self.open_next()? => continue,
                    None => {
                        self.stopped = true;
                        return Ok(Found::End);
                    }
                },
                Piece::Cut(at) => {
                    let start = start.unwrap_or(at);
                    let bytes = segment.len - start;
                    return Ok(self.torn(start, bytes));
                }
                Piece::Bad(at, damage) => (at, damage),
                Piece::Fragment { kind, compression: method, start: at, end } => {
                    let fits = match (kind, start) {
                        (fragment::FULL | fragment::FIRST, None) => true,
                        (fragment::MIDDLE | fragment::LAST, Some(_)) => method == compression,
                        _ => false,
                    };
                    if fits {
                        let begun = *start.get_or_insert(at);
                        compression = method;
                        if matches!(kind, fragment::FULL | fragment::LAST) {
                            self.found = (segment.at(begun), segment.at(end), compression);
                            return Ok(Found::Record);
                        }
                        continue;
                    }
                    (at, Damage::Malformed("a fragment out of order"))
                }
            };
            let corruption = Corruption { path: segment_path(dir, number), offset: at, what: damage };
            let lost = segment.at(start.unwrap_or(at));
            match self.mode {
                ReadMode::Strict => self.stopped = true,
                ReadMode::Salvage => segment
                    .resynchronise(at)
                    .map_err(|source| FileError::io("read", &corruption.path, source))?,
            }
            return Ok(Found::Damage { at: lost, corruption });
        }
    }

    /// The rest of a segment is a cut record: what follows is in the next one.
    fn torn(&mut self, start: u64, bytes: u64) -> Found {
        let number = self.open.as_ref().map_or(0, |segment| segment.number);
        if let Some(segment) = &mut self.open {
            segment.offset = segment.len;
        }
        Found::Torn { at: WalPosition { segment: number, offset: start }, bytes }
    }

    /// Goes back to a place in the open segment and looks at its length anew:
    /// the writer may have gone on. Answers whether it has.
    pub(super) fn look_again(&mut self, offset: u64) -> Result<bool, FileError> {
        self.stopped = false;
        let Some(segment) = &mut self.open else { return Ok(false) };
        let path = segment_path(&self.dir, segment.number);
        let len = segment.file.len().map_err(|source| FileError::io("read size of", &path, source))?;
        let grew = len > segment.len;
        segment.len = len;
        segment.offset = offset;
        segment.window_at = u64::MAX;
        Ok(grew)
    }

    /// Adds a segment behind all others.
    pub(super) fn push_segment(&mut self, number: u64) {
        self.waiting.insert(0, number);
        self.stopped = false;
    }
}

impl OpenSegment {
    fn at(&self, offset: u64) -> WalPosition {
        WalPosition { segment: self.number, offset }
    }

    /// The bytes of the page from `offset` to the page's or the file's end.
    fn page(&mut self, offset: u64) -> std::io::Result<&[u8]> {
        let page_at = offset - offset % PAGE_BYTES as u64;
        if self.window_at == u64::MAX
            || page_at < self.window_at
            || page_at >= self.window_at + self.window.len() as u64
        {
            let len = (self.len - page_at).min(WINDOW_BYTES as u64) as usize;
            self.window.resize(len, 0);
            self.window_at = u64::MAX;
            self.file.read_exact_at(&mut self.window, page_at)?;
            self.window_at = page_at;
        }
        let from = (offset - self.window_at) as usize;
        let until = ((page_at - self.window_at) as usize + PAGE_BYTES).min(self.window.len());
        Ok(&self.window[from..until])
    }

    /// Reads the next fragment and appends its data to `record`.
    fn next_piece(&mut self, record: &mut Vec<u8>) -> std::io::Result<Piece> {
        loop {
            let start = self.offset;
            if start >= self.len {
                return Ok(Piece::End);
            }
            let at_end = |bytes: &[u8], len: u64| start + bytes.len() as u64 == len;
            let len = self.len;
            let bytes = self.page(start)?;
            let kind = bytes[0] & TYPE_MASK;
            if kind == fragment::PAGE_END {
                if let Some(at) = bytes.iter().position(|&byte| byte != 0) {
                    let damage = Damage::Malformed("unexpected non-zero byte in padded page");
                    return Ok(Piece::Bad(start + at as u64, damage));
                }
                self.offset = start + bytes.len() as u64;
                continue;
            }
            if kind > fragment::LAST {
                let (found, limit) = (u64::from(kind), u64::from(fragment::LAST));
                return Ok(Piece::Bad(start, Damage::OutOfRange { what: "fragment type", found, limit }));
            }
            let Some((header, rest)) = bytes.split_first_chunk::<FRAGMENT_HEADER_LEN>() else {
                return Ok(
                    if at_end(bytes, len) && !(start + bytes.len() as u64).is_multiple_of(PAGE_BYTES as u64) {
                        Piece::Cut(start)
                    } else {
                        let (need, have) = (FRAGMENT_HEADER_LEN as u64, bytes.len() as u64);
                        Piece::Bad(start, Damage::Short { what: "a fragment header", need, have })
                    },
                );
            };
            let data_len = usize::from(u16::from_be_bytes([header[LENGTH_AT], header[LENGTH_AT + 1]]));
            let stored = u32::from_be_bytes([
                header[CRC_AT],
                header[CRC_AT + 1],
                header[CRC_AT + 2],
                header[CRC_AT + 3],
            ]);
            let page_left = PAGE_BYTES - (start % PAGE_BYTES as u64) as usize - FRAGMENT_HEADER_LEN;
            if data_len > page_left {
                let (found, limit) = (data_len as u64, page_left as u64);
                return Ok(Piece::Bad(start, Damage::OutOfRange { what: "fragment length", found, limit }));
            }
            let Some(data) = rest.get(..data_len) else { return Ok(Piece::Cut(start)) };
            let computed = crc32c(data);
            if computed != stored {
                return Ok(Piece::Bad(start, Damage::Checksum { stored, computed }));
            }
            record.extend_from_slice(data);
            let end = start + (FRAGMENT_HEADER_LEN + data_len) as u64;
            let compression = Compression::of_type_byte(header[0]);
            self.offset = end;
            return Ok(Piece::Fragment { kind, compression, start, end });
        }
    }

    /// Where the fragment at `offset` ends if its length is right, which its data
    /// is not: most damage is in the data.
    fn believed_end(&mut self, offset: u64) -> std::io::Result<Option<u64>> {
        let page_left = PAGE_BYTES - (offset % PAGE_BYTES as u64) as usize;
        let bytes = self.page(offset)?;
        let Some((header, _)) = bytes.split_first_chunk::<FRAGMENT_HEADER_LEN>() else { return Ok(None) };
        let kind = header[0] & TYPE_MASK;
        let len = usize::from(u16::from_be_bytes([header[LENGTH_AT], header[LENGTH_AT + 1]]));
        let end = FRAGMENT_HEADER_LEN + len;
        Ok((kind != fragment::PAGE_END && kind <= fragment::LAST && end < page_left)
            .then(|| offset + end as u64))
    }

    /// What starts at `offset`; the place to read on stays.
    fn peek(&mut self, offset: u64, scratch: &mut Vec<u8>) -> std::io::Result<Piece> {
        let before = std::mem::replace(&mut self.offset, offset);
        let piece = self.next_piece(scratch);
        self.offset = before;
        piece
    }

    /// After damage at `bad`: goes to the next place where a record may start.
    /// That is behind the fragment, if its length can be believed, as another
    /// whole one follows there; else the next page. A fragment that is whole and
    /// merely out of order may start a record itself, or be followed by one.
    fn resynchronise(&mut self, bad: u64) -> std::io::Result<()> {
        let next_page = |offset: u64| (offset / PAGE_BYTES as u64 + 1) * PAGE_BYTES as u64;
        let mut scratch = Vec::new();
        self.offset = bad;
        match self.next_piece(&mut scratch)? {
            Piece::Fragment { kind: fragment::FULL | fragment::FIRST, start, .. } if start == bad => {
                self.offset = bad;
                return Ok(());
            }
            Piece::Fragment { .. } => {}
            _ => {
                scratch.clear();
                match self.believed_end(bad)? {
                    Some(end) if matches!(self.peek(end, &mut scratch)?, Piece::Fragment { .. }) => {
                        self.offset = end;
                    }
                    _ => self.offset = next_page(bad),
                }
                scratch.clear();
            }
        }
        // Pass over the rest of records whose start is lost.
        loop {
            let at = self.offset;
            match self.next_piece(&mut scratch)? {
                Piece::Fragment { kind: fragment::FULL | fragment::FIRST, start, .. } => {
                    self.offset = start;
                    return Ok(());
                }
                Piece::Fragment { .. } => scratch.clear(),
                Piece::End | Piece::Cut(_) => {
                    self.offset = at;
                    return Ok(());
                }
                Piece::Bad(at, _) => {
                    self.offset = at;
                    return Ok(());
                }
            }
        }
    }
}
