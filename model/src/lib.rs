//! What every other crate of Narthex speaks: labels, samples, histograms,
//! matchers and times, and the traits at which storage and engines meet.
//!
//! The files follow the data: what a series *is* (`labels`, `names`), what it
//! holds (`sample`, `histogram`, `exemplar`, `metadata`), how it is found
//! (`matcher`, `relabel`), how it goes in (`append`), how it comes out
//! (`query`), how the store is run (`admin`, `wal_tail`), and what all of it
//! stands on (`elementary`, `time`, `env`, `memory`, `metrics`).
//!
//! Nothing here knows a file format, a socket or a thread.

#![forbid(unsafe_code)]

pub mod admin;
pub mod append;
pub mod elementary;
pub mod env;
pub mod exemplar;
pub mod float;
pub mod histogram;
pub mod labels;
pub mod matcher;
pub mod memory;
pub mod metadata;
pub mod metrics;
pub mod names;
pub mod query;
pub mod relabel;
pub mod sample;
pub mod series_cache;
pub mod time;
pub mod wal_tail;

pub use append::{
    AppendError, Appendable, Appender, Durability, ExemplarError, FloatBatch, HistogramSample,
    HistogramValue, Outcome, SeriesHandle, SeriesRef, Timestamps,
};
pub use env::{Clock, Env, Fs};
pub use exemplar::Exemplar;
pub use histogram::{CounterResetHint, FloatHistogram, Histogram, Span};
pub use labels::{Label, Labels, LabelsBuilder, METRIC_NAME};
pub use matcher::{MatchOp, Matcher};
pub use metadata::{Metadata, MetricType};
pub use query::{
    CancelToken, Columns, Dictionary, LabelTable, Querier, Queryable, SelectRequest, SelectedSeries,
    SeriesReader, StorageError, SymbolId,
};
pub use sample::{STALE_NAN_BITS, is_stale_nan, stale_nan};
pub use time::{BlockRange, TimeRange};
