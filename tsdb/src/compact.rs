//! Compaction: several blocks become one.
//!
//! ```text
//! plan     which blocks belong together            pure rules, no file
//! sources  a block, series by series in label order
//! merge    k sources → one, in label order         memory: symbols, one series
//! series   the chunks of one series                copied as bytes, or
//! encode   … decoded, merged and encoded anew      where they overlap or were deleted
//! write    into a block's folder
//! ```

mod encode;
mod merge;
pub(crate) mod plan;
mod run;
mod series;
mod shipped;
mod sources;
mod write;

#[cfg(test)]
mod tests;
