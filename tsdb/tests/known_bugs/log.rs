//! Logs that are damaged, cut, full of holes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Fs, TimeRange};
use testkit::disk::{Fault, SimDisk};
use testkit::life::{Life, Surety};
use tsdb::DbOptions;
use tsdb::wal::{LogWriter, LogWriterOptions, Payload};

use crate::db_support::{append, floats, labels};
use crate::life_support::{
    HOUR, MINUTE, START, check, everything, faults, life_for, new_disk, opening, try_open,
};

fn wal_files(disk: &SimDisk) -> Vec<PathBuf> {
    let is_segment = |path: &PathBuf| {
        path.parent() == Some(Path::new("/data/wal")) && !path.to_string_lossy().ends_with(".json")
    };
    disk.files().into_iter().filter(is_segment).collect()
}

fn lived(n_steps: usize) -> (SimDisk, DbOptions, Life) {
    let (disk, options) = (new_disk(), opening(true));
    let mut life = life_for(1, &options);
    let db = try_open(&disk, &options, 1).unwrap();
    for n in 0..n_steps {
        life.step(&*db).unwrap();
        if n % 5 == 4 {
            db.maintain().unwrap();
        }
    }
    drop(db);
    (disk, options, life)
}

/// 8125: a write cut inside a page left a log that could not be read on.
#[test]
fn issue_8125_the_last_write_may_end_at_any_byte() {
    let (disk, options) = (new_disk(), opening(false));
    let series = labels("m", &[]);
    let db = try_open(&disk, &options, 1).unwrap();
    for n in 0..10 {
        append(&db, &series, START + n, n as f64);
    }
    drop(db);
    let path = wal_files(&disk).pop().unwrap();
    let whole = disk.read(&path).unwrap();
    for cut in (whole.len() - 120)..whole.len() {
        let disk = disk.after_kill();
        disk.damage(&path, |bytes| bytes.truncate(cut));
        let db = try_open(&disk, &options, 2).unwrap();
        let left = floats(&db, TimeRange::ALL).remove(&series).unwrap_or_default();
        assert!(
            left.len() >= 4 && left.iter().enumerate().all(|(n, s)| s.0 == START + n as i64),
            "cut at {cut}"
        );
        append(&db, &series, START + 100, 1.0);
        drop(db);
        let db = try_open(&disk, &options, 3).unwrap();
        let again = floats(&db, TimeRange::ALL).remove(&series).unwrap_or_default();
        assert_eq!(again.len(), left.len() + 1, "cut at {cut}: what came after is there");
    }
}

