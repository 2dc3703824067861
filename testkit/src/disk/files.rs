//! The disk as programs use it: files, names, locks.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Fs;
use model::env::{DirEntry, FsFile, Mapped};

use super::{Entry, Inode, SimDisk, State, Verdict, not_found};

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
