//! What targets told of their series: metadata, of which the newest counts.

use std::collections::BTreeMap;

use model::{Labels, Metadata};

use super::Surety;

/// Metadata by series, in the order in which they were told.
#[derive(Clone, Default)]
pub(super) struct Told {
    by_series: BTreeMap<Labels, Vec<(i64, Metadata, Surety)>>,
}

impl Told {
    /// Notes what may or may not be stored, told at a time.
    pub(super) fn note(&mut self, labels: Labels, t: i64, metadata: Metadata) {
        self.by_series.entry(labels).or_default().push((t, metadata, Surety::Maybe));
    }

    /// What was noted last of a series was acknowledged.
    pub(super) fn acknowledge(&mut self, labels: &Labels) {
        if let Some((_, _, surety)) = self.by_series.get_mut(labels).and_then(|all| all.last_mut()) {
            *surety = Surety::Acknowledged;
        }
    }

    /// All that was acknowledged is safe.
    pub(super) fn synced(&mut self) {
        for (_, _, surety) in self.by_series.values_mut().flatten() {
            if *surety == Surety::Acknowledged {
                *surety = Surety::Synced;
            }
        }
    }

    /// Nobody knows what is there.
    pub(super) fn doubt(&mut self) {
        self.by_series.values_mut().flatten().for_each(|(_, _, surety)| *surety = Surety::Maybe);
    }

    /// What is wrong with the newest metadata of all series: they must be there for
    /// those told of surely since `since_ms`, and be no older than what is sure.
    pub(super) fn faults(
        &self,
        answer: &BTreeMap<Labels, Metadata>,
        since_ms: i64,
        at_least: Surety,
    ) -> Vec<String> {
        let mut faults = Vec::new();
        for (labels, all) in &self.by_series {
            let sure = all.iter().rposition(|(_, _, surety)| *surety >= at_least);
            match answer.get(labels) {
                None if sure.is_some_and(|at| all[at].0 >= since_ms) => {
                    faults.push(format!("{labels}: its metadata are lost"));
                }
                Some(found) if !all[sure.unwrap_or(0)..].iter().any(|(_, told, _)| told == found) => {
                    faults.push(format!("{labels}: {found:?} is not the newest of {all:?}"));
                }
                _ => {}
            }
        }
        for labels in answer.keys().filter(|labels| !self.by_series.contains_key(*labels)) {
            faults.push(format!("{labels} has metadata and was never told of"));
        }
        faults
    }
}
