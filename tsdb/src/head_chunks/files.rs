//! The files of a folder: one is written, all are read through maps.
//!
//! A chunk can be read as soon as [`HeadChunkFiles::write`] answered its
//! reference: until its bytes are with the system they are read from the write
//! buffer. A map covers the file as it was when it was made; a read beyond it
//! makes a new one.

use std::collections::BTreeMap;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::env::{FsFile, Mapped};
use model::query::ChunkEncoding;
use model::{Fs, SeriesRef};
use parking_lot::{Mutex, RwLock};

use super::record::{
    FILE_HEADER_LEN, HeadChunk, HeadChunkRef, Place, check_header, file_header, put_record, read_record,
};
use crate::corruption::{Corruption, Damage, FileError};

/// How head chunk files are written.
#[derive(Clone, Copy, Debug)]
pub struct HeadChunkOptions {
    /// Bytes of a file before the next is begun.
    pub file_bytes: u64,
    /// Bytes that are gathered before they are written.
    pub buffer_bytes: usize,
}

impl Default for HeadChunkOptions {
    fn default() -> HeadChunkOptions {
        HeadChunkOptions { file_bytes: 128 * 1024 * 1024, buffer_bytes: 1024 * 1024 }
    }
}

/// All head chunk files of a folder.
pub struct HeadChunkFiles {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    options: HeadChunkOptions,
    writer: Mutex<Writer>,
    maps: RwLock<BTreeMap<u32, Arc<dyn Mapped>>>,
    repaired: Option<Corruption>,
}

#[derive(Default)]
struct Writer {
    /// The number of the newest file, 0 before there is any.
    newest: u32,
    /// The file being written; `None` until the first chunk after a start.
    open: Option<OpenFile>,
}

struct OpenFile {
    file: Box<dyn FsFile>,
    /// Bytes that are with the system.
    written: u64,
    buffer: Vec<u8>,
}

/// A chunk's bytes, wherever they are held.
pub struct ChunkData {
    /// What its record says.
    pub chunk: HeadChunk,
    held: Held,
}

enum Held {
    Mapped(Arc<dyn Mapped>, Range<usize>),
    Copied(Vec<u8>),
}

impl Deref for ChunkData {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.held {
            Held::Mapped(map, range) => &map[range.clone()],
            Held::Copied(bytes) => bytes,
        }
    }
}

fn file_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:06}"))
}

