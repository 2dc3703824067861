//! Remote write and read, in both directions.
