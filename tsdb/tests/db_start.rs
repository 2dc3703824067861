//! How a database starts: from the log with any number of threads, from the
//! snapshot of a clean stop, from the log where that snapshot is bad.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod db_support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use db_support::*;
use model::admin::TsdbAdmin;
use model::memory::Accountant;
use model::metrics::{MetricValue, Registry};
use model::query::{ChunkEncoding, ChunkQueryable, ExemplarQueryable};
use model::{
    Appendable, Exemplar, FloatBatch, FloatHistogram, Histogram, HistogramSample, HistogramValue, Labels,
    SelectRequest, Span, TimeRange, Timestamps, stale_nan,
};
use testkit::{Rng, TestClock};
use tsdb::{Db, DbOptions, ReplayCell};

/// Everything that a database answers, chunk by chunk.
type Content = BTreeMap<Labels, Vec<(i64, i64, ChunkEncoding, Vec<u8>)>>;

fn content(db: &Db) -> Content {
    let mut all = Content::new();
    let request = SelectRequest::new(everything(), TimeRange::ALL);
    db.chunks(&request, &mut |labels, chunks| {
        let chunks = chunks.into_iter().map(|c| (c.min_ms, c.max_ms, c.encoding, c.bytes.to_vec()));
        all.insert(labels.clone(), chunks.collect());
        true
    })
    .unwrap();
    all
}

/// All samples of all series, printed, so that histograms compare too.
fn samples(db: &Db) -> BTreeMap<Labels, String> {
    select(db, everything(), TimeRange::ALL)
        .into_iter()
        .map(|(labels, columns)| {
            let bits: Vec<u64> = columns.floats.iter().map(|v| v.to_bits()).collect();
            let text = format!(
                "{:?} {:?} {bits:?} {:?} {:?}",
                columns.timestamps_ms, columns.runs, columns.histograms, columns.start_timestamps_ms
            );
            (labels, text)
        })
        .collect()
}

fn integer(n: u64) -> HistogramValue {
    HistogramValue::Integer(Histogram {
        schema: 1,
        count: 3 * n,
        sum: n as f64,
        positive_spans: [Span { offset: 0, length: 2 }].into(),
        positive_buckets: vec![n as i64, n as i64],
        ..Histogram::default()
    })
}

fn float(n: u64) -> HistogramValue {
    HistogramValue::Float(FloatHistogram {
        schema: 0,
        count: n as f64,
        sum: 0.5 * n as f64,
        positive_spans: [Span { offset: 1, length: 1 }].into(),
        positive_buckets: vec![n as f64],
        ..FloatHistogram::default()
    })
}

/// Writes series of all kinds: many floats, some of which end, histograms that
/// are reset, late samples, an exemplar, a deletion.
fn fill(db: &Db, from: i64, to: i64, with_starts: bool) {
    let mut rng = Rng::new(from.unsigned_abs() + 7);
    for step in from..to {
        let t = step * 15_000;
        let mut appender = db.appender().unwrap();
        let mut handles = Vec::new();
        let mut values = Vec::new();
        for n in 0..40u64 {
            if n % 10 == 9 && step > from + 100 {
                continue;
            }
            let labels = labels("floats", &[("n", &n.to_string()), ("job", "test")]);
            handles.push(appender.series(&labels).unwrap());
            values.push(match n % 10 {
                9 if step == from + 100 => stale_nan(),
                0..4 => n as f64,
                _ => rng.below(1000) as f64 / 8.0,
            });
        }
        let starts = vec![t - 60_000; handles.len()];
        let mut outcomes = Vec::new();
        let batch = FloatBatch {
            series: &handles,
            timestamps: Timestamps::Same(t),
            start_timestamps: with_starts.then_some(&starts[..]),
            values: &values,
            in_order_only: false,
        };
        appender.append_floats(batch, &mut outcomes);
        assert!(outcomes.iter().all(|outcome| outcome.is_ok()), "{outcomes:?}");
        let n = 1 + (step % 37) as u64;
        let mut histograms = Vec::new();
        for (name, value) in [("integers", integer(n)), ("float_histograms", float(n))] {
            let series = appender.series(&labels(name, &[])).unwrap();
            let start = if with_starts { t - 60_000 } else { 0 };
            histograms.push(HistogramSample { series, timestamp_ms: t, start_timestamp_ms: start, value });
        }
        appender.append_histograms(histograms, &mut outcomes);
        assert!(outcomes.iter().all(|outcome| outcome.is_ok()), "{outcomes:?}");
        if step % 50 == 0 {
            let exemplar = Exemplar {
                labels: Labels::from_pairs([("trace", step.to_string())]),
                value: 1.0,
                timestamp_ms: t,
                has_timestamp: true,
            };
            appender.append_exemplar(handles[0], &exemplar).unwrap();
        }
        appender.commit().unwrap();
        if step % 7 == 3 {
            append(db, &labels("floats", &[("n", "5"), ("job", "test")]), t - 31_000 - step, 0.25);
        }
    }
    let deleted = TimeRange::new(from * 15_000 + 60_000, from * 15_000 + 120_000);
    db.delete_series(deleted, &[vec![equal("n", "3")]]).unwrap();
}