impl HeadChunkFiles {
    /// Opens the files of a folder, which is made where it is missing.
    ///
    /// The newest file is put right: if it never got a whole header it is
    /// removed, if its last record is cut it ends before that record. Other
    /// damage stays for [`HeadChunkFiles::for_each`] to report.
    ///
    /// # Errors
    /// A file cannot be read or repaired; a file is missing between others.
    pub fn open(fs: Arc<dyn Fs>, dir: &Path, options: HeadChunkOptions) -> Result<HeadChunkFiles, FileError> {
        fs.create_dir_all(dir).map_err(|source| FileError::io("create", dir, source))?;
        let mut numbers = list_files(&*fs, dir)?;
        let mut repaired = None;
        if let Some(&newest) = numbers.last() {
            let (kept, damage) = repair_newest(&*fs, dir, newest)?;
            repaired = damage;
            if !kept {
                numbers.pop();
            }
        }
        if let Some(pair) = numbers.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
            let what = Damage::Malformed("a head chunk file is missing before this one");
            return Err(FileError::corrupt(&file_path(dir, pair[1]), 0, what));
        }
        let mut maps = BTreeMap::new();
        for &number in &numbers {
            let path = file_path(dir, number);
            let map = fs.map(&path).map_err(|source| FileError::io("map", &path, source))?;
            maps.insert(number, map);
        }
        let writer = Writer { newest: numbers.last().copied().unwrap_or(0), open: None };
        Ok(HeadChunkFiles {
            fs,
            dir: dir.to_path_buf(),
            options,
            writer: Mutex::new(writer),
            maps: RwLock::new(maps),
            repaired,
        })
    }

    /// What [`HeadChunkFiles::open`] cut off the newest file, where it did: the
    /// log has it, if it was the last write before a crash.
    pub fn repaired(&self) -> Option<&Corruption> {
        self.repaired.as_ref()
    }

    /// Calls `each` for every chunk in the order of their references, with its
    /// bytes. Stops at the first damage and answers it; whoever called decides
    /// whether to [`HeadChunkFiles::remove_from`] there and rely on the log.
    pub fn for_each(&self, mut each: impl FnMut(HeadChunk, &[u8])) -> Option<Corruption> {
        let maps: Vec<(u32, Arc<dyn Mapped>)> =
            self.maps.read().iter().map(|(number, map)| (*number, map.clone())).collect();
        for (number, map) in maps {
            let corrupt = |offset: usize, what: Damage| {
                Some(Corruption { path: file_path(&self.dir, number), offset: offset as u64, what })
            };
            if let Err(damage) = check_header(&map) {
                return corrupt(0, damage);
            }
            let mut offset = FILE_HEADER_LEN;
            loop {
                match read_record(number, &map, offset) {
                    Place::Record(record) => {
                        each(record.chunk, record.data);
                        offset += record.len;
                    }
                    Place::End => break,
                    Place::Cut => {
                        let have = (map.len() - offset) as u64;
                        return corrupt(offset, Damage::Short { what: "a chunk", need: have + 1, have });
                    }
                    Place::Bad(damage) => return corrupt(offset, damage),
                }
            }
        }
        None
    }

    /// Writes a chunk and answers where it lies.
    ///
    /// # Errors
    /// The file cannot be written; the next chunk goes to a new one.
    pub fn write(
        &self,
        series: SeriesRef,
        times_ms: (i64, i64),
        encoding: ChunkEncoding,
        out_of_order: bool,
        data: &[u8],
    ) -> Result<HeadChunkRef, FileError> {
        let mut writer = self.writer.lock();
        // Header, length and checksum take 39 bytes at most.
        let need = data.len() as u64 + 39;
        if writer.open.as_ref().is_none_or(|open| open.end() + need > self.options.file_bytes) {
            self.next_file(&mut writer)?;
        }
        let number = writer.newest;
        let open = writer.open.as_mut().expect("next_file opened one");
        let offset = u32::try_from(open.end()).expect("head chunk files are shorter than 4 GiB");
        let before = open.buffer.len();
        put_record(&mut open.buffer, series, times_ms, encoding, out_of_order, data);
        if open.buffer.len() >= self.options.buffer_bytes
            && let Err(error) = self.flush_open(&mut writer)
        {
            // Those before it wait for room; this one is the caller's again.
            if let Some(open) = &mut writer.open {
                open.buffer.truncate(before);
            }
            return Err(error);
        }
        Ok(HeadChunkRef::new(number, offset))
    }

    /// Hands what was gathered to the system.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn flush(&self) -> Result<(), FileError> {
        self.flush_open(&mut self.writer.lock())
    }

    /// Makes all chunks survive a power cut.
    ///
    /// # Errors
    /// The file cannot be written or synced.
    pub fn sync(&self) -> Result<(), FileError> {
        let mut writer = self.writer.lock();
        self.flush_open(&mut writer)?;
        self.sync_open(&mut writer)
    }

    fn sync_open(&self, writer: &mut Writer) -> Result<(), FileError> {
        let path = file_path(&self.dir, writer.newest);
        match &mut writer.open {
            Some(open) => open.file.sync().map_err(|source| FileError::io("sync", &path, source)),
            None => Ok(()),
        }
    }

    fn flush_open(&self, writer: &mut Writer) -> Result<(), FileError> {
        let path = file_path(&self.dir, writer.newest);
        let Some(open) = &mut writer.open else { return Ok(()) };
        if open.buffer.is_empty() {
            return Ok(());
        }
        open.file.write_all(&open.buffer).map_err(|source| FileError::io("write", &path, source))?;
        open.written += open.buffer.len() as u64;
        open.buffer.clear();
        Ok(())
    }

    fn next_file(&self, writer: &mut Writer) -> Result<(), FileError> {
        self.flush_open(writer)?;
        self.sync_open(writer)?;
        if writer.open.is_none() && writer.newest > 0 {
            // An earlier process may have been killed before it synced this one: a
            // replay that finds the newer file passes over what the log has of both.
            let path = file_path(&self.dir, writer.newest);
            match self.fs.open(&path).and_then(|mut file| file.sync()) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(FileError::io("sync", &path, error));
                }
                _ => {}
            }
        }
        let number = writer.newest + 1;
        let path = file_path(&self.dir, number);
        let mut file = self.fs.create(&path).map_err(|source| FileError::io("create", &path, source))?;
        file.write_all(&file_header()).map_err(|source| FileError::io("write", &path, source))?;
        self.fs.sync_dir(&self.dir).map_err(|source| FileError::io("sync", &self.dir, source))?;
        writer.newest = number;
        writer.open = Some(OpenFile { file, written: FILE_HEADER_LEN as u64, buffer: Vec::new() });
        Ok(())
    }

    /// Ends the file being written: the next chunk goes to a new one.
    ///
    /// # Errors
    /// The file cannot be written or synced.
    pub fn cut(&self) -> Result<(), FileError> {
        let mut writer = self.writer.lock();
        self.flush_open(&mut writer)?;
        self.sync_open(&mut writer)?;
        writer.open = None;
        Ok(())
    }

    /// The bytes of a chunk.
    ///
    /// # Errors
    /// There is no such chunk, or it is damaged.
    pub fn read(&self, chunk: HeadChunkRef) -> Result<ChunkData, FileError> {
        let (number, offset) = (chunk.file(), chunk.offset() as usize);
        let map = self.maps.read().get(&number).cloned();
        if let Some(map) = map.filter(|map| offset < map.len())
            && let Some(data) = self.read_mapped(map, number, offset)?
        {
            return Ok(data);
        }
        if let Some(data) = self.read_buffered(number, offset) {
            return Ok(data);
        }
        let path = file_path(&self.dir, number);
        let map = self.fs.map(&path).map_err(|source| FileError::io("map", &path, source))?;
        self.maps.write().insert(number, map.clone());
        match self.read_mapped(map, number, offset)? {
            Some(data) => Ok(data),
            None => Err(FileError::corrupt(&path, offset as u64, Damage::Malformed("there is no chunk"))),
        }
    }

    /// `None` where the map ends before the record does.
    fn read_mapped(
        &self,
        map: Arc<dyn Mapped>,
        number: u32,
        offset: usize,
    ) -> Result<Option<ChunkData>, FileError> {
        let (chunk, range) = match read_record(number, &map, offset) {
            Place::Record(record) => {
                let from = offset + record.len - crate::crc::CRC_LEN - record.data.len();
                (record.chunk, from..from + record.data.len())
            }
            Place::End | Place::Cut => return Ok(None),
            Place::Bad(damage) => {
                return Err(FileError::corrupt(&file_path(&self.dir, number), offset as u64, damage));
            }
        };
        Ok(Some(ChunkData { chunk, held: Held::Mapped(map, range) }))
    }

    fn read_buffered(&self, number: u32, offset: usize) -> Option<ChunkData> {
        let writer = self.writer.lock();
        let open = writer.open.as_ref().filter(|_| writer.newest == number)?;
        let at = offset.checked_sub(usize::try_from(open.written).ok()?)?;
        match read_record(number, &open.buffer, at) {
            Place::Record(record) => {
                let chunk = HeadChunk { chunk: HeadChunkRef::new(number, offset as u32), ..record.chunk };
                Some(ChunkData { chunk, held: Held::Copied(record.data.to_vec()) })
            }
            _ => None,
        }
    }

    /// Removes all files below a number. What was read of them stays readable
    /// where it is held.
    ///
    /// # Errors
    /// A file cannot be removed; lower ones are gone.
    pub fn truncate(&self, keep_from: u32) -> Result<(), FileError> {
        let newest = self.writer.lock().newest;
        let doomed: Vec<u32> = list_files(&*self.fs, &self.dir)?
            .into_iter()
            .filter(|&number| number < keep_from && number <= newest)
            .collect();
        if doomed.contains(&newest) {
            self.cut()?;
        }
        self.remove(&doomed)
    }

    /// Removes the file that a reference or a corruption names and all behind it.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn remove_from(&self, number: u32) -> Result<(), FileError> {
        {
            let mut writer = self.writer.lock();
            writer.open = None;
            // Numbers go on behind what is kept, so that there is no gap.
            writer.newest = writer.newest.min(number.saturating_sub(1));
        }
        let doomed: Vec<u32> =
            list_files(&*self.fs, &self.dir)?.into_iter().filter(|&found| found >= number).rev().collect();
        self.remove(&doomed)
    }

    fn remove(&self, numbers: &[u32]) -> Result<(), FileError> {
        for &number in numbers {
            self.maps.write().remove(&number);
            let path = file_path(&self.dir, number);
            self.fs.remove_file(&path).map_err(|source| FileError::io("remove", &path, source))?;
        }
        Ok(())
    }

    /// The number of the newest file, 0 before there is any.
    pub fn newest_file(&self) -> u32 {
        self.writer.lock().newest
    }

    /// Bytes of all files.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn disk_bytes(&self) -> Result<u64, FileError> {
        let entries = self.fs.list(&self.dir).map_err(|source| FileError::io("list", &self.dir, source))?;
        Ok(entries.iter().filter(|entry| !entry.is_dir).map(|entry| entry.len).sum())
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.writer.lock().open.as_ref().map_or(0, |open| open.buffer.capacity())
    }
}

