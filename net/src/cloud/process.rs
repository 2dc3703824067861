//! Programs that give credentials: started, read up to a limit, and ended with
//! all they started where they take too long or nobody waits for them any more.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

use crate::error::io_text;

/// Most bytes of what a program writes.
const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// How often it is looked whether the program has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// So long what it wrote is waited for once it has ended: programs that it
/// leaves behind may hold its output open.
const LINGER: Duration = Duration::from_millis(100);

/// Why a program gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProgramError {
    /// There is no such program.
    #[error("executable not found on path")]
    Missing,
    /// It cannot be run or read.
    #[error("{}", io_text(.0))]
    Io(#[from] io::Error),
    /// It did not end in time.
    #[error("timed out")]
    Late,
    /// It does not stop writing.
    #[error("the output has more than 1 MiB")]
    TooMuch,
    /// It ended with a failure.
    #[error("{status}")]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to its standard error, where that was asked for.
        told: String,
    },
}

/// What the program writes to its standard output. Its standard error is read
/// where the command pipes it.
///
/// # Errors
/// The program is missing, fails, writes without end, or takes longer than `limit`.
pub(super) async fn output_of(command: &mut Command, limit: Duration) -> Result<Vec<u8>, ProgramError> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).spawn();
    let mut running = match child {
        Ok(child) => Running { child: Some(child) },
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ProgramError::Missing),
        Err(error) => return Err(ProgramError::Io(error)),
    };
    // What is dropped on the way out is ended.
    match tokio::time::timeout(limit, running.outcome()).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ProgramError::Late),
    }
}

/// A program at work, the first of a process group of its own.
struct Running {
    /// `None` once it has ended.
    child: Option<Child>,
}

impl Running {
    /// How the program ended, where it has.
    fn look(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.child.as_mut().map(Child::try_wait).transpose()?.flatten();
        if status.is_some() {
            self.child = None;
        }
        Ok(status)
    }

    async fn outcome(&mut self) -> Result<Vec<u8>, ProgramError> {
        let output = self.child.as_mut().and_then(|child| child.stdout.take()).map(OwnedFd::from);
        let told = self.child.as_mut().and_then(|child| child.stderr.take()).map(OwnedFd::from);
        let (mut output_bytes, mut told_bytes) = (Vec::new(), Vec::new());
        let status = {
            let reads = async {
                tokio::try_join!(read(output, &mut output_bytes), read(told, &mut told_bytes)).map(drop)
            };
            let mut reads = std::pin::pin!(reads);
            let mut looks = tokio::time::interval(LOOK_INTERVAL);
            let mut is_read = false;
            let status = loop {
                tokio::select! {
                    read = &mut reads, if !is_read => {
                        read?;
                        is_read = true;
                    }
                    _ = looks.tick() => {
                        if let Some(status) = self.look()? {
                            break status;
                        }
                    }
                }
            };
            if !is_read && let Ok(read) = tokio::time::timeout(LINGER, reads).await {
                read?;
            }
            status
        };
        if status.success() {
            return Ok(output_bytes);
        }
        let told = String::from_utf8_lossy(&told_bytes).trim().to_owned();
        Err(ProgramError::Failed { status, told })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // It may have ended just now.
        let _ended = kill_process_group(Pid::from_child(&child), Signal::KILL);
        // A program of another user is not ended, and not waited for here.
        let waits = std::thread::Builder::new().name("program".to_owned());
        let _waits = waits.spawn(move || drop(child.wait()));
    }
}

async fn read(pipe: Option<OwnedFd>, bytes: &mut Vec<u8>) -> Result<(), ProgramError> {
    let Some(pipe) = pipe else { return Ok(()) };
    let mut pipe = Receiver::from_owned_fd(pipe)?;
    while pipe.read_buf(bytes).await? > 0 {
        if bytes.len() > OUTPUT_BYTES_MAX {
            return Err(ProgramError::TooMuch);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stderr(Stdio::piped());
        command
    }

    async fn outcome(script: &str) -> Result<String, String> {
        let outcome = output_of(&mut shell(script), Duration::from_secs(60)).await;
        outcome.map(|bytes| String::from_utf8(bytes).unwrap()).map_err(|error| match error {
            ProgramError::Failed { status, told } => format!("{status}: {told}"),
            error => error.to_string(),
        })
    }

    #[tokio::test]
    async fn what_is_written_and_how_it_ended_is_told() {
        assert_eq!(outcome("printf out; echo err >&2").await.unwrap(), "out");
        assert_eq!(outcome("echo out; echo err >&2; exit 3").await.unwrap_err(), "exit status: 3: err");
        assert_eq!(outcome("kill -9 $$").await.unwrap_err(), "signal: 9 (SIGKILL): ");
        assert_eq!(outcome("yes").await.unwrap_err(), "the output has more than 1 MiB");
        assert_eq!(outcome("yes >&2").await.unwrap_err(), "the output has more than 1 MiB");
        let missing = output_of(&mut Command::new("no-such-program"), Duration::from_secs(60)).await;
        assert_eq!(missing.unwrap_err().to_string(), "executable not found on path");
    }

    #[tokio::test]
    async fn what_a_program_leaves_behind_is_not_waited_for() {
        // The output stays open for longer than the program may take.
        let left = outcome("sleep 1000 & printf $!").await.unwrap();
        assert!(Command::new("kill").arg(&left).status().unwrap().success(), "{left} runs");
    }

    /// With this clock a limit is over at once.
    #[tokio::test(start_paused = true)]
    async fn a_program_may_take_only_so_long() {
        let outcome = output_of(&mut shell("exec sleep 1000"), Duration::from_secs(10)).await;
        assert!(matches!(outcome, Err(ProgramError::Late)), "{outcome:?}");
    }

    #[tokio::test]
    async fn a_program_that_nobody_waits_for_is_ended_with_all_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        // Both programs hold the pipe, which ends when they are gone.
        let script = format!("exec 3>{}; printf up >&3; sleep 1000 & sleep 1000", path.display());
        let waits = tokio::spawn(async move { outcome(&script).await });
        let heard = tokio::task::spawn_blocking(move || {
            let mut pipe = std::fs::File::open(path).unwrap();
            let mut word = [0; 2];
            pipe.read_exact(&mut word).unwrap();
            (pipe, word)
        });
        let (mut pipe, word) = heard.await.unwrap();
        assert_eq!(&word, b"up");
        waits.abort();
        assert!(waits.await.unwrap_err().is_cancelled());
        let mut rest = Vec::new();
        let end = tokio::task::spawn_blocking(move || pipe.read_to_end(&mut rest).unwrap());
        assert_eq!(end.await.unwrap(), 0);
    }
}
