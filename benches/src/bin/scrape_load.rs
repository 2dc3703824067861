//! What scraping costs a whole server: `scrape_load WHAT BINARY [key=value …]`.
//!
//! ```text
//! targets (a process) ◀─── HTTP ─── the server (a process) ─── its CPU and memory by /proc
//! ```
//!
//! - `cpu`: CPU a scraped sample, socket to log. `targets=200 series=1000 interval=1 seconds=30 gzip=0`
//! - `idle`: memory a target, found by `sd=file` or `sd=http`, and how long it
//!   takes until all are known. `targets=10000 series=1 interval=20 tls=0`
//! - `page`: memory at its most while one page is scraped. `series=1000000`
//!
//! `kind=victoria` for VictoriaMetrics. `port=21450` and the five after it are used.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use benches::load::exporter::{Exporter, target_list};
use benches::load::pages::text_page;
use benches::load::server::{Kind, Server, get};

type Failure = Box<dyn std::error::Error>;

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the real clock")]
fn now() -> Instant {
    Instant::now()
}

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

struct Settings(Vec<(String, String)>);

impl Settings {
    fn text(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    fn number(&self, key: &str, default: usize) -> usize {
        self.text(key).and_then(|value| value.parse().ok()).unwrap_or(default)
    }

    fn port(&self) -> u16 {
        self.number("port", 21450) as u16
    }

    fn kind(&self) -> Kind {
        if self.text("kind") == Some("victoria") { Kind::VictoriaMetrics } else { Kind::Prometheus }
    }
}

/// The targets' process, ended with its value.
struct Targets(Child, u16);

impl Targets {
    fn start(settings: &Settings, series: usize, authority: Option<&Path>) -> Result<Targets, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", "-"]).arg(format!("series={series}"));
        command.arg(format!("port={}", settings.port()));
        command.arg(format!("targets={}", settings.number("targets", 0)));
        command.arg(format!("gzip={}", settings.number("gzip", 0)));
        if let Some(authority) = authority {
            command.arg(format!("authority={}", authority.display()));
        }
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        if line.trim() != "ready" {
            return Err("the targets do not start".into());
        }
        Ok(Targets(child, settings.port()))
    }

    /// Pages served so far.
    fn served(&self) -> Result<u64, Failure> {
        Ok(get(self.1 + 1, "/served")?.parse()?)
    }

