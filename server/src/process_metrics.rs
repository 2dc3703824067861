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
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let name =
            ("go_sched_gomaxprocs_threads", "The current number of threads that run work at the same time.");
        push(families, name, MetricType::Gauge, threads as f64);
    });
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

fn status_kib(key: &str) -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = "7 (a) b) R 1 2 3 4 5 6 7 8 9 10 100 50 0 0 20 0 1 0 12345 4096000 250 184";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.cpu_ticks, stat.virtual_bytes, stat.resident_pages), (150.0, 4_096_000.0, 250.0));
    }
}