/// 4705, 4603, 5369, 6898, 7409: "cannot repair", and a start that is refused until
/// somebody removes files.
#[test]
fn issue_7409_every_state_of_the_log_is_started_from() {
    let (base, options, life) = lived(160);
    let segments = wal_files(&base);
    assert!(segments.len() >= 3, "{segments:?}");
    let checkpoint: Vec<PathBuf> =
        base.files().into_iter().filter(|path| path.to_string_lossy().contains("checkpoint.")).collect();
    assert!(!checkpoint.is_empty());
    type Harm<'a> = (&'static str, Box<dyn Fn(&SimDisk) + 'a>);
    let harms: Vec<Harm<'_>> = vec![
        ("the first segment is gone", Box::new(|disk| disk.remove_file(&segments[0]).unwrap())),
        ("a segment between is gone", Box::new(|disk| disk.remove_file(&segments[1]).unwrap())),
        ("the newest segment is gone", Box::new(|disk| disk.remove_file(segments.last().unwrap()).unwrap())),
        (
            "all segments are gone",
            Box::new(|disk| segments.iter().for_each(|path| disk.remove_file(path).unwrap())),
        ),
        ("the newest segment is empty", Box::new(|disk| disk.damage(segments.last().unwrap(), Vec::clear))),
        ("a segment is empty", Box::new(|disk| disk.damage(&segments[0], Vec::clear))),
        ("a segment is zeros", Box::new(|disk| disk.damage(&segments[1], |bytes| bytes.fill(0)))),
        (
            "a segment is noise",
            Box::new(|disk| disk.damage(&segments[1], |bytes| bytes.iter_mut().for_each(|b| *b ^= 0xa5))),
        ),
        (
            "the checkpoint is gone",
            Box::new(|disk| disk.remove_dir_all(checkpoint[0].parent().unwrap()).unwrap()),
        ),
        (
            "the checkpoint is an empty folder",
            Box::new(|disk| checkpoint.iter().for_each(|path| disk.remove_file(path).unwrap())),
        ),
        (
            "a checkpoint was begun",
            Box::new(|disk| {
                disk.create_dir_all(Path::new("/data/wal/checkpoint.00000099.tmp")).unwrap();
                disk.create(Path::new("/data/wal/checkpoint.00000099.tmp/00000000"))
                    .unwrap()
                    .write_all(b"half")
                    .unwrap();
            }),
        ),
        (
            "an unknown file lies about",
            Box::new(|disk| {
                disk.create(Path::new("/data/wal/notes.txt")).unwrap().write_all(b"x").unwrap();
                disk.create(Path::new("/data/wal/00000abc")).unwrap().write_all(b"x").unwrap();
            }),
        ),
        (
            "head chunks are gone",
            Box::new(|disk| disk.remove_dir_all(Path::new("/data/chunks_head")).unwrap()),
        ),
        ("the late log is gone", Box::new(|disk| disk.remove_dir_all(Path::new("/data/wbl")).unwrap())),
    ];
    for (harm, damage) in harms {
        let disk = base.after_kill();
        damage(&disk);
        let db = try_open(&disk, &options, 2).unwrap_or_else(|error| panic!("{harm}: {error}"));
        let mut life = life.clone();
        let answer = everything(&db);
        let invented = life.faults(&answer, Surety::Synced);
        assert!(invented.is_empty(), "{harm}: {:#?}", &invented[..invented.len().min(3)]);
        life.settle(&answer);
        life.now_ms += HOUR;
        for _ in 0..6 {
            life.step(&*db).unwrap();
        }
        db.maintain().unwrap();
        drop(db);
        let db = try_open(&disk, &options, 3).unwrap_or_else(|error| panic!("{harm}, again: {error}"));
        check(&db, &life, harm);
    }
}

/// 7530: a damaged checkpoint was repaired as if it were the log, whose segments went.
#[test]
fn issue_7530_a_damaged_checkpoint_costs_no_segment() {
    let (base, options, _) = lived(160);
    let checkpoint = base
        .files()
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("checkpoint."))
        .max_by_key(|path| base.read(path).unwrap().len())
        .unwrap();
    let len = base.read(&checkpoint).unwrap().len();
    for at in (0..len).step_by(len / 12 + 1) {
        let disk = base.after_kill();
        disk.damage(&checkpoint, |bytes| bytes[at] ^= 0x10);
        let before: Vec<_> =
            wal_files(&disk).iter().map(|path| (path.clone(), disk.read(path).unwrap())).collect();
        let db = try_open(&disk, &options, 2).unwrap();
        for (path, bytes) in before {
            assert!(
                disk.read(&path).unwrap().starts_with(&bytes),
                "byte {at}: {} is as it was",
                path.display()
            );
        }
        drop(db);
    }
}

/// 13152, 13181: one abnormal record stopped truncation, and the log grew for ever.
#[test]
fn issue_13152_a_record_nobody_knows_does_not_stop_the_log_from_shrinking() {
    let (disk, options) = (new_disk(), opening(false));
    let series = labels("m", &[]);
    let db = try_open(&disk, &options, 1).unwrap();
    append(&db, &series, START, 1.0);
    drop(db);
    {
        let fs: Arc<dyn Fs> = Arc::new(disk.clone());
        let segment = LogWriterOptions { segment_bytes: 64 << 10 };
        let mut writer = LogWriter::open(fs, Path::new("/data/wal"), segment).unwrap();
        writer
            .log([Payload::plain(&[0xee; 40]), Payload::plain(&[2, 1, 2, 3]), Payload::plain(&[])])
            .unwrap();
    }
    let db = try_open(&disk, &options, 2).unwrap();
    for n in 1..40 {
        append(&db, &series, START + n * HOUR, 1.0);
        db.maintain().unwrap();
    }
    let left = wal_files(&disk);
    assert!(left.len() < 12 && !left[0].ends_with("00000000"), "{left:?}");
    assert_eq!(floats(&db, TimeRange::ALL)[&series].len(), 40);
    drop(db);
    let db = try_open(&disk, &options, 3).unwrap();
    assert_eq!(floats(&db, TimeRange::ALL)[&series].len(), 40);
}

