//! A whole server for a test: started, waited for, killed at the end.

#![allow(dead_code, reason = "each test file uses a part")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use testkit::http;

/// A server that is killed when the test is done with it.
pub struct Server(pub Child);

impl Server {
    /// Starts the binary on a configuration in `dir` (`prometheus.yml`), its
    /// data beside it, and waits until it is ready.
    pub fn start(dir: &Path, port: u16, flags: &[&str]) -> Server {
        Server::start_logging(dir, port, flags, Stdio::inherit())
    }

    /// As [`Server::start`]; the log goes where it is told to.
    pub fn start_logging(dir: &Path, port: u16, flags: &[&str], log: Stdio) -> Server {
        let server = Server::spawn(dir, port, flags, log);
        server.wait_until_ready(port);
        server
    }

    /// Starts the binary and waits for nothing.
    pub fn spawn(dir: &Path, port: u16, flags: &[&str], log: Stdio) -> Server {
        let child = Command::new(env!("CARGO_BIN_EXE_narthex"))
            .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(flags)
            .stderr(log)
            .spawn()
            .expect("the binary was built for this test");
        Server(child)
    }

    /// Waits until it is ready, a long replay included.
    pub fn wait_until_ready(&self, port: u16) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !matches!(http::get(port, "/-/ready"), Ok((200, _))) {
            assert!(Instant::now() < deadline, "the server must become ready");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a signal to it.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let process = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(process.expect("it runs"), signal).expect("it is ours");
    }

    /// Waits until a condition holds that the server works towards.
    pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(180);
        while !holds() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The value of one of its own metrics, named with its labels.
    pub fn metric(port: u16, name: &str) -> f64 {
        let (status, page) = http::get(port, "/metrics").expect("it answers");
        assert_eq!(status, 200);
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} is on the page"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails where it is dead already, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
