//! A server's process: started, looked at through `/proc`, ended.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Which program scrapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Narthex, or Prometheus: the same flags.
    Prometheus,
    /// VictoriaMetrics, single node.
    VictoriaMetrics,
}

/// A running server; ended with its value.
pub struct Server {
    child: Child,
    port: u16,
}

/// What a process has cost so far, and what it holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU in its own code and in the kernel.
    pub cpu: Duration,
    /// Anonymous memory, kB.
    pub anonymous_kb: u64,
    /// All resident memory, kB.
    pub resident_kb: u64,
    /// The most that was ever resident, kB.
    pub peak_kb: u64,
}

impl Server {
    /// Starts a server on a configuration; returns once it answers.
    ///
    /// # Errors
    /// It cannot be started, or does not answer within a minute.
    pub fn start(kind: Kind, binary: &str, config: &Path, data: &Path, port: u16) -> io::Result<Server> {
        let log = File::create(data.with_extension("log"))?;
        let mut command = Command::new(binary);
        match kind {
            Kind::Prometheus => command
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--storage.tsdb.path={}", data.display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}")),
            Kind::VictoriaMetrics => command
                .arg(format!("-promscrape.config={}", config.display()))
                .arg(format!("-storageDataPath={}", data.display()))
                .arg(format!("-httpListenAddr=127.0.0.1:{port}")),
        };
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let mut server = Server { child, port };
        for _ in 0..600 {
            std::thread::sleep(Duration::from_millis(100));
            if server.get("/metrics").is_ok_and(|page| !page.is_empty()) {
                return Ok(server);
            }
            if let Some(status) = server.child.try_wait()? {
                return Err(io::Error::other(format!("{binary} ended: {status}")));
            }
        }
        Err(io::Error::other(format!("{binary} does not answer")))
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// One page of the server's.
    ///
    /// # Errors
    /// It does not answer.
    pub fn get(&self, path: &str) -> io::Result<String> {
        get(self.port, path)
    }

    /// The sum of a metric's series on the server's own page, labels or not.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn metric(&self, prefix: &str) -> io::Result<f64> {
        let page = self.get("/metrics")?;
        let is_of = |line: &&str| line.strip_prefix(prefix).is_some_and(|rest| rest.starts_with([' ', '{']));
        let values =
            page.lines().filter(is_of).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(values.sum())
    }

    /// What the process has cost and holds.
    ///
    /// # Errors
    /// It is gone.
    pub fn usage(&self) -> io::Result<Usage> {
        let pid = self.child.id();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let after_name = stat.rsplit(')').next().unwrap_or("");
        let ticks: u64 =
            after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let kb = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
        };
        Ok(Usage {
            // Linux counts 100 ticks a second on every common platform.
            cpu: Duration::from_millis(ticks * 10),
            anonymous_kb: kb("RssAnon:"),
            resident_kb: kb("VmRSS:"),
            peak_kb: kb("VmHWM:"),
        })
    }

    /// Lets [`Usage::peak_kb`] start anew.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn forget_peak(&self) -> io::Result<()> {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already is as good.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// The body that a port of this machine answers to a path.
///
/// # Errors
/// Nobody answers.
pub fn get(port: u16, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    if !head.starts_with("http/1.1 200") {
        return Err(io::Error::other(head.lines().next().unwrap_or("").to_owned()));
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let mut body = Vec::new();
    match length {
        Some(length) => {
            body.resize(length, 0);
            stream.read_exact(&mut body)?;
        }
        None => {
            stream.read_to_end(&mut body)?;
        }
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}
