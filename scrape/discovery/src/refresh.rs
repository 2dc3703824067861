//! Mechanisms that look again every so often: at once, then every interval.
//! A failed look keeps the targets of the last good one.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use crate::group::TargetGroup;
use crate::mechanism::{Context, DiscoveryError, Updates};

/// One look at what there is.
pub(crate) trait Refresh: Send {
    /// The groups there are now.
    fn refresh(&mut self) -> impl Future<Output = Result<Vec<TargetGroup>, DiscoveryError>> + Send;
}

/// Looks every `interval` until stopped; sources that vanish are sent empty.
pub(crate) async fn run(
    mechanism: &'static str,
    mut refresh: impl Refresh,
    interval: Duration,
    context: Context,
    updates: Updates,
) {
    let mut known: BTreeSet<String> = BTreeSet::new();
    let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(100)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let failures = context.metrics.refresh_failures.with(&[mechanism, &context.set]);
    loop {
        tokio::select! {
            () = context.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let started = context.clock.monotonic();
        let outcome = tokio::select! {
            () = context.stop.cancelled() => return,
            outcome = refresh.refresh() => outcome,
        };
        let seconds = context.clock.monotonic().saturating_sub(started).as_secs_f64();
        context.metrics.refresh_duration.with(&[mechanism, &context.set]).observe(seconds);
        context.metrics.refresh_duration_histogram.with(&[mechanism]).observe(seconds);
        match outcome {
            Ok(mut groups) => {
                let now: BTreeSet<String> = groups.iter().map(|group| group.source.clone()).collect();
                let gone = known.difference(&now).cloned();
                groups.extend(gone.map(|source| TargetGroup { source, ..TargetGroup::default() }));
                known = now;
                if !updates.send(groups).await {
                    return;
                }
            }
            Err(error) => {
                failures.inc();
                tracing::error!(
                    component = context.component(),
                    discovery = context.mechanism,
                    config = context.set,
                    err = %error,
                    "Unable to refresh target groups"
                );
            }
        }
    }
}