/// 18292: the log names one series under two numbers.
#[test]
fn issue_18292_a_series_may_have_two_records() {
    let (disk, options) = (new_disk(), opening(false));
    let series = labels("m", &[]);
    {
        let fs: Arc<dyn Fs> = Arc::new(disk.clone());
        let segment = LogWriterOptions { segment_bytes: 64 << 10 };
        let mut writer = LogWriter::open(fs, Path::new("/data/wal"), segment).unwrap();
        for (number, t) in [(7u64, START), (9, START + MINUTE), (7, START + 2 * MINUTE)] {
            use tsdb::wal::record::{RefSample, put_samples, put_series};
            let reference = model::SeriesRef(number);
            let (mut names, mut samples) = (Vec::new(), Vec::new());
            put_series(&mut names, [(reference, &series)]);
            let sample = RefSample { series: reference, timestamp_ms: t, start_timestamp_ms: 0, value: 1.0 };
            put_samples(&mut samples, [sample]);
            writer.log([Payload::plain(&names), Payload::plain(&samples)]).unwrap();
        }
    }
    for start in 1..4 {
        let db = try_open(&disk, &options, start).unwrap();
        let have: Vec<i64> = floats(&db, TimeRange::ALL)[&series].iter().map(|sample| sample.0).collect();
        assert_eq!(have[..3], [START, START + MINUTE, START + 2 * MINUTE]);
        append(&db, &series, START + HOUR + start as i64, 1.0);
    }
}

fn log_bytes(disk: &SimDisk) -> usize {
    wal_files(disk).iter().map(|path| disk.read(path).unwrap().len()).sum()
}

/// 13027, 7835, 6813, 3283, 18552: a full disk damaged the log unseen, or made the
/// checkpoint fail for ever so that the disk filled up again.
#[test]
fn issue_6813_a_checkpoint_that_found_no_room_is_made_up_for() {
    let (base, options, life) = lived(120);
    // How many changes a round of upkeep makes that is due.
    let busy = |disk: &SimDisk, life: &mut Life| {
        let db = try_open(disk, &options, 2).unwrap();
        for _ in 0..40 {
            life.step(&*db).unwrap();
        }
        db
    };
    let (from, until) = {
        let (disk, mut life) = (base.after_kill(), life.clone());
        let db = busy(&disk, &mut life);
        let from = disk.changes();
        db.maintain().unwrap();
        (from, disk.changes())
    };
    assert!(until > from + 30);
    for at in (from..until).step_by(3) {
        let (disk, mut life) = (base.after_kill(), life.clone());
        let db = busy(&disk, &mut life);
        let before = log_bytes(&disk);
        disk.fail_at(at, Fault::Full);
        let _ = db.maintain();
        disk.free();
        for _ in 0..3 {
            life.step(&*db).unwrap();
            db.maintain().unwrap();
        }
        check(&db, &life, &format!("full at {at}"));
        assert!(log_bytes(&disk) < before, "full at {at}: the log is shortened once there is room");
        let unfinished: Vec<_> =
            disk.files().into_iter().filter(|path| path.to_string_lossy().contains(".tmp")).collect();
        drop(db);
        let db = try_open(&disk, &options, 3).unwrap();
        check(&db, &life, &format!("full at {at}, started again, {unfinished:?} was left"));
    }
}

/// 7245: the disk was full, the server was restarted, and almost the whole database
/// was deleted.
#[test]
fn issue_7245_a_start_on_a_full_disk_deletes_nothing() {
    let (base, options, life) = lived(120);
    let blocks = |disk: &SimDisk| -> Vec<PathBuf> {
        disk.files()
            .into_iter()
            .filter(|path| path.ends_with("index") || path.ends_with("meta.json"))
            .collect()
    };
    for more in 0..12 {
        let disk = base.after_kill();
        disk.fail_at(disk.changes() + more, Fault::Full);
        let opened = try_open(&disk, &options, 2);
        if let Ok(db) = &opened {
            let faults = faults(db, &life, Surety::Acknowledged);
            assert!(faults.is_empty(), "full after {more}: {:#?}", &faults[..faults.len().min(3)]);
            let _ = db.maintain();
        }
        drop(opened);
        assert!(blocks(&base).iter().all(|path| blocks(&disk).contains(path) || blocks(&disk).len() >= 4));
        disk.free();
        let db = try_open(&disk, &options, 3).unwrap();
        check(&db, &life, &format!("full after {more}, then there is room"));
    }
}
