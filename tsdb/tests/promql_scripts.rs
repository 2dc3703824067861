//! Upstream's evaluation scripts on the real database.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod db_support;

use std::sync::Arc;

use model::query::ChunkEncoding;
use model::{Appendable, Appender, Querier, Queryable, StorageError, TimeRange};
use promql::{Engine, EngineOptions, Features};
use testkit::conformance_dir;
use testkit::promqltest::{Runs, ScriptStore, run_all};
use tsdb::Db;

/// A database in a directory of its own, which goes with it.
struct OwnDb {
    db: Arc<Db>,
    _dir: tempfile::TempDir,
}

impl Appendable for OwnDb {
    fn appender(&self) -> Result<Box<dyn Appender>, StorageError> {
        self.db.appender()
    }
}

impl Queryable for OwnDb {
    fn querier(&self, range: TimeRange) -> Result<Arc<dyn Querier>, StorageError> {
        self.db.querier(range)
    }
}

fn store() -> Box<dyn ScriptStore> {
    let dir = tempfile::tempdir().unwrap();
    let mut options = db_support::options(dir.path());
    options.block_duration_ms = 24 * 3_600_000;
    options.start_timestamp_storage = true;
    options.histogram_start_timestamps = true;
    options.runtime.float_encoding = ChunkEncoding::Xor2;
    options.runtime.retention_time = None;
    Box::new(OwnDb { db: db_support::open(options), _dir: dir })
}

#[test]
fn every_script_gives_upstreams_answers_on_the_database() {
    let Some(dir) = conformance_dir("promql") else { return };
    let mut scripts: Vec<_> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "test"))
        .collect();
    scripts.sort();
    assert_eq!(scripts.len(), 22, "scripts");
    let (mut passed, mut total) = (0, 0);
    for path in scripts {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let engine = Engine::new(EngineOptions {
            features: Features::all(),
            max_samples: 10_000,
            timeout_ms: 100_000,
            delayed_name_removal: name != "delayed_name_removal_disabled",
            use_start_timestamps: true,
            ..EngineOptions::default()
        });
        let script = std::fs::read_to_string(&path).unwrap();
        let report = run_all(&script, &engine, &store, Runs::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let all = report.passed + report.failures.len();
        println!("{name}: {} / {all}", report.passed);
        for failure in report.failures.iter().take(10) {
            println!("  {failure}");
        }
        passed += report.passed;
        total += all;
    }
    println!("promql scripts on the database: {passed} / {total}");
    assert_eq!(passed, total);
}
