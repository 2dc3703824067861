//! Why a query failed, in upstream's words.

use model::StorageError;
use model::memory::MemoryRefused;
use model::query::CancelReason;

/// Why a query failed.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The text is no PromQL, or not of the type the request needs.
    #[error("{0}")]
    Parse(String),
    /// It would hold more samples than `query.max-samples` allows.
    #[error("query processing would load too many samples into memory in {0}")]
    TooManySamples(&'static str),
    /// Its time was up.
    #[error("query timed out in {0}")]
    TimedOut(&'static str),
    /// It was stopped from outside.
    #[error("query was canceled in {0}")]
    Canceled(&'static str),
    /// The store failed to find series.
    #[error("expanding series: {0}")]
    Storage(StorageError),
    /// The store failed while samples were read.
    #[error("{0}")]
    Samples(StorageError),
    /// The evaluation found something it cannot answer.
    #[error("{0}")]
    Execution(String),
    /// There is not enough memory for it.
    #[error(transparent)]
    Memory(#[from] MemoryRefused),
}

/// The phase that upstream names in errors of a running evaluation.
pub(crate) const EVALUATION: &str = "expression evaluation";
/// The phase that upstream names when samples are counted.
pub(crate) const EXECUTION: &str = "query execution";

impl QueryError {
    pub(crate) fn execution(text: impl Into<String>) -> QueryError {
        QueryError::Execution(text.into())
    }

    pub(crate) fn stopped(reason: CancelReason) -> QueryError {
        match reason {
            CancelReason::Canceled => QueryError::Canceled(EVALUATION),
            CancelReason::TimedOut => QueryError::TimedOut(EVALUATION),
        }
    }

    pub(crate) fn same_labelset() -> QueryError {
        QueryError::execution("vector cannot contain metrics with the same labelset")
    }
}

/// Who holds the lease of a query's memory.
pub(crate) const MEMORY_OWNER: &str = "query";

impl QueryError {
    /// A refusal of memory says which operator asked for it: the first that an
    /// error passes on its way out.
    pub(crate) fn in_operator(self, operator: &str) -> QueryError {
        match self {
            QueryError::Memory(refused) if refused.by == MEMORY_OWNER => {
                let by = format!("{MEMORY_OWNER} in {operator}");
                QueryError::Memory(MemoryRefused { by, ..refused })
            }
            error => error,
        }
    }

    /// An error of a select.
    pub(crate) fn selecting(error: StorageError) -> QueryError {
        QueryError::storage(error, QueryError::Storage)
    }

    /// An error while samples are read.
    pub(crate) fn reading(error: StorageError) -> QueryError {
        QueryError::storage(error, QueryError::Samples)
    }

    fn storage(error: StorageError, wrap: fn(StorageError) -> QueryError) -> QueryError {
        match error {
            StorageError::Stopped(reason) => QueryError::stopped(reason),
            StorageError::Memory(refused) => QueryError::Memory(refused),
            error => wrap(error),
        }
    }
}

pub(crate) type Result<T> = std::result::Result<T, QueryError>;
