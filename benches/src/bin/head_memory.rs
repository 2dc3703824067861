//! Memory that the head holds a series: `head_memory [series] [hours]`.
//!
//! Series look like those of node_exporter: ten labels, three in five values
//! unchanged from the scrape before, timestamps 15 s apart with a few
//! milliseconds of jitter. All goes through `Appender`, the log included; upkeep
//! runs once a simulated minute. Printed: bytes a series by owner as the account
//! has them, what the allocator says, what the system says of the process, and how
//! far the owners' sum and the allocator's own are from that.

use std::sync::Arc;
use std::time::Duration;

use benches::workload::{Workload, append_round, status_kb};
use model::Env;
use model::memory::Accountant;
use model::metrics::Registry;
use testkit::TestClock;
use tsdb::{Db, DbOptions};

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::ALLOCATOR;

const START_MS: i64 = 1_700_000_000_000;

fn main() {
    allocator::keep_free_memory_shortly();
    let mut arguments = std::env::args().skip(1);
    let series: usize = arguments.next().and_then(|a| a.parse().ok()).unwrap_or(200_000);
    let hours: f64 = arguments.next().and_then(|a| a.parse().ok()).unwrap_or(3.0);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let clock = Arc::new(TestClock::new(START_MS));
    let accountant = Accountant::unlimited();
    let empty_kb = status_kb("RssAnon");
    let empty = allocator::figures();
    let db = Db::open(
        DbOptions { dir: dir.path().to_path_buf(), ..DbOptions::default() },
        Env { fs: tsdb::real_fs(), clock: clock.clone(), seed: 1 },
        accountant.clone(),
        &Registry::new(),
        Arc::default(),
    )
    .expect("an empty folder opens");
    let mut workload = Workload::new(series, 1000);
    let own_kb = workload.heap_bytes() / 1024;
    let steps = (hours * 3600.0 / 15.0) as usize;
    for step in 0..steps {
        clock.advance(Duration::from_secs(15));
        let now = START_MS + (step as i64 + 1) * 15_000;
        append_round(&db, &mut workload, now, true);
        if step % 4 == 3 {
            db.maintain().expect("upkeep works");
            // As the server's tick does.
            allocator::give_back();
        }
    }
    db.refresh_accounts();
    let per_series = |bytes: u64| bytes as f64 / series as f64;
    println!("{series} series, {steps} scrapes of each");
    let mut sum = 0;
    for (owner, bytes) in accountant.by_owner() {
        sum += bytes;
        println!("{owner:20} {:8.1} B/series", per_series(bytes));
    }
    allocator::give_back();
    let anon = (status_kb("RssAnon") - own_kb) * 1024;
    let now = allocator::figures();
    let requested = now.requested.saturating_sub(empty.requested + own_kb * 1024);
    let explained = sum + now.own();
    println!("{:20} {:8.1} B/series", "accounted", per_series(sum));
    println!("{:20} {:8.1} B/series, of all that was asked for", "requested", per_series(requested));
    println!("{:20} {:8.1} B/series, resident and not asked for", "allocator's own", per_series(now.own()));
    println!("{:20} {:8.1} B/series", "RssAnon", per_series(anon - empty_kb * 1024));
    println!("{:20} {:8.1} B/series, told apart", "RssFile", per_series(status_kb("RssFile") * 1024));
    let percent = |part: u64, of: u64| (part as f64 - of as f64) / of as f64 * 100.0;
    println!(
        "accounted + allocator's own = {:.1} B/series: {:+.1} % from all of RssAnon; accounted {:+.1} % from requested",
        per_series(explained),
        percent(explained, anon),
        percent(sum, requested)
    );
    println!("the bench's own state, not counted: {own_kb} kB; before opening: {empty_kb} kB");
}
