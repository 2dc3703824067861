//! `queries.active`: what runs now, so that a start after a crash can name it.
//!
//! ```text
//! [ {"query":"…","timestamp_sec":…},·····  one place of 1000 bytes a query ]
//! ```
//!
//! The file is preallocated and written in place, never through a map: a full
//! disk is an error here, not a signal.
//! Source: Prometheus `promql/query_logger.go`.

use std::any::Any;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use model::Clock;
use parking_lot::Mutex;

/// Bytes of one place.
const ENTRY_BYTES: usize = 1000;
/// What a place has around the query's text at most.
const AROUND_BYTES: usize = 80;

/// The file of active queries.
pub struct ActiveQueries {
    shared: Arc<Shared>,
}

struct Shared {
    file: File,
    clock: Arc<dyn Clock>,
    free: Mutex<Vec<usize>>,
}

/// A query's place; emptied when dropped.
struct Place {
    shared: Arc<Shared>,
    index: usize,
}

impl ActiveQueries {
    /// Opens the file in a data directory with room for `concurrency` queries,
    /// after logging what it says was running when the last process ended.
    ///
    /// # Errors
    /// The file cannot be made or written.
    pub fn open(dir: &Path, concurrency: usize, clock: Arc<dyn Clock>) -> io::Result<ActiveQueries> {
        let path = dir.join("queries.active");
        if let Ok(bytes) = std::fs::read(&path) {
            let unfinished = unfinished(&bytes);
            if !unfinished.is_empty() {
                tracing::info!(
                    queries = unfinished.join(","),
                    "These queries didn't finish in prometheus' last run:"
                );
            }
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        let mut empty = vec![0; 1 + concurrency * ENTRY_BYTES];
        empty[0] = b'[';
        file.write_all_at(&empty, 0)?;
        let free = Mutex::new((0..concurrency).rev().collect());
        Ok(ActiveQueries { shared: Arc::new(Shared { file, clock, free }) })
    }

    /// Notes a query; its place is emptied when the answer is dropped.
    pub fn begin(&self, text: &str) -> Box<dyn Any + Send> {
        let Some(index) = self.shared.free.lock().pop() else { return Box::new(()) };
        let entry = entry(text, self.shared.clock.now_ms() / 1000);
        // Queries do not wait for this file, and do not fail with it.
        if let Err(error) = self.shared.file.write_all_at(&entry, offset(index)) {
            tracing::warn!(%error, "the file of active queries cannot be written");
        }
        Box::new(Place { shared: self.shared.clone(), index })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // An error leaves the entry: the next start names one query too many.
        let _ = self.shared.file.write_all_at(&[0; ENTRY_BYTES], offset(self.index));
        self.shared.free.lock().push(self.index);
    }
}

fn offset(index: usize) -> u64 {
    1 + (index * ENTRY_BYTES) as u64
}

/// A query as it stands in the file, its text cut to fit.
fn entry(text: &str, timestamp_sec: i64) -> Vec<u8> {
    let mut room = ENTRY_BYTES - AROUND_BYTES;
    loop {
        let mut end = text.len().min(room);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let query = serde_json::Value::from(&text[..end]);
        let entry = format!("{{\"query\":{query},\"timestamp_sec\":{timestamp_sec}}},");
        if entry.len() <= ENTRY_BYTES {
            return entry.into_bytes();
        }
        // Escapes made it longer than its room.
        room /= 2;
    }
}

/// The entries of a file that was left behind.
fn unfinished(bytes: &[u8]) -> Vec<String> {
    bytes
        .get(1..)
        .unwrap_or_default()
        .chunks(ENTRY_BYTES)
        .filter_map(|place| {
            let end = place.iter().position(|&b| b == 0).unwrap_or(place.len());
            let text = std::str::from_utf8(&place[..end]).ok()?.trim_end_matches(',');
            (!text.is_empty()).then(|| text.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 19289: the file was written through a map, and on a full disk that ends the
    /// process with a signal.
    #[test]
    #[cfg(target_os = "linux")]
    fn issue_19289_a_full_disk_is_an_error_and_queries_go_on() {
        // Every write to it says that there is no room.
        let file = OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
        assert!(file.write_all_at(b"x", 0).is_err());
        let clock = Arc::new(testkit::TestClock::new(0));
        let shared = Arc::new(Shared { file, clock, free: Mutex::new(vec![1, 0]) });
        let queries = ActiveQueries { shared };
        let first = queries.begin("up");
        let second = queries.begin("down");
        assert!(queries.shared.free.lock().is_empty());
        drop((first, second));
        assert_eq!(queries.shared.free.lock().len(), 2);
    }

    #[test]
    fn a_query_that_was_cut_off_is_found_by_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(testkit::TestClock::new(1_700_000_000_000));
        let active = ActiveQueries::open(dir.path(), 2, clock).unwrap();
        let done = active.begin("up");
        let running = active.begin("rate(x[5m])");
        drop(done);
        let bytes = std::fs::read(dir.path().join("queries.active")).unwrap();
        assert_eq!(bytes.len(), 2001);
        assert_eq!(unfinished(&bytes), [r#"{"query":"rate(x[5m])","timestamp_sec":1700000000}"#]);
        drop(running);
        assert!(unfinished(&std::fs::read(dir.path().join("queries.active")).unwrap()).is_empty());
    }

    #[test]
    fn long_queries_are_cut_between_characters() {
        for text in ["é".repeat(2000), "\u{1}".repeat(2000), "\"".repeat(999)] {
            let entry = entry(&text, 1);
            assert!(entry.len() <= ENTRY_BYTES);
            let text = std::str::from_utf8(&entry).unwrap().trim_end_matches(',');
            assert!(serde_json::from_str::<serde_json::Value>(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn more_queries_than_places_go_unnoted() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(testkit::TestClock::new(0));
        let active = ActiveQueries::open(dir.path(), 1, clock).unwrap();
        let _one = active.begin("a");
        let _two = active.begin("b");
        let bytes = std::fs::read(dir.path().join("queries.active")).unwrap();
        assert_eq!(unfinished(&bytes).len(), 1);
    }
}
