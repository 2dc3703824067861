//! An answer of 100 MB is never held as text: while it leaves, the process
//! holds the columns that were evaluated and little else. A binary of its own,
//! for it watches the memory of its process.
//!
//! `NARTHEX_BIG_ANSWER=1` asks for the 100 MB, plain and packed; else it is 40 MB
//! plain and 4 MB packed.

#![expect(clippy::unwrap_used, reason = "a test ends where its data is not what it must be")]

#[path = "api/server.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod server;

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use model::{Dictionary, LabelTable};
use testkit::MadeUp;
use web::Storage;

use server::{NOW_MS, Server, all_on};

const POINTS: i64 = 1_000;
const STEP_MS: i64 = 15_000;
/// Bytes of JSON that a series takes at least.
const SERIES_BYTES: usize = 30_000;
/// Memory beyond the columns that an answer may take: pieces on their way, the
/// packer's window, what the allocator keeps.
const EXTRA_KIB: u64 = 8 * 1024;

/// So many series of fractions, made up as they are read.
fn made(series: usize) -> MadeUp {
    let value = |series, i| 1.0 / (i + series as i64) as f64;
    MadeUp { series, interval_ms: STEP_MS, labels, value }
}

fn labels(series: usize, dictionary: &Dictionary, table: &mut LabelTable) {
    let mut writer = dictionary.write();
    let name = (writer.intern("__name__"), writer.intern("m"));
    let instance = writer.intern("instance");
    for i in 0..series {
        table.push([name, (instance, writer.intern(&format!("host-{i:06}")))]);
    }
}

fn rss_anon_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Reads an answer frame by frame: its bytes, and by how much memory grew at
/// most after the first.
async fn read(server: &Server, encoding: &str) -> (usize, u64) {
    let start = (NOW_MS - (POINTS - 1) * STEP_MS) / 1000;
    let path = format!("/api/v1/query_range?query=m&start={start}&end={}&step=15", NOW_MS / 1000);
    let request = Request::get(path).header("accept-encoding", encoding).body(Body::empty()).unwrap();
    let response = server.open(request).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers().contains_key("content-encoding"), encoding == "gzip");
    let mut body = response.into_body();
    let (mut bytes, mut first, mut most, mut frames) = (0, None, 0, 0usize);
    while let Some(frame) = body.frame().await {
        bytes += frame.unwrap().into_data().unwrap().len();
        if frames % 16 == 0 {
            let have = rss_anon_kib();
            first.get_or_insert(have);
            most = most.max(have);
        }
        frames += 1;
    }
    (bytes, most - first.unwrap())
}

#[tokio::test]
async fn a_large_answer_is_never_held_as_text() {
    let serve = |series| {
        let server = Server::new(all_on());
        let storage = server.web.storage().unwrap();
        server.web.set_storage(Storage { queryable: Arc::new(made(series)), ..(*storage).clone() });
        server
    };
    let whole = std::env::var_os("NARTHEX_BIG_ANSWER").is_some();
    let (plain, packed) = if whole { (100, 100) } else { (40, 4) };
    for (encoding, megabytes) in [("identity", plain), ("gzip", packed)] {
        let series = megabytes * 1_000_000 / SERIES_BYTES;
        let (bytes, grown) = read(&serve(series), encoding).await;
        println!("{encoding}: {bytes} bytes of {megabytes} MB, memory grew by {grown} KiB while they left");
        let least = if encoding == "gzip" { megabytes * 100_000 } else { megabytes * 1_000_000 };
        assert!(bytes > least && grown < EXTRA_KIB, "{bytes} bytes, {grown} KiB");
    }
}
