//! A database's whole life on a simulated disk that is stopped before every
//! change, inside every write, by a kill and by a power cut: every start
//! succeeds, what was acknowledged (after a power cut: synced) is answered,
//! nothing that was never given is.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod life_support;

use std::sync::Arc;

use life_support::*;
use model::admin::TsdbAdmin;
use testkit::Rng;
use testkit::disk::{Fault, Image, SimDisk, Unsynced};
use testkit::life::{Life, Surety};
use tsdb::{Db, DbOptions};

/// What was tried and how it went.
#[derive(Default)]
struct Tally {
    states: u64,
    lost: u64,
    refused: u64,
    told: Vec<String>,
}

impl Tally {
    fn tell(&mut self, text: String) {
        if self.told.len() < 6 {
            self.told.push(text);
        }
    }

    fn finish(self, what: &str) {
        println!(
            "{what}: {} crash states tried, {} with losses or inventions, {} refused starts",
            self.states, self.lost, self.refused
        );
        assert!(self.lost == 0 && self.refused == 0, "{what}: {:#?}", self.told);
        assert!(self.states > 300, "{what}: there must be states to try");
    }

    /// Starts from a disk and compares.
    fn start(
        &mut self,
        disk: &SimDisk,
        options: &DbOptions,
        life: &Life,
        sure: Surety,
        what: &str,
    ) -> Option<Arc<Db>> {
        self.states += 1;
        let db = match try_open(disk, options, self.states) {
            Ok(db) => db,
            Err(error) => {
                self.refused += 1;
                self.tell(format!("{what}: refused: {error}"));
                return None;
            }
        };
        let faults = faults(&db, life, sure);
        if !faults.is_empty() {
            self.lost += 1;
            self.tell(format!("{what}: {} faults: {:#?}", faults.len(), &faults[..faults.len().min(3)]));
            return None;
        }
        Some(db)
    }

    /// Tries everything that may be left of an image.
    fn image(&mut self, image: &Image, options: &DbOptions, life: &Life, op: Op) {
        let what = |how: &str| format!("{op:?}, change {}, torn {:?}, {how}", image.change, image.torn);
        let killed = image.disk.after_kill();
        let db = self.start(&killed, options, life, Surety::Acknowledged, &what("kill"));
        if let Some(db) = db
            && self.states.is_multiple_of(7)
        {
            self.goes_on(db, &killed, options, life, &what("kill, then on"));
        }
        if image.torn.is_none() {
            let disk = image.disk.after_power_cut(Unsynced::Lost);
            self.start(&disk, options, life, Surety::Synced, &what("power cut, all unsynced lost"));
        }
        for n in 0..2 {
            let seed = self.states * 3 + n;
            let disk = image.disk.after_power_cut(Unsynced::Mixed(seed));
            let how = what(&format!("power cut, mixed by {seed}"));
            let db = self.start(&disk, options, life, Surety::Synced, &how);
            if let Some(db) = db
                && self.states.is_multiple_of(7)
            {
                self.goes_on(db, &disk, options, life, &what(&format!("mixed by {seed}, then on")));
            }
        }
    }

    /// After the crash the life goes on, and survives the next kill.
    fn goes_on(&mut self, db: Arc<Db>, disk: &SimDisk, options: &DbOptions, life: &Life, what: &str) {
        let mut life = life.clone();
        life.settle(&everything(&db));
        for _ in 0..4 {
            life.step(&*db).unwrap();
        }
        db.maintain().unwrap();
        let faults = faults(&db, &life, Surety::Acknowledged);
        if !faults.is_empty() {
            self.lost += 1;
            self.tell(format!("{what}, before the next kill: {:#?}", &faults[..faults.len().min(3)]));
        }
        drop(db);
        self.start(disk, options, &life, Surety::Acknowledged, what);
    }
}

/// Lives, and tries every image of what it does.
fn crash_everywhere(seed: u64, n_ops: u64, every: u64, tally: &mut Tally) {
    let options = opening_for(seed);
    let mut rng = Rng::new(seed);
    let mut life = life_for(seed, &options);
    let disk = new_disk();
    disk.record_images(every);
    let mut db = try_open(&disk, &options, seed).unwrap();
    for n in 0..n_ops {
        let op = next_op(&mut rng);
        match op {
            Op::Give => life.give(&*db).unwrap(),
            Op::Sync => db.sync().unwrap(),
            Op::Maintain => db.maintain().unwrap(),
            Op::Delete => life.delete(&*db).unwrap(),
            Op::Clean => db.clean_tombstones().unwrap(),
            Op::Snapshot => drop(db.snapshot(false).unwrap()),
            Op::Restart => db.close().unwrap(),
            Op::Kill => {}
        }
        if matches!(op, Op::Restart | Op::Kill) {
            drop(db);
            db = try_open(&disk, &options, seed ^ n).unwrap();
        }
        for image in disk.take_images() {
            tally.image(&image, &options, &life, op);
        }
        life.acknowledge();
        if matches!(op, Op::Sync | Op::Restart) {
            life.synced();
        }
    }
    check(&db, &life, "at the end");
    println!("seed {seed}: {} changes, {} samples", disk.changes(), life.n_sure());
}

