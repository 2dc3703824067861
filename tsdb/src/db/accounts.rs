//! What the database holds, by owner, for the process' account of memory.

use model::memory::{Accountant, Owner};

use super::store::Store;
use crate::head::page::PageBytes;

/// The columns of the account.
pub(crate) struct Accounts {
    pages: Owner,
    labels: Owner,
    postings: Owner,
    open_chunks: Owner,
    full_chunks: Owner,
    extra: Owner,
    lookup: Owner,
    exemplars: Owner,
    wal_buffers: Owner,
    block_indexes: Owner,
}

impl Accounts {
    /// Opens the columns.
    pub(crate) fn new(accountant: &Accountant) -> Accounts {
        Accounts {
            pages: accountant.owner("head_pages"),
            labels: accountant.owner("head_labels"),
            postings: accountant.owner("head_postings"),
            open_chunks: accountant.owner("head_open_chunks"),
            full_chunks: accountant.owner("head_full_chunks"),
            extra: accountant.owner("head_extra"),
            lookup: accountant.owner("head_lookup"),
            exemplars: accountant.owner("exemplars"),
            wal_buffers: accountant.owner("wal_buffers"),
            block_indexes: accountant.owner("block_indexes"),
        }
    }

    /// Brings all figures up to date. Visits every series.
    pub(crate) fn refresh(&self, store: &Store) {
        let head = &store.head;
        let mut all = PageBytes::default();
        for (_, page) in head.slots.pages() {
            let bytes = page.lock().heap_bytes();
            all.pages += bytes.pages;
            all.labels += bytes.labels;
            all.open_chunks += bytes.open_chunks;
            all.full_chunks += bytes.full_chunks;
            all.extra += bytes.extra;
        }
        head.count_histograms();
        self.pages.set((all.pages + head.slots.heap_bytes()) as u64);
        self.labels.set((all.labels + head.symbols.heap_bytes()) as u64);
        self.open_chunks.set(all.open_chunks as u64);
        self.full_chunks.set(all.full_chunks as u64);
        self.extra.set(all.extra as u64);
        self.postings.set(head.postings.heap_bytes() as u64);
        self.lookup.set(head.lookup.heap_bytes() as u64);
        self.exemplars.set(store.exemplars.stats().heap_bytes as u64);
        let logs = [store.wal.get(), store.wbl.get()];
        let buffers: usize = logs.into_iter().flatten().map(|log| log.heap_bytes()).sum();
        self.wal_buffers.set((buffers + store.chunks.heap_bytes()) as u64);
        self.block_indexes.set(store.block_index_bytes() as u64);
    }
}
