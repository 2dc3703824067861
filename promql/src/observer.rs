//! Who is told of queries as they start and end: the file of active queries,
//! the query log and the engine's metrics. The server implements it, so that
//! this crate touches no file.

use std::any::Any;

use crate::engine::QueryError;
use crate::stats::QueryStats;

/// Where a query came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A request of the API.
    Http {
        /// The client's address, without its port.
        client_ip: String,
        /// The request's method.
        method: String,
        /// The request's path.
        path: String,
    },
    /// A rule.
    RuleGroup {
        /// The rule file.
        file: String,
        /// The group's name.
        name: String,
    },
}

/// A query that has ended.
#[derive(Clone, Copy, Debug)]
pub struct QueryRecord<'a> {
    /// Its text.
    pub text: &'a str,
    /// Its first time in ms.
    pub start_ms: i64,
    /// Its last time in ms.
    pub end_ms: i64,
    /// Milliseconds between its times; 0 for instant queries.
    pub step_ms: i64,
    /// Where it came from.
    pub origin: &'a Origin,
    /// What it cost, also where it failed.
    pub stats: &'a QueryStats,
    /// Whether its result was sorted.
    pub sorted: bool,
    /// Why it failed.
    pub error: Option<&'a QueryError>,
}

/// Is told of every query.
pub trait QueryObserver: Send + Sync {
    /// A query has come, and may have to wait for a place. What is returned is
    /// dropped when it ends, however it ends.
    fn arrived(&self) -> Box<dyn Any + Send>;

    /// A query has waited so many seconds for its place, whether it got one or not.
    fn waited(&self, seconds: f64);

    /// A query starts to run. What is returned is dropped when it ends, however
    /// it ends.
    fn begin(&self, text: &str) -> Box<dyn Any + Send>;

    /// A query that was run has ended.
    fn ended(&self, record: &QueryRecord<'_>);
}
