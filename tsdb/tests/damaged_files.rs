//! One file of a data directory is damaged: a byte is flipped, its end is missing,
//! it is empty, its second half was never written. For each kind of file the
//! database starts, says which file and where, counts it, and answers all else.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod life_support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use life_support::*;
use model::metrics::{MetricValue, Registry};
use model::{BlockRange, Fs, MatchOp, Matcher, StorageError, TimeRange};
use testkit::disk::SimDisk;
use testkit::life::{Answer, Life, Surety, read};
use tsdb::block::read_meta;
use tsdb::{Db, DbOptions};

/// What the database says, line by line.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// Tests that look at it take turns.
static TURN: Mutex<()> = Mutex::new(());

struct Listener;

impl tracing::Subscriber for Listener {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Line(String);
        impl tracing::field::Visit for Line {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!("{field}={value:?} "));
            }
        }
        let mut line = Line(String::new());
        event.record(&mut line);
        SAID.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// A directory with a file of each kind, and the life that filled it.
struct Filled {
    disk: SimDisk,
    options: DbOptions,
    life: Life,
    blocks: Vec<(PathBuf, BlockRange)>,
}

fn filled() -> &'static Filled {
    static FILLED: OnceLock<Filled> = OnceLock::new();
    FILLED.get_or_init(|| {
        let _ = tracing::subscriber::set_global_default(Listener);
        let (disk, options) = (new_disk(), opening(true));
        let mut life = life_for(5, &options);
        let db = try_open(&disk, &options, 1).unwrap();
        for n in 0..190 {
            life.step(&*db).unwrap();
            if n % 4 == 3 {
                db.maintain().unwrap();
            }
            if n % 60 == 59 {
                life.delete(&*db).unwrap();
                life.acknowledge();
            }
        }
        drop(db);
        check(&try_open(&disk.after_kill(), &options, 2).unwrap(), &life, "undamaged");
        let blocks = tsdb::block::list_blocks(&disk, Path::new(DIR)).unwrap();
        let blocks =
            blocks.into_iter().map(|dir| (dir.clone(), read_meta(&disk, &dir).unwrap().range())).collect();
        Filled { disk, options, life, blocks }
    })
}

