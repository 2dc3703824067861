//! Runs the target that `NARTHEX_FUZZ_TARGET` names under libFuzzer.
#![no_main]

use std::sync::OnceLock;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    static TARGET: OnceLock<&'static fuzz::Target> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("NARTHEX_FUZZ_TARGET").unwrap_or_default();
        fuzz::TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| {
            let names: Vec<&str> = fuzz::TARGETS.iter().map(|target| target.name).collect();
            panic!("NARTHEX_FUZZ_TARGET must be one of {names:?}")
        })
    });
    (target.run)(data);
});
