//! Samples that came out of order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::admin::{TsdbAdmin, TsdbStatus};
use model::memory::Accountant;
use model::metrics::Registry;
use model::{Appendable, Durability, Env, FloatBatch, Fs, Labels, Outcome, SeriesRef, TimeRange, Timestamps};
use testkit::TestClock;
use testkit::disk::SimDisk;
use tsdb::wal::record::{RefSample, decode_histograms, decode_samples, put_samples};
use tsdb::wal::{
    Compressor, Decompressor, LogReader, LogWriter, LogWriterOptions, ReadMode, Step, list_segments,
};
use tsdb::{Compression, Db, ReplayCell};

use crate::db_support::{append, equal, floats, labels};
use crate::life_support::{HOUR, MINUTE, START, check, everything, life_for, new_disk, opening, try_open};

/// 19744: a checkpoint drops the record of a series that only the out-of-order log
/// still names; an acknowledged late sample is gone after a restart.
#[test]
fn issue_19744_the_late_log_keeps_its_series() {
    let (disk, mut options) = (new_disk(), opening(true));
    options.runtime.out_of_order_window = Duration::from_secs(48 * 3600);
    let (old, other) = (labels("old", &[]), labels("other", &[]));
    let db = try_open(&disk, &options, 1).unwrap();
    append(&db, &old, START, 1.0);
    for n in 0..=8 {
        append(&db, &other, START + n * HOUR, 1.0);
        db.maintain().unwrap();
    }
    assert_eq!(append(&db, &old, START + 2 * HOUR, 2.0), Outcome::AcceptedOutOfOrder);
    drop(db);
    for start in 1..5 {
        let db = try_open(&disk, &options, 1 + start).unwrap();
        let have: Vec<i64> = floats(&db, TimeRange::ALL)[&old].iter().map(|sample| sample.0).collect();
        assert_eq!(have, [START, START + 2 * HOUR], "start {start}");
        for n in 0..4 {
            append(&db, &other, START + (8 + start as i64 * 4 + n) * HOUR, 1.0);
            db.maintain().unwrap();
        }
    }
}

/// 19016: late samples and a compaction, then a restart: loss. The compaction comes
/// after any number of batches.
#[test]
fn issue_19016_a_compaction_at_any_time_loses_nothing() {
    for n_before in 0..48 {
        let (disk, options) = (new_disk(), opening(true));
        let mut life = life_for(1, &options);
        let db = try_open(&disk, &options, 1).unwrap();
        for n in 0..n_before {
            life.step(&*db).unwrap();
            if n == n_before / 2 {
                db.maintain().unwrap();
            }
        }
        db.maintain().unwrap();
        life.step(&*db).unwrap();
        drop(db);
        let db = try_open(&disk, &options, 2).unwrap();
        check(&db, &life, &format!("compacted after {n_before} batches"));
    }
}

/// 15380, 12127, 12406, 14584: the late log was not loaded, or its chunks were
/// ignored or counted twice after a restart.
#[test]
fn issue_14584_late_chunks_come_once() {
    let (disk, options) = (new_disk(), opening(true));
    let (series, clock) = (labels("m", &[]), labels("clock", &[]));
    let mut want = BTreeMap::new();
    let db = try_open(&disk, &options, 1).unwrap();
    append(&db, &clock, START + HOUR, 0.0);
    append(&db, &series, START + HOUR, 0.0);
    want.insert(START + HOUR, 0f64.to_bits());
    // More than two full chunks of late samples, backwards.
    for n in 1..80i64 {
        let t = START + HOUR - n * 30_000;
        assert_eq!(append(&db, &series, t, n as f64), Outcome::AcceptedOutOfOrder);
        want.insert(t, (n as f64).to_bits());
    }
    drop(db);
    let want: Vec<(i64, u64)> = want.into_iter().collect();
    for start in 2..5 {
        let db = try_open(&disk, &options, start).unwrap();
        assert_eq!(floats(&db, TimeRange::ALL)[&series], want, "start {start}");
        assert_eq!(append(&db, &series, want[5].0, f64::from_bits(want[5].1)), Outcome::AcceptedOutOfOrder);
        assert_eq!(floats(&db, TimeRange::ALL)[&series], want, "start {start}: the same sample again");
    }
    let db = try_open(&disk, &options, 6).unwrap();
    for n in 0..5 {
        append(&db, &clock, START + (2 + n) * HOUR, 0.0);
        db.maintain().unwrap();
    }
    assert_eq!(floats(&db, TimeRange::ALL)[&series], want, "cut into blocks");
    drop(db);
    let db = try_open(&disk, &options, 7).unwrap();
    assert_eq!(floats(&db, TimeRange::ALL)[&series], want, "cut into blocks, started again");
}

