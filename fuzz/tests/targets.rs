//! Every target on its built-in inputs and on some thousand made from them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fuzz::mutate::mutate;
use fuzz::{TARGETS, Target};
use testkit::Rng;

#[expect(clippy::disallowed_methods, reason = "a test's size is chosen by whoever runs it")]
fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// No target may ever have held more.
const RESIDENT_KIB_MAX: u64 = 1 << 20;

/// The most memory the process has held so far, where the system tells.
fn resident_peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok())
}

fn drive(name: &str) {
    let target: &Target = TARGETS.iter().find(|target| target.name == name).expect("a target of that name");
    let corpus = (target.corpus)();
    assert!(!corpus.is_empty(), "{name} has inputs");
    let runs = number("NARTHEX_FUZZ_RUNS", 4000) / target.cost as u64;
    let seed = number("NARTHEX_FUZZ_SEED", 1);
    let mut rng = Rng::new(seed);
    let made = (0..runs).map(|_| mutate(&corpus, target.words, &mut rng));
    let mut n = 0u64;
    for input in corpus.iter().cloned().chain(made) {
        let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
        assert!(
            outcome.is_ok(),
            "{name}, seed {seed}, input {n} of {} bytes: b\"{}\"",
            input.len(),
            input.escape_ascii()
        );
        n += 1;
    }
    if let Some(peak) = resident_peak_kib() {
        assert!(peak < RESIDENT_KIB_MAX, "{name}: {peak} KiB were resident");
    }
    println!("{name}: {n} inputs");
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            drive(stringify!($name));
        })*

        #[test]
        fn every_target_is_driven() {
            let driven = [$(stringify!($name)),*];
            let all: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(driven.as_slice(), all);
        }
    };
}

targets! {
    chunk_xor chunk_xor2 chunk_histogram chunk_histogram_st chunk_float_histogram chunk_float_histogram_st
    chunk_floats_in wal_record wal_segment wal_compression snapshot_record index index_sealed block_chunks
    tombstones meta_json head_chunks data_directory promql_parse promql_eval promql_series promql_script
    matcher exposition_text exposition_openmetrics exposition_protobuf remote_write_v1 remote_write_v2
    remote_body template_text template_page config
}