fn all_kinds(dir: &Path) -> DbOptions {
    let mut options = options(dir);
    options.exemplar_storage = true;
    options.runtime.out_of_order_window = Duration::from_secs(600);
    options.runtime.retention_time = None;
    options
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn exemplars(db: &Db) -> String {
    format!("{:?}", db.exemplars(TimeRange::ALL, &[vec![]]).unwrap())
}

/// Opens with a registry; answers how many snapshots could not be used.
fn open_counting(options: DbOptions) -> (Arc<Db>, f64) {
    let registry = Registry::new();
    let clock = Arc::new(TestClock::new(0));
    let db = Db::open(options, env(&clock), Accountant::unlimited(), &registry, Arc::new(ReplayCell::new()))
        .unwrap();
    let families = registry.gather();
    let errors = families.iter().find(|f| f.name == "prometheus_tsdb_snapshot_replay_error_total").unwrap();
    let MetricValue::Single(errors) = errors.metrics[0].value else { panic!("a counter has one value") };
    (db, errors)
}

fn snapshots(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("chunk_snapshot."))
        .collect();
    found.sort();
    found
}

/// Empties every segment of the log but keeps its name: whoever reads it finds nothing.
fn empty_the_log(dir: &Path) {
    for entry in std::fs::read_dir(dir.join("wal")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::write(path, []).unwrap();
        }
    }
}

#[test]
fn any_number_of_threads_makes_the_same_head() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    let db = open(all_kinds(&source));
    fill(&db, 1, 700, false);
    let want = (samples(&db), exemplars(&db));
    // As after a crash: not closed.
    drop(db);
    std::fs::remove_dir_all(source.join("chunks_head")).unwrap();
    let mut first: Option<Content> = None;
    for threads in [1, 2, 5] {
        let at = dir.path().join(threads.to_string());
        copy(&source, &at);
        let db = open(DbOptions { replay_threads: threads, ..all_kinds(&at) });
        assert_eq!((samples(&db), exemplars(&db)), want, "{threads} threads");
        let found = content(&db);
        assert_eq!(
            first.get_or_insert_with(|| found.clone()),
            &found,
            "{threads} threads make the same chunks"
        );
    }
}

fn snapshot_gives_everything_back(mut change: impl FnMut(&mut DbOptions), with_starts: bool) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut options = all_kinds(dir);
    options.memory_snapshot_on_shutdown = true;
    change(&mut options);
    let db = open(options.clone());
    fill(&db, 1, 300, with_starts);
    let want = (samples(&db), exemplars(&db));
    db.close().unwrap();
    drop(db);
    assert_eq!(snapshots(dir).len(), 1);
    empty_the_log(dir);
    let (db, errors) = open_counting(options.clone());
    assert_eq!(errors, 0.0);
    assert_eq!((samples(&db), exemplars(&db)), want, "from the snapshot alone");
    // The chunks go on, and the next start finds both parts.
    fill(&db, 300, 420, with_starts);
    let want = (samples(&db), exemplars(&db));
    drop(db);
    let (db, errors) = open_counting(options.clone());
    assert_eq!(errors, 0.0);
    assert_eq!((samples(&db), exemplars(&db)), want, "from the snapshot and what was logged since");
    db.close().unwrap();
    drop(db);
    assert_eq!(snapshots(dir).len(), 1, "the older one is gone");
    let (db, _) = open_counting(options);
    assert_eq!((samples(&db), exemplars(&db)), want, "from the second snapshot");
}

#[test]
fn a_snapshot_gives_xor_chunks_back() {
    snapshot_gives_everything_back(|_| {}, false);
}

#[test]
fn a_snapshot_gives_xor2_chunks_back() {
    snapshot_gives_everything_back(|options| options.runtime.float_encoding = ChunkEncoding::Xor2, false);
}

