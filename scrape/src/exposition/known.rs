//! The short way past a line whose series is known already.

/// What a line says of a series that was recognised by its raw bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KnownLine {
    /// The value.
    pub value: f64,
    /// The exposed time in ms, where there is one.
    pub timestamp_ms: Option<i64>,
}
