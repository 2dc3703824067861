//! A disk in memory with two copies of everything: what programs see (*live*)
//! and what a power cut leaves (*durable*). It can stop at the N-th change, tear
//! that change, or answer it with an error.
//!
//! ```text
//! write   → live                     sync(file)    live bytes   → durable bytes
//! rename  → live names               sync_dir(dir) live names   → durable names
//! kill    : the next program sees live
//! power cut: the next program sees durable, and any part of what was not synced
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Fs;
use model::env::{DirEntry, FsFile, Mapped};
use parking_lot::Mutex;

use crate::Rng;

/// What happens at the chosen change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The program stops before it: this and all later changes fail.
    Stop,
    /// As `Stop`, but half of the bytes of a write are written.
    StopTorn,
    /// The change fails once with an I/O error; half of a write's bytes are
    /// written. After a failed sync no later one makes the file's bytes so far
    /// durable, though it says so: as systems do that drop what they could not
    /// write.
    IoError,
    /// From here on there is no room for more bytes, until [`SimDisk::free`].
    Full,
}

/// What a power cut leaves of bytes and names that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// Nothing.
    Lost,
    /// All.
    Kept,
    /// Each file and name by chance, files cut anywhere; the seed decides.
    Mixed(u64),
}

/// The disk. Clones are the same disk.
#[derive(Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Dir,
    File(usize),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    live: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    /// A sync failed: no later one makes anything durable.
    forsaken: bool,
}

#[derive(Clone, Default)]
struct State {
    inodes: Vec<Inode>,
    live: BTreeMap<PathBuf, Entry>,
    durable: BTreeMap<PathBuf, Entry>,
    locks: Vec<PathBuf>,
    changes: u64,
    fault: Option<(u64, Fault)>,
    stopped: bool,
    full: bool,
    recording: Option<Recording>,
}

/// Images of the disk taken while a program runs.
#[derive(Clone)]
struct Recording {
    every: u64,
    images: Vec<Image>,
}

/// The disk as it was at one moment of a program's life: a place to stop.
#[derive(Clone)]
pub struct Image {
    /// Which change was next, or under way.
    pub change: u64,
    /// Bytes of the write under way that were written; `None` between changes.
    pub torn: Option<usize>,
    /// The disk.
    pub disk: SimDisk,
}

/// Sectors and pages, whose writes may be cut apart and reordered.
const SECTOR_BYTES: usize = 512;
const PAGE_BYTES: usize = 4096;

/// What to do with a change.
enum Verdict {
    Go,
    /// Apply half of a write, then fail.
    Half(io::Error),
    Fail(io::Error),
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{}: no such file", path.display()))
}

fn stopped() -> io::Error {
    io::Error::other("the simulated machine has stopped")
}

impl State {
    /// Counts a change and says what becomes of it. `grows`: it needs room.
    fn change(&mut self, grows: bool) -> Verdict {
        if self.stopped {
            return Verdict::Fail(stopped());
        }
        if self.is_image_due() {
            self.take_image(None, |_| {});
        }
        let number = self.changes;
        self.changes += 1;
        if let Some((at, fault)) = self.fault
            && at == number
        {
            match fault {
                Fault::Stop => {
                    self.stopped = true;
                    return Verdict::Fail(stopped());
                }
                Fault::StopTorn => {
                    self.stopped = true;
                    return Verdict::Half(stopped());
                }
                Fault::IoError => return Verdict::Half(io::Error::other("simulated I/O error")),
                Fault::Full => self.full = true,
            }
        }
        match self.full && grows {
            true => Verdict::Half(io::Error::from(io::ErrorKind::StorageFull)),
            false => Verdict::Go,
        }
    }

    /// Whether an image is due before the change that comes.
    fn is_image_due(&self) -> bool {
        !self.stopped && self.recording.as_ref().is_some_and(|r| self.changes.is_multiple_of(r.every))
    }

