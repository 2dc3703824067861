//! What functions compute, free of operators: numbers in, numbers out.
//!
//! `window` gives range functions one window of one series; the files beside it
//! hold the functions by family. The engine calls them and knows no arithmetic.

pub(crate) mod extended;
pub(crate) mod format;
pub(crate) mod histogram;
pub(crate) mod kahan;
pub(crate) mod math;
pub(crate) mod over_time;
pub(crate) mod quantile;
pub(crate) mod rate;
pub(crate) mod time;
pub(crate) mod window;
