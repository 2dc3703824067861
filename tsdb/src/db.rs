//! The database: opens a directory, appends, answers, keeps itself in order.
//!
//! [`Db`] is the door; `store::Store` is what appenders, queriers and upkeep share.

mod accounts;
mod admin;
mod background;
mod blocks;
mod checkpoint;
mod chunk_snapshot;
mod commits;
pub(crate) mod cut;
mod inherited;
mod late_mark;
pub(crate) mod log;
mod metrics;
mod open;
mod options;
mod progress;
mod random;
mod read_log;
pub(crate) mod records;
mod repair;
mod stale;
mod status;
mod store;
mod tail;
mod upkeep;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::exemplar::SeriesExemplars;
use model::memory::Accountant;
use model::metrics::Registry;
use model::query::{
    ChunkQueryable, ExemplarQueryable, LabelList, LabelQueryable, Querier, Queryable, RawChunk, SelectRequest,
};
use model::{Appendable, Appender, Env, Labels, Matcher, StorageError, TimeRange};
use parking_lot::Mutex;

pub use crate::wal::Compression;
pub(crate) use blocks::{Block, storage_error};
pub(crate) use late_mark::is_mark;
pub use open::OpenError;
pub use options::DbOptions;
pub use progress::ReplayCell;
pub(crate) use store::Store;

use accounts::Accounts;
use metrics::Instruments;

use crate::fs::ReadOnlyView;
use crate::head::append::HeadAppender;
use crate::query::{DbQuerier, labels};

/// A database.
pub struct Db {
    store: Arc<Store>,
    lock: Mutex<Option<open::DirLock>>,
    progress: Arc<ReplayCell>,
    accounts: Accounts,
    inherited: inherited::Inherited,
    stop: background::Stop,
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
        accountant: Accountant,
        registry: &Registry,
        progress: Arc<ReplayCell>,
    ) -> Result<Arc<Db>, OpenError> {
        Db::open_with(options, env, accountant, registry, progress, None)
    }

    /// As [`Db::open`]; meanwhile `early` is given something that batches can be
    /// appended to while the log is still being read. They are logged at once and
    /// visible when this returns.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub fn open_with(
        options: DbOptions,
        env: Env,
        accountant: Accountant,
        registry: &Registry,
        progress: Arc<ReplayCell>,
        early: Option<&mut dyn FnMut(Arc<dyn Appendable>)>,
    ) -> Result<Arc<Db>, OpenError> {
        let inherited = inherited::Inherited::find(&*env.fs, &options.dir)?;
        let opened = open::open(options, env, Instruments::new(registry), &progress, early)?;
        let metrics = &opened.store.metrics;
        metrics.data_replay_seconds.set(opened.replay_seconds);
        metrics.clean_start.set(match &opened.lock {
            None => -1.0,
            Some(lock) if lock.replaced => 0.0,
            Some(_) => 1.0,
        });
        metrics::register(&opened.store, registry);
        let accounts = Accounts::new(&accountant);
        accounts.refresh(&opened.store);
        let db = Db {
            store: opened.store,
            lock: Mutex::new(opened.lock),
            progress,
            accounts,
            inherited,
            stop: Default::default(),
        };
        db.progress.finish();
        Ok(Arc::new(db))
    }

    /// Opens a directory to look at it, while it may be in use: nothing in it
    /// changes. The log is read as always; what that would write goes to `sandbox`,
    /// an empty folder outside the directory, which the caller removes.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub fn open_read_only(mut options: DbOptions, env: Env, sandbox: &Path) -> Result<Arc<Db>, OpenError> {
        let view = ReadOnlyView::new(env.fs.clone(), &options.dir, sandbox);
        options.no_lockfile = true;
        options.compaction = false;
        options.memory_snapshot_on_shutdown = false;
        options.fast_startup = false;
        options.runtime.retention_time = None;
        options.runtime.retention_bytes = None;
        options.runtime.retention_percentage = None;
        let env = Env { fs: Arc::new(view), ..env };
        Db::open(options, env, Accountant::unlimited(), &Registry::new(), Arc::default())
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
        self.stop.stop();
        // Whoever is looking after things finishes first.
        let upkeep = self.store.upkeep.lock();
        // In the order in which a batch takes them: those under way finish first,
        // those that come find the store closed.
        let log = self.store.wal.get().map(|wal| wal.lock());
        let apply = self.store.head.apply.lock();
        drop(log);
        self.store.note_series_state(true);
        let flushed = self
            .store
            .write_all_closing()
            .and_then(|()| self.store.chunks.sync().map_err(StorageError::from));
        let mut synced = self.sync().and(flushed);
        if synced.is_ok() && self.store.options.memory_snapshot_on_shutdown {
            synced = self.store.write_chunk_snapshot();
        }
        drop((apply, upkeep));
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
        self.inherited.sync(&*self.store.env.fs)?;
        let metrics = &self.store.metrics;
        let logs = [(self.store.wal.get(), &metrics.wal_fsync), (self.store.wbl.get(), &metrics.wbl_fsync)];
        for (log, duration) in logs {
            let Some(log) = log else { continue };
            let started = self.store.env.clock.monotonic();
            if log.sync(started)? {
                let took = self.store.env.clock.monotonic().saturating_sub(started);
                duration.observe(took.as_secs_f64());
            }
        }
        Ok(())
    }

    /// Whether it is time to sync a log.
    fn sync_is_due(&self) -> bool {
        let now = self.store.env.clock.monotonic();
        [self.store.wal.get(), self.store.wbl.get()].into_iter().flatten().any(|log| log.sync_is_due(now))
    }

    /// One round of upkeep: full chunks to files, blocks looked at, the head cut
    /// where it is due, late samples cut, the log shortened, what nobody needs
    /// collected. Takes its time from the environment's clock alone.
    ///
    /// # Errors
    /// Something could not be read or written; it is tried again next time.
    pub fn maintain(&self) -> Result<(), StorageError> {
        let result = self.store.maintain();
        self.refresh_accounts();
        result
    }

    /// Starts the threads that sync the logs and look after everything else, at
    /// the intervals that the options name. They end when the database is closed
    /// or dropped.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start_background(self: &Arc<Self>) -> std::io::Result<()> {
        background::start(self)
    }

    /// Reports what is held, by owner, to the account given at open. Visits every
    /// series: for once in a while.
    pub fn refresh_accounts(&self) {
        self.accounts.refresh(&self.store);
    }

    /// Blocks that cannot be read, and why: they are left where they are, as they
    /// are, and tried again at each round of upkeep.
    pub fn damaged_blocks(&self) -> Vec<(std::path::PathBuf, String)> {
        let damaged = self.store.damaged_blocks.lock();
        damaged.iter().map(|(dir, why)| (dir.clone(), why.clone())).collect()
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

impl ChunkQueryable for Db {
    fn chunks(
        &self,
        request: &SelectRequest,
        each: &mut dyn FnMut(&Labels, Vec<RawChunk>) -> bool,
    ) -> Result<(), StorageError> {
        self.check_open()?;
        DbQuerier::new(&self.store, request.range).chunks(request, each)
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
        for block in self.store.blocks_in(range) {
            labels::block_names(&block, matcher_sets, &mut names)?;
        }
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
        for block in self.store.blocks_in(range) {
            labels::block_values(&block, name, matcher_sets, &mut values)?;
        }
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