    fn take_image(&mut self, torn: Option<usize>, change: impl FnOnce(&mut State)) {
        let Some(mut recording) = self.recording.take() else { return };
        let mut copy = self.clone();
        copy.locks.clear();
        change(&mut copy);
        recording.images.push(Image {
            change: self.changes,
            torn,
            disk: SimDisk { state: Arc::new(Mutex::new(copy)) },
        });
        self.recording = Some(recording);
    }

    fn put(&mut self, inode: usize, bytes: &[u8], at: usize) {
        let live = Arc::make_mut(&mut self.inodes[inode].live);
        if live.len() < at + bytes.len() {
            live.resize(at + bytes.len(), 0);
        }
        live[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Images of a write cut inside a sector, between sectors and between pages.
    fn take_torn_images(&mut self, inode: usize, bytes: &[u8], at: usize) {
        let mut cuts: Vec<usize> = [SECTOR_BYTES, PAGE_BYTES]
            .iter()
            .filter_map(|unit| (at + bytes.len() - 1).checked_next_multiple_of(*unit))
            .flat_map(|end| [SECTOR_BYTES, PAGE_BYTES].map(|unit| end.saturating_sub(unit)))
            .filter(|end| *end > at && *end < at + bytes.len())
            .map(|end| end - at)
            .chain([bytes.len() / 2, bytes.len() - 1])
            .filter(|cut| *cut > 0)
            .collect();
        cuts.sort_unstable();
        cuts.dedup();
        for cut in cuts {
            self.take_image(Some(cut), |copy| copy.put(inode, &bytes[..cut], at));
        }
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.live.get(path) {
            Some(Entry::File(inode)) => Ok(*inode),
            Some(Entry::Dir) => Err(io::Error::new(io::ErrorKind::IsADirectory, path.display().to_string())),
            None => Err(not_found(path)),
        }
    }

    /// Names between the durable and the live ones. A rename that was not synced is
    /// done or not, as a whole; anything else that was made or removed by chance.
    fn mixed_names(&self, rng: &mut Rng) -> BTreeMap<PathBuf, Entry> {
        let now: BTreeMap<usize, &Path> = self
            .live
            .iter()
            .filter_map(|(path, entry)| match entry {
                Entry::File(inode) => Some((*inode, path.as_path())),
                Entry::Dir => None,
            })
            .collect();
        let mut renames: BTreeMap<(PathBuf, PathBuf), bool> = BTreeMap::new();
        for (old, entry) in &self.durable {
            if let Entry::File(inode) = entry
                && !self.live.contains_key(old)
                && let Some(new) = now.get(inode)
            {
                renames.entry(renamed(old, new)).or_insert_with(|| rng.one_in(2));
            }
        }
        let done = |path: &Path, is_old: bool| {
            renames
                .iter()
                .find(|((old, new), _)| path.starts_with(if is_old { old } else { new }))
                .map(|(_, done)| *done)
        };
        let mut names = self.durable.clone();
        for (path, entry) in &self.live {
            if self.durable.get(path) != Some(entry) && done(path, false).unwrap_or_else(|| rng.one_in(2)) {
                names.insert(path.clone(), *entry);
            }
        }
        for path in self.durable.keys() {
            if !self.live.contains_key(path) && done(path, true).unwrap_or_else(|| rng.one_in(2)) {
                names.remove(path);
            }
        }
        names
    }

    fn readable(&self) -> io::Result<()> {
        if self.stopped { Err(stopped()) } else { Ok(()) }
    }
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    /// Lets the fault happen at change number `at`, counted from the disk's start.
    pub fn fail_at(&self, at: u64, fault: Fault) {
        self.state.lock().fault = Some((at, fault));
    }

    /// How many changes there were.
    pub fn changes(&self) -> u64 {
        self.state.lock().changes
    }

    /// Takes an image before every `every`-th change from now on, and some of
    /// its write cut short.
    pub fn record_images(&self, every: u64) {
        self.state.lock().recording = Some(Recording { every: every.max(1), images: Vec::new() });
    }

    /// The images since the last call.
    pub fn take_images(&self) -> Vec<Image> {
        let mut state = self.state.lock();
        state.recording.as_mut().map(|recording| std::mem::take(&mut recording.images)).unwrap_or_default()
    }

    /// Whether the program was stopped.
    pub fn is_stopped(&self) -> bool {
        self.state.lock().stopped
    }

    /// There is room again.
    pub fn free(&self) {
        let mut state = self.state.lock();
        state.full = false;
        state.fault = None;
    }

    /// The disk as the next program sees it after a kill: all that was written.
    pub fn after_kill(&self) -> SimDisk {
        let state = self.state.lock();
        SimDisk::from_entries(&state.live, |inode| state.inodes[inode].live.clone())
    }

    /// The disk as the next program sees it after a power cut.
    pub fn after_power_cut(&self, unsynced: Unsynced) -> SimDisk {
        let state = self.state.lock();
        match unsynced {
            Unsynced::Kept => SimDisk::from_entries(&state.live, |inode| state.inodes[inode].live.clone()),
            Unsynced::Lost => {
                let mut names = state.durable.clone();
                keep_reachable(&mut names);
                SimDisk::from_entries(&names, |inode| state.inodes[inode].durable.clone())
            }
            Unsynced::Mixed(seed) => {
                let mut rng = Rng::new(seed);
                let mut names = state.mixed_names(&mut rng);
                keep_reachable(&mut names);
                SimDisk::from_entries(&names, |inode| mixed(&state.inodes[inode], &mut rng))
            }
        }
    }

    fn from_entries(
        entries: &BTreeMap<PathBuf, Entry>,
        mut bytes: impl FnMut(usize) -> Arc<Vec<u8>>,
    ) -> SimDisk {
        let mut state = State::default();
        let mut numbers = BTreeMap::new();
        for (path, entry) in entries {
            let entry = match entry {
                Entry::Dir => Entry::Dir,
                Entry::File(inode) => Entry::File(*numbers.entry(*inode).or_insert_with(|| {
                    let bytes = bytes(*inode);
                    state.inodes.push(Inode { live: bytes.clone(), durable: bytes, forsaken: false });
                    state.inodes.len() - 1
                })),
            };
            state.live.insert(path.clone(), entry);
        }
        state.durable = state.live.clone();
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// Every file's path, for tests that damage one.
    pub fn files(&self) -> Vec<PathBuf> {
        let state = self.state.lock();
        state
            .live
            .iter()
            .filter(|(_, entry)| matches!(entry, Entry::File(_)))
            .map(|(path, _)| path.clone())
            .collect()
    }

    /// Changes a file's bytes behind the program's back, durable ones included.
    ///
    /// # Panics
    /// There is no such file: a fault of the test.
    pub fn damage(&self, path: &Path, damage: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state.lock();
        let inode = state.file(path).expect("a test damages files that exist");
        let mut bytes = (*state.inodes[inode].live).clone();
        damage(&mut bytes);
        let bytes = Arc::new(bytes);
        state.inodes[inode] = Inode { live: bytes.clone(), durable: bytes, forsaken: false };
    }
}

/// The file or folder whose rename made one path of another.
fn renamed(old: &Path, new: &Path) -> (PathBuf, PathBuf) {
    let (mut old, mut new) = (old, new);
    while old.file_name() == new.file_name() {
        let (Some(old_dir), Some(new_dir)) = (old.parent(), new.parent()) else { break };
        (old, new) = (old_dir, new_dir);
    }
    (old.to_path_buf(), new.to_path_buf())
}

/// Drops names without the folders above them: they cannot be reached.
fn keep_reachable(names: &mut BTreeMap<PathBuf, Entry>) {
    let all = names.clone();
    names.retain(|path, _| {
        path.ancestors().skip(1).all(|dir| {
            dir.as_os_str().is_empty() || dir == Path::new("/") || matches!(all.get(dir), Some(Entry::Dir))
        })
    });
}

/// Bytes between the durable and the live copy: cut anywhere behind what they
/// share, or written page by page, sector by sector, in any order.
fn mixed(inode: &Inode, rng: &mut Rng) -> Arc<Vec<u8>> {
    if inode.live == inode.durable || rng.one_in(4) {
        return inode.durable.clone();
    }
    if rng.one_in(3) {
        return reordered(inode, rng);
    }
    let same = inode.live.iter().zip(inode.durable.iter()).take_while(|(a, b)| a == b).count();
    let open = (inode.live.len() - same) as u64;
    let keep = same + usize::try_from(rng.below(open + 1)).unwrap_or(0);
    let mut bytes = inode.live[..keep].to_vec();
    if rng.one_in(3) {
        // The length was extended, the bytes were not written.
        bytes.resize(inode.live.len(), 0);
    }
    Arc::new(bytes)
}

/// Some units of the live copy are written, some are not.
fn reordered(inode: &Inode, rng: &mut Rng) -> Arc<Vec<u8>> {
    let unit = if rng.one_in(2) { SECTOR_BYTES } else { PAGE_BYTES };
    let mut bytes = (*inode.durable).clone();
    bytes.resize(inode.live.len(), 0);
    for (new, old) in inode.live.chunks(unit).zip(bytes.chunks_mut(unit)) {
        if rng.one_in(2) {
            old.copy_from_slice(new);
        }
    }
    Arc::new(bytes)
}

/// An open file of a [`SimDisk`].
struct SimFile {
    disk: SimDisk,
    inode: usize,
    /// Where the next write goes: it moves only with success, so that what a failed
    /// write left is overwritten.
    end: usize,
}

impl SimFile {
    fn write(&mut self, bytes: &[u8], at: usize) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        if !bytes.is_empty() && state.is_image_due() {
            state.take_torn_images(self.inode, bytes, at);
        }
        let verdict = state.change(true);
        let (write, outcome) = match verdict {
            Verdict::Go => (bytes, Ok(())),
            Verdict::Half(error) => (&bytes[..bytes.len() / 2], Err(error)),
            Verdict::Fail(error) => return Err(error),
        };
        state.put(self.inode, write, at);
        drop(state);
        if outcome.is_ok() {
            self.end = self.end.max(at + bytes.len());
        }
        outcome
    }
}

impl FsFile for SimFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(bytes, self.end)
    }

    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write(bytes, usize::try_from(offset).unwrap_or(usize::MAX))
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.disk.state.lock();
        state.readable()?;
        let live = &state.inodes[self.inode].live;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = start.checked_add(buffer.len()).and_then(|end| live.get(start..end));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        match state.change(false) {
            Verdict::Go => {
                let inode = &mut state.inodes[self.inode];
                if !inode.forsaken {
                    inode.durable = inode.live.clone();
                }
                Ok(())
            }
            Verdict::Half(error) | Verdict::Fail(error) => {
                state.inodes[self.inode].forsaken = true;
                Err(error)
            }
        }
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        match state.change(false) {
            Verdict::Go => {
                let len = usize::try_from(len).unwrap_or(usize::MAX);
                Arc::make_mut(&mut state.inodes[self.inode].live).resize(len, 0);
                drop(state);
                self.end = len;
                Ok(())
            }
            Verdict::Half(error) | Verdict::Fail(error) => Err(error),
        }
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.state.lock();
        state.readable()?;
        Ok(state.inodes[self.inode].live.len() as u64)
    }
}

