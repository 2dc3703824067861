//! What is left of a disk when a program is killed or the power is cut.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Entry, Inode, PAGE_BYTES, SECTOR_BYTES, SimDisk, State};
use crate::Rng;

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

impl State {
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
}

impl SimDisk {
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
