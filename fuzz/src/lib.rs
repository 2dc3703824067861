//! Fuzz targets: every decoder and parser of Narthex, given any bytes.
//!
//! A target panics where a promise is broken. Who makes the bytes does not matter
//! to it: `tests/targets.rs` mutates the built-in inputs by a seed, libFuzzer
//! follows coverage (see `README.md`).

#![forbid(unsafe_code)]

mod block;
mod chunk;
mod config;
mod database;
mod exposition;
mod finds;
mod log;
mod matcher;
pub mod mutate;
mod promql;
mod remote;
mod template;

/// One decoder or parser.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Gives it bytes.
    pub run: fn(&[u8]),
    /// Inputs that are well formed, or were found to be trouble.
    pub corpus: fn() -> Vec<Vec<u8>>,
    /// Words of its language.
    pub words: &'static [&'static str],
    /// How much work one input is, 1 being little: dear targets run less often.
    pub cost: usize,
}

impl Target {
    const fn of_bytes(name: &'static str, run: fn(&[u8]), corpus: fn() -> Vec<Vec<u8>>) -> Target {
        Target { name, run, corpus, words: &[], cost: 1 }
    }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target::of_bytes("chunk_xor", chunk::xor, chunk::xor_corpus),
    Target::of_bytes("chunk_xor2", chunk::xor2, chunk::xor2_corpus),
    Target::of_bytes("chunk_histogram", chunk::histogram, chunk::histogram_corpus),
    Target::of_bytes("chunk_histogram_st", chunk::histogram_st, chunk::histogram_st_corpus),
    Target::of_bytes("chunk_float_histogram", chunk::float_histogram, chunk::float_histogram_corpus),
    Target::of_bytes("chunk_float_histogram_st", chunk::float_histogram_st, chunk::float_histogram_st_corpus),
    Target::of_bytes("chunk_floats_in", chunk::floats_in, chunk::floats_in_corpus),
    Target::of_bytes("wal_record", log::record, log::record_corpus),
    Target::of_bytes("wal_segment", log::segment, log::segment_corpus),
    Target::of_bytes("wal_compression", log::compression, log::compression_corpus),
    Target::of_bytes("snapshot_record", log::snapshot, log::snapshot_corpus),
    Target::of_bytes("index", block::index, block::index_corpus),
    Target::of_bytes("index_sealed", block::index_sealed, block::index_corpus),
    Target::of_bytes("block_chunks", block::chunks, block::chunks_corpus),
    Target::of_bytes("tombstones", block::tombstones, block::tombstones_corpus),
    Target { words: block::META_WORDS, ..Target::of_bytes("meta_json", block::meta, block::meta_corpus) },
    Target::of_bytes("head_chunks", block::head_chunks, block::head_chunks_corpus),
    Target { cost: 20, ..Target::of_bytes("data_directory", database::directory, database::corpus) },
    Target { words: promql::WORDS, ..Target::of_bytes("promql_parse", promql::parse, promql::corpus) },
    Target { words: promql::WORDS, cost: 8, ..Target::of_bytes("promql_eval", promql::eval, promql::corpus) },
    Target {
        words: promql::SERIES_WORDS,
        ..Target::of_bytes("promql_series", promql::series, promql::series_corpus)
    },
    Target {
        words: promql::SCRIPT_WORDS,
        cost: 8,
        ..Target::of_bytes("promql_script", promql::script, promql::script_corpus)
    },
    Target {
        words: matcher::WORDS,
        cost: 2,
        ..Target::of_bytes("matcher", matcher::matcher, matcher::corpus)
    },
    Target {
        words: exposition::WORDS,
        ..Target::of_bytes("exposition_text", exposition::text, exposition::text_corpus)
    },
    Target {
        words: exposition::WORDS,
        ..Target::of_bytes("exposition_openmetrics", exposition::openmetrics, exposition::openmetrics_corpus)
    },
    Target::of_bytes("exposition_protobuf", exposition::protobuf, exposition::protobuf_corpus),
    Target { cost: 2, ..Target::of_bytes("remote_write_v1", remote::v1, remote::v1_corpus) },
    Target { cost: 2, ..Target::of_bytes("remote_write_v2", remote::v2, remote::v2_corpus) },
    Target::of_bytes("remote_body", remote::body, remote::body_corpus),
    Target {
        words: template::WORDS,
        cost: 4,
        ..Target::of_bytes("template_text", template::text, template::text_corpus)
    },
    Target {
        words: template::WORDS,
        cost: 4,
        ..Target::of_bytes("template_page", template::page, template::page_corpus)
    },
    Target { words: config::WORDS, cost: 8, ..Target::of_bytes("config", config::load, config::corpus) },
];