struct SimLock {
    disk: SimDisk,
    path: PathBuf,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state.lock().locks.retain(|held| *held != self.path);
    }
}

struct Bytes(Arc<Vec<u8>>);

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl SimDisk {
    /// A change of names; `change` is not called where it fails.
    fn rename_like(&self, grows: bool, change: impl FnOnce(&mut State) -> io::Result<()>) -> io::Result<()> {
        let mut state = self.state.lock();
        match state.change(grows) {
            Verdict::Go => change(&mut state),
            Verdict::Half(error) | Verdict::Fail(error) => Err(error),
        }
    }

    fn open_inode(&self, inode: usize) -> Box<dyn FsFile> {
        let end = self.state.lock().inodes[inode].live.len();
        Box::new(SimFile { disk: self.clone(), inode, end })
    }
}

impl Fs for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        let mut made = 0;
        self.rename_like(true, |state| {
            if let Some(dir) = path.parent()
                && !dir.as_os_str().is_empty()
                && dir != Path::new("/")
                && !matches!(state.live.get(dir), Some(Entry::Dir))
            {
                return Err(not_found(dir));
            }
            made = match state.live.get(path) {
                Some(Entry::File(inode)) => {
                    state.inodes[*inode].live = Arc::default();
                    *inode
                }
                _ => {
                    state.inodes.push(Inode::default());
                    state.inodes.len() - 1
                }
            };
            state.live.insert(path.to_path_buf(), Entry::File(made));
            Ok(())
        })?;
        Ok(self.open_inode(made))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        let state = self.state.lock();
        state.readable()?;
        let inode = state.file(path)?;
        drop(state);
        Ok(self.open_inode(inode))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state.lock();
        state.readable()?;
        Ok((*state.inodes[state.file(path)?].live).clone())
    }

    fn map(&self, path: &Path) -> io::Result<Arc<dyn Mapped>> {
        let state = self.state.lock();
        state.readable()?;
        Ok(Arc::new(Bytes(state.inodes[state.file(path)?].live.clone())))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let state = self.state.lock();
        state.readable()?;
        if !matches!(state.live.get(dir), Some(Entry::Dir)) {
            return Err(not_found(dir));
        }
        let inside = state.live.iter().filter(|(path, _)| path.parent() == Some(dir));
        Ok(inside
            .map(|(path, entry)| DirEntry {
                name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                is_dir: *entry == Entry::Dir,
                len: match entry {
                    Entry::Dir => 0,
                    Entry::File(inode) => state.inodes[*inode].live.len() as u64,
                },
            })
            .collect())
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        if matches!(self.state.lock().live.get(dir), Some(Entry::Dir)) {
            return Ok(());
        }
        self.rename_like(true, |state| {
            for dir in dir.ancestors().filter(|dir| !dir.as_os_str().is_empty() && *dir != Path::new("/")) {
                state.live.entry(dir.to_path_buf()).or_insert(Entry::Dir);
            }
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.rename_like(false, |state| {
            if !state.live.contains_key(from) {
                return Err(not_found(from));
            }
            let moved: Vec<(PathBuf, Entry)> = state
                .live
                .iter()
                .filter(|(path, _)| path.starts_with(from))
                .map(|(p, e)| (p.clone(), *e))
                .collect();
            for (path, entry) in moved {
                state.live.remove(&path);
                let rest = path.strip_prefix(from).unwrap_or(Path::new(""));
                let path = if rest.as_os_str().is_empty() { to.to_path_buf() } else { to.join(rest) };
                state.live.insert(path, entry);
            }
            Ok(())
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.rename_like(false, |state| {
            state.file(path)?;
            state.live.remove(path);
            Ok(())
        })
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.rename_like(false, |state| {
            if !state.live.contains_key(dir) {
                return Err(not_found(dir));
            }
            state.live.retain(|path, _| !path.starts_with(dir));
            Ok(())
        })
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.rename_like(true, |state| {
            let inode = state.file(from)?;
            state.live.insert(to.to_path_buf(), Entry::File(inode));
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.rename_like(false, |state| {
            if let Some(Entry::Dir) = state.live.get(dir) {
                state.durable.insert(dir.to_path_buf(), Entry::Dir);
            }
            let inside = |path: &Path| path.parent() == Some(dir);
            let before: Vec<Entry> = state.durable.values().copied().collect();
            let gone: Vec<PathBuf> =
                state.durable.keys().filter(|p| inside(p) && !state.live.contains_key(*p)).cloned().collect();
            for path in gone {
                state.durable.retain(|have, _| !have.starts_with(&path));
            }
            let now: Vec<(PathBuf, Entry)> =
                state.live.iter().filter(|(p, _)| inside(p)).map(|(p, e)| (p.clone(), *e)).collect();
            for (path, entry) in now {
                // A renamed folder brings along what was durable in it.
                if entry == Entry::Dir && !state.durable.contains_key(&path) {
                    let below: Vec<(PathBuf, Entry)> = state
                        .live
                        .iter()
                        .filter(|(p, _)| p.starts_with(&path) && **p != path)
                        .filter(|(_, e)| before.contains(e))
                        .map(|(p, e)| (p.clone(), *e))
                        .collect();
                    state.durable.extend(below);
                }
                state.durable.insert(path, entry);
            }
            Ok(())
        })
    }

    fn exists(&self, path: &Path) -> bool {
        self.state.lock().live.contains_key(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let mut state = self.state.lock();
        state.readable()?;
        if state.locks.iter().any(|held| held == path) {
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        }
        state.locks.push(path.to_path_buf());
        if !state.live.contains_key(path) {
            state.inodes.push(Inode::default());
            let inode = state.inodes.len() - 1;
            state.live.insert(path.to_path_buf(), Entry::File(inode));
        }
        drop(state);
        Ok(Box::new(SimLock { disk: self.clone(), path: path.to_path_buf() }))
    }

    fn total_bytes(&self, _: &Path) -> Option<u64> {
        Some(1 << 40)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> SimDisk {
        let disk = SimDisk::new();
        disk.create_dir_all(Path::new("d")).unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        disk
    }

    #[test]
    fn a_power_cut_keeps_what_was_synced_and_a_kill_keeps_all() {
        let disk = disk();
        let mut file = disk.create(Path::new("d/f")).unwrap();
        file.write_all(b"safe").unwrap();
        file.sync().unwrap();
        disk.sync_dir(Path::new("d")).unwrap();
        file.write_all(b" and not").unwrap();
        assert_eq!(disk.after_kill().read(Path::new("d/f")).unwrap(), b"safe and not");
        assert_eq!(disk.after_power_cut(Unsynced::Lost).read(Path::new("d/f")).unwrap(), b"safe");
        for seed in 0..50 {
            let bytes = disk.after_power_cut(Unsynced::Mixed(seed)).read(Path::new("d/f")).unwrap();
            assert!(bytes.starts_with(b"safe") && bytes.len() <= 12, "{bytes:?}");
        }
    }

    #[test]
    fn a_name_is_lost_unless_its_folder_was_synced() {
        let disk = disk();
        let mut file = disk.create(Path::new("d/f")).unwrap();
        file.write_all(b"x").unwrap();
        file.sync().unwrap();
        assert!(!disk.after_power_cut(Unsynced::Lost).exists(Path::new("d/f")));
        disk.sync_dir(Path::new("d")).unwrap();
        disk.rename(Path::new("d/f"), Path::new("d/g")).unwrap();
        let after = disk.after_power_cut(Unsynced::Lost);
        assert!(after.exists(Path::new("d/f")) && !after.exists(Path::new("d/g")));
        disk.sync_dir(Path::new("d")).unwrap();
        let after = disk.after_power_cut(Unsynced::Lost);
        assert!(!after.exists(Path::new("d/f")) && after.exists(Path::new("d/g")));
    }

    #[test]
    fn faults_come_at_their_change_and_a_full_disk_can_be_freed() {
        let disk = disk();
        let mut file = disk.create(Path::new("d/f")).unwrap();
        disk.fail_at(disk.changes() + 1, Fault::Full);
        file.write_all(b"1234").unwrap();
        assert_eq!(file.write_all(b"5678").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.read(Path::new("d/f")).unwrap(), b"123456", "half of it was written");
        disk.free();
        file.write_all(b"!").unwrap();
        assert_eq!(disk.read(Path::new("d/f")).unwrap(), b"1234!6", "the half is written over");
        disk.fail_at(disk.changes(), Fault::StopTorn);
        assert!(file.write_all(b"abcd").is_err());
        assert!(file.write_all(b"x").is_err() && disk.is_stopped());
        assert_eq!(disk.after_kill().read(Path::new("d/f")).unwrap(), b"1234!ab");
    }

    #[test]
    fn images_show_every_place_to_stop() {
        let disk = disk();
        let mut file = disk.create(Path::new("d/f")).unwrap();
        disk.record_images(1);
        file.write_all(&[7; 6000]).unwrap();
        file.sync().unwrap();
        let images = disk.take_images();
        let len = |image: &Image| image.disk.after_kill().read(Path::new("d/f")).unwrap().len();
        let torn: Vec<usize> = images.iter().filter(|image| image.torn.is_some()).map(len).collect();
        assert!(torn.contains(&4096) && torn.contains(&5632) && torn.contains(&3000), "{torn:?}");
        assert!(torn.iter().all(|len| (1..6000).contains(len)));
        let whole: Vec<usize> = images.iter().filter(|image| image.torn.is_none()).map(len).collect();
        assert_eq!(whole, [0, 6000], "before the write, before the sync");
        assert!(disk.take_images().is_empty());
        assert_eq!(len(&Image { change: 0, torn: None, disk: disk.clone() }), 6000);
    }

    #[test]
    fn a_folder_is_renamed_or_not_but_never_half() {
        let disk = disk();
        for path in ["d/x", "d/x/chunks"] {
            disk.create_dir_all(Path::new(path)).unwrap();
        }
        for path in ["d/x/a", "d/x/b", "d/x/chunks/1"] {
            disk.create(Path::new(path)).unwrap();
        }
        for path in ["d/x/chunks", "d/x", "d"] {
            disk.sync_dir(Path::new(path)).unwrap();
        }
        disk.rename(Path::new("d/x"), Path::new("d/y")).unwrap();
        let mut seen = [false; 2];
        for seed in 0..50 {
            let after = disk.after_power_cut(Unsynced::Mixed(seed));
            let is_there =
                |dir: &str| ["a", "b", "chunks/1"].map(|name| after.exists(&Path::new(dir).join(name)));
            match (is_there("d/x"), is_there("d/y")) {
                ([true, true, true], [false, false, false]) => seen[0] = true,
                ([false, false, false], [true, true, true]) => seen[1] = true,
                half => panic!("{half:?}"),
            }
        }
        assert_eq!(seen, [true, true]);
    }

    #[test]
    fn unsynced_pages_are_written_in_any_order() {
        let disk = disk();
        let mut file = disk.create(Path::new("d/f")).unwrap();
        file.write_all(&[1; 512]).unwrap();
        file.sync().unwrap();
        disk.sync_dir(Path::new("d")).unwrap();
        file.write_all(&[2; 4096]).unwrap();
        let holed = (0..200).any(|seed| {
            let bytes = disk.after_power_cut(Unsynced::Mixed(seed)).read(Path::new("d/f")).unwrap();
            assert_eq!(bytes[..512], [1; 512], "what was synced stays");
            bytes.len() == 4608 && bytes[600] == 0 && bytes[4607] == 2
        });
        assert!(holed, "a later sector may be there without an earlier one");
    }

    #[test]
    fn a_lock_is_held_by_one() {
        let disk = disk();
        let lock = disk.lock(Path::new("d/lock")).unwrap();
        assert!(disk.lock(Path::new("d/lock")).is_err());
        drop(lock);
        assert!(disk.lock(Path::new("d/lock")).is_ok());
    }
}
