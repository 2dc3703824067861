//! Connections that clients make, counted by the client's name.
//!
//! ```text
//! attempted ─┬─▶ established ─▶ closed
//!            └─▶ failed: refused │ resolution │ timeout │ unknown
//! ```

use std::future::Future;
use std::sync::Arc;

use model::metrics::{Counter, Registry, Vector};

use crate::error::ConnectError;

/// The counters of all clients; names, labels and reasons are upstream's.
#[derive(Clone)]
pub struct Dials {
    attempted: Vector<Counter>,
    established: Vector<Counter>,
    closed: Vector<Counter>,
    failed: Vector<Counter>,
}

/// Why a connection was not made.
#[derive(Clone, Copy)]
enum Reason {
    Refused,
    Resolution,
    Timeout,
    Unknown,
}

const REASONS: [&str; 4] = ["refused", "resolution", "timeout", "unknown"];

impl Dials {
    /// Registers the counters.
    pub fn new(registry: &Registry) -> Dials {
        let counters = |what: &str, help: &str, labels: &[&str]| {
            registry.counter_vec(&format!("net_conntrack_dialer_conn_{what}_total"), help, labels)
        };
        let name = ["dialer_name"];
        let dials = Dials {
            attempted: counters(
                "attempted",
                "Total number of connections attempted by the given dialer a given name.",
                &name,
            ),
            established: counters(
                "established",
                "Total number of connections successfully established by the given dialer a given name.",
                &name,
            ),
            closed: counters(
                "closed",
                "Total number of connections closed which originated from the dialer of a given name.",
                &name,
            ),
            failed: counters(
                "failed",
                "Total number of connections failed to dial by the dialer a given name.",
                &["dialer_name", "reason"],
            ),
        };
        // What has no name is counted upstream too: under this one.
        dials.of("default");
        dials
    }

    /// The counters of one client, all there from the start.
    pub fn of(&self, name: &str) -> DialCounters {
        let label = [name];
        DialCounters(Arc::new(Counters {
            attempted: self.attempted.with(&label),
            established: self.established.with(&label),
            closed: self.closed.with(&label),
            failed: REASONS.map(|reason| self.failed.with(&[name, reason])),
        }))
    }
}

impl std::fmt::Debug for Dials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dials").finish_non_exhaustive()
    }
}

/// Counts the connections of one client.
#[derive(Clone, Default)]
pub struct DialCounters(Arc<Counters>);

#[derive(Default)]
struct Counters {
    attempted: Counter,
    established: Counter,
    closed: Counter,
    failed: [Counter; 4],
}

impl DialCounters {
    /// Dials, and says with what comes of it when the connection has ended.
    pub(super) async fn count<S>(
        &self,
        dial: impl Future<Output = Result<S, ConnectError>>,
    ) -> Result<(S, Closing), ConnectError> {
        self.0.attempted.inc();
        // A dial that is given up, as by a scrape's deadline, has timed out.
        let mut attempt = Attempt { counters: self, failed: &[Reason::Timeout] };
        let dialled = dial.await;
        attempt.failed = dialled.as_ref().err().map_or(&[], reasons);
        drop(attempt);
        let stream = dialled?;
        self.0.established.inc();
        Ok((stream, Closing(self.0.closed.clone())))
    }
}

struct Attempt<'a> {
    counters: &'a DialCounters,
    failed: &'static [Reason],
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        for reason in self.failed {
            self.counters.0.failed[*reason as usize].inc();
        }
    }
}

/// As upstream: what the system says is unknown too, even where it is known.
fn reasons(error: &ConnectError) -> &'static [Reason] {
    match error {
        ConnectError::Lookup { .. } => &[Reason::Resolution],
        ConnectError::TcpTimeout { .. } => &[Reason::Timeout, Reason::Unknown],
        ConnectError::Tcp { why, .. } | ConnectError::Unix { why, .. } if why == REFUSED => {
            &[Reason::Refused, Reason::Unknown]
        }
        _ => &[Reason::Unknown],
    }
}

/// The system's words where nobody listens.
const REFUSED: &str = "connection refused";

/// Lives as long as its connection, and counts it as closed then.
pub(super) struct Closing(Counter);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn dialled(dials: &Dials, outcome: Result<(), ConnectError>) {
        // What is dialled is closed at once.
        let _ = dials.of("job").count(async { outcome }).await;
    }

    #[tokio::test]
    async fn each_dial_is_counted_by_what_came_of_it() {
        let dials = Dials::new(&Registry::new());
        let tcp = |why: &str| ConnectError::Tcp { address: "a:1".to_owned(), why: why.to_owned() };
        let timeout = ConnectError::TcpTimeout { address: "a:1".to_owned() };
        let lookup =
            ConnectError::Lookup { host: "h".to_owned(), server: None, why: "no such host".to_owned() };
        dialled(&dials, Ok(())).await;
        dialled(&dials, Ok(())).await;
        dialled(&dials, Err(tcp("connection refused"))).await;
        dialled(&dials, Err(timeout)).await;
        dialled(&dials, Err(tcp("network is unreachable"))).await;
        dialled(&dials, Err(lookup)).await;
        let counters = dials.of("job");
        let given_up = counters.count(std::future::pending::<Result<(), _>>());
        assert!(tokio::time::timeout(std::time::Duration::from_millis(1), given_up).await.is_err());
        let kept = counters.count(async { Ok(()) }).await.unwrap();
        let counters = counters.0;
        assert_eq!((counters.attempted.get(), counters.established.get()), (8.0, 3.0));
        assert_eq!(counters.closed.get(), 2.0, "one is open");
        let failed: Vec<f64> = counters.failed.iter().map(Counter::get).collect();
        assert_eq!(failed, [1.0, 1.0, 2.0, 3.0], "{REASONS:?}");
        drop(kept);
        assert_eq!(counters.closed.get(), 3.0);
    }
}
