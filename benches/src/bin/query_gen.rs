//! Material for comparing two servers:
//! `query_gen data DIR SCRAPES [starts]` fills a data directory with series of
//! every kind (15 s apart, the first at 1700000000), with start timestamps where
//! asked for (servers need `--enable-feature=st-storage` to read them);
//! `query_gen list COUNT SEED [SCRAPES]` prints made-up queries for it, one a
//! line, for `query_diff`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use benches::query_data::{INTERVAL_MS, START_MS, open_with};
use model::query::ChunkEncoding;
use testkit::TestClock;
use testkit::querygen::{Choice, QueryGen, data};
use tsdb::DbOptions;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize| arguments.get(i).and_then(|a| a.parse::<u64>().ok());
    let scrapes_s = |scrapes: u64| scrapes as i64 * INTERVAL_MS / 1000;
    match (arguments.first().map(String::as_str), number(1), number(2)) {
        (Some("list"), Some(count), Some(seed)) => {
            let first = START_MS / 1000;
            let choice = Choice {
                deterministic: true,
                depth: 3,
                times_s: (first, first + scrapes_s(number(3).unwrap_or(480))),
            };
            let mut made = QueryGen::new(seed, choice);
            for f in &promql::FUNCTIONS {
                println!("{}", made.query_of(f.name));
            }
            for _ in 0..count {
                println!("{}", made.query());
            }
            ExitCode::SUCCESS
        }
        (Some("data"), _, Some(scrapes)) => {
            let end_ms = START_MS + scrapes as i64 * INTERVAL_MS;
            let start_timestamps = arguments.get(3).is_some_and(|word| word == "starts");
            let mut options = DbOptions { dir: PathBuf::from(&arguments[1]), ..DbOptions::default() };
            if start_timestamps {
                options.start_timestamp_storage = true;
                options.histogram_start_timestamps = true;
                options.runtime.float_encoding = ChunkEncoding::Xor2;
            }
            let db = open_with(options, Arc::new(TestClock::new(end_ms)));
            let plan = data::Plan {
                start_ms: START_MS,
                interval_ms: INTERVAL_MS,
                scrapes: scrapes as usize,
                seed: 5,
                start_timestamps,
            };
            data::fill(&*db, plan).expect("the folder can be written");
            db.close().expect("the database closes");
            println!("{scrapes} scrapes up to {}", end_ms / 1000);
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: query_gen data DIR SCRAPES [starts] | query_gen list COUNT SEED [SCRAPES]");
            ExitCode::from(2)
        }
    }
}
