//! A disk that fills up or fails while samples come: they stay in memory, the
//! answers say that they are not durable, and when the disk works again all of
//! them are logged without a restart.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod db_support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use db_support::*;
use model::memory::Accountant;
use model::metrics::{MetricValue, Registry};
use model::{
    Appendable, Durability, Env, FloatBatch, Fs, Labels, SeriesHandle, StorageError, TimeRange, Timestamps,
};
use testkit::TestClock;
use testkit::disk::{Fault, SimDisk, Unsynced};
use tsdb::{Db, DbOptions, ReplayCell};

const START: i64 = 1_700_000_000_000;

type Given = BTreeMap<Labels, BTreeMap<i64, u64>>;

struct Run {
    clock: Arc<TestClock>,
    registry: Registry,
    db: Arc<Db>,
    step: i64,
    given: Given,
    /// Of `given`, what was said to be logged.
    logged: Given,
}

fn settings(dir: &Path) -> DbOptions {
    let mut options = DbOptions { dir: dir.to_path_buf(), no_lockfile: true, ..DbOptions::default() };
    options.wal_segment_bytes = 32 * 1024;
    options.samples_per_chunk = 8;
    options.runtime.out_of_order_window = Duration::from_secs(4 * 3600);
    options.runtime.retention_time = None;
    options
}

fn open_on(fs: Arc<dyn Fs>, options: DbOptions) -> Run {
    let clock = Arc::new(TestClock::new(START));
    let registry = Registry::new();
    let env = Env { fs, clock: clock.clone(), seed: 1 };
    let db = Db::open(options, env, Accountant::unlimited(), &registry, Arc::new(ReplayCell::new())).unwrap();
    Run { clock, registry, db, step: 0, given: Given::new(), logged: Given::new() }
}

fn open_sim(disk: &SimDisk) -> Run {
    open_on(Arc::new(disk.clone()), settings(Path::new("/data")))
}

fn commit(db: &Db, samples: &[(Labels, i64, f64)]) -> Result<Durability, StorageError> {
    let mut appender = db.appender()?;
    let handles: Vec<SeriesHandle> =
        samples.iter().map(|(labels, _, _)| appender.series(labels).unwrap()).collect();
    let times: Vec<i64> = samples.iter().map(|sample| sample.1).collect();
    let values: Vec<f64> = samples.iter().map(|sample| sample.2).collect();
    let batch = FloatBatch {
        series: &handles,
        timestamps: Timestamps::Each(&times),
        start_timestamps: None,
        values: &values,
        in_order_only: false,
    };
    let mut outcomes = Vec::new();
    appender.append_floats(batch, &mut outcomes);
    assert!(outcomes.iter().all(|outcome| outcome.is_ok()), "{outcomes:?}");
    appender.commit()
}

impl Run {
    /// A batch: two old series, one that is new now and then, a late sample.
    fn scrape(&mut self) -> Durability {
        self.step += 1;
        self.clock.advance(Duration::from_secs(15));
        let now = START + self.step * 15_000;
        let mut samples: Vec<(Labels, i64, f64)> = vec![
            (labels("a", &[]), now, self.step as f64),
            (labels("b", &[("n", &(self.step / 5).to_string())]), now, 1.0),
        ];
        if self.step > 4 {
            samples.push((labels("a", &[]), now - 40_000, -(self.step as f64)));
        }
        let durability = commit(&self.db, &samples).unwrap();
        for (labels, t, v) in samples {
            self.given.entry(labels).or_default().insert(t, v.to_bits());
        }
        if durability == Durability::Logged {
            self.logged = self.given.clone();
        }
        durability
    }

    fn check(&self, what: &str) {
        check(&self.db, &self.given, &self.given, what);
    }

    fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name == name).unwrap();
        match family.metrics[0].value {
            MetricValue::Single(value) => value,
            _ => panic!("{name} is one number"),
        }
    }
}

/// The store answers all of `sure`, and nothing that is not in `given`.
fn check(db: &Db, sure: &Given, given: &Given, what: &str) {
    let have = floats(db, TimeRange::ALL);
    for (labels, samples) in sure {
        let found: BTreeMap<i64, u64> = have.get(labels).into_iter().flatten().copied().collect();
        for (t, v) in samples {
            assert_eq!(found.get(t), Some(v), "{what}: {labels} at {t} is lost");
        }
    }
    for (labels, samples) in &have {
        for (t, v) in samples {
            assert_eq!(given[labels].get(t), Some(v), "{what}: {labels} at {t} was never given");
        }
    }
}

