//! Blocks that are damaged, half removed, kept too long.

use std::path::{Path, PathBuf};
use std::time::Duration;

use model::admin::TsdbStatus;
use model::{Fs, TimeRange};
use testkit::disk::{Fault, SimDisk, Unsynced};
use tsdb::{Db, DbOptions};

use crate::db_support::{append, floats, labels};
use crate::life_support::{HOUR, MINUTE, START, new_disk, opening, try_open};

/// Many blocks of one series, a sample a minute.
fn with_blocks(n_hours: i64) -> (SimDisk, DbOptions) {
    let (disk, mut options) = (new_disk(), opening(false));
    options.max_block_duration_ms = options.block_duration_ms;
    let db = try_open(&disk, &options, 1).unwrap();
    for n in 0..n_hours * 60 {
        append(&db, &labels("m", &[]), START + n * MINUTE, n as f64);
        if n % 30 == 29 {
            db.maintain().unwrap();
        }
    }
    (disk, options)
}

fn n_samples(db: &Db) -> usize {
    floats(db, TimeRange::ALL).values().map(Vec::len).sum()
}

fn block_dirs(disk: &SimDisk) -> Vec<PathBuf> {
    disk.files()
        .into_iter()
        .filter(|p| p.ends_with("meta.json"))
        .map(|p| p.parent().unwrap().to_path_buf())
        .collect()
}

/// 5457, 6522: an empty `meta.json` or a damaged block, and the start was refused.
#[test]
fn issue_5457_a_damaged_block_is_left_out_and_named() {
    let (base, options) = with_blocks(16);
    let whole = n_samples(&try_open(&base.after_kill(), &options, 2).unwrap());
    let dirs = block_dirs(&base);
    assert!(dirs.len() >= 5);
    type Harm<'a> = (&'a str, Box<dyn Fn(&SimDisk, &Path) + 'a>);
    let harms: Vec<Harm<'_>> = vec![
        ("empty meta.json", Box::new(|disk, dir| disk.damage(&dir.join("meta.json"), Vec::clear))),
        (
            "half a meta.json",
            Box::new(|disk, dir| disk.damage(&dir.join("meta.json"), |b| b.truncate(b.len() / 2))),
        ),
        ("meta.json gone", Box::new(|disk, dir| disk.remove_file(&dir.join("meta.json")).unwrap())),
        ("empty index", Box::new(|disk, dir| disk.damage(&dir.join("index"), Vec::clear))),
        ("index gone", Box::new(|disk, dir| disk.remove_file(&dir.join("index")).unwrap())),
        ("chunks gone", Box::new(|disk, dir| disk.remove_dir_all(&dir.join("chunks")).unwrap())),
        ("empty chunk file", Box::new(|disk, dir| disk.damage(&dir.join("chunks/000001"), Vec::clear))),
        ("damaged tombstones", Box::new(|disk, dir| disk.damage(&dir.join("tombstones"), |b| b[0] ^= 1))),
    ];
    for (harm, damage) in harms {
        let disk = base.after_kill();
        let dir = &dirs[2];
        damage(&disk, dir);
        let db = try_open(&disk, &options, 3).unwrap_or_else(|error| panic!("{harm}: {error}"));
        let damaged = db.damaged_blocks();
        assert!(damaged.iter().any(|(path, why)| path == dir && !why.is_empty()), "{harm}: {damaged:?}");
        let left = n_samples(&db);
        assert!(left < whole && left >= whole - 121, "{harm}: {left} of {whole}");
        db.maintain().unwrap();
        assert!(disk.files().iter().any(|path| path.starts_with(dir)), "{harm}: nothing of it is removed");
        assert_eq!(n_samples(&db), left, "{harm}");
    }
}

/// Found by fuzzing: one letter of a block's own name in its `meta.json` is wrong. Once
/// the block was compacted, a start looked for a folder of that name and was refused.
#[test]
fn a_block_may_give_itself_another_name_than_its_folder() {
    let (base, mut options) = with_blocks(16);
    options.max_block_duration_ms = 18 * HOUR;
    let whole = floats(&try_open(&base.after_kill(), &options, 2).unwrap(), TimeRange::ALL);
    for dir in block_dirs(&base) {
        let disk = base.after_kill();
        disk.damage(&dir.join("meta.json"), |bytes| {
            let text = String::from_utf8(bytes.clone()).unwrap();
            let name = dir.file_name().unwrap().to_str().unwrap();
            let last = if name.ends_with('0') { '1' } else { '0' };
            *bytes = text.replacen(name, &format!("{}{last}", &name[..25]), 1).into_bytes();
        });
        for start in 3..6 {
            let db = try_open(&disk, &options, start).unwrap();
            assert_eq!(floats(&db, TimeRange::ALL), whole, "{}", dir.display());
            db.maintain().unwrap();
            assert_eq!(floats(&db, TimeRange::ALL), whole, "{}", dir.display());
        }
    }
}

/// 7772: a crash while a block was being removed left half of it.
#[test]
fn issue_7772_a_removal_cut_short_is_finished() {
    let (base, mut options) = with_blocks(20);
    options.runtime.retention_time = Some(Duration::from_secs(6 * 3600));
    let (from, until) = {
        let disk = base.after_kill();
        disk.fail_at(u64::MAX, Fault::Stop);
        let from = disk.changes();
        drop(try_open(&disk, &options, 2).unwrap());
        (from, disk.changes())
    };
    let kept = {
        let db = try_open(&base.after_kill(), &options, 2).unwrap();
        n_samples(&db)
    };
    for at in from..until {
        let disk = base.after_kill();
        disk.fail_at(at, Fault::Stop);
        drop(try_open(&disk, &options, 2));
        for (n, disk) in [
            disk.after_kill(),
            disk.after_power_cut(Unsynced::Lost),
            disk.after_power_cut(Unsynced::Mixed(at)),
        ]
        .iter()
        .enumerate()
        {
            let db = try_open(disk, &options, 3)
                .unwrap_or_else(|error| panic!("stopped at {at}, case {n}: {error}"));
            assert_eq!(n_samples(&db), kept, "stopped at {at}, case {n}");
            assert!(db.damaged_blocks().is_empty(), "stopped at {at}, case {n}: {:?}", db.damaged_blocks());
            let leftover: Vec<_> =
                disk.files().into_iter().filter(|p| p.to_string_lossy().contains(".tmp")).collect();
            assert!(leftover.is_empty(), "stopped at {at}, case {n}: {leftover:?}");
        }
    }
}

/// 18200: the unit of the retention was mixed up, and data was kept a million times longer.
#[test]
fn issue_18200_the_retention_is_what_it_says() {
    for hours in [2, 5, 11, 400] {
        let (base, mut options) = with_blocks(24);
        options.runtime.retention_time = Some(Duration::from_secs(hours * 3600));
        let db = try_open(&base, &options, 2).unwrap();
        db.maintain().unwrap();
        let blocks = db.blocks().unwrap();
        let newest = blocks.iter().filter_map(|meta| meta["maxTime"].as_i64()).max().unwrap();
        for meta in &blocks {
            let age = newest - meta["maxTime"].as_i64().unwrap();
            assert!(age < hours as i64 * HOUR, "{hours} h: a block of age {age} ms is kept");
        }
        let expected = hours.div_ceil(2).min(11) as usize;
        assert!(
            blocks.len().abs_diff(expected) <= 1,
            "{hours} h: {} blocks, about {expected} expected",
            blocks.len()
        );
    }
}
