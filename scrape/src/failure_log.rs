//! Failed scrapes, one line of JSON each, in a file of the job's choice.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;

use parking_lot::Mutex;

/// A log of failed scrapes. Opened anew with each configuration, so that it
/// can be rotated.
pub struct FailureLog {
    file: Mutex<File>,
}

/// The log cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("can't create json log file: open {}: {source}", path.display())]
pub struct FailureLogError {
    path: PathBuf,
    source: io::Error,
}

impl FailureLog {
    /// Opens a log, which is made where it does not exist.
    ///
    /// # Errors
    /// It cannot be opened or made.
    pub fn open(path: &str) -> Result<FailureLog, FailureLogError> {
        let file = OpenOptions::new().append(true).create(true).open(path);
        match file {
            Ok(file) => Ok(FailureLog { file: Mutex::new(file) }),
            Err(source) => Err(FailureLogError { path: path.into(), source }),
        }
    }

    /// Adds a line; where it cannot be written, the server's log says so.
    pub(crate) fn write(&self, now_ms: i64, job: &str, target: &str, error: &str) {
        let time =
            jiff::Timestamp::from_millisecond(now_ms).map(|time| format!("{time:.3}")).unwrap_or_default();
        // In the order of upstream's fields, which readers of lines may count on.
        let line = format!(
            "{{\"time\":{},\"level\":\"ERROR\",\"source\":{},\"msg\":{},\"job_name\":{},\"target\":{}}}",
            json(&time),
            json(concat!("failure_log.rs:", line!())),
            json(error),
            json(job),
            json(target)
        );
        let written = self.file.lock().write_all(format!("{line}\n").as_bytes());
        if let Err(error) = written {
            tracing::warn!(component = crate::COMPONENT, err = %error, "Writing the scrape failure log failed");
        }
    }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::Value::from(text)
}
