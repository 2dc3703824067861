//! Images of the disk taken while a program runs: every one is a place to stop.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{PAGE_BYTES, SECTOR_BYTES, SimDisk, State};

/// Images of the disk taken while a program runs.
#[derive(Clone)]
pub(super) struct Recording {
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

impl State {
    /// Whether an image is due before the change that comes.
    pub(super) fn is_image_due(&self) -> bool {
        !self.stopped && self.recording.as_ref().is_some_and(|r| self.changes.is_multiple_of(r.every))
    }

    pub(super) fn take_image(&mut self, torn: Option<usize>, change: impl FnOnce(&mut State)) {
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

    /// Images of a write cut inside a sector, between sectors and between pages.
    pub(super) fn take_torn_images(&mut self, inode: usize, bytes: &[u8], at: usize) {
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
}

impl SimDisk {
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
}
