//! What core code stands on: a file system, a clock, a seed. Given once at
//! open, so that tests can put a simulated world in their place.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The world a component runs in.
#[derive(Clone)]
pub struct Env {
    /// Files.
    pub fs: Arc<dyn Fs>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Start of every random choice.
    pub seed: u64,
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env").field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// A clock.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch; may jump either way.
    fn now_ms(&self) -> i64;

    /// Time since some fixed point; never goes back.
    fn monotonic(&self) -> Duration;
}

/// One entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name inside the folder.
    pub name: String,
    /// Whether it is a folder itself.
    pub is_dir: bool,
    /// Bytes of a file.
    pub len: u64,
}

/// Bytes of a file that may be mapped into memory.
pub trait Mapped: Deref<Target = [u8]> + Send + Sync {}

impl<T: Deref<Target = [u8]> + Send + Sync> Mapped for T {}

/// An open file. Writes go to its end unless an offset is named.
pub trait FsFile: Send + Sync {
    /// Writes all bytes at the end of what was written so far.
    ///
    /// # Errors
    /// Any error of the file system; some of the bytes may be written.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Writes all bytes at an offset.
    ///
    /// # Errors
    /// As [`FsFile::write_all`].
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Reads exactly as many bytes as `buffer` holds, from an offset.
    ///
    /// # Errors
    /// The file ends before, or cannot be read.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Makes what was written survive a power cut.
    ///
    /// # Errors
    /// What was written since the last success may be lost: never call again
    /// and believe it.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts or extends the file; later writes go to the new end.
    ///
    /// # Errors
    /// Any error of the file system.
    fn set_len(&mut self, len: u64) -> io::Result<()>;

    /// Bytes of the file.
    ///
    /// # Errors
    /// Any error of the file system.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// As [`FsFile::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Tells the system that these bytes will not be read soon. A hint.
    fn drop_cache(&self) {}
}

/// A file system.
pub trait Fs: Send + Sync {
    /// A new empty file, or the emptied old one.
    ///
    /// # Errors
    /// Any error of the file system.
    fn create(&self, path: &Path) -> io::Result<Box<dyn FsFile>>;

    /// An existing file to be read and written, writes going to its end.
    ///
    /// # Errors
    /// The file does not exist, or any error of the file system.
    fn open(&self, path: &Path) -> io::Result<Box<dyn FsFile>>;

    /// All bytes of a file.
    ///
    /// # Errors
    /// Any error of the file system.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// A file's bytes as they are now, mapped where the system can. Files that
    /// are mapped are never cut.
    ///
    /// # Errors
    /// Any error of the file system.
    fn map(&self, path: &Path) -> io::Result<Arc<dyn Mapped>>;

    /// The entries of a folder, sorted by name.
    ///
    /// # Errors
    /// The folder does not exist, or any error of the file system.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;

    /// Makes a folder and those above it.
    ///
    /// # Errors
    /// Any error of the file system.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Renames a file or folder, replacing a file.
    ///
    /// # Errors
    /// Any error of the file system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Any error of the file system.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder and what is in it.
    ///
    /// # Errors
    /// Any error of the file system.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Gives a file a second name.
    ///
    /// # Errors
    /// Any error of the file system.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes creations, renames and removals in a folder survive a power cut.
    ///
    /// # Errors
    /// Any error of the file system.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Whether something of that name exists.
    fn exists(&self, path: &Path) -> bool;

    /// Takes the advisory lock of a file, which is made where it does not
    /// exist; held until the value is dropped.
    ///
    /// # Errors
    /// Somebody else holds it (`WouldBlock`), or any error of the file system.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;

    /// Bytes of the whole file system below a path, where it can be known.
    fn total_bytes(&self, path: &Path) -> Option<u64>;
}
