//! A data directory that is looked at and never written: what would change goes
//! to a folder elsewhere, and is seen from then on as if it were in its place.
//!
//! ```text
//! data/wal/00000004   torn: cut ──► sandbox/wal/00000004   (a copy, cut)
//! data/wal/00000005   new ────────► sandbox/wal/00000005
//! data/01ABC…         read in place
//! ```

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Fs;
use model::env::{DirEntry, FsFile, Mapped};
use parking_lot::Mutex;

/// A file system that keeps its hands off one folder.
pub struct ReadOnlyView {
    base: Arc<dyn Fs>,
    dir: PathBuf,
    sandbox: PathBuf,
    /// What counts as removed, with everything below it.
    removed: Mutex<BTreeSet<PathBuf>>,
}

fn not_found() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl ReadOnlyView {
    /// Leaves `dir` as it is and puts changes into `sandbox`, an empty folder
    /// outside of it.
    pub fn new(base: Arc<dyn Fs>, dir: &Path, sandbox: &Path) -> ReadOnlyView {
        ReadOnlyView {
            base,
            dir: dir.to_path_buf(),
            sandbox: sandbox.to_path_buf(),
            removed: Mutex::default(),
        }
    }

    /// Where changes of a path go; paths outside the folder are as they are.
    fn upper(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.dir).map_or_else(|_| path.to_path_buf(), |rest| self.sandbox.join(rest))
    }

    fn is_removed(&self, path: &Path) -> bool {
        let removed = self.removed.lock();
        path.ancestors().any(|ancestor| removed.contains(ancestor))
    }

    /// Where a path is to be read.
    fn place(&self, path: &Path) -> io::Result<PathBuf> {
        let upper = self.upper(path);
        if self.base.exists(&upper) {
            return Ok(upper);
        }
        if !self.is_removed(path) && self.base.exists(path) {
            Ok(path.to_path_buf())
        } else {
            Err(not_found())
        }
    }

    fn make_room(&self, upper: &Path) -> io::Result<()> {
        upper.parent().map_or(Ok(()), |parent| self.base.create_dir_all(parent))
    }

    fn copy_up(&self, from: &Path, upper: &Path) -> io::Result<()> {
        self.make_room(upper)?;
        let bytes = self.base.read(from)?;
        self.base.create(upper)?.write_all(&bytes)
    }

    /// Counts a path of the folder as removed.
    fn remove(&self, path: &Path) {
        if path.starts_with(&self.dir) {
            self.removed.lock().insert(path.to_path_buf());
        }
    }
}

/// A file that is copied when it is first written.
struct CopyOnWrite {
    base: Arc<dyn Fs>,
    file: Box<dyn FsFile>,
    /// Where from and where to; `None` once it is the copy.
    copy: Option<(PathBuf, PathBuf)>,
}

impl CopyOnWrite {
    fn writable(&mut self) -> io::Result<&mut dyn FsFile> {
        if let Some((from, to)) = &self.copy {
            if let Some(parent) = to.parent() {
                self.base.create_dir_all(parent)?;
            }
            let bytes = self.base.read(from)?;
            let mut file = self.base.create(to)?;
            file.write_all(&bytes)?;
            self.file = file;
            self.copy = None;
        }
        Ok(&mut *self.file)
    }
}

impl FsFile for CopyOnWrite {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writable()?.write_all(bytes)
    }

    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.writable()?.write_all_at(bytes, offset)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.copy.is_some() { Ok(()) } else { self.file.sync() }
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.writable()?.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

impl Fs for ReadOnlyView {
    fn create(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        let upper = self.upper(path);
        self.make_room(&upper)?;
        self.base.create(&upper)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        let place = self.place(path)?;
        let file = self.base.open(&place)?;
        let copy = place.starts_with(&self.dir).then(|| (place.clone(), self.upper(path)));
        Ok(Box::new(CopyOnWrite { base: self.base.clone(), file, copy }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.base.read(&self.place(path)?)
    }

    fn map(&self, path: &Path) -> io::Result<Arc<dyn Mapped>> {
        self.base.map(&self.place(path)?)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let upper = self.upper(dir);
        let mut entries = Vec::new();
        let mut found = false;
        if self.base.exists(&upper) {
            entries = self.base.list(&upper)?;
            found = true;
        }
        if upper != dir && !self.is_removed(dir) && self.base.exists(dir) {
            found = true;
            for entry in self.base.list(dir)? {
                let is_new = entries.iter().all(|other| other.name != entry.name);
                if is_new && !self.is_removed(&dir.join(&entry.name)) {
                    entries.push(entry);
                }
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        if found { Ok(entries) } else { Err(not_found()) }
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.base.create_dir_all(&self.upper(dir))
    }

    /// A folder of the directory itself is empty under its new name: whoever
    /// renames one is about to remove it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let place = self.place(from)?;
        let (upper_from, upper_to) = (self.upper(from), self.upper(to));
        self.make_room(&upper_to)?;
        if place == upper_from {
            self.base.rename(&upper_from, &upper_to)?;
        } else if self.base.list(&place).is_ok() {
            self.base.create_dir_all(&upper_to)?;
        } else {
            self.copy_up(&place, &upper_to)?;
        }
        self.remove(from);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let place = self.place(path)?;
        if place == self.upper(path) {
            self.base.remove_file(&place)?;
        }
        self.remove(path);
        Ok(())
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        let place = self.place(dir)?;
        if place == self.upper(dir) {
            self.base.remove_dir_all(&place)?;
        }
        self.remove(dir);
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.copy_up(&self.place(from)?, &self.upper(to))
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn exists(&self, path: &Path) -> bool {
        self.place(path).is_ok()
    }

    /// Nothing is written, so nobody need be kept out.
    fn lock(&self, _: &Path) -> io::Result<Box<dyn Send + Sync>> {
        Ok(Box::new(()))
    }

    fn total_bytes(&self, path: &Path) -> Option<u64> {
        self.base.total_bytes(path)
    }
}
