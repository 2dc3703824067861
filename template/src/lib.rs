//! Templates of Go, with the functions that Prometheus adds to them: for the
//! labels and annotations of alerts, and for console pages.
//!
//! ```text
//! text ─ lexer ─► parse ─► tree ─┬──────────────────► exec ─► text
//!                                └─ html (escapers) ─► exec ─► page
//! exec ─► value, method, print (what Go would print)
//!      └► builtin (Go's functions), prometheus (query, humanize …)
//! ```
//!
//! Output and messages are Go's to the letter, but for what README names. The
//! crate knows no query engine, file or clock: queries go through a trait.

#![forbid(unsafe_code)]

mod builtin;
mod error;
mod exec;
mod expand;
mod function;
mod html;
mod lexer;
mod method;
mod node;
mod number;
mod parse;
mod print;
mod prometheus;
mod text;
mod time;
mod title;
mod value;

pub use error::{EscapeError, ExecError, ExpandError};
pub use exec::Limits;
pub use expand::{
    ALERT_DEFINITIONS, Expander, ExternalUrl, Library, Metrics, Number, PAGE_DEFINITIONS, Query, QueryError,
    alert_data, check, label_map, page_data,
};
pub use function::function_names;
pub use parse::{NESTING_MAX, ParseError};
pub use time::{Duration, Location, Time};
pub use value::{Bytes, IntType, Map, MapType, Sample, Slice, SliceType, StrType, Struct, Value};
