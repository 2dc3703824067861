//! Keeps the process below its ceiling of memory.
//!
//! What the process really holds is put beside what its owners say, every few
//! milliseconds: the difference has owners too, so that refusals go by the truth:
//! what was asked of the allocator and nobody counts (`unaccounted`), and what nobody
//! asked for (`allocator`: its own, and with it stacks and the program's own data).
//! Nothing is freed here but caches and what the allocator keeps; everything else is
//! refused before it grows, by those who ask the account: queries first, then new
//! series, then writes.

use std::sync::Arc;
use std::time::Duration;

use model::Clock;
use model::memory::{Accountant, Owner, Pressure};
use model::metadata::MetricType;
use model::metrics::{Family, Metric, MetricValue, Registry};
use tokio_util::sync::CancellationToken;

use crate::environment;
use crate::process_metrics;

/// How often the process is looked at: a look takes microseconds, and in so much
/// time two cores fill some 50 MB.
const TICK: Duration = Duration::from_millis(20);

/// How often caches shrink, where they have to, and free memory is given back.
const UPKEEP: Duration = Duration::from_secs(1);

/// How long memory must have been freer until the log says so.
const CALM: Duration = Duration::from_secs(10);

/// The owners' figures are brought up to date so seldom that it takes at most
/// one part in so many of the time: it visits every series.
const REFRESH_SHARE: u32 = 50;

/// What the governor needs.
pub struct Governor {
    /// The account.
    pub memory: Accountant,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Series made since the owners reported.
    pub fresh: Arc<Owner>,
    /// How often the ceiling is derived anew, and how; `None` where it is fixed.
    pub detect: Option<(Duration, Box<dyn Fn() -> u64 + Send>)>,
}

impl Governor {
    /// Runs until it is told to stop. `refresh` has the owners report,
    /// `shrink` empties what can be had again.
    pub async fn run(
        self,
        refresh: impl Fn() + Clone + Send + 'static,
        shrink: impl Fn(),
        stop: CancellationToken,
    ) {
        let allocators = self.memory.owner("allocator");
        let rest = self.memory.owner("unaccounted");
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut said = Pressure::None;
        let mut lower_since = Duration::ZERO;
        let mut next_refresh = Duration::ZERO;
        let mut refreshing = None;
        let mut next_upkeep = Duration::ZERO;
        let mut detected = self.clock.monotonic();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let now = self.clock.monotonic();
            if let Some((interval, detect)) = &self.detect
                && now.saturating_sub(detected) >= *interval
            {
                detected = now;
                self.move_ceiling(detect());
            }
            match &mut refreshing {
                None if now >= next_refresh => {
                    refreshing = Some((self.fresh.get(), now, tokio::task::spawn_blocking(refresh.clone())));
                }
                Some((noted, begun, task)) if task.is_finished() => {
                    if task.await.is_ok() {
                        // What was made meanwhile is not in the report yet.
                        self.fresh.set(self.fresh.get().saturating_sub(*noted));
                    }
                    next_refresh = now + UPKEEP.max(now.saturating_sub(*begun) * REFRESH_SHARE);
                    refreshing = None;
                }
                _ => {}
            }
            if let Some(resident) = process_metrics::anonymous_bytes() {
                let accounted = self.memory.used().saturating_sub(rest.get() + allocators.get());
                let more = resident.saturating_sub(accounted);
                let asked_for = allocator::requested().saturating_sub(accounted).min(more);
                rest.set(asked_for);
                allocators.set(more - asked_for);
            }
            let pressure = self.memory.pressure();
            // Under pressure what a query left free is given back before the next is judged.
            let upkeep = now >= next_upkeep;
            if upkeep || pressure >= Pressure::ShrinkCaches {
                allocator::give_back();
            }
            if upkeep {
                next_upkeep = now + UPKEEP;
                if pressure >= Pressure::ShrinkCaches {
                    shrink();
                }
            }
            // A level is said when it is reached, and that it is over once it has been for a while.
            if pressure >= said {
                lower_since = now;
            }
            if pressure > said || (pressure < said && now.saturating_sub(lower_since) >= CALM) {
                self.say(said, pressure);
                said = pressure;
            }
        }
    }

    fn move_ceiling(&self, limit: u64) {
        let before = self.memory.limit();
        if limit != before {
            tracing::info!(component = "memory", limit, previous = before, "ceiling of memory moved");
            self.memory.set_limit(limit);
        }
    }

    fn say(&self, before: Pressure, now: Pressure) {
        let (used, limit) = (self.memory.used(), self.memory.limit());
        if now > before {
            let mut owners = self.memory.by_owner();
            owners.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
            let largest: Vec<String> =
                owners.iter().take(3).map(|(name, bytes)| format!("{name}={bytes}")).collect();
            tracing::warn!(
                component = "memory",
                used,
                limit,
                refusing = now.refuses(),
                largest = largest.join(","),
                "memory runs short"
            );
        } else {
            tracing::info!(
                component = "memory",
                used,
                limit,
                refusing = now.refuses(),
                "memory is freer again"
            );
        }
    }
}

/// The ceiling that a share of what the container or the machine has makes now.
pub fn detected_limit(ratio: f64) -> Option<u64> {
    environment::memory_bytes().map(|bytes| (bytes as f64 * ratio) as u64)
}

/// Registers what the account knows.
pub fn register(memory: &Accountant, registry: &Registry) {
    let account = memory.clone();
    registry.gauge_fn("narthex_memory_limit_bytes", "Ceiling of the process' memory.", move || {
        account.limit() as f64
    });
    let account = memory.clone();
    registry.gauge_fn(
        "narthex_memory_used_bytes",
        "Memory that is held or reserved, as it is compared with the ceiling.",
        move || account.used() as f64,
    );
    let account = memory.clone();
    registry.gauge_fn(
        "narthex_memory_pressure",
        "How near the ceiling memory is: 0 free, 1 caches shrink, 2 queries, 3 new series, 4 writes are refused.",
        move || f64::from(account.pressure() as u8),
    );
    registry.gauge_fn(
        "narthex_memory_requested_bytes",
        "Memory that the program asked its allocator for and did not give back.",
        || allocator::requested() as f64,
    );
    registry.gauge_fn(
        "narthex_memory_allocator_resident_bytes",
        "Memory in the allocator's hands that is resident: what was asked for, and its own.",
        || allocator::figures().resident as f64,
    );
    let account = memory.clone();
    registry.register_fn(move |families| {
        let by_owner = account.by_owner().into_iter().map(|(owner, bytes)| ("owner", owner, bytes));
        families.push(family(
            "narthex_memory_bytes",
            "Memory by what holds it; leases are what requests have reserved.",
            MetricType::Gauge,
            by_owner,
        ));
        let refusals = account.refusals_by_kind().into_iter().map(|(kind, count)| ("kind", kind, count));
        families.push(family(
            "narthex_memory_refusals_total",
            "What was refused for want of memory, by kind.",
            MetricType::Counter,
            refusals,
        ));
    });
}

fn family<'a>(
    name: &str,
    help: &str,
    metric_type: MetricType,
    values: impl Iterator<Item = (&'a str, &'a str, u64)>,
) -> Family {
    let mut metrics: Vec<Metric> = values
        .map(|(label, of, value)| Metric {
            labels: vec![(label.to_owned(), of.to_owned())],
            value: MetricValue::Single(value as f64),
        })
        .collect();
    metrics.sort_by(|a, b| a.labels.cmp(&b.labels));
    Family { name: name.to_owned(), help: help.to_owned(), metric_type, metrics }
}