    fn wait_for(&self, pages: u64) -> Result<(), Failure> {
        while self.served()? < pages {
            pause(50);
        }
        Ok(())
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        // Gone already is as good.
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

fn config(interval: usize, job: &str) -> String {
    format!(
        "global: {{scrape_interval: {interval}s, scrape_timeout: {interval}s}}\nscrape_configs:\n- job_name: load\n{job}"
    )
}

fn cpu(binary: &str, settings: &Settings, dir: &Path) -> Result<(), Failure> {
    let (targets, series) = (settings.number("targets", 200), settings.number("series", 1000));
    let seconds = settings.number("seconds", 30);
    let gzip = settings.number("gzip", 0) != 0;
    let exporter = Targets::start(settings, series, None)?;
    std::fs::write(dir.join("targets.json"), target_list(targets, settings.port()))?;
    let job = "  file_sd_configs: [{files: [targets.json]}]\n";
    let path = dir.join("config.yml");
    std::fs::write(&path, config(settings.number("interval", 1), job))?;
    let server = Server::start(settings.kind(), binary, &path, &dir.join("data"), settings.port() + 2)?;
    let targets = targets as u64;
    exporter.wait_for(targets * 5)?;
    let (pages_before, before, start) = (exporter.served()?, server.usage()?, now());
    pause(seconds as u64 * 1000);
    let (pages, after, took) = (exporter.served()?, server.usage()?, start.elapsed());
    let samples = (pages - pages_before) * series as u64;
    let cpu = after.cpu - before.cpu;
    let page_bytes = text_page(series, 3).len() / series;
    println!(
        "{} {targets} x {series}, {}: {:.3} us CPU a sample ({samples} samples of {page_bytes} B in {:.1} s, {:.1} % of a core), {} MB anonymous",
        name(binary),
        if gzip { "gzip" } else { "identity" },
        cpu.as_secs_f64() * 1e6 / samples as f64,
        took.as_secs_f64(),
        cpu.as_secs_f64() / took.as_secs_f64() * 100.0,
        after.anonymous_kb >> 10
    );
    Ok(())
}

fn idle(binary: &str, settings: &Settings, dir: &Path) -> Result<(), Failure> {
    let (targets, series) = (settings.number("targets", 10_000), settings.number("series", 1));
    let tls = settings.number("tls", 0) != 0;
    let by_http = settings.text("sd") == Some("http");
    let authority = dir.join("authority.pem");
    let exporter = Targets::start(settings, series, tls.then_some(authority.as_path()))?;
    let list = dir.join("targets.json");
    std::fs::write(&list, "[]")?;
    let scheme = match tls {
        true => "  scheme: https\n  tls_config: {ca_file: authority.pem, server_name: targets}\n",
        false => "",
    };
    let discovery = match by_http {
        true => format!("  http_sd_configs: [{{url: 'http://127.0.0.1:{}/sd'}}]\n", settings.port() + 1),
        false => "  file_sd_configs: [{files: [targets.json], refresh_interval: 1h}]\n".to_owned(),
    };
    let interval = settings.number("interval", 20);
    let path = dir.join("config.yml");
    // http_sd asks at once: so it is told of by a reload.
    let job = if by_http { String::new() } else { format!("{scheme}{discovery}") };
    std::fs::write(&path, config(interval, &job))?;
    let server = Server::start(settings.kind(), binary, &path, &dir.join("data"), settings.port() + 2)?;
    pause(3000);
    let (empty, start) = (server.usage()?, now());
    if by_http {
        std::fs::write(&path, config(interval, &format!("{scheme}{discovery}")))?;
        hangup(&server)?;
    } else {
        std::fs::write(dir.join("new.json"), target_list(targets, settings.port()))?;
        std::fs::rename(dir.join("new.json"), &list)?;
    }
    let known = match settings.kind() {
        Kind::Prometheus => "prometheus_target_scrape_pool_targets",
        Kind::VictoriaMetrics => "vm_promscrape_targets",
    };
    while (server.metric(known)? as usize) < targets {
        pause(20);
    }
    let (took, applied) = (start.elapsed(), server.usage()?);
    println!(
        "{} {targets} targets by {}: known after {:.2} s, {:.2} s CPU; sync {:.3} s",
        name(binary),
        if by_http { "http_sd" } else { "file_sd" },
        took.as_secs_f64(),
        (applied.cpu - empty.cpu).as_secs_f64(),
        server.metric("prometheus_target_sync_length_seconds_sum")?
    );
    exporter.wait_for(targets as u64 * 3)?;
    pause(interval as u64 * 500);
    let full = server.usage()?;
    let head = server.metric("prometheus_tsdb_head_series")?;
    println!(
        "{} {targets} idle targets, {}: {:.1} KB anonymous a target, {head} series in the head",
        name(binary),
        if tls { "TLS" } else { "plain" },
        (full.anonymous_kb - empty.anonymous_kb) as f64 / targets as f64
    );
    for line in server.get("/metrics")?.lines().filter(|line| line.starts_with("narthex_memory_bytes{")) {
        println!("  {line}");
    }
    Ok(())
}

fn page(binary: &str, settings: &Settings, dir: &Path) -> Result<(), Failure> {
    let series = settings.number("series", 1_000_000);
    let exporter = Targets::start(settings, series, None)?;
    std::fs::write(dir.join("targets.json"), target_list(1, settings.port()))?;
    let path = dir.join("config.yml");
    let job = "  file_sd_configs: [{files: [targets.json]}]\n";
    std::fs::write(&path, config(settings.number("interval", 20), job))?;
    let server = Server::start(settings.kind(), binary, &path, &dir.join("data"), settings.port() + 2)?;
    exporter.wait_for(3)?;
    pause(8000);
    let between = server.usage()?;
    server.forget_peak()?;
    exporter.wait_for(4)?;
    pause(8000);
    let peak = server.usage()?;
    let body_kb = text_page(series, 3).len() as u64 >> 10;
    println!(
        "{} one page of {series} series, {} MB: {} MB resident between scrapes, {} MB more at its most, {} MB of them beyond the body",
        name(binary),
        body_kb >> 10,
        between.resident_kb >> 10,
        (peak.peak_kb - between.resident_kb) >> 10,
        (peak.peak_kb - between.resident_kb).saturating_sub(body_kb) >> 10
    );
    Ok(())
}

fn hangup(server: &Server) -> Result<(), Failure> {
    let status = Command::new("kill").args(["-HUP", &server.pid().to_string()]).status()?;
    if status.success() { Ok(()) } else { Err("no signal could be sent".into()) }
}

fn name(binary: &str) -> &str {
    Path::new(binary).file_name().and_then(|name| name.to_str()).unwrap_or(binary)
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (Some(what), Some(binary)) = (arguments.next(), arguments.next()) else {
        return Err("usage: scrape_load cpu|idle|page BINARY [key=value …]".into());
    };
    let pairs = arguments.filter_map(|a| a.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())));
    let settings = Settings(pairs.collect());
    if what == "serve" {
        let exporter = Exporter {
            port: settings.port(),
            series: settings.number("series", 1000),
            authority: settings.text("authority").map(PathBuf::from),
            targets: settings.number("targets", 0),
            gzip: settings.number("gzip", 0) != 0,
        };
        tokio::runtime::Runtime::new()?.block_on(exporter.run())?;
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let done = match what.as_str() {
        "cpu" => cpu(&binary, &settings, dir.path()),
        "idle" => idle(&binary, &settings, dir.path()),
        "page" => page(&binary, &settings, dir.path()),
        _ => Err("cpu, idle or page".into()),
    };
    if done.is_err() {
        // What the server said, before its folder goes.
        let log = std::fs::read(dir.path().join("data.log")).unwrap_or_default();
        io::stderr().write_all(&log)?;
    }
    done
}
