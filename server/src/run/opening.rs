//! Opening the store, while the web server answers already: what was found, how
//! far it is, how long it took.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::Env;
use model::admin::ReplayProgress;
use tokio::sync::mpsc;
use tsdb::{Db, ReplayCell};

use super::signals::{Signal, Signals};
use super::{Failure, Server, failure};
use crate::config_file::LoadedConfig;
use crate::environment;
use crate::store::GuardedStore;
use crate::store::OpeningStore;

/// How often the log tells how far the replay is.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Replay is estimated at so many bytes of log a second: a tenth below what two
/// processors were measured to read.
const REPLAY_BYTES_PER_SECOND: u64 = 90 << 20;

/// What a data folder holds, as far as a start cares.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    blocks: usize,
    segments: usize,
    log_bytes: u64,
    has_checkpoint: bool,
}

/// Looks at a data folder without opening anything; what cannot be read counts nothing.
fn look(dir: &Path) -> Found {
    let mut found = Found::default();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        found.blocks += usize::from(entry.path().join("meta.json").is_file());
    }
    for log in ["wal", "wbl"] {
        for entry in std::fs::read_dir(dir.join(log)).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let is_number = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
            if is_number(name.as_encoded_bytes()) {
                found.segments += usize::from(log == "wal");
                found.log_bytes += entry.metadata().map_or(0, |meta| meta.len());
            } else if name.as_encoded_bytes().strip_prefix(b"checkpoint.").is_some_and(is_number) {
                // One that was never finished has `.tmp` behind its number.
                found.has_checkpoint = true;
                let inside = std::fs::read_dir(entry.path()).into_iter().flatten().flatten();
                found.log_bytes += inside.filter_map(|file| Some(file.metadata().ok()?.len())).sum::<u64>();
            }
        }
    }
    found
}

impl Server {
    /// Opens the store on a thread of its own, samples let in by the `door` before
    /// it is read whole; `None` where the server was asked to stop meanwhile.
    pub(super) async fn open_store(
        &self,
        loaded: &LoadedConfig,
        progress: &Arc<ReplayCell>,
        door: &Arc<OpeningStore>,
        signals: &mut Signals,
        quits: &mut mpsc::Receiver<()>,
    ) -> Result<Option<Arc<Db>>, Failure> {
        tracing::info!("Starting TSDB ...");
        let options = self.db_options(loaded)?;
        let dir = options.dir.clone();
        let found = look(&dir);
        let estimate = Duration::from_millis(found.log_bytes.saturating_mul(1000) / REPLAY_BYTES_PER_SECOND);
        tracing::info!(
            component = "tsdb",
            blocks = found.blocks,
            segments = found.segments,
            checkpoint = found.has_checkpoint,
            bytes = found.log_bytes,
            estimate = ?estimate,
            "Replaying WAL, this may take a while"
        );
        let started = self.clock.monotonic();
        let since = || format!("{:?}", self.clock.monotonic().saturating_sub(started));
        let env =
            Env { fs: tsdb::real_fs(), clock: self.clock.clone(), seed: self.clock.now_ms().unsigned_abs() };
        let (memory, registry, cell) = (self.memory.clone(), self.registry.clone(), progress.clone());
        let (door, account, fresh) = (door.clone(), self.memory.clone(), self.fresh.clone());
        let mut opening = tokio::task::spawn_blocking(move || {
            let mut early =
                |store| door.set(Arc::new(GuardedStore::new(store, account.clone(), fresh.clone())));
            Db::open_with(options, env, memory, &registry, cell, Some(&mut early))
        });
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + TELL_EVERY, TELL_EVERY);
        let opened = loop {
            tokio::select! {
                opened = &mut opening => break opened,
                _ = ticks.tick() => tell(progress.progress(), &since()),
                signal = signals.next() => if let Signal::Stop(name) = signal {
                    tracing::warn!(signal = name, "Received an OS signal while opening storage, exiting...");
                    return Ok(None);
                },
                Some(()) = quits.recv() => return Ok(None),
            }
        };
        let db = match opened {
            Ok(Ok(db)) => db,
            Ok(Err(error)) => return Err(failure(1, format!("opening storage failed: {error}"))),
            Err(error) => return Err(failure(1, format!("opening storage failed: {error}"))),
        };
        tracing::info!(component = "tsdb", total_replay_duration = since(), "WAL replay completed");
        match environment::file_system(&dir) {
            Some(kind) if kind == "NFS_SUPER_MAGIC" => tracing::warn!(
                fs_type = kind,
                "This filesystem is not supported and may lead to data corruption and data loss."
            ),
            kind => tracing::info!(fs_type = kind.unwrap_or_default(), "filesystem information"),
        }
        tracing::info!("TSDB started");
        Ok(Some(db))
    }
}

fn tell(at: ReplayProgress, duration: &str) {
    tracing::info!(
        component = "tsdb",
        segment = at.current,
        maxSegment = at.max,
        duration,
        "WAL segment loaded"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_a_data_folder_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(look(dir.path()), Found::default());
        std::fs::create_dir_all(dir.path().join("wal/checkpoint.00000002.tmp")).unwrap();
        assert_eq!(look(dir.path()), Found::default());
        for folder in ["wal/checkpoint.00000001", "wbl", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "chunks_head"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for (file, bytes) in [
            ("wal/00000002", 10),
            ("wal/00000003", 20),
            ("wal/checkpoint.00000001/00000000", 5),
            ("wbl/00000000", 7),
            ("01ARZ3NDEKTSV4RRFFQ69G5FAV/meta.json", 2),
        ] {
            std::fs::write(dir.path().join(file), vec![0; bytes]).unwrap();
        }
        assert_eq!(look(dir.path()), Found { blocks: 1, segments: 2, log_bytes: 42, has_checkpoint: true });
    }
}