#[test]
fn a_snapshot_gives_start_timestamps_back() {
    let change = |options: &mut DbOptions| {
        options.runtime.float_encoding = ChunkEncoding::Xor2;
        options.start_timestamp_storage = true;
        options.histogram_start_timestamps = true;
    };
    snapshot_gives_everything_back(change, true);
}

#[test]
fn a_bad_snapshot_is_counted_and_the_log_read_instead() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    let mut options = all_kinds(&source);
    options.memory_snapshot_on_shutdown = true;
    let db = open(options.clone());
    fill(&db, 1, 200, false);
    let want = samples(&db);
    db.close().unwrap();
    drop(db);
    for (n, at) in [0usize, 9, 4000, 20_000].into_iter().enumerate() {
        let damaged = dir.path().join(n.to_string());
        copy(&source, &damaged);
        let segment = snapshots(&damaged)[0].join("00000000");
        let mut bytes = std::fs::read(&segment).unwrap();
        let at = at.min(bytes.len() - 1);
        bytes[at] ^= 0x55;
        std::fs::write(&segment, bytes).unwrap();
        let (db, errors) = open_counting(DbOptions { dir: damaged, ..options.clone() });
        assert_eq!(errors, 1.0, "a flipped byte at {at}");
        assert_eq!(samples(&db), want, "a flipped byte at {at}");
    }
    let cut = dir.path().join("cut");
    copy(&source, &cut);
    let segment = snapshots(&cut)[0].join("00000000");
    let bytes = std::fs::read(&segment).unwrap();
    std::fs::write(&segment, &bytes[..bytes.len() / 2 + 3]).unwrap();
    let (db, errors) = open_counting(DbOptions { dir: cut, ..options.clone() });
    assert_eq!((errors, samples(&db)), (1.0, want.clone()), "a snapshot that was cut off");
    // Without the option it is not looked at.
    options.memory_snapshot_on_shutdown = false;
    let (db, errors) = open_counting(options);
    assert_eq!((errors, samples(&db)), (0.0, want));
}

#[test]
fn a_snapshot_ahead_of_the_log_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut options = all_kinds(dir);
    options.memory_snapshot_on_shutdown = true;
    let db = open(options.clone());
    fill(&db, 1, 50, false);
    db.close().unwrap();
    drop(db);
    let snapshot = &snapshots(dir)[0];
    std::fs::rename(snapshot, dir.join("chunk_snapshot.000099.0000000000")).unwrap();
    std::fs::create_dir(dir.join("chunk_snapshot.000098.0000000000.tmp")).unwrap();
    let (db, errors) = open_counting(options);
    assert_eq!((errors, snapshots(dir).len()), (0.0, 0));
    assert!(!samples(&db).is_empty(), "the log was read");
}

#[test]
fn a_series_known_by_two_numbers_survives_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut options = all_kinds(dir);
    options.memory_snapshot_on_shutdown = true;
    let db = open(options.clone());
    let series = labels("m", &[]);
    append(&db, &series, 1_000_000, 1.0);
    append(&db, &series, 990_000, 0.5);
    // The head is cut until the series falls; the late sample is in a block then.
    for t in [9_000_000, 30_000_000] {
        append(&db, &labels("other", &[]), t, 1.0);
        for _ in 0..3 {
            db.maintain().unwrap();
        }
    }
    append(&db, &series, 30_000_000, 2.0);
    append(&db, &series, 29_900_000, 1.5);
    let want = samples(&db);
    drop(db);
    // From the log: the series has two records. Then from the snapshot.
    let db = open(options.clone());
    assert_eq!(samples(&db), want, "from the log");
    db.close().unwrap();
    drop(db);
    let (db, errors) = open_counting(options);
    assert_eq!((errors, samples(&db)), (0.0, want), "from the snapshot");
}

#[test]
fn a_snapshot_that_a_checkpoint_overtook_gives_no_numbers_back() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut options = all_kinds(dir);
    options.memory_snapshot_on_shutdown = true;
    let db = open(options.clone());
    let series = labels("m", &[]);
    append(&db, &series, 1_000_000, 1.0);
    db.close().unwrap();
    drop(db);
    let taken = snapshots(dir)[0].clone();
    let kept = dir.join("kept");
    copy(&taken, &kept);
    // The head is cut until the series falls and the checkpoint leaves it out; it
    // comes back with another number.
    let db = open(options.clone());
    for n in 1..=10 {
        append(&db, &labels("other", &[]), n * 9_000_000, 1.0);
        db.maintain().unwrap();
    }
    assert!(!taken.exists(), "the checkpoint says all that the snapshot did");
    append(&db, &series, 90_000_000, 2.0);
    drop(db);
    // As if it could not be removed, or as another program leaves it.
    copy(&kept, &taken);
    let (db, errors) = open_counting(options.clone());
    assert_eq!((errors, snapshots(dir).len()), (0.0, 0));
    append(&db, &series, 90_015_000, 3.0);
    let want = samples(&db);
    drop(db);
    options.memory_snapshot_on_shutdown = false;
    assert_eq!(samples(&open(options)), want, "what came after is the log's");
}

