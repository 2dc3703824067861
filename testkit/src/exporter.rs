//! A target whose every sample is a function of its time, so that what was
//! stored can be checked against what must have been exposed.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// Answers scrapes on a loopback port until dropped.
pub struct Exporter {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    scrapes: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// The time steps of an [`Exporter`]'s samples in ms.
pub const STEP_MS: i64 = 100;

/// Series of each kind on a page.
pub const SERIES: u64 = 20;

/// The counter `i` at a time: rises steadily, each at its own speed.
pub fn counter(i: u64, time_ms: i64) -> f64 {
    (time_ms / STEP_MS) as f64 * (i + 1) as f64
}

/// The gauge `i` at a time: goes up and down, with fractions.
pub fn gauge(i: u64, time_ms: i64) -> f64 {
    let phase = (time_ms / STEP_MS + i as i64 * 7).rem_euclid(1000);
    (phase - 500) as f64 / 8.0
}

/// The bucket `le` of the histogram at a time.
pub fn bucket(le: u64, time_ms: i64) -> f64 {
    (time_ms / STEP_MS) as f64 * le as f64
}

/// The page at a time; every sample carries it.
pub fn page(time_ms: i64) -> String {
    let mut page = String::from("# TYPE kit_counter_total counter\n");
    for i in 0..SERIES {
        page.push_str(&format!("kit_counter_total{{i=\"{i}\"}} {} {time_ms}\n", counter(i, time_ms)));
    }
    page.push_str("# TYPE kit_gauge gauge\n");
    for i in 0..SERIES {
        page.push_str(&format!("kit_gauge{{i=\"{i}\"}} {} {time_ms}\n", gauge(i, time_ms)));
    }
    page.push_str("# TYPE kit_seconds histogram\n");
    for le in 1..=4 {
        page.push_str(&format!("kit_seconds_bucket{{le=\"{le}\"}} {} {time_ms}\n", bucket(le, time_ms)));
    }
    let count = bucket(5, time_ms);
    page.push_str(&format!("kit_seconds_bucket{{le=\"+Inf\"}} {count} {time_ms}\n"));
    page.push_str(&format!(
        "kit_seconds_sum {} {time_ms}\nkit_seconds_count {count} {time_ms}\n",
        count / 2.0
    ));
    page
}

impl Exporter {
    /// Starts on a free loopback port; `now_ms` says the time of each page.
    ///
    /// # Panics
    /// No port can be had.
    pub fn start(now_ms: impl Fn() -> i64 + Send + 'static) -> Exporter {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let stop = Arc::new(AtomicBool::new(false));
        let scrapes = Arc::new(AtomicU64::new(0));
        let thread = std::thread::spawn({
            let (stop, scrapes) = (stop.clone(), scrapes.clone());
            move || {
                for connection in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    // A scraper that goes away in the middle is no fault of the test.
                    if let Ok(connection) = connection {
                        let time_ms = now_ms().div_euclid(STEP_MS) * STEP_MS;
                        if answer(connection, &page(time_ms)).is_ok() {
                            scrapes.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
            }
        });
        Exporter { address, stop, scrapes, thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many pages were answered.
    pub fn scrapes(&self) -> u64 {
        self.scrapes.load(Ordering::SeqCst)
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread from waiting for a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Reads one request and answers the page; the connection is closed.
fn answer(mut connection: TcpStream, page: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        page.len()
    );
    connection.write_all(head.as_bytes())?;
    connection.write_all(page.as_bytes())
}
