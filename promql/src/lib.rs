//! PromQL: text → syntax tree → checked tree → value.
//!
//! Never touches a file or a socket: storage is met through `model::query`,
//! the log of queries through the observer that the server hands in.

#![forbid(unsafe_code)]

pub mod annotations;
pub mod ast;
mod ast_json;
mod check;
pub mod engine;
mod function_table;
mod functions;
pub mod lexer;
pub mod observer;
mod parser;
mod plan;
mod pretty;
mod printer;
mod quote;
mod series_description;
pub mod stats;
pub mod value;
pub mod visit;

pub use ast::{Expr, PositionRange, ValueType};
pub use ast_json::to_json;
pub use engine::{Engine, EngineOptions, Failure, Output, Query, QueryError};
pub use function_table::{FUNCTIONS, function};
pub use parser::{Features, NESTING_MAX, ParseError, ParseErrors, parse, parse_bytes, parse_selector};
pub use pretty::{MAX_CHARACTERS_PER_LINE, prettify};
pub use series_description::{SERIES_VALUES_MAX, SequenceValue, parse_series_description};