/// Opens a database; meanwhile `early` may append.
fn open_early(options: DbOptions, mut early: impl FnMut(Arc<dyn Appendable>)) -> Arc<Db> {
    let clock = Arc::new(TestClock::new(0));
    let (accountant, registry) = (Accountant::unlimited(), Registry::new());
    Db::open_with(options, env(&clock), accountant, &registry, Arc::new(ReplayCell::new()), Some(&mut early))
        .unwrap()
}

fn append_to(store: &dyn Appendable, all: &[(Labels, i64, f64)]) -> Vec<model::Outcome> {
    let mut appender = store.appender().unwrap();
    let outcomes = put(&mut *appender, all);
    appender.commit().unwrap();
    outcomes
}

fn put(appender: &mut dyn model::Appender, all: &[(Labels, i64, f64)]) -> Vec<model::Outcome> {
    let series: Vec<_> = all.iter().map(|(labels, ..)| appender.series(labels).unwrap()).collect();
    let times: Vec<i64> = all.iter().map(|sample| sample.1).collect();
    let values: Vec<f64> = all.iter().map(|sample| sample.2).collect();
    let mut outcomes = Vec::new();
    let batch = FloatBatch {
        series: &series,
        timestamps: Timestamps::Each(&times),
        start_timestamps: None,
        values: &values,
        in_order_only: false,
    };
    appender.append_floats(batch, &mut outcomes);
    outcomes
}

#[test]
fn samples_that_come_while_the_log_is_read_are_logged_and_found() {
    use model::Outcome;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let db = open(all_kinds(dir));
    fill(&db, 1, 200, false);
    let before = floats_of(&db);
    drop(db);
    let known = labels("floats", &[("n", "1"), ("job", "test")]);
    let new = labels("new", &[]);
    let t = 200 * 15_000;
    let (mut pending, mut door) = (None, None);
    let db = open_early(all_kinds(dir), |store| {
        let all = [(known.clone(), t, 1.0), (new.clone(), t, 2.0)];
        assert_eq!(append_to(&*store, &all), [Outcome::Accepted; 2]);
        assert_eq!(append_to(&*store, &[(new.clone(), t, 2.0)]), [Outcome::Unchanged]);
        assert_eq!(append_to(&*store, &[(new.clone(), t - 1, 2.0)]), [Outcome::OutOfOrder]);
        let mut histograms = store.appender().unwrap();
        let series = histograms.series(&labels("integers", &[])).unwrap();
        let sample = HistogramSample { series, timestamp_ms: t, start_timestamp_ms: 0, value: integer(40) };
        let mut outcomes = Vec::new();
        histograms.append_histograms(vec![sample], &mut outcomes);
        assert_eq!(outcomes, [Outcome::Accepted]);
        histograms.commit().unwrap();
        // Late for a series that the log knows: found out when the replay is over.
        append_to(&*store, &[(labels("floats", &[("n", "2"), ("job", "test")]), t - 300_001, 9.0)]);
        store.appender().unwrap().rollback();
        let mut open = store.appender().unwrap();
        put(&mut *open, &[(known.clone(), t + 1, 3.0), (new.clone(), t + 1, 4.0)]);
        pending = Some(open);
        door = Some(store);
    });
    pending.take().unwrap().commit().unwrap();
    let door = door.unwrap();
    assert_eq!(append_to(&*door, &[(new.clone(), t + 2, 5.0)]), [Outcome::Accepted]);
    let after = samples(&db);
    let found = floats_of(&db);
    let value =
        |series: &Labels, t: i64| found[series].iter().find(|s| s.0 == t).map(|s| f64::from_bits(s.1));
    assert_eq!([t, t + 1].map(|t| value(&known, t)), [Some(1.0), Some(3.0)]);
    assert_eq!([t, t + 1, t + 2].map(|t| value(&new, t)), [Some(2.0), Some(4.0), Some(5.0)]);
    assert_eq!(value(&labels("floats", &[("n", "2"), ("job", "test")]), t - 300_001), Some(9.0));
    for (labels, old) in &before {
        assert!(old.iter().all(|sample| found[labels].contains(sample)), "{labels} lost nothing");
    }
    // As after a crash: all of it is in the logs.
    drop((db, door));
    let db = open(all_kinds(dir));
    assert_eq!(samples(&db), after);
    append(&db, &new, t + 3, 6.0);
    let after = samples(&db);
    drop(db);
    assert_eq!(samples(&open(all_kinds(dir))), after);
}

