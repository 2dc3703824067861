//! The threads of an open database: one syncs the logs, one looks after the rest.

use std::io;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::{Db, Store};
use crate::wal::series_state::{SeriesState, write_series_state};

/// How soon figures of memory are brought up to date, and failures tried again.
const ACCOUNT_INTERVAL: Duration = Duration::from_secs(10);

/// How often the state of series numbers is written.
const SERIES_STATE_INTERVAL: Duration = Duration::from_secs(1);

impl Store {
    /// Writes how far series numbers and segments have gone, if the options ask
    /// for it. Without the file the next start reads more of the log.
    pub(super) fn note_series_state(&self, clean_shutdown: bool) {
        if !self.options.fast_startup {
            return;
        }
        let state = SeriesState {
            last_series_id: self.head.last_ref(),
            last_wal_segment: i64::try_from(self.newest_segment()).unwrap_or(i64::MAX),
            clean_shutdown,
        };
        if let Err(error) = write_series_state(&*self.env.fs, &self.options.dir.join("wal"), &state) {
            tracing::error!(%error, "the series state cannot be written");
        }
    }
}

/// Tells the threads to end.
#[derive(Clone, Default)]
pub(super) struct Stop {
    shared: Arc<(Mutex<bool>, Condvar)>,
}

impl Stop {
    /// Ends the threads as soon as they look.
    pub(super) fn stop(&self) {
        *self.shared.0.lock() = true;
        self.shared.1.notify_all();
    }

    /// Waits; `false` once it is time to end.
    fn wait(&self, interval: Duration) -> bool {
        let mut stopped = self.shared.0.lock();
        if !*stopped {
            self.shared.1.wait_for(&mut stopped, interval);
        }
        !*stopped
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

/// Starts the threads. They hold no database: dropping it ends them.
pub(super) fn start(db: &Arc<Db>) -> io::Result<()> {
    let sync_interval = db.store.options.wal_sync_interval;
    run("tsdb-sync", db, sync_interval, |db| {
        if db.sync_is_due()
            && let Err(error) = db.sync()
        {
            tracing::error!(%error, "the log cannot be synced: a power cut now would lose samples");
        }
    })?;
    if db.store.options.fast_startup {
        run("tsdb-series-state", db, SERIES_STATE_INTERVAL, |db| db.store.note_series_state(false))?;
    }
    run("tsdb-accounts", db, ACCOUNT_INTERVAL, |db| db.refresh_accounts())?;
    let interval = db.store.options.maintenance_interval;
    run("tsdb-upkeep", db, interval, |db| {
        if let Err(error) = db.maintain() {
            tracing::error!(%error, "upkeep failed and is tried again");
        }
    })
}

fn run(name: &str, db: &Arc<Db>, interval: Duration, work: impl Fn(&Db) + Send + 'static) -> io::Result<()> {
    let stop = db.stop.clone();
    let weak: Weak<Db> = Arc::downgrade(db);
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        while stop.wait(interval) {
            let Some(db) = weak.upgrade() else { return };
            if db.check_open().is_err() {
                return;
            }
            work(&db);
        }
    })?;
    Ok(())
}
