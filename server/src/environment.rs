//! The one place that reads the process' surroundings: variables, clocks, the
//! machine's name and memory. Everything else is handed these as values.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::Clock;

/// What the process found around itself at its start.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Environment variables.
    pub variables: BTreeMap<String, String>,
    /// The folder the process runs in.
    pub working_directory: String,
    /// The machine's name.
    pub hostname: String,
    /// The command line, the program first.
    pub command_line: Vec<String>,
    /// Memory of the container or the machine in bytes, where it can be known.
    pub memory_bytes: Option<u64>,
}

impl Environment {
    /// Reads the surroundings.
    pub fn read() -> Environment {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let working_directory =
            std::env::current_dir().map(|dir| dir.display().to_string()).unwrap_or_default();
        Environment {
            variables,
            working_directory,
            command_line: std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect(),
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            memory_bytes: container_memory().into_iter().chain(machine_memory()).min(),
        }
    }
}

/// The limit of the control group, version 2 or 1; absurdly large ones mean none.
fn container_memory() -> Option<u64> {
    let files = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    files
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .filter_map(|text| text.trim().parse::<u64>().ok())
        .find(|&bytes| bytes < 1 << 60)
}

fn machine_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The clock of the machine.
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// The clock, its monotonic time counted from now.
    #[expect(clippy::disallowed_methods, reason = "the server is where clocks come from")]
    pub fn new() -> SystemClock {
        SystemClock { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the server is where clocks come from")]
    fn now_ms(&self) -> i64 {
        let now = SystemTime::now();
        match now.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        }
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Whether the file system of a path is one that loses what it acknowledged, by
/// its magic number.
pub fn is_network_file_system(path: &Path) -> bool {
    const NFS_SUPER_MAGIC: u64 = 0x6969;
    rustix::fs::statfs(path)
        .is_ok_and(|stat| u64::try_from(stat.f_type).is_ok_and(|kind| kind == NFS_SUPER_MAGIC))
}