fn floats_of(db: &Db) -> BTreeMap<Labels, Vec<(i64, u64)>> {
    let all = select(
        db,
        vec![model::Matcher::new(model::MatchOp::Regex, "__name__", "floats|new").unwrap()],
        TimeRange::ALL,
    );
    all.into_iter()
        .map(|(labels, c)| {
            (labels, c.timestamps_ms.iter().copied().zip(c.floats.iter().map(|v| v.to_bits())).collect())
        })
        .collect()
}

#[test]
fn what_is_held_while_the_log_is_read_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.parked_bytes_max = 20_000;
    let mut taken = 0;
    let db = open_early(options, |store| {
        for t in 0..10_000 {
            let Ok(mut appender) = store.appender() else { return };
            put(&mut *appender, &[(labels("m", &[]), t, 1.0)]);
            if appender.commit().is_err() {
                return;
            }
            taken += 1;
        }
        panic!("nothing was refused");
    });
    let found = floats(&db, TimeRange::ALL);
    assert!(taken > 10);
    assert_eq!(found[&labels("m", &[])].len(), taken, "what was taken is there");
}

#[test]
fn a_clean_stop_notes_how_far_numbers_went() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.fast_startup = true;
    let db = open(options.clone());
    for n in 0..5 {
        append(&db, &labels("m", &[("n", &n.to_string())]), 1000, 1.0);
    }
    db.close().unwrap();
    drop(db);
    let state = std::fs::read_to_string(dir.path().join("wal/series_state.json")).unwrap();
    assert_eq!(state.trim_end(), r#"{"last_series_id":5,"last_wal_segment":0,"clean_shutdown":true}"#);
    // What comes early gets numbers behind those.
    let db =
        open_early(options, |store| drop(append_to(&*store, &[(labels("m", &[("n", "9")]), 2000, 1.0)])));
    assert_eq!(floats(&db, TimeRange::ALL).len(), 6);
}

/// All files of a folder with their bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    all
}

#[test]
fn a_directory_that_is_only_looked_at_does_not_change() {
    use std::io::Write as _;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut options = all_kinds(&data);
    let db = open(options.clone());
    fill(&db, 1, 300, false);
    // A block, too, and a log that its writer is in the middle of.
    append(&db, &labels("later", &[]), 20_000_000, 1.0);
    db.maintain().unwrap();
    append(&db, &labels("later", &[]), 20_000_001, 2.0);
    let want = samples(&db);
    let newest = files(&data.join("wal")).into_keys().next_back().unwrap();
    std::fs::OpenOptions::new().append(true).open(newest).unwrap().write_all(&[1, 0, 200, 7]).unwrap();
    std::fs::create_dir(data.join("01ARZ3NDEKTSV4RRFFQ69G5FAV.tmp-for-creation")).unwrap();
    let before = files(&data);
    options.runtime.retention_time = Some(Duration::from_millis(1));
    let sandbox = dir.path().join("sandbox");
    std::fs::create_dir(&sandbox).unwrap();
    let clock = Arc::new(TestClock::new(0));
    let looked = Db::open_read_only(options, env(&clock), &sandbox).unwrap();
    assert_eq!(samples(&looked), want);
    assert_eq!(looked.label_values_of("__name__"), ["float_histograms", "floats", "integers", "later"]);
    looked.close().unwrap();
    drop(looked);
    assert_eq!(files(&data), before, "nothing changed");
    assert!(data.join("01ARZ3NDEKTSV4RRFFQ69G5FAV.tmp-for-creation").is_dir());
    assert!(!files(&sandbox).is_empty(), "what was to be written is elsewhere");
}

trait Values {
    fn label_values_of(&self, name: &str) -> Vec<String>;
}

impl Values for Db {
    fn label_values_of(&self, name: &str) -> Vec<String> {
        use model::query::LabelQueryable as _;
        self.label_values(name, TimeRange::ALL, &[], 0).unwrap().values
    }
}