#[test]
fn a_life_may_be_cut_short_anywhere() {
    let seeds = size("NARTHEX_CRASH_SEEDS", 0);
    let mut tally = Tally::default();
    if seeds == 0 {
        for seed in [1, 3, 4] {
            crash_everywhere(seed, 160, 37, &mut tally);
        }
    }
    for seed in 0..seeds {
        crash_everywhere(seed, 240, 1, &mut tally);
    }
    tally.finish("stopped before each change and inside each write");
}

/// Lives with a fault at one change; afterwards the disk is well again.
fn with_fault(seed: u64, n_ops: u64, at: u64, fault: Fault, tally: &mut Tally) -> u64 {
    let options = opening_for(seed);
    let mut rng = Rng::new(seed);
    let mut life = life_for(seed, &options);
    let disk = new_disk();
    disk.fail_at(at, fault);
    let what = format!("{fault:?} at change {at} of seed {seed}");
    // A start on a disk that fails may fail; the next one must not.
    let mut db = try_open(&disk, &options, seed).or_else(|_| {
        disk.free();
        try_open(&disk, &options, seed)
    });
    let mut made_up = false;
    for n in 0..n_ops {
        let Ok(open) = &db else { break };
        let op = next_op(&mut rng);
        // What is acknowledged while nothing can be written may be in memory alone: it
        // is made up for when the disk is well, which it is before anybody stops.
        if matches!(op, Op::Restart | Op::Kill) && disk.changes() > at && !made_up {
            disk.free();
            let _ = open.sync();
            life.step(&**open).unwrap();
            let _ = open.sync();
            made_up = true;
        }
        // Errors are answered or not: what is acknowledged counts.
        let done = match op {
            Op::Give => life.give(&**open),
            Op::Sync => open.sync(),
            Op::Maintain => open.maintain(),
            Op::Delete => life.delete(&**open),
            Op::Clean => open.clean_tombstones(),
            Op::Snapshot => open.snapshot(false).map(drop),
            Op::Restart => open.close(),
            Op::Kill => Ok(()),
        };
        if done.is_ok() {
            life.acknowledge();
        }
        // A long time with a full disk, then there is room.
        if disk.changes() > at.saturating_add(60) {
            disk.free();
        }
        if matches!(op, Op::Restart | Op::Kill) {
            drop(db);
            db = try_open(&disk, &options, seed ^ n).or_else(|_| {
                disk.free();
                try_open(&disk, &options, seed ^ n)
            });
            if let Ok(open) = &db {
                let faults = faults(open, &life, Surety::Acknowledged);
                if !faults.is_empty() {
                    tally.lost += 1;
                    tally.tell(format!("{what}, after a restart: {:#?}", &faults[..faults.len().min(3)]));
                    return disk.changes();
                }
            }
        }
    }
    disk.free();
    tally.states += 1;
    match db {
        Err(error) => {
            tally.refused += 1;
            tally.tell(format!("{what}: refused: {error}"));
        }
        Ok(db) => {
            // What waited for the log is written now.
            db.sync().unwrap();
            for _ in 0..3 {
                life.step(&*db).unwrap();
            }
            db.maintain().unwrap();
            let faults = faults(&db, &life, Surety::Acknowledged);
            if !faults.is_empty() {
                tally.lost += 1;
                tally.tell(format!("{what}, at the end: {:#?}", &faults[..faults.len().min(3)]));
            }
            drop(db);
            tally.start(&disk.after_kill(), &options, &life, Surety::Acknowledged, &what);
        }
    }
    disk.changes()
}

#[test]
fn an_error_at_any_change_costs_nothing_acknowledged() {
    let seeds = size("NARTHEX_CRASH_SEEDS", 0);
    let mut tally = Tally::default();
    for fault in [Fault::IoError, Fault::Full] {
        for seed in 0..seeds.max(1) {
            let seed = seed + 1;
            let n_ops = if seeds == 0 { 100 } else { 200 };
            let changes = with_fault(seed, n_ops, u64::MAX, fault, &mut tally);
            let every = if seeds == 0 { changes / 90 + 1 } else { 1 };
            for at in (0..changes).step_by(every as usize) {
                with_fault(seed, n_ops, at, fault, &mut tally);
            }
        }
    }
    tally.finish("I/O error or full disk at each change");
}
