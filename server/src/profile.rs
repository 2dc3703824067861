//! Watches this process for `/debug/pprof/`: stacks by a timer of the system,
//! threads by their names.

use std::collections::BTreeMap;

use pprof::{ProfilerGuard, ProfilerGuardBuilder};
use web::profiles::{Frame, ProfileError, Profiler, Sampling, Stack};

/// Libraries in which a stack is not looked at: their locks may be held.
const BLOCKED: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

/// The profiler of the process.
pub struct ProcessProfiler;

struct Guarded(ProfilerGuard<'static>);

impl Profiler for ProcessProfiler {
    fn start(&self, per_second: u32) -> Result<Box<dyn Sampling>, ProfileError> {
        let frequency = i32::try_from(per_second).unwrap_or(100);
        let guard = ProfilerGuardBuilder::default().frequency(frequency).blocklist(&BLOCKED).build();
        match guard {
            Ok(guard) => Ok(Box::new(Guarded(guard))),
            Err(pprof::Error::Running) => Err(ProfileError::Busy),
            Err(error) => Err(ProfileError::Failed(error.to_string())),
        }
    }

    fn threads(&self) -> Vec<(String, u64)> {
        let mut names: BTreeMap<String, u64> = BTreeMap::new();
        for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
            if let Ok(name) = std::fs::read_to_string(task.path().join("comm")) {
                *names.entry(name.trim().to_owned()).or_default() += 1;
            }
        }
        names.into_iter().collect()
    }
}

impl Sampling for Guarded {
    fn finish(self: Box<Self>) -> Result<Vec<Stack>, ProfileError> {
        let report = self.0.report().build().map_err(|error| ProfileError::Failed(error.to_string()))?;
        let stacks = report.data.iter().map(|(frames, count)| {
            // A call that was inlined has several symbols, the innermost first.
            let frames = frames
                .frames
                .iter()
                .flatten()
                .map(|symbol| frame(&symbol.name(), symbol.filename().into_owned(), symbol.lineno()));
            Stack { frames: without_profiler(frames.collect()), count: u64::try_from(*count).unwrap_or(0) }
        });
        Ok(stacks.collect())
    }
}

/// Debug information of a release names functions without their module: the
/// file stands for it.
fn frame(name: &str, file: String, line: u32) -> Frame {
    let name = name.trim_start_matches("::");
    let mut parts = file.rsplit('/');
    let function = match (parts.next(), parts.next()) {
        (Some(last), Some(folder)) if !name.contains("::") => format!("{folder}/{last}: {name}"),
        _ => name.to_owned(),
    };
    Frame { function, file, line }
}

/// The stack below the handler of the signal that took it.
fn without_profiler(frames: Vec<Frame>) -> Vec<Frame> {
    let handler = frames.iter().rposition(|frame| frame.function.contains("perf_signal_handler"));
    let below = frames.into_iter().skip(handler.map_or(0, |at| at + 1));
    below.skip_while(|frame| frame.function.contains("restore_rt")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_begins_below_the_profiler() {
        let of = |name: &str, file: &str| frame(name, file.to_owned(), 1);
        let stack = vec![
            of("trace", "/x/backtrace/src/mod.rs"),
            of("perf_signal_handler", "/x/pprof/src/profiler.rs"),
            of("__restore_rt", ""),
            of("::read", "/x/tsdb/src/head.rs"),
            of("std::thread::spawn", "/x/std/src/thread.rs"),
        ];
        let names: Vec<String> = without_profiler(stack).into_iter().map(|frame| frame.function).collect();
        assert_eq!(names, ["src/head.rs: read", "std::thread::spawn"]);
        assert_eq!(without_profiler(vec![of("main", "")]).len(), 1);
    }

    #[test]
    fn threads_are_named_and_only_one_watches() {
        let profiler = ProcessProfiler;
        assert!(
            profiler.threads().iter().map(|(_, count)| count).sum::<u64>() >= 2,
            "the test's and the harness'"
        );
        let sampling = profiler.start(100).unwrap();
        assert!(matches!(profiler.start(100), Err(ProfileError::Busy)));
        sampling.finish().unwrap();
        profiler.start(100).unwrap().finish().unwrap();
    }
}
