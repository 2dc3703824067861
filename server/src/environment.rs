//! The one place that reads the process' surroundings: variables, clocks, the
//! machine's name and memory. Everything else is handed these as values.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
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
            memory_bytes: memory_bytes(),
        }
    }
}

/// Memory of the container or the machine, the smaller, in bytes.
pub fn memory_bytes() -> Option<u64> {
    container_memory().into_iter().chain(machine_memory()).min()
}

/// Processors that this process may use, whatever share of their time it has.
pub fn processors() -> usize {
    let set = rustix::thread::sched_getaffinity(None);
    set.map_or(1, |set| usize::try_from(set.count()).unwrap_or(1).max(1))
}

/// The smallest limit of the control groups that the process is in.
fn container_memory() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    group_memory(&groups, Path::new("/sys/fs/cgroup"))
}

/// The smallest limit that the text of `/proc/self/cgroup` leads to below a mount
/// point, of version 1 or 2. A group is bound by all above it; absurdly large
/// limits mean none. In a container the groups' own names may lead nowhere: then
/// the mount point itself is the group.
fn group_memory(groups: &str, mount: &Path) -> Option<u64> {
    let smallest = |folder: &Path, group: &str, file: &str| {
        let deepest = folder.join(group.trim_start_matches('/'));
        let above = deepest.ancestors().take_while(|dir| dir.starts_with(folder));
        let texts = above.filter_map(|dir| std::fs::read_to_string(dir.join(file)).ok());
        texts.filter_map(|text| text.trim().parse::<u64>().ok()).filter(|&bytes| bytes < 1 << 60).min()
    };
    let mut limits = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        if controllers.is_empty() {
            limits.extend(smallest(mount, group, "memory.max"));
        } else if controllers.split(',').any(|controller| controller == "memory") {
            limits.extend(smallest(&mount.join("memory"), group, "memory.limit_in_bytes"));
        }
    }
    limits.into_iter().min()
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

/// The kind of the file system of a path, in the names of Linux' `statfs`; the
/// magic number of one without a name here.
pub fn file_system(path: &Path) -> Option<String> {
    const NAMES: &[(u64, &str)] = &[
        (0xadf5, "ADFS_SUPER_MAGIC"),
        (0x6165_676c, "PSTOREFS_MAGIC"),
        (0x9123_683e, "BTRFS_SUPER_MAGIC"),
        (0x00c3_6400, "CEPH_SUPER_MAGIC"),
        (0xff53_4d42, "CIFS_MAGIC_NUMBER"),
        (0xef53, "EXT4_SUPER_MAGIC"),
        (0xf2f5_2010, "F2FS_SUPER_MAGIC"),
        (0x6573_5546, "FUSE_SUPER_MAGIC"),
        (NFS_SUPER_MAGIC, "NFS_SUPER_MAGIC"),
        (0x794c_7630, "OVERLAYFS_SUPER_MAGIC"),
        (0x517b, "SMB_SUPER_MAGIC"),
        (0x0102_1994, "TMPFS_MAGIC"),
        (0x5846_5342, "XFS_SUPER_MAGIC"),
        (0x2fc1_2fc1, "ZFS_SUPER_MAGIC"),
    ];
    let kind = u64::try_from(rustix::fs::statfs(path).ok()?.f_type).ok()?;
    let named = NAMES.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| (*name).to_owned());
    Some(named.unwrap_or_else(|| format!("{kind:x}")))
}

const NFS_SUPER_MAGIC: u64 = 0x6969;

/// Bytes of the file system that holds a path or its nearest parent that exists.
pub fn file_system_bytes(path: &Path) -> Option<u64> {
    let mut path = path.to_owned();
    loop {
        if let Ok(stat) = rustix::fs::statvfs(&path) {
            return Some(stat.f_blocks.saturating_mul(stat.f_frsize)).filter(|&bytes| bytes > 0);
        }
        if path.exists() {
            return None;
        }
        path = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new(".").to_owned(),
            Some(parent) => parent.to_owned(),
            None => return None,
        };
    }
}