/// The window is closed while late samples wait: they are cut into blocks, and the
/// disk does not fill up with their log (upstream's `TestDiskFillingUpAfterDisablingOOO`).
#[test]
fn late_samples_are_drained_when_the_window_is_closed() {
    let (disk, options) = (new_disk(), opening(true));
    let mut life = life_for(2, &options);
    let db = try_open(&disk, &options, 1).unwrap();
    for _ in 0..60 {
        life.step(&*db).unwrap();
    }
    drop(db);
    let db = try_open(&disk, &opening(false), 2).unwrap();
    db.maintain().unwrap();
    check(&db, &life, "drained");
    let wbl: usize = disk
        .files()
        .iter()
        .filter(|path| path.starts_with("/data/wbl"))
        .map(|path| model::Fs::read(&disk, path).unwrap().len())
        .sum();
    assert!(wbl < 64 << 10, "{wbl} bytes are left of the late log");
    let before = everything(&db);
    drop(db);
    let db = try_open(&disk, &opening(false), 3).unwrap();
    assert_eq!(everything(&db), before);
}

fn times_of(db: &Db, series: &Labels) -> Vec<i64> {
    floats(db, TimeRange::ALL).remove(series).unwrap_or_default().iter().map(|sample| sample.0).collect()
}

fn late_log(disk: &SimDisk) -> Vec<PathBuf> {
    disk.files().into_iter().filter(|path| path.starts_with("/data/wbl")).collect()
}

/// The times of all samples of the late log.
fn late_times(disk: &SimDisk) -> BTreeSet<i64> {
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    let dir = Path::new("/data/wbl");
    let segments: Vec<u64> = list_segments(&*fs, dir).unwrap().iter().map(|segment| segment.number).collect();
    let mut reader = LogReader::new(fs, dir, segments, ReadMode::Salvage);
    let mut decompressor = Decompressor::new();
    let mut times = BTreeSet::new();
    loop {
        match reader.next().unwrap() {
            Step::End => return times,
            Step::Record(raw) => {
                let record = decompressor.decompress(raw.payload).unwrap();
                let (mut samples, mut histograms) = (Vec::new(), Vec::new());
                let _ = decode_samples(record, &mut samples);
                let _ = decode_histograms(record, &mut histograms);
                times.extend(samples.iter().map(|sample| sample.timestamp_ms));
                times.extend(histograms.iter().map(|sample| sample.timestamp_ms));
            }
            _ => {}
        }
    }
}

/// A late sample goes to two logs, one after the other. However much the second
/// lacks of the end of the first, a start finds all of it, and brings back nothing
/// that was cut into blocks and deleted there.
#[test]
fn what_the_late_log_lacks_is_taken_from_the_other() {
    let (base, options) = (new_disk(), opening(true));
    let (series, other, clock, gone) =
        (labels("m", &[]), labels("n", &[]), labels("clock", &[]), labels("gone", &[]));
    let db = try_open(&base, &options, 1).unwrap();
    for n in 0..8 * 60 {
        let t = START + n * MINUTE;
        append(&db, &clock, t, 0.0);
        if n % 30 == 10 && n < 7 * 60 {
            append(&db, &gone, t, 1.0);
            append(&db, &gone, t - 20 * MINUTE, 2.0);
        }
        if n == 7 * 60 {
            for _ in 0..3 {
                db.maintain().unwrap();
            }
        }
    }
    // Late samples of this one were in blocks, and are nowhere from here on.
    db.delete_series(TimeRange::ALL, &[vec![equal("__name__", "gone")]]).unwrap();
    db.clean_tombstones().unwrap();
    assert!(times_of(&db, &gone).is_empty());
    let now = START + 8 * HOUR;
    append(&db, &series, now, 0.0);
    append(&db, &other, now, 0.0);
    let mut late = BTreeSet::new();
    for n in 1..75i64 {
        let t = now - n * 30_000;
        let (series, t) = if n % 9 == 0 { (&other, t - 1) } else { (&series, t) };
        assert_eq!(append(&db, series, t, n as f64), Outcome::AcceptedOutOfOrder);
        late.insert(t);
    }
    let want = everything(&db);
    drop(db);
    assert_eq!(late_times(&base), late);
    let newest = late_log(&base).pop().unwrap();
    let len = base.read(&newest).unwrap().len();
    // Its first record says from where on the other log is looked at.
    for cut in (48..len).rev().step_by(41) {
        let disk = base.after_kill();
        disk.damage(&newest, |bytes| bytes.truncate(cut));
        let lacking = late_times(&disk).len() < late.len();
        assert!(lacking || cut + 41 > len, "cut to {cut} of {len}");
        for start in 2..4 {
            let db = try_open(&disk, &options, start).unwrap();
            assert_eq!(everything(&db), want, "cut to {cut} of {len}, start {start}");
            let logged = late_times(&disk);
            // What went into a chunk before its marker was logged may be in both.
            assert!(logged.is_superset(&late), "cut to {cut} of {len}: the late log has them itself");
        }
    }
    let disk = base.after_kill();
    disk.remove_dir_all(Path::new("/data/wbl")).unwrap();
    let without = everything(&try_open(&disk, &options, 2).unwrap());
    assert_eq!(without[&series], want[&series], "without any late log");
}