/// A directory that was stopped cleanly, with a snapshot and the state of series
/// numbers, and then killed.
fn filled_and_stopped() -> &'static Filled {
    static FILLED: OnceLock<Filled> = OnceLock::new();
    FILLED.get_or_init(|| {
        let _ = tracing::subscriber::set_global_default(Listener);
        let (disk, mut options) = (new_disk(), opening(true));
        options.memory_snapshot_on_shutdown = true;
        options.fast_startup = true;
        let mut life = life_for(6, &options);
        for (start, steps) in [(1, 70), (2, 12)] {
            let db = try_open(&disk, &options, start).unwrap();
            for n in 0..steps {
                life.step(&*db).unwrap();
                if n % 9 == 8 {
                    db.maintain().unwrap();
                }
            }
            if start == 1 {
                db.close().unwrap();
            }
        }
        check(&try_open(&disk.after_kill(), &options, 3).unwrap(), &life, "undamaged");
        Filled { disk, options, life, blocks: Vec::new() }
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Segment,
    Checkpoint,
    LateSegment,
    HeadChunks,
    Index,
    BlockChunks,
    Tombstones,
    Meta,
    Lock,
    SeriesState,
    Snapshot,
}

fn kind(path: &Path) -> Option<Kind> {
    let text = path.to_str()?.strip_prefix(DIR)?;
    Some(match text {
        _ if text.contains("chunk_snapshot.") => Kind::Snapshot,
        _ if text.contains("series_state") => Kind::SeriesState,
        _ if text.contains("checkpoint.") => Kind::Checkpoint,
        _ if text.starts_with("/wal/") => Kind::Segment,
        _ if text.starts_with("/wbl/") => Kind::LateSegment,
        _ if text.starts_with("/chunks_head/") => Kind::HeadChunks,
        _ if text.ends_with("/index") => Kind::Index,
        _ if text.contains("/chunks/") => Kind::BlockChunks,
        _ if text.ends_with("/tombstones") => Kind::Tombstones,
        _ if text.ends_with("/meta.json") => Kind::Meta,
        "/lock" => Kind::Lock,
        _ => return None,
    })
}

/// What a killed process leaves.
const OF_A_KILL: [Kind; 9] = [
    Kind::Segment,
    Kind::Checkpoint,
    Kind::LateSegment,
    Kind::HeadChunks,
    Kind::Index,
    Kind::BlockChunks,
    Kind::Tombstones,
    Kind::Meta,
    Kind::Lock,
];
/// What a clean stop leaves.
const OF_A_STOP: [Kind; 2] = [Kind::SeriesState, Kind::Snapshot];

/// Directories, and what is damaged in each.
fn all_victims() -> Vec<(&'static Filled, Kind, Vec<(PathBuf, usize)>)> {
    let killed = victims(filled(), &OF_A_KILL).into_iter().map(|(kind, files)| (filled(), kind, files));
    let stopped = filled_and_stopped();
    let stopped_files = victims(stopped, &OF_A_STOP).into_iter();
    let stopped_files = stopped_files.filter(|(kind, _)| OF_A_STOP.contains(kind));
    killed.chain(stopped_files.map(|(kind, files)| (stopped, kind, files))).collect()
}

/// Files by kind; of each kind the largest two.
fn victims(filled: &Filled, wanted: &[Kind]) -> BTreeMap<Kind, Vec<(PathBuf, usize)>> {
    let mut all: BTreeMap<Kind, Vec<(PathBuf, usize)>> = BTreeMap::new();
    for path in filled.disk.files() {
        if let Some(kind) = kind(&path) {
            let len = filled.disk.read(&path).unwrap().len();
            all.entry(kind).or_default().push((path, len));
        }
    }
    for files in all.values_mut() {
        files.sort_by_key(|(_, len)| std::cmp::Reverse(*len));
        files.truncate(2);
    }
    for wanted in wanted {
        assert!(all.contains_key(wanted), "the directory has a file of kind {wanted:?}");
    }
    all
}

/// Everything that is answered: where a query fails for the damaged file, what is
/// answered before and behind the block it lies in, and the series one by one.
fn answer(db: &Db, path: &Path, block: Option<BlockRange>) -> (Answer, bool) {
    let any = || vec![Matcher::new(MatchOp::Regex, "__name__", ".*").unwrap()];
    let error = match read(db, any(), TimeRange::ALL) {
        Ok(answer) => return (answer, false),
        Err(error) => error,
    };
    let StorageError::Corrupt { path: named, .. } = &error else { panic!("{}: {error}", path.display()) };
    assert_eq!(named, path, "the error names the file");
    let block = block.expect("only damage of a block shows at a query");
    let mut all = read(db, any(), TimeRange::new(i64::MIN, block.min_ms - 1)).unwrap();
    for (labels, samples) in read(db, any(), TimeRange::new(block.max_ms, i64::MAX)).unwrap() {
        all.entry(labels).or_default().extend(samples);
    }
    (all, true)
}

fn counted(registry: &Registry) -> f64 {
    let names = [
        "wal_corruptions_total",
        "mmap_chunk_corruptions_total",
        "reloads_failures_total",
        "snapshot_replay_error_total",
    ];
    let families = registry.gather();
    let of_interest = families.iter().filter(|family| names.iter().any(|name| family.name.ends_with(name)));
    let values = of_interest.flat_map(|family| &family.metrics).map(|metric| match metric.value {
        MetricValue::Single(value) => value,
        _ => 0.0,
    });
    values.sum()
}

/// What a sample's loss may be put down to.
fn may_be_lost(kind: Kind, block: Option<BlockRange>, covered: i64, t: i64) -> bool {
    match kind {
        Kind::Index | Kind::BlockChunks | Kind::Tombstones | Kind::Meta => {
            block.is_some_and(|range| (range.min_ms..range.max_ms).contains(&t))
        }
        // The log has what is not in blocks; late samples may be older.
        Kind::Segment | Kind::Checkpoint | Kind::LateSegment => t >= covered - WINDOW,
        Kind::HeadChunks | Kind::Lock | Kind::SeriesState | Kind::Snapshot => false,
    }
}

/// Damages a file and looks at all that follows.
fn survives(
    filled: &Filled,
    kind: Kind,
    path: &Path,
    what: &str,
    flipped: bool,
    damage: impl FnOnce(&mut Vec<u8>),
) -> usize {
    let disk = filled.disk.after_kill();
    disk.damage(path, damage);
    SAID.lock().unwrap().clear();
    let registry = Registry::new();
    let when = format!("{}, {what}", path.display());
    let db = try_open_with(&disk, &filled.options, 3, &registry)
        .unwrap_or_else(|error| panic!("{when}: refused: {error}"));
    let block = filled.blocks.iter().find(|(dir, _)| path.starts_with(dir)).map(|(_, range)| *range);
    let covered = filled.blocks.iter().map(|(_, range)| range.max_ms).max().unwrap_or(i64::MAX);
    let (found, query_failed) = answer(&db, path, block);
    let is_lost = |fault: &&String| fault.contains(" is lost: ");
    let faults = filled.life.faults(&found, Surety::Acknowledged);
    // What was deleted may be back where the record of it was damaged, or where the
    // late log no longer says which chunks went into blocks; nothing else is new.
    let may_be_back = matches!(kind, Kind::Segment | Kind::Checkpoint | Kind::LateSegment);
    for fault in faults.iter().filter(|fault| !is_lost(fault)) {
        assert!(may_be_back && fault.contains(" is back and was deleted"), "{when}: {fault}");
    }
    let lost: Vec<&String> = faults.iter().filter(is_lost).collect();
    for fault in &lost {
        let at =
            fault.split(" at ").nth(1).and_then(|rest| rest.split(' ').next()).and_then(|t| t.parse().ok());
        assert!(may_be_lost(kind, block, covered, at.unwrap()), "{when}: {fault}");
    }
    let said = SAID.lock().unwrap().join("\n");
    if flipped && kind == Kind::Snapshot {
        assert!(counted(&registry) > 0.0 && said.contains("chunk_snapshot."), "{when}: {said}");
    }
    if flipped && !lost.is_empty() {
        let name = match kind {
            Kind::Segment | Kind::Checkpoint | Kind::LateSegment | Kind::HeadChunks => path.file_name(),
            _ => path.parent().and_then(Path::file_name),
        };
        let named = said.contains(name.unwrap().to_str().unwrap()) || query_failed;
        assert!(named, "{when}: {} samples are lost and the file is not named:\n{said}", lost.len());
        assert!(counted(&registry) > 0.0 || query_failed, "{when}: what is lost is counted\n{said}");
    }
    // And it goes on.
    let mut life = filled.life.clone();
    life.settle(&found);
    life.now_ms += HOUR;
    for _ in 0..3 {
        life.step(&*db).unwrap();
    }
    let upkeep = db.maintain();
    assert!(upkeep.is_ok() || block.is_some(), "{when}: {upkeep:?}");
    drop(db);
    let db = try_open(&disk, &filled.options, 4)
        .unwrap_or_else(|error| panic!("{when}: refused at the second start: {error}"));
    let (again, _) = answer(&db, path, block);
    let late: Vec<String> = life.faults(&again, Surety::Acknowledged);
    let new = late.iter().filter(|fault| !fault.contains(" is lost: ") || block.is_none());
    let new: Vec<&String> = new.collect();
    assert!(new.is_empty(), "{when}, at the second start: {:#?}", &new[..new.len().min(3)]);
    lost.len()
}

/// Where the headers of a log's records begin: the three upper bits there mean nothing,
/// and no checksum covers them.
fn record_headers(bytes: &[u8]) -> BTreeSet<usize> {
    const PAGE: usize = 32 * 1024;
    const HEADER: usize = 7;
    let (mut headers, mut at) = (BTreeSet::new(), 0);
    while at < bytes.len() {
        let left = PAGE - at % PAGE;
        if left < HEADER || bytes[at] == 0 {
            at += left;
            continue;
        }
        headers.insert(at);
        at += HEADER + usize::from(u16::from_be_bytes([bytes[at + 1], bytes[at + 2]]));
    }
    headers
}

#[test]
fn a_flipped_byte_costs_what_it_stood_for() {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let per_file = size("NARTHEX_FLIPS", 25) as usize;
    for (filled, kind, files) in all_victims() {
        let (mut tried, mut lost, mut worst) = (0, 0, 0);
        for (path, _) in files {
            // Padding is long and says nothing.
            let bytes = filled.disk.read(&path).unwrap();
            let headers = if kind == Kind::Snapshot { record_headers(&bytes) } else { BTreeSet::new() };
            let telling: Vec<usize> =
                (0..bytes.len()).filter(|at| bytes[*at] != 0 || *at % 997 == 0).collect();
            for &at in telling.iter().step_by((telling.len() / per_file).max(1)) {
                let bit = at % 8;
                let tells = bit < 5 || !headers.contains(&at);
                let n = survives(filled, kind, &path, &format!("bit {bit} of byte {at}"), tells, |bytes| {
                    bytes[at] ^= 1 << bit
                });
                tried += 1;
                lost += n;
                worst = worst.max(n);
            }
        }
        println!(
            "{kind:?}: {tried} flips, 0 refused starts, {lost} samples lost in all, {worst} by the worst, of {}",
            filled.life.n_sure()
        );
    }
}

/// One digit more or less in a block's `meta.json` neither hides what the log has nor
/// makes the other blocks too old to be kept.
#[test]
fn a_block_that_claims_another_end_costs_nothing() {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let filled = filled();
    let mut options = filled.options.clone();
    options.runtime.retention_time = Some(std::time::Duration::from_hours(72));
    assert!(filled.blocks.len() > 2);
    for (dir, _) in &filled.blocks {
        for delta_ms in [4, -1, 10_000_000, -2_000_000, 40_000_000_000, 4_000_000_000_000] {
            let disk = filled.disk.after_kill();
            let mut meta = read_meta(&disk, dir).unwrap();
            meta.max_time += delta_ms;
            disk.damage(&dir.join("meta.json"), |bytes| *bytes = meta.encode());
            let what = format!("{}, {delta_ms} ms later", dir.display());
            SAID.lock().unwrap().clear();
            let db = try_open(&disk, &options, 3).unwrap();
            check(&db, &filled.life, &what);
            let name = dir.file_name().unwrap().to_str().unwrap();
            let said = SAID.lock().unwrap().join("\n");
            assert!(said.contains(name) && said.contains("meta.json says other times"), "{what}: {said}");
            db.maintain().unwrap();
            check(&db, &filled.life, &format!("{what}, after upkeep"));
            drop(db);
            check(&try_open(&disk, &options, 4).unwrap(), &filled.life, &format!("{what}, started again"));
        }
    }
}

#[test]
fn a_file_may_be_short_or_empty_or_half_written() {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for (filled, kind, files) in all_victims() {
        for (path, len) in files {
            for keep in [0, 1, len / 3, len / 2, len.saturating_sub(5), len.saturating_sub(1)] {
                survives(filled, kind, &path, &format!("cut to {keep} of {len}"), false, |bytes| {
                    bytes.truncate(keep)
                });
            }
            for keep in [0, len / 2] {
                let what = format!("zeros behind {keep} of {len}");
                survives(filled, kind, &path, &what, false, |bytes| bytes[keep.min(len)..].fill(0));
            }
            survives(filled, kind, &path, "noise behind it", false, |bytes| {
                bytes.extend((0..700u32).map(|n| (n * 37) as u8))
            });
        }
    }
}