impl OpenFile {
    /// Where the next record starts.
    fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }
}

/// The numbers of the files, ascending.
fn list_files(fs: &dyn Fs, dir: &Path) -> Result<Vec<u32>, FileError> {
    let entries = fs.list(dir).map_err(|source| FileError::io("list", dir, source))?;
    let mut numbers: Vec<u32> = entries
        .iter()
        .filter(|entry| !entry.is_dir && entry.name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|entry| entry.name.parse().ok())
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Puts the newest file right after a crash; answers whether it is still there,
/// and what was cut off.
fn repair_newest(fs: &dyn Fs, dir: &Path, number: u32) -> Result<(bool, Option<Corruption>), FileError> {
    let path = file_path(dir, number);
    let (keep, len) = {
        let map = fs.map(&path).map_err(|source| FileError::io("map", &path, source))?;
        let unwritten = map.len() < FILE_HEADER_LEN || map[..4] == [0; 4];
        if unwritten {
            (0, map.len())
        } else if check_header(&map).is_err() {
            return Ok((true, None));
        } else {
            let mut offset = FILE_HEADER_LEN;
            loop {
                match read_record(number, &map, offset) {
                    Place::Record(record) => offset += record.len,
                    Place::Cut => break (offset, map.len()),
                    Place::End | Place::Bad(_) => return Ok((true, None)),
                }
            }
        }
        // The map ends here: a mapped file must not be cut.
    };
    if keep == 0 {
        fs.remove_file(&path).map_err(|source| FileError::io("remove", &path, source))?;
        return Ok((false, None));
    }
    let mut file = fs.open(&path).map_err(|source| FileError::io("open", &path, source))?;
    file.set_len(keep as u64).map_err(|source| FileError::io("cut", &path, source))?;
    file.sync().map_err(|source| FileError::io("sync", &path, source))?;
    let have = (len - keep) as u64;
    let what = Damage::Short { what: "the last chunk", need: have + 1, have };
    Ok((true, Some(Corruption { path, offset: keep as u64, what })))
}
