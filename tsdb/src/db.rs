//! The database: opens a directory, appends, answers, keeps itself in order.
//!
//! [`Db`] is the door; `store::Store` is what appenders, queriers and upkeep share.

mod commits;
mod log;
mod open;
mod options;
mod progress;
mod records;
mod store;
mod tail;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::exemplar::SeriesExemplars;
use model::memory::Accountant;
use model::metrics::Registry;
use model::query::{ExemplarQueryable, LabelList, LabelQueryable, Querier, Queryable};
use model::{Appendable, Appender, Env, Matcher, StorageError, TimeRange};
use parking_lot::Mutex;

pub use crate::wal::Compression;
pub use open::OpenError;
pub use options::DbOptions;
pub use progress::ReplayCell;
pub(crate) use store::Store;

use crate::head::append::HeadAppender;
use crate::query::{DbQuerier, labels};

/// A database.
pub struct Db {
    store: Arc<Store>,
    lock: Mutex<Option<open::DirLock>>,
    progress: Arc<ReplayCell>,
}

impl Db {
    /// Opens a data directory, which is made where it is missing, and replays
    /// its logs: returns when everything that was acknowledged can be queried.
    ///
    /// # Errors
    /// The directory is in use, or cannot be read or written.
    pub fn open(
        options: DbOptions,
        env: Env,
        _accountant: Accountant,
        _registry: &Registry,
        progress: Arc<ReplayCell>,
    ) -> Result<Arc<Db>, OpenError> {
        let opened = open::open(options, env, &progress)?;
        let db = Db { store: opened.store, lock: Mutex::new(opened.lock), progress };
        db.progress.finish();
        Ok(Arc::new(db))
    }

    /// Stops: what is logged is made safe, the lock is given back. Later calls
    /// of anything answer `NotReady`.
    ///
    /// # Errors
    /// The log cannot be synced or the lock not be removed.
    pub fn close(&self) -> Result<(), StorageError> {
        if self.store.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let synced = self.sync();
        if let Some(lock) = self.lock.lock().take() {
            lock.release(&*self.store.env.fs).map_err(|source| StorageError::Io {
                op: "remove",
                path: self.store.options.dir.join("lock"),
                source,
            })?;
        }
        synced
    }

    /// Makes what is logged survive a power cut.
    ///
    /// # Errors
    /// A log cannot be synced.
    pub fn sync(&self) -> Result<(), StorageError> {
        for log in [self.store.wal.get(), self.store.wbl.get()].into_iter().flatten() {
            log.sync()?;
        }
        Ok(())
    }

    fn check_open(&self) -> Result<(), StorageError> {
        if self.store.closed.load(Ordering::Acquire) { Err(StorageError::NotReady) } else { Ok(()) }
    }
}

impl Appendable for Db {
    fn appender(&self) -> Result<Box<dyn Appender>, StorageError> {
        self.check_open()?;
        Ok(Box::new(HeadAppender::new(self.store.clone())))
    }
}

impl Queryable for Db {
    fn querier(&self, range: TimeRange) -> Result<Arc<dyn Querier>, StorageError> {
        self.check_open()?;
        Ok(Arc::new(DbQuerier::new(&self.store, range)))
    }
}

impl LabelQueryable for Db {
    fn label_names(
        &self,
        range: TimeRange,
        matcher_sets: &[Vec<Matcher>],
        limit: usize,
    ) -> Result<LabelList, StorageError> {
        self.check_open()?;
        let mut names = BTreeSet::new();
        if labels::head_overlaps(&self.store.head, range) {
            labels::head_names(&self.store.head, matcher_sets, &mut names);
        }
        labels::answer(names, limit)
    }

    fn label_values(
        &self,
        name: &str,
        range: TimeRange,
        matcher_sets: &[Vec<Matcher>],
        limit: usize,
    ) -> Result<LabelList, StorageError> {
        self.check_open()?;
        let mut values = BTreeSet::new();
        if labels::head_overlaps(&self.store.head, range) {
            labels::head_values(&self.store.head, name, matcher_sets, &mut values);
        }
        labels::answer(values, limit)
    }
}

impl ExemplarQueryable for Db {
    fn exemplars(
        &self,
        range: TimeRange,
        matcher_sets: &[Vec<Matcher>],
    ) -> Result<Vec<SeriesExemplars>, StorageError> {
        self.check_open()?;
        Ok(self.store.exemplars.select(range, matcher_sets))
    }
}