fn fresh() -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir_all(Path::new("/data")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

/// Scrapes with a sync and upkeep now and then, on a disk with a fault to come.
fn live(run: &mut Run, steps: i64) -> Vec<Durability> {
    (0..steps)
        .map(|n| {
            let durability = run.scrape();
            run.check("while it goes on");
            if n % 3 == 2 {
                let _ = run.db.sync();
            }
            if n % 10 == 9 {
                let _ = run.db.maintain();
            }
            durability
        })
        .collect()
}

#[test]
fn a_disk_that_fills_up_at_any_write_costs_nothing() {
    let mut refused = 0;
    for at in 0..120 {
        let disk = fresh();
        let mut run = open_sim(&disk);
        disk.fail_at(disk.changes() + at, Fault::Full);
        let answers = live(&mut run, 24);
        refused += answers.iter().filter(|answer| **answer == Durability::MemoryOnly).count();
        let killed = open_sim(&disk.after_kill());
        check(&killed.db, &run.logged, &run.given, &format!("killed while full, {at}"));

        if answers.last() == Some(&Durability::MemoryOnly) {
            assert!(run.metric("narthex_log_waiting_samples") > 0.0, "at {at}");
            assert!(run.metric("prometheus_tsdb_wal_writes_failed_total") > 0.0 || at > 0);
        }
        disk.free();
        run.clock.advance(Duration::from_secs(2));
        assert_eq!(run.scrape(), Durability::Logged, "there is room again, {at}");
        assert_eq!(run.metric("narthex_log_waiting_samples"), 0.0);
        run.check("there is room again");
        let killed = open_sim(&disk.after_kill());
        check(&killed.db, &run.given, &run.given, &format!("killed with room again, {at}"));
        run.db.sync().unwrap();
        for seed in 0..3 {
            let unsynced = if seed == 0 { Unsynced::Lost } else { Unsynced::Mixed(seed) };
            let cut = open_sim(&disk.after_power_cut(unsynced));
            check(&cut.db, &run.given, &run.given, &format!("power cut, {at}"));
        }
    }
    assert!(refused > 100, "the disk was full: {refused}");
}

#[test]
fn an_error_at_any_change_costs_nothing() {
    for at in 0..80 {
        let disk = fresh();
        let mut run = open_sim(&disk);
        disk.fail_at(disk.changes() + at, Fault::IoError);
        live(&mut run, 24);
        // The fault may come as late as here.
        let logged = (0..3).any(|_| {
            run.clock.advance(Duration::from_secs(2));
            run.scrape() == Durability::Logged
        });
        assert!(logged, "at {at}");
        run.db.sync().or_else(|_| run.db.sync()).unwrap();
        let given = run.given.clone();
        let killed = open_sim(&disk.after_kill());
        check(&killed.db, &given, &given, &format!("killed, {at}"));
        // Bytes whose sync failed are lost for good: they must be elsewhere.
        let cut = open_sim(&disk.after_power_cut(Unsynced::Lost));
        check(&cut.db, &given, &given, &format!("power cut, {at}"));
    }
}

#[test]
fn a_failed_sync_goes_to_a_new_segment_at_once() {
    let disk = fresh();
    let mut run = open_sim(&disk);
    run.scrape();
    run.db.sync().unwrap();
    run.scrape();
    let segment = run.metric("prometheus_tsdb_wal_segment_current");
    disk.fail_at(disk.changes(), Fault::IoError);
    run.db.sync().unwrap();
    assert_eq!(run.metric("prometheus_tsdb_wal_segment_current"), segment + 1.0);
    assert_eq!(run.metric("narthex_log_fsyncs_failed_total"), 1.0);
    let cut = open_sim(&disk.after_power_cut(Unsynced::Lost));
    check(&cut.db, &run.given, &run.given, "power cut");
}

#[test]
fn the_log_is_synced_without_being_asked() {
    let disk = fresh();
    let interval = Duration::from_millis(1);
    let options = DbOptions { wal_sync_interval: interval, ..settings(Path::new("/data")) };
    assert_eq!(DbOptions::default().wal_sync_interval, Duration::from_secs(1), "a power cut costs a second");
    let mut run = open_on(Arc::new(disk.clone()), options);
    run.db.start_background().unwrap();
    for _ in 0..8 {
        run.scrape();
    }
    let is_safe = |_: &i32| {
        std::thread::yield_now();
        let cut = open_sim(&disk.after_power_cut(Unsynced::Lost));
        let have = floats(&cut.db, TimeRange::ALL);
        run.given.iter().all(|(labels, samples)| {
            have.get(labels)
                .is_some_and(|found| found.iter().copied().collect::<BTreeMap<_, _>>() == *samples)
        })
    };
    assert!((0..20_000).any(|n| is_safe(&n)), "a power cut soon after costs nothing");
    run.db.close().unwrap();
}

#[test]
fn what_waits_is_bounded_and_refused_batches_leave_nothing() {
    let disk = fresh();
    let options = DbOptions { wal_backlog_bytes_max: 2000, ..settings(Path::new("/data")) };
    let mut run = open_on(Arc::new(disk.clone()), options);
    run.scrape();
    disk.fail_at(disk.changes(), Fault::Full);
    let mut n = 0;
    let refused = loop {
        n += 1;
        let sample = (labels("c", &[("n", &n.to_string())]), START + 60_000, 1.0);
        match commit(&run.db, std::slice::from_ref(&sample)) {
            Ok(durability) => {
                assert_eq!(durability, Durability::MemoryOnly);
                run.given.entry(sample.0).or_default().insert(sample.1, sample.2.to_bits());
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StorageError::Memory(_)), "{refused}");
    assert!(n > 5 && n < 100, "{n}");
    run.check("the refused one is not there");
    let files = disk.files().len();
    for _ in 0..20 {
        run.clock.advance(Duration::from_secs(2));
        let _ = run.db.sync();
    }
    assert!(disk.files().len() <= files + 1, "tries leave no files behind");
    disk.free();
    run.clock.advance(Duration::from_secs(2));
    assert_eq!(run.scrape(), Durability::Logged);
    let killed = open_sim(&disk.after_kill());
    check(&killed.db, &run.given, &run.given, "killed");
}

#[test]
fn a_start_on_a_full_disk_answers_and_goes_on() {
    let disk = fresh();
    let mut run = open_sim(&disk);
    for _ in 0..20 {
        run.scrape();
    }
    let given = run.given.clone();
    let disk = disk.after_kill();
    disk.fail_at(0, Fault::Full);
    let mut again = open_sim(&disk);
    again.step = run.step;
    again.given.clone_from(&given);
    again.check("started");
    assert_eq!(again.scrape(), Durability::MemoryOnly);
    again.check("goes on");
    disk.free();
    again.db.sync().unwrap();
    assert_eq!(again.scrape(), Durability::Logged);
    let killed = open_sim(&disk.after_kill());
    check(&killed.db, &again.given, &again.given, "killed");
}

/// A small file system that may be filled: named by `NARTHEX_SMALL_DISK`.
#[test]
fn a_real_disk_is_filled_and_freed() {
    let Some(small) = std::env::var_os("NARTHEX_SMALL_DISK") else {
        println!("skipped: NARTHEX_SMALL_DISK names no folder on a small file system");
        return;
    };
    let dir = PathBuf::from(small).join("data");
    let mut run = open_on(tsdb::real_fs(), settings(&dir));
    run.scrape();
    let filler = dir.with_file_name("filler");
    {
        use std::io::Write;
        let mut file = std::fs::File::create(&filler).unwrap();
        let mut size = 1 << 20;
        while size > 0 {
            if file.write_all(&vec![1; size]).is_err() {
                size /= 2;
            }
        }
    }
    let mut waited = 0;
    for n in 0..2000 {
        waited += i32::from(run.scrape() == Durability::MemoryOnly);
        if n % 50 == 0 {
            run.check("full");
            let _ = run.db.maintain();
        }
    }
    assert!(waited > 1000, "the disk was full: {waited}");
    std::fs::remove_file(&filler).unwrap();
    run.db.sync().unwrap();
    assert_eq!(run.scrape(), Durability::Logged);
    run.db.maintain().unwrap();
    run.check("freed");
    let given = run.given.clone();
    drop(run);
    let again = open_on(tsdb::real_fs(), settings(&dir));
    check(&again.db, &given, &given, "started again");
}
