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

mod crash;
mod files;
mod images;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

pub use crash::Unsynced;
pub use images::Image;
use images::Recording;

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

    fn put(&mut self, inode: usize, bytes: &[u8], at: usize) {
        let live = Arc::make_mut(&mut self.inodes[inode].live);
        if live.len() < at + bytes.len() {
            live.resize(at + bytes.len(), 0);
        }
        live[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.live.get(path) {
            Some(Entry::File(inode)) => Ok(*inode),
            Some(Entry::Dir) => Err(io::Error::new(io::ErrorKind::IsADirectory, path.display().to_string())),
            None => Err(not_found(path)),
        }
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
