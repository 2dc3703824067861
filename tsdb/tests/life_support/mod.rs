//! What the tests share that let a database live through a seeded life on a
//! simulated disk.

#![allow(dead_code, clippy::unwrap_used, reason = "helpers of tests; each file uses some")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::memory::Accountant;
use model::metrics::Registry;
use model::query::{ChunkEncoding, ExemplarQueryable};
use model::wal_tail::{LogRecord, WalTail};
use model::{Env, Fs, Labels, MatchOp, Matcher, Metadata, TimeRange};
use testkit::disk::SimDisk;
use testkit::life::{Answer, Life, LifeOptions, Surety, read};
use testkit::{Rng, TestClock};
use tsdb::{Compression, Db, DbOptions, OpenError, ReplayCell};

pub const DIR: &str = "/data";
pub const MINUTE: i64 = 60_000;
pub const HOUR: i64 = 60 * MINUTE;
/// How late samples may come.
pub const WINDOW: i64 = 90 * MINUTE;
pub const START: i64 = 1_700_000_000_000;

/// A size of a test: what the variable says, else the quick one.
#[expect(clippy::disallowed_methods, reason = "a test's size is chosen by whoever runs it")]
pub fn size(variable: &str, quick: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(quick)
}

/// An empty disk whose data folder is there to stay.
pub fn new_disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir_all(Path::new(DIR)).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

/// Small blocks and small segments, so that much happens in a short life.
pub fn opening(late: bool) -> DbOptions {
    let mut options = DbOptions {
        dir: DIR.into(),
        max_block_duration_ms: 18 * HOUR,
        wal_segment_bytes: 64 << 10,
        exemplar_storage: true,
        metadata_storage: true,
        samples_per_chunk: 12,
        ..DbOptions::default()
    };
    options.runtime.retention_time = None;
    options.runtime.out_of_order_window = Duration::from_millis(if late { WINDOW as u64 } else { 0 });
    options
}

/// As [`opening`], the variant that a seed chooses: late samples or none, the
/// compression of the log, the encoding of floats, start timestamps, a snapshot at
/// each clean stop, the state of series numbers.
pub fn opening_for(seed: u64) -> DbOptions {
    let mut options = opening(!seed.is_multiple_of(4));
    options.wal_compression = match seed % 3 {
        0 => Compression::None,
        1 => Compression::Snappy,
        _ => Compression::Zstd,
    };
    if seed % 5 >= 3 {
        options.runtime.float_encoding = ChunkEncoding::Xor2;
        options.start_timestamp_storage = seed % 5 == 4;
        options.histogram_start_timestamps = options.start_timestamp_storage;
    }
    options.memory_snapshot_on_shutdown = seed % 2 == 1;
    options.fast_startup = seed % 7 < 4;
    options
}

/// The life that goes with options.
pub fn life_for(seed: u64, options: &DbOptions) -> Life {
    let life = LifeOptions {
        late_window_ms: options.runtime.out_of_order_window.as_millis() as i64,
        starts: options.start_timestamp_storage,
        evictions: options.runtime.stale_series_compaction_threshold > 0.0,
        ..LifeOptions::default()
    };
    Life::new(seed, START, life)
}

/// Opens a database on a disk.
pub fn try_open(disk: &SimDisk, options: &DbOptions, seed: u64) -> Result<Arc<Db>, OpenError> {
    try_open_with(disk, options, seed, &Registry::new())
}

/// As [`try_open`], with a registry to look at.
pub fn try_open_with(
    disk: &SimDisk,
    options: &DbOptions,
    seed: u64,
    registry: &Registry,
) -> Result<Arc<Db>, OpenError> {
    let env = Env { fs: Arc::new(disk.clone()), clock: Arc::new(TestClock::new(START)), seed };
    Db::open(options.clone(), env, Accountant::unlimited(), registry, Arc::new(ReplayCell::new()))
}

/// All samples.
pub fn everything(db: &Db) -> Answer {
    let any = Matcher::new(MatchOp::Regex, "__name__", ".*").unwrap();
    read(db, vec![any], TimeRange::ALL).unwrap()
}

/// What is wrong with all that a database answers.
pub fn faults(db: &Db, life: &Life, at_least: Surety) -> Vec<String> {
    let mut faults = life.faults(&everything(db), at_least);
    let exemplars = db.exemplars(TimeRange::ALL, &[Vec::new()]).unwrap();
    // What the head surely holds, the log does too.
    faults.extend(life.exemplar_faults(&exemplars, life.now_ms - HOUR, at_least));
    faults.extend(life.metadata_faults(&metadata(db), life.now_ms - HOUR, at_least));
    faults
}

/// The newest metadata of each series, as who follows the log learns them.
pub fn metadata(db: &Db) -> BTreeMap<Labels, Metadata> {
    let (mut names, mut newest) = (BTreeMap::new(), BTreeMap::new());
    let mut reader = db.tail(None).unwrap();
    while let Some((record, _)) = reader.next(Duration::ZERO).unwrap() {
        match record {
            LogRecord::Series(series) => names.extend(series),
            LogRecord::Metadata(all) => {
                let known = all.into_iter().filter_map(|(n, told)| Some((names.get(&n)?.clone(), told)));
                newest.extend(known);
            }
            _ => {}
        }
    }
    newest
}

/// Panics with what is wrong.
pub fn check(db: &Db, life: &Life, when: &str) {
    let faults = faults(db, life, Surety::Acknowledged);
    assert!(
        faults.is_empty(),
        "{when}: {} faults, first {:#?}",
        faults.len(),
        &faults[..faults.len().min(5)]
    );
}

/// Every sample is found by each label of its series.
pub fn check_labels(db: &Db, when: &str) {
    let all = everything(db);
    for (labels, samples) in &all {
        for label in labels.iter() {
            let found = read(db, vec![Matcher::equal(label.name, label.value)], TimeRange::ALL).unwrap();
            assert_eq!(
                found.get(labels),
                Some(samples),
                "{when}: {labels} by {}={}",
                label.name,
                label.value
            );
        }
    }
}

/// What is done to a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Give,
    Sync,
    Maintain,
    Delete,
    Clean,
    Snapshot,
    /// A clean stop and a start.
    Restart,
    /// A kill and a start.
    Kill,
}

/// The next thing to do.
pub fn next_op(rng: &mut Rng) -> Op {
    match rng.below(40) {
        0 => Op::Delete,
        1 => Op::Clean,
        2 => Op::Snapshot,
        3 => Op::Restart,
        4 => Op::Kill,
        5..9 => Op::Sync,
        9..15 => Op::Maintain,
        _ => Op::Give,
    }
}
