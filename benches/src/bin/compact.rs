//! Blocks merged, and what samples take on disk: `compact [series] [seconds between scrapes]`.
//!
//! More than nine hours of series like those of node_exporter are written and
//! cut into blocks of two hours, with XOR and with XOR2 chunks. Then one round of
//! upkeep merges three of them into one of six hours. Printed: bytes a sample in
//! the blocks, how fast they are merged, and by how much RssAnon rose meanwhile.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the real clock")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use benches::workload::{Workload, append_round, status_kb};
use model::Env;
use model::memory::Accountant;
use model::metrics::Registry;
use model::query::ChunkEncoding;
use testkit::TestClock;
use tsdb::{Db, DbOptions};

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::ALLOCATOR;

/// The start of a range of six hours, so that the first three blocks are one.
const START_MS: i64 = 1_700_006_400_000;
/// So long that a fourth block is cut: the newest is never merged.
const HOURS: f64 = 9.3;

fn open(dir: &Path, encoding: ChunkEncoding, compaction: bool) -> Arc<Db> {
    let mut options = DbOptions { dir: dir.to_path_buf(), compaction, ..DbOptions::default() };
    options.runtime.float_encoding = encoding;
    options.runtime.retention_time = None;
    let env = Env { fs: tsdb::real_fs(), clock: Arc::new(TestClock::new(START_MS)), seed: 1 };
    Db::open(options, env, Accountant::unlimited(), &Registry::new(), Arc::default())
        .expect("the folder opens")
}

fn write(dir: &Path, encoding: ChunkEncoding, series: usize, seconds: i64) {
    let db = open(dir, encoding, false);
    let mut workload = Workload::new(series, 1000);
    let steps = (HOURS * 3600.0) as i64 / seconds;
    for step in 0..steps {
        let now = START_MS + step * seconds * 1000;
        append_round(&db, &mut workload, now, true);
        if step % 20 == 19 {
            db.maintain().expect("upkeep works");
        }
    }
    db.close().expect("a clean stop");
}

/// A block as its `meta.json` and its files have it.
struct Block {
    level: u64,
    samples: u64,
    chunk_bytes: u64,
    index_bytes: u64,
}

fn blocks(dir: &Path) -> Vec<Block> {
    let folders = std::fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut blocks: Vec<Block> = folders.filter_map(block).collect();
    blocks.sort_by_key(|block| block.level);
    blocks
}

fn block(dir: PathBuf) -> Option<Block> {
    let meta = std::fs::read(dir.join("meta.json")).ok()?;
    let meta: serde_json::Value = serde_json::from_slice(&meta).expect("meta.json is JSON");
    let len = |path: PathBuf| std::fs::metadata(path).map_or(0, |meta| meta.len());
    let chunks = std::fs::read_dir(dir.join("chunks")).expect("chunk files");
    Some(Block {
        level: meta["compaction"]["level"].as_u64().expect("a level"),
        samples: meta["stats"]["numSamples"].as_u64().expect("a number"),
        chunk_bytes: chunks.map(|entry| len(entry.expect("an entry").path())).sum(),
        index_bytes: len(dir.join("index")),
    })
}

fn main() {
    allocator::keep_free_memory_shortly();
    let mut arguments = std::env::args().skip(1);
    let series: usize = arguments.next().and_then(|a| a.parse().ok()).unwrap_or(50_000);
    let seconds: i64 = arguments.next().and_then(|a| a.parse().ok()).unwrap_or(30);
    println!("{series} series, a scrape each {seconds} s");
    for encoding in [ChunkEncoding::Xor, ChunkEncoding::Xor2] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        write(dir.path(), encoding, series, seconds);
        let before = blocks(dir.path());
        let sum = |of: fn(&Block) -> u64| before.iter().map(of).sum::<u64>() as f64;
        let samples = sum(|block| block.samples);
        println!(
            "{encoding:?}: {} blocks of 2 h, {:.3} B a sample in chunks, {:.3} in the index",
            before.len(),
            sum(|block| block.chunk_bytes) / samples,
            sum(|block| block.index_bytes) / samples,
        );
        let db = open(dir.path(), encoding, true);
        let base_kb = status_kb("RssAnon");
        let (peak_kb, done) = (AtomicU64::new(base_kb), AtomicBool::new(false));
        let started = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    peak_kb.fetch_max(status_kb("RssAnon"), Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
            db.maintain().expect("upkeep works");
            done.store(true, Ordering::Release);
        });
        let took = started.elapsed().as_secs_f64();
        let after = blocks(dir.path());
        let merged = after.iter().find(|block| block.level == 2).expect("three blocks became one");
        let bytes = (merged.chunk_bytes + merged.index_bytes) as f64;
        println!(
            "{encoding:?}: three blocks merged in {took:.2} s: {:.0} MB/s, {:.1} M samples/s, {:.0} k series/s; RssAnon rose by {:.1} MB",
            bytes / took / 1e6,
            merged.samples as f64 / took / 1e6,
            3.0 * series as f64 / took / 1e3,
            (peak_kb.load(Ordering::Relaxed) - base_kb) as f64 / 1024.0,
        );
        println!(
            "{encoding:?}: the block of 6 h: {:.3} B a sample in chunks, {:.3} in the index",
            merged.chunk_bytes as f64 / merged.samples as f64,
            merged.index_bytes as f64 / merged.samples as f64,
        );
    }
}
