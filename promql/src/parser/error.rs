//! What is wrong with a query, and where.

use std::fmt;

use crate::ast::PositionRange;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong.
    pub message: String,
    /// Where, in bytes of the query.
    pub pos: PositionRange,
}

/// How many errors of one query are kept, and how much text.
const ERRORS_MAX: usize = 65_536;
const ERROR_BYTES_MAX: usize = 16 << 20;

/// Collects errors up to a bound: some texts have one for each few bytes.
#[derive(Debug, Default)]
pub(crate) struct ErrorList {
    errors: Vec<ParseError>,
    bytes: usize,
}

impl ErrorList {
    /// Records an error, unless the list is full.
    pub(crate) fn push(&mut self, pos: PositionRange, message: String) {
        if !self.is_full() {
            self.bytes += message.len();
            self.errors.push(ParseError { message, pos });
        }
    }

    /// Whether further errors are dropped.
    pub(crate) fn is_full(&self) -> bool {
        self.errors.len() >= ERRORS_MAX || self.bytes >= ERROR_BYTES_MAX
    }

    /// `value`, unless there are errors.
    pub(crate) fn into_result<T>(self, value: T, query: &[u8]) -> Result<T, ParseErrors> {
        if self.errors.is_empty() { Ok(value) } else { Err(self.into_errors(query)) }
    }

    /// The errors of `query`.
    pub(crate) fn into_errors(self, query: &[u8]) -> ParseErrors {
        ParseErrors { query: query.to_vec(), errors: self.errors }
    }
}

/// All that is wrong with a query, in the order it was found.
///
/// Prints as the first error with line and column, both from 1 and the column
/// counted in bytes: `1:5: parse error: unexpected end of input`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseErrors {
    query: Vec<u8>,
    errors: Vec<ParseError>,
}

impl std::error::Error for ParseErrors {}

impl fmt::Display for ParseErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errors.first() {
            Some(first) => f.write_str(&self.located(first, 0)),
            None => f.write_str("error contains no error message"),
        }
    }
}

impl ParseErrors {
    /// The errors, the first one first; never empty.
    pub fn errors(&self) -> &[ParseError] {
        &self.errors
    }

    /// One of the errors with line and column; `line_offset` is added to the
    /// line, for queries that stand in a file.
    pub fn located(&self, error: &ParseError, line_offset: usize) -> String {
        format!("{}: parse error: {}", self.line_and_column(error.pos.start, line_offset), error.message)
    }

    fn line_and_column(&self, start: u32, line_offset: usize) -> String {
        if self.query.is_empty() {
            return "unknown position".to_owned();
        }
        let start = start as usize;
        let Some(before) = self.query.get(..start) else {
            return "invalid position".to_owned();
        };
        let line = line_offset + 1 + before.iter().filter(|b| **b == b'\n').count();
        let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        format!("{line}:{}", start - line_start + 1)
    }
}
