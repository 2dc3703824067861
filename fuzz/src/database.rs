//! A data directory of which one file is anything: every start succeeds, all that
//! is answered was given, and the database goes on.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use model::admin::TsdbAdmin;
use model::memory::Accountant;
use model::metrics::Registry;
use model::{Env, Fs, MatchOp, Matcher, StorageError, TimeRange};
use testkit::TestClock;
use testkit::disk::SimDisk;
use testkit::life::{Answer, Life, LifeOptions, read};
use tsdb::{Db, DbOptions, ReplayCell};

const DIR: &str = "/data";
const HOUR_MS: i64 = 3_600_000;
const START_MS: i64 = 1_700_000_000_000;

fn open(disk: &SimDisk) -> Arc<Db> {
    let mut options = DbOptions {
        dir: DIR.into(),
        wal_segment_bytes: 64 << 10,
        wal_compression: tsdb::Compression::None,
        exemplar_storage: true,
        metadata_storage: true,
        samples_per_chunk: 12,
        ..DbOptions::default()
    };
    options.runtime.retention_time = None;
    options.runtime.out_of_order_window = Duration::from_secs(5400);
    let env = Env { fs: Arc::new(disk.clone()), clock: Arc::new(TestClock::new(START_MS)), seed: 3 };
    let opened =
        Db::open(options, env, Accountant::unlimited(), &Registry::new(), Arc::new(ReplayCell::new()));
    opened.unwrap_or_else(|error| panic!("a start is refused: {error}"))
}

fn everything(db: &Db) -> Result<Answer, StorageError> {
    let any = Matcher::new(MatchOp::Regex, "__name__", ".*").expect("a pattern");
    read(db, vec![any], TimeRange::ALL)
}

struct Template {
    disk: SimDisk,
    files: Vec<PathBuf>,
    life: Life,
}

/// A directory with blocks, tombstones, a checkpoint, both logs and head chunks.
fn template() -> &'static Template {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let disk = SimDisk::new();
        disk.create_dir_all(Path::new(DIR)).expect("an empty disk has room");
        let options = LifeOptions { late_window_ms: 5_400_000, ..LifeOptions::default() };
        let mut life = Life::new(11, START_MS, options);
        let db = open(&disk);
        for n in 0..170 {
            life.step(&*db).expect("the disk is well");
            if n % 4 == 3 {
                db.maintain().expect("the disk is well");
            }
            if n == 80 {
                life.delete(&*db).expect("the disk is well");
                life.acknowledge();
            }
        }
        drop(db);
        let files = disk.files();
        let has = |part: &str| files.iter().any(|path| path.to_string_lossy().contains(part));
        for part in [
            "checkpoint.",
            "/wal/0",
            "/wbl/0",
            "chunks_head/",
            "/index",
            "chunks/000001",
            "/tombstones",
            "meta.json",
        ] {
            assert!(has(part), "the directory has {part}: {files:?}");
        }
        Template { disk, files, life }
    })
}

/// The first byte names a file of the directory, the others are what it holds.
pub(crate) fn directory(bytes: &[u8]) {
    let template = template();
    let Some((&file, bytes)) = bytes.split_first() else { return };
    let path = &template.files[usize::from(file) % template.files.len()];
    let disk = template.disk.after_kill();
    disk.damage(path, |old| *old = bytes.to_vec());
    let db = open(&disk);
    let first = everything(&db);
    let mut life = template.life.clone();
    // A chunk of a block may be damaged: then a query says so.
    if let Ok(answer) = &first {
        life.settle(answer);
    }
    for _ in 0..3 {
        life.now_ms += HOUR_MS;
        life.step(&*db).expect("what is damaged does not stop appends");
    }
    // It may fail for what is damaged, it may not panic.
    let _ = db.maintain();
    let _ = db.clean_tombstones();
    let before = everything(&db);
    drop(db);
    let again = everything(&open(&disk));
    if let (Ok(before), Ok(again)) = (before, again) {
        assert_eq!(before.len(), again.len(), "a second start answers the same");
    }
}

pub(crate) fn corpus() -> Vec<Vec<u8>> {
    let template = template();
    let mut all = crate::finds::of("data_directory");
    for (n, path) in template.files.iter().enumerate().take(256) {
        let mut input = vec![n as u8];
        input.extend(template.disk.read(path).expect("it is there"));
        all.push(input);
    }
    all
}