/// A late log that another program wrote has no mark. Its writer acknowledges nothing
/// before both logs have it, so nothing is looked for in the other: a late sample that
/// was cut into a block, deleted there and cleaned away would come back.
#[test]
fn another_programs_late_log_brings_nothing_back() {
    let (disk, options) = (new_disk(), opening(true));
    let (series, clock) = (labels("m", &[]), labels("clock", &[]));
    let db = try_open(&disk, &options, 1).unwrap();
    append(&db, &clock, START + 2 * HOUR, 0.0);
    append(&db, &series, START + 2 * HOUR, 1.0);
    for n in 1..40 {
        let t = START + 2 * HOUR - n * MINUTE;
        assert_eq!(append(&db, &series, t, 2.0), Outcome::AcceptedOutOfOrder);
    }
    // The window closes: what came late is cut into blocks, the log keeps its samples.
    let closed =
        model::admin::RuntimeSettings { out_of_order_window: Duration::ZERO, ..options.runtime.clone() };
    db.apply(&closed).unwrap();
    for _ in 0..3 {
        db.maintain().unwrap();
    }
    assert!(!db.blocks().unwrap().is_empty());
    let gone = TimeRange::new(START, START + 2 * HOUR - 1);
    db.delete_series(gone, &[vec![equal("__name__", "m")]]).unwrap();
    db.clean_tombstones().unwrap();
    let left = [START + 2 * HOUR];
    assert_eq!(times_of(&db, &series), left);
    drop(db);
    for empty in [true, false] {
        let disk = disk.after_kill();
        for path in late_log(&disk) {
            disk.remove_file(&path).unwrap();
        }
        // As the other leaves it: an empty segment, or one with samples of its own.
        let fs: Arc<dyn Fs> = Arc::new(disk.clone());
        let mut log =
            LogWriter::open(fs, Path::new("/data/wbl"), LogWriterOptions { segment_bytes: 64 << 10 })
                .unwrap();
        if !empty {
            let mut record = Vec::new();
            let late = RefSample {
                series: SeriesRef(2),
                timestamp_ms: START + HOUR,
                start_timestamp_ms: 0,
                value: 9.0,
            };
            put_samples(&mut record, [late]);
            log.log([Compressor::new(Compression::None).compress(&record)]).unwrap();
        }
        drop(log);
        let want = if empty { left.to_vec() } else { vec![START + HOUR, left[0]] };
        for start in 2..5 {
            let db = try_open(&disk, &options, start).unwrap();
            assert_eq!(times_of(&db, &series), want, "empty: {empty}, start {start}");
            // What is acknowledged from here on is found as always.
            if start == 3 {
                append(&db, &clock, START + 2 * HOUR + MINUTE, 0.0);
            }
        }
    }
}

/// What comes while the log is read turns out to be late only then. It was logged, so
/// a kill before the end of the replay leaves it.
#[test]
fn samples_that_come_late_while_the_log_is_read_survive_a_kill() {
    let (disk, options) = (new_disk(), opening(true));
    let series = labels("m", &[]);
    let db = try_open(&disk, &options, 1).unwrap();
    append(&db, &series, START + HOUR, 1.0);
    drop(db);
    let mut killed = None;
    let mut early = |store: Arc<dyn Appendable>| {
        for (n, minutes) in [50, 40, 70].into_iter().enumerate() {
            let mut appender = store.appender().unwrap();
            let handle = appender.series(&series).unwrap();
            let batch = FloatBatch {
                series: &[handle],
                timestamps: Timestamps::Same(START + minutes * MINUTE),
                start_timestamps: None,
                values: &[n as f64],
                in_order_only: false,
            };
            let mut outcomes = Vec::new();
            appender.append_floats(batch, &mut outcomes);
            // The second is older than the first, which is all that is known of it.
            assert_eq!(outcomes[0].is_ok(), n != 1);
            assert_eq!(appender.commit().unwrap(), Durability::Logged);
        }
        killed = Some(disk.after_kill());
    };
    let env = Env { fs: Arc::new(disk.clone()), clock: Arc::new(TestClock::new(START)), seed: 2 };
    let progress = Arc::new(ReplayCell::new());
    let db = Db::open_with(
        options.clone(),
        env,
        Accountant::unlimited(),
        &Registry::new(),
        progress,
        Some(&mut early),
    );
    let want = [50, 60, 70].map(|minutes| START + minutes * MINUTE);
    assert_eq!(times_of(&db.unwrap(), &series), want);
    for (what, disk) in [("after the replay", disk), ("while it went on", killed.unwrap())] {
        for start in 3..5 {
            let db = try_open(&disk, &options, start).unwrap();
            assert_eq!(times_of(&db, &series), want, "killed {what}, start {start}");
        }
    }
}
