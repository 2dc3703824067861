//! The time-series database: head, write-ahead log, chunks, blocks, index, compaction, select.
