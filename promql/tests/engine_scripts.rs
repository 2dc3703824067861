//! Our own scripts, with one thread and with several.

use std::path::Path;

use promql::{Engine, EngineOptions, Features};
use testkit::MemoryStore;
use testkit::promqltest::{Runs, run_all};

fn run(delayed_name_removal: bool, threads: usize) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/promql");
    let mut files: Vec<_> = std::fs::read_dir(&dir)
        .expect("the scripts are in the project")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "test"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no scripts in {}", dir.display());
    let mut failed = 0;
    for path in files {
        let script = std::fs::read_to_string(&path).expect("the script can be read");
        let options = EngineOptions {
            features: Features::all(),
            delayed_name_removal,
            threads,
            use_start_timestamps: true,
            ..Default::default()
        };
        let make_store = || -> Box<dyn testkit::promqltest::ScriptStore> { Box::new(MemoryStore::new()) };
        let report = run_all(&script, &Engine::new(options), &make_store, Runs::default())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        println!("{}: {} passed", path.display(), report.passed);
        for failure in &report.failures {
            println!("  {failure}");
        }
        failed += report.failures.len();
    }
    assert_eq!(failed, 0);
}

#[test]
fn our_scripts_pass() {
    run(false, 1);
}

#[test]
fn our_scripts_pass_with_late_names_and_threads() {
    run(true, 2);
}
