//! The file system of the machine: [`model::Fs`] over `std::fs`, with files
//! mapped into memory. The only unsafe code of the project is here.

mod view;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Deref;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use model::Fs;
use model::env::{DirEntry, FsFile, Mapped};

pub use view::ReadOnlyView;

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFs;

impl RealFs {
    /// The file system, shared.
    pub fn shared() -> Arc<dyn Fs> {
        Arc::new(RealFs)
    }
}

/// An open file that is written at its end.
struct RealFile {
    file: File,
    end: u64,
}

impl FsFile for RealFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        // What a failed write left is overwritten by the next: the end moves
        // only with success.
        self.file.write_all_at(bytes, self.end)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)?;
        self.end = self.end.max(offset + bytes.len() as u64);
        Ok(())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.end = len;
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn drop_cache(&self) {
        // A hint: nobody needs to know that it was not taken.
        let _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed);
    }
}

/// A mapped file.
struct MappedFile(Mmap);

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Holds the lock of a file until it is dropped.
struct LockGuard {
    _file: File,
}

impl Fs for RealFs {
    fn create(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Box::new(RealFile { file, end: 0 }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            // To be read it need not be writable; a write then fails.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                File::open(path)?
            }
            Err(error) => return Err(error),
        };
        let end = file.metadata()?.len();
        Ok(Box::new(RealFile { file, end }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn map(&self, path: &Path) -> io::Result<Arc<dyn Mapped>> {
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            // An empty range cannot be mapped.
            return Ok(Arc::new(Vec::new()));
        }
        // SAFETY: the map is read-only and private to this process. Its bytes must
        // not change or vanish while it lives: `Fs::map` is called only for files
        // that are complete (blocks, closed head chunk files) or append-only with
        // the appended part not yet in the map, and no such file is ever cut or
        // written in place; they are removed by unlinking, which leaves maps valid.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Arc::new(MappedFile(map)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            // Our names are ASCII; an entry of another name is none of ours.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let metadata = match fs::metadata(entry.path()) {
                Ok(metadata) => metadata,
                // Removed meanwhile, or a dangling link.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            entries.push(DirEntry { name, is_dir: metadata.is_dir(), len: metadata.len() });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir_all(dir)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(LockGuard { _file: file })),
            Err(fs::TryLockError::WouldBlock) => {
                Err(io::Error::new(io::ErrorKind::WouldBlock, "resource temporarily unavailable"))
            }
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn total_bytes(&self, path: &Path) -> Option<u64> {
        let mut existing: PathBuf = path.to_path_buf();
        while !existing.exists() {
            if !existing.pop() {
                return None;
            }
        }
        let stat = rustix::fs::statvfs(&existing).ok()?;
        stat.f_blocks.checked_mul(stat.f_frsize).filter(|&bytes| bytes > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_mapped_cut_and_listed() {
        let dir = tempfile::tempdir().expect("a folder");
        let fs = RealFs::shared();
        let path = dir.path().join("a");
        let mut file = fs.create(&path).expect("create");
        assert!(file.is_empty().expect("length"));
        file.write_all(b"hello").expect("write");
        file.write_all_at(b"J", 0).expect("write");
        file.write_all(b"!").expect("write");
        file.sync().expect("sync");
        assert_eq!(&fs.map(&path).expect("map")[..], b"Jello!");
        file.set_len(2).expect("cut");
        file.write_all(b"x").expect("write");
        assert_eq!(fs.read(&path).expect("read"), b"Jex");
        fs.create_dir_all(&dir.path().join("b/c")).expect("folder");
        fs.create(&dir.path().join("empty")).expect("create");
        assert!(fs.map(&dir.path().join("empty")).expect("map").is_empty());
        let names: Vec<_> =
            fs.list(dir.path()).expect("list").into_iter().map(|e| (e.name, e.is_dir, e.len)).collect();
        assert_eq!(names[0], ("a".to_owned(), false, 3));
        assert!(names[1].1);
        assert_eq!(names[2], ("empty".to_owned(), false, 0));
        assert!(fs.total_bytes(&dir.path().join("not/there")).is_some());
    }

    #[test]
    fn a_lock_is_held_until_it_is_dropped() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("lock");
        let fs = RealFs::shared();
        let held = fs.lock(&path).expect("nobody holds it");
        let second = fs.lock(&path).err().expect("it is held");
        assert_eq!(second.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(second.to_string(), "resource temporarily unavailable");
        drop(held);
        fs.lock(&path).expect("nobody holds it");
    }
}
