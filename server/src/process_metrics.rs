//! `process_*` metrics, read from `/proc/self` when they are asked for.

use model::metadata::MetricType;
use model::metrics::{Family, Metric, MetricValue, Registry};

/// Registers the metrics of this process, which started at `start_ms`.
pub fn register(registry: &Registry, start_ms: i64) {
    registry.register_fn(move |families| {
        let page = rustix::param::page_size() as f64;
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let start = ("process_start_time_seconds", "Start time of the process since unix epoch in seconds.");
        push(families, start, MetricType::Gauge, start_ms as f64 / 1000.0);
        if let Some(stat) = Stat::read() {
            let cpu = ("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.");
            push(families, cpu, MetricType::Counter, stat.cpu_ticks / ticks);
            let virtual_memory = ("process_virtual_memory_bytes", "Virtual memory size in bytes.");
            push(families, virtual_memory, MetricType::Gauge, stat.virtual_bytes);
            let resident = ("process_resident_memory_bytes", "Resident memory size in bytes.");
            push(families, resident, MetricType::Gauge, stat.resident_pages * page);
        }
        for (key, name, help) in [
            (
                "RssAnon:",
                "narthex_process_resident_anonymous_bytes",
                "Resident memory that is not backed by files, in bytes.",
            ),
            ("RssFile:", "narthex_process_resident_file_bytes", "Resident memory that maps files, in bytes."),
        ] {
            if let Some(kib) = status_kib(key) {
                push(families, (name, help), MetricType::Gauge, kib * 1024.0);
            }
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            let open = ("process_open_fds", "Number of open file descriptors.");
            push(families, open, MetricType::Gauge, files.count() as f64);
        }
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let max = ("process_max_fds", "Maximum number of open file descriptors.");
        push(families, max, MetricType::Gauge, limit.current.map_or(f64::INFINITY, |limit| limit as f64));
        let limit = rustix::process::getrlimit(rustix::process::Resource::As);
        let max =
            ("process_virtual_memory_max_bytes", "Maximum amount of virtual memory available in bytes.");
        // Go's client shows a missing limit as the largest number there is.
        let bytes = limit.current.map_or(u64::MAX as f64, |limit| limit as f64);
        push(families, max, MetricType::Gauge, bytes);
        if let Some((received, sent)) = network_bytes() {
            let name = (
                "process_network_receive_bytes_total",
                "Number of bytes received by the process over the network.",
            );
            push(families, name, MetricType::Counter, received);
            let name = (
                "process_network_transmit_bytes_total",
                "Number of bytes sent by the process over the network.",
            );
            push(families, name, MetricType::Counter, sent);
        }
    });
}

/// What stands in for the runtime of Go where boards ask for it.
pub struct Runtime {
    /// Threads that work at the same time.
    pub workers: usize,
    /// Tasks under way now.
    pub tasks: Box<dyn Fn() -> usize + Send + Sync>,
    /// The ceiling of memory in bytes.
    pub memory_limit: Box<dyn Fn() -> u64 + Send + Sync>,
}

/// Registers the few `go_*` metrics that have a meaning here: tasks are the
/// goroutines, memory that no file backs is what is allocated. There is no
/// collector, so nothing is told of one.
pub fn register_runtime(registry: &Registry, runtime: Runtime) {
    registry
        .gauge_vec(
            "go_info",
            "The language that this server is written in, in place of Go's version.",
            &["version"],
        )
        .with(&[crate::build::INFO.compiler])
        .set(1.0);
    registry.register_fn(move |families| {
        let gauge = MetricType::Gauge;
        let name =
            ("go_sched_gomaxprocs_threads", "The current number of threads that run work at the same time.");
        push(families, name, gauge, runtime.workers as f64);
        let name = ("go_goroutines", "Number of tasks that currently exist.");
        push(families, name, gauge, (runtime.tasks)() as f64);
        let name = ("go_gc_gomemlimit_bytes", "Ceiling of the process' memory.");
        push(families, name, gauge, (runtime.memory_limit)() as f64);
        if let Some(threads) = status_number("Threads:") {
            push(families, ("go_threads", "Number of OS threads created."), gauge, threads);
        }
        if let Some(bytes) = anonymous_bytes() {
            for name in
                ["go_memstats_alloc_bytes", "go_memstats_heap_alloc_bytes", "go_memstats_heap_inuse_bytes"]
            {
                push(
                    families,
                    (name, "Resident memory that is not backed by files, in bytes."),
                    gauge,
                    bytes as f64,
                );
            }
        }
    });
}

/// Bytes that came and went over the process' network, its loopback included.
fn network_bytes() -> Option<(f64, f64)> {
    parse_network(&std::fs::read_to_string("/proc/self/net/netstat").ok()?)
}

/// `IpExt` lines of `netstat`: names, then numbers in the same order.
fn parse_network(text: &str) -> Option<(f64, f64)> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("IpExt:"));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let number = |wanted: &str| {
        let mut pairs = names.split_whitespace().zip(numbers.split_whitespace());
        pairs.find(|(name, _)| *name == wanted)?.1.parse::<f64>().ok()
    };
    Some((number("InOctets")?, number("OutOctets")?))
}

fn push(families: &mut Vec<Family>, (name, help): (&str, &str), metric_type: MetricType, value: f64) {
    families.push(Family {
        name: name.to_owned(),
        help: help.to_owned(),
        metric_type,
        metrics: vec![Metric { labels: Vec::new(), value: MetricValue::Single(value) }],
    });
}

struct Stat {
    cpu_ticks: f64,
    virtual_bytes: f64,
    resident_pages: f64,
}

impl Stat {
    fn read() -> Option<Stat> {
        Stat::parse(&std::fs::read_to_string("/proc/self/stat").ok()?)
    }

    /// The name in parentheses may hold anything, so fields count from behind it.
    fn parse(text: &str) -> Option<Stat> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |i: usize| fields.get(i).and_then(|field| field.parse::<f64>().ok());
        Some(Stat {
            cpu_ticks: number(11)? + number(12)?,
            virtual_bytes: number(20)?,
            resident_pages: number(21)?,
        })
    }
}

/// Resident memory that no file backs, in bytes.
pub fn anonymous_bytes() -> Option<u64> {
    // Pages: all, resident, resident and of a file. Read 50 times a second, and a
    // tenth of the work of `status`.
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = text.split(' ').skip(1).map(|pages| pages.parse::<u64>().ok());
    let (resident, of_files) = (pages.next()??, pages.next()??);
    Some(resident.saturating_sub(of_files) * rustix::param::page_size() as u64)
}

fn status_kib(key: &str) -> Option<f64> {
    status_number(key)
}

/// A figure of `/proc/self/status`, its unit left out.
fn status_number(key: &str) -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_bytes_are_found_by_their_names() {
        let text = "TcpExt: A B\nTcpExt: 1 2\nIpExt: InNoRoutes InOctets OutOctets\nIpExt: 0 123 456\n";
        assert_eq!(parse_network(text), Some((123.0, 456.0)));
        assert_eq!(parse_network("IpExt: InOctets\n"), None);
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = "7 (a) b) R 1 2 3 4 5 6 7 8 9 10 100 50 0 0 20 0 1 0 12345 4096000 250 184";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.cpu_ticks, stat.virtual_bytes, stat.resident_pages), (150.0, 4_096_000.0, 250.0));
    }
}
