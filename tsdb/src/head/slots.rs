//! All pages of the head, found by slot without a lock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::page::{PAGE_SLOTS, Page};

/// Pages that fit: 67 million series.
const PAGES_MAX: usize = 16 * 1024;

/// No slot reaches this number.
pub(crate) const SLOTS_MAX: u32 = (PAGES_MAX * PAGE_SLOTS) as u32;

/// The pages.
pub(crate) struct Slots {
    pages: Box<[OnceLock<Box<Page>>]>,
    /// Slots ever used.
    used: AtomicU32,
}

impl Default for Slots {
    fn default() -> Slots {
        Slots { pages: (0..PAGES_MAX).map(|_| OnceLock::new()).collect(), used: AtomicU32::new(0) }
    }
}

/// The page of a slot and the place inside it.
pub(crate) fn place(slot: u32) -> (usize, usize) {
    (slot as usize / PAGE_SLOTS, slot as usize % PAGE_SLOTS)
}

impl Slots {
    /// The page of that number, if it was ever used.
    pub(crate) fn page(&self, page: usize) -> Option<&Page> {
        self.pages.get(page).and_then(|page| page.get()).map(|page| &**page)
    }

    /// The page of a slot that is or was in use, and the place inside it.
    pub(crate) fn of(&self, slot: u32) -> (&Page, usize) {
        let (page, i) = place(slot);
        (self.page(page).expect("slots come from this table, which never drops a page"), i)
    }

    /// A slot that was never used; `None` when the table is full. Callers hold
    /// the creation lock.
    pub(crate) fn grow(&self) -> Option<u32> {
        let slot = self.used.load(Ordering::Relaxed);
        self.pages.get(place(slot).0)?.get_or_init(Box::default);
        self.used.store(slot + 1, Ordering::Release);
        Some(slot)
    }

    /// The pages in use, with the number of each one's first slot.
    pub(crate) fn pages(&self) -> impl Iterator<Item = (u32, &Page)> {
        self.pages
            .iter()
            .map_while(|page| page.get())
            .enumerate()
            .map(|(n, page)| ((n * PAGE_SLOTS) as u32, &**page))
    }

    /// Bytes of the table itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.pages.len() * size_of::<OnceLock<Box<Page>>>()
    }
}
