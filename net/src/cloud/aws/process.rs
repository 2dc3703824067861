//! Credentials by a program that a profile names: `credential_process`.
//! Source: `aws-sdk-go-v2/credentials/processcreds`.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::cloud::CloudError;

/// How long the program may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Most bytes of its answer.
const ANSWER_MAX: u64 = 1 << 20;

/// What the program writes.
pub(super) async fn output_of(command: &str) -> Result<Vec<u8>, CloudError> {
    let failed = |why: String| CloudError::Unusable(format!("process provider error: {why}"));
    let child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| failed(crate::error::io_text(&error)))?;
    let running = Arc::new(Mutex::new(child));
    let reader = Arc::clone(&running);
    let reading = tokio::task::spawn_blocking(move || read(&reader));
    match tokio::time::timeout(TIMEOUT, reading).await {
        Ok(Ok(Ok(output))) => Ok(output),
        Ok(Ok(Err(why))) => Err(failed(why)),
        Ok(Err(_)) => Err(failed("it was given up".to_owned())),
        Err(_) => {
            // It may have ended just now.
            let _ended = running.lock().kill();
            Err(failed("credential process timed out".to_owned()))
        }
    }
}

fn read(running: &Mutex<Child>) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| crate::error::io_text(&error);
    let output = running.lock().stdout.take();
    let mut bytes = Vec::new();
    if let Some(output) = output {
        // Not under the lock: who gives up must be able to end it.
        output.take(ANSWER_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    }
    if bytes.len() as u64 > ANSWER_MAX {
        let _ended = running.lock().kill();
        return Err("the output has more than 1 MiB".to_owned());
    }
    let status = running.lock().wait().map_err(failed)?;
    if status.success() { Ok(bytes) } else { Err(status.to_string()) }
}
