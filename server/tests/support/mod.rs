//! A whole server for a test: started, waited for, killed at the end.

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
        let server = Server::spawn(dir, port, flags);
        let deadline = Instant::now() + Duration::from_secs(60);
        while !matches!(http::get(port, "/-/ready"), Ok((200, _))) {
            assert!(Instant::now() < deadline, "the server must become ready");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// As [`Server::start`], without waiting.
    pub fn spawn(dir: &Path, port: u16, flags: &[&str]) -> Server {
        let child = Command::new(env!("CARGO_BIN_EXE_narthex"))
            .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(flags)
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the binary was built for this test");
        Server(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails where it is dead already, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
