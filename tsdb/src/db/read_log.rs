//! A log read by several threads.
//!
//! ```text
//! one thread: segments ─ checksums ─ 256 KiB of records ─┬─ decompress, decode ─┐
//!                                                         └─ decompress, decode ─┴─ in order ─ apply
//! ```
//!
//! Pieces are numbered and applied in the order of the log, whoever decoded them.
//! So much is under way as there are pieces, which are used again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};

use model::StorageError;
use parking_lot::Mutex;

use super::progress::ReplayCell;
use crate::corruption::{Corruption, Damage, FileError};
use crate::head::replay::decoded::Decoded;
use crate::wal::{Compression, Decompressor, LogReader, Payload, Step, WalPosition};

/// Bytes of records, compressed, that are decoded at once.
const PIECE_BYTES: usize = 256 * 1024;

/// How records of a log are decoded.
pub(super) type Decode = fn(&[u8], &mut Vec<Decoded>) -> Result<(), Damage>;

/// What was wrong with a log.
#[derive(Default)]
pub(super) struct Wrong {
    /// Where a record is cut off by the end of a segment.
    pub(super) torn: Vec<(WalPosition, u64)>,
    /// Damaged bytes: the segment, and what is wrong.
    pub(super) damaged: Vec<(u64, String)>,
    /// Records that are whole and say nothing that can be understood: the segment,
    /// and what is wrong.
    pub(super) senseless: Vec<(u64, String)>,
}

impl Wrong {
    /// Whether no record was damaged.
    pub(super) fn is_whole(&self) -> bool {
        self.damaged.is_empty() && self.senseless.is_empty()
    }

    /// What was wrong, one text each.
    pub(super) fn faults(&self) -> impl Iterator<Item = &str> {
        self.damaged.iter().chain(&self.senseless).map(|(_, what)| what.as_str())
    }

    /// The segments with damaged bytes or senseless records.
    pub(super) fn damaged_segments(&self) -> BTreeSet<u64> {
        self.damaged.iter().chain(&self.senseless).map(|(segment, _)| *segment).collect()
    }
}

/// Records on their way, as they lie in the log.
#[derive(Default)]
struct Piece {
    number: u64,
    /// Which record is the first behind the position that is to be told of.
    mark: Option<usize>,
    bytes: Vec<u8>,
    /// Where each starts in the log and ends in `bytes`.
    records: Vec<(WalPosition, usize, Compression)>,
    torn: Vec<(WalPosition, u64)>,
    damaged: Vec<(u64, Corruption)>,
}

/// What a piece says.
struct DecodedPiece {
    decoded: Vec<Decoded>,
    faults: Vec<(WalPosition, Damage)>,
    piece: Piece,
}

/// Reads a log to its end and hands what its records say to `apply`, in order.
/// Damaged records are passed over. Before the first record that starts at `mark` or
/// behind it, [`Decoded::Mark`] is applied.
///
/// # Errors
/// A segment cannot be read, or `apply` failed.
pub(super) fn read_log(
    reader: LogReader,
    threads: usize,
    decode: Decode,
    progress: Option<&ReplayCell>,
    mark: Option<WalPosition>,
    mut apply: impl FnMut(Decoded) -> Result<(), StorageError>,
) -> Result<Wrong, StorageError> {
    let threads = threads.max(1);
    let (free_in, free) = mpsc::channel();
    for _ in 0..threads * 2 + 2 {
        // The receiver is here.
        let _ = free_in.send(Piece::default());
    }
    let (full_in, full) = mpsc::sync_channel::<Piece>(threads * 2 + 2);
    let (done_in, done) = mpsc::channel();
    let full = Mutex::new(full);
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || read(reader, mark, &free, &full_in));
        let full = &full;
        for _ in 0..threads {
            let done_in = done_in.clone();
            scope.spawn(move || decode_pieces(full, &done_in, decode));
        }
        drop(done_in);
        let mut wrong = Wrong::default();
        let result = apply_in_order(&done, free_in, progress, &mut wrong, &mut apply);
        // Lets the others end where this ended early.
        drop(done);
        let read = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        result.and(read.map_err(StorageError::from)).map(|()| wrong)
    })
}

fn read(
    mut reader: LogReader,
    mut mark: Option<WalPosition>,
    free: &Receiver<Piece>,
    full: &SyncSender<Piece>,
) -> Result<(), FileError> {
    let mut number = 0;
    // Nobody wants more once either end is gone.
    while let Ok(mut piece) = free.recv() {
        piece.number = number;
        piece.mark = None;
        let mut at_end = false;
        while piece.bytes.len() < PIECE_BYTES {
            match reader.next()? {
                Step::End => {
                    at_end = true;
                    break;
                }
                Step::Torn { at, bytes } => piece.torn.push((at, bytes)),
                Step::Damage { at, corruption } => piece.damaged.push((at.segment, corruption)),
                Step::Record(record) => {
                    if mark.take_if(|mark| record.start >= *mark).is_some() {
                        piece.mark = Some(piece.records.len());
                    }
                    piece.bytes.extend_from_slice(record.payload.bytes);
                    piece.records.push((record.start, piece.bytes.len(), record.payload.compression));
                }
            }
        }
        if full.send(piece).is_err() || at_end {
            break;
        }
        number += 1;
    }
    Ok(())
}

fn decode_pieces(full: &Mutex<Receiver<Piece>>, done: &Sender<DecodedPiece>, decode: Decode) {
    let mut decompressor = Decompressor::new();
    loop {
        let next = full.lock().recv();
        let Ok(piece) = next else { return };
        let mut decoded = Vec::new();
        let mut faults = Vec::new();
        let mut from = 0;
        for (n, &(start, end, compression)) in piece.records.iter().enumerate() {
            if piece.mark == Some(n) {
                decoded.push(Decoded::Mark);
            }
            let payload = Payload { compression, bytes: &piece.bytes[from..end] };
            from = end;
            let result = decompressor.decompress(payload).and_then(|bytes| decode(bytes, &mut decoded));
            faults.extend(result.err().map(|damage| (start, damage)));
        }
        if done.send(DecodedPiece { decoded, faults, piece }).is_err() {
            return;
        }
    }
}

fn apply_in_order(
    done: &Receiver<DecodedPiece>,
    free: Sender<Piece>,
    progress: Option<&ReplayCell>,
    wrong: &mut Wrong,
    apply: &mut impl FnMut(Decoded) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let mut early: BTreeMap<u64, DecodedPiece> = BTreeMap::new();
    let mut next = 0;
    for piece in done {
        early.insert(piece.piece.number, piece);
        while let Some(DecodedPiece { decoded, faults, mut piece }) = early.remove(&next) {
            next += 1;
            for decoded in decoded {
                apply(decoded)?;
            }
            if let (Some(progress), Some((at, ..))) = (progress, piece.records.last()) {
                progress.reach(at.segment);
            }
            wrong.torn.append(&mut piece.torn);
            wrong.damaged.extend(piece.damaged.drain(..).map(|(segment, what)| (segment, what.to_string())));
            wrong.senseless.extend(faults.into_iter().map(|(start, damage)| {
                let what = format!("segment {}, offset {}: {damage}", start.segment, start.offset);
                (start.segment, what)
            }));
            piece.bytes.clear();
            piece.records.clear();
            // The reader is gone at the end.
            let _ = free.send(piece);
        }
    }
    Ok(())
}