/// Facts for the first lines of the log, by upstream's keys.
pub fn operational_information() -> [(&'static str, String); 4] {
    let uname = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let host = format!(
        "({} {} {} {} {} {})",
        text(uname.sysname()),
        text(uname.release()),
        text(uname.version()),
        text(uname.machine()),
        text(uname.nodename()),
        "(none)"
    );
    let limits = |resource| {
        let limit = rustix::process::getrlimit(resource);
        let shown = |value: Option<u64>| value.map_or("unlimited".to_owned(), |value| value.to_string());
        format!("(soft={}, hard={})", shown(limit.current), shown(limit.maximum))
    };
    let build = crate::build::INFO;
    [
        (
            "build_context",
            format!(
                "(go={}, platform={}, user={}, date={}, tags={})",
                build.compiler, build.platform, build.user, build.date, build.tags
            ),
        ),
        ("host_details", host),
        ("fd_limits", limits(rustix::process::Resource::Nofile)),
        ("vm_limits", limits(rustix::process::Resource::As)),
    ]
}

/// A socket that was handed over.
#[derive(Debug)]
pub enum HandedSocket {
    /// Of the network.
    Tcp(TcpListener),
    /// A file.
    Unix(UnixListener),
}

/// Sockets that a service manager opened and hands over (systemd's protocol:
/// descriptors from 3 on, meant for the process that `LISTEN_PID` names).
///
/// # Errors
/// A descriptor cannot be taken.
pub fn handed_sockets(environment: &Environment) -> std::io::Result<Vec<HandedSocket>> {
    let number = |name: &str| environment.variables.get(name).and_then(|text| text.parse::<i32>().ok());
    let me = rustix::process::getpid();
    let (Some(pid), Some(count)) = (number("LISTEN_PID"), number("LISTEN_FDS")) else {
        return Ok(Vec::new());
    };
    if pid != me.as_raw_nonzero().get() || count <= 0 {
        return Ok(Vec::new());
    }
    // Duplicates, so that nobody has to vouch for a bare number.
    let process = rustix::process::pidfd_open(me, rustix::process::PidfdFlags::empty())?;
    (3..3 + count)
        .map(|number| {
            let flags = rustix::process::PidfdGetfdFlags::empty();
            let socket = rustix::process::pidfd_getfd(&process, number, flags)?;
            let listener = TcpListener::from(socket);
            if listener.local_addr().is_ok() {
                listener.set_nonblocking(true)?;
                return Ok(HandedSocket::Tcp(listener));
            }
            let listener = UnixListener::from(OwnedFd::from(listener));
            // An error where it is no socket of either kind.
            listener.local_addr()?;
            listener.set_nonblocking(true)?;
            Ok(HandedSocket::Unix(listener))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_of_the_groups_around_counts() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("system.slice/memory.max", "4000000\n");
        write("system.slice/narthex.service/memory.max", "max\n");
        write("user.slice/memory.max", "5\n");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        write("memory/docker/x/memory.limit_in_bytes", "3000000\n");
        for (groups, limit) in [
            ("0::/system.slice/narthex.service\n", Some(4_000_000)),
            ("0::/elsewhere/unseen\n", None),
            ("4:cpu,cpuacct:/x\n5:memory:/docker/x\n0::/system.slice\n", Some(3_000_000)),
            ("5:memory:/docker\n", None),
            ("", None),
        ] {
            assert_eq!(group_memory(groups, dir.path()), limit, "{groups:?}");
        }
        write("memory.max", "77");
        assert_eq!(group_memory("0::/elsewhere/unseen\n", dir.path()), Some(77), "a container's own mount");
    }

    #[test]
    fn a_path_that_is_not_there_yet_lies_on_its_parents_file_system() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = file_system_bytes(dir.path()).unwrap();
        assert_eq!(file_system_bytes(&dir.path().join("not/there/yet")), Some(bytes));
        assert!(file_system(dir.path()).is_some_and(|name| !name.is_empty()));
    }

    #[test]
    fn sockets_are_taken_only_by_the_process_they_are_meant_for() {
        let variables = [("LISTEN_PID", "1"), ("LISTEN_FDS", "2")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = Environment { variables: variables.into(), ..Environment::default() };
        assert!(handed_sockets(&environment).unwrap().is_empty());
        assert!(handed_sockets(&Environment::default()).unwrap().is_empty());
    }

    #[test]
    fn the_machine_tells_about_itself() {
        assert!(processors() >= 1);
        let facts = operational_information();
        assert!(facts[1].1.starts_with("(Linux "), "{}", facts[1].1);
        assert!(facts[2].1.contains("soft="));
    }
}
