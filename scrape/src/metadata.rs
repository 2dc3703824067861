//! What a target says about its metrics, kept for a while after it stops.

use hashbrown::HashTable;
use model::series_cache::SeriesKey;
use model::{Metadata, MetricType};

/// Scrapes that metadata is kept after its family was last seen.
const KEPT_SCRAPES: u64 = 10;

/// Metadata of one target by family.
#[derive(Debug, Default)]
pub struct MetadataCache {
    families: HashTable<Entry>,
    text_bytes: usize,
    scrape: u64,
}

#[derive(Debug, Default)]
struct Entry {
    family: String,
    metadata: Metadata,
    seen: u64,
    changed: u64,
}

fn hash(family: &str) -> u64 {
    SeriesKey::of(family.as_bytes()).table_hash()
}

impl Entry {
    fn size(&self) -> usize {
        self.metadata.help.len() + self.metadata.unit.len() + self.metadata.metric_type.as_str().len()
    }
}

/// One thing said about a family.
pub(crate) enum Said<'a> {
    Type(MetricType),
    Help(&'a str),
    Unit(&'a str),
}

impl MetadataCache {
    /// The metadata of a family.
    pub fn get(&self, family: &str) -> Option<&Metadata> {
        self.families.find(hash(family), |entry| entry.family == family).map(|entry| &entry.metadata)
    }

    /// All families and their metadata, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Metadata)> {
        self.families.iter().map(|entry| (entry.family.as_str(), &entry.metadata))
    }

    /// How many families there are.
    pub fn len(&self) -> usize {
        self.families.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.families.is_empty()
    }

    /// Bytes of help, units and types.
    pub fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// Takes note of something said; whether it is new in this scrape.
    pub(crate) fn note(&mut self, family: &str, said: Said<'_>) -> bool {
        let entry = self.families.entry(hash(family), |e| e.family == family, |e| hash(&e.family));
        let entry = entry.or_insert_with(|| {
            let entry = Entry { family: family.to_owned(), ..Entry::default() };
            self.text_bytes += entry.size();
            entry
        });
        let entry = entry.into_mut();
        entry.seen = self.scrape;
        let unchanged = match &said {
            Said::Type(metric_type) => entry.metadata.metric_type == *metric_type,
            Said::Help(help) => entry.metadata.help == *help,
            Said::Unit(unit) => entry.metadata.unit == *unit,
        };
        if !unchanged {
            self.text_bytes -= entry.size();
            match said {
                Said::Type(metric_type) => entry.metadata.metric_type = metric_type,
                Said::Help(help) => help.clone_into(&mut entry.metadata.help),
                Said::Unit(unit) => unit.clone_into(&mut entry.metadata.unit),
            }
            self.text_bytes += entry.size();
            entry.changed = self.scrape + 1;
        }
        entry.changed == self.scrape + 1
    }

    /// Ends a scrape; after a good one, what was not said for long is forgotten.
    pub(crate) fn end_scrape(&mut self, good: bool) {
        if good {
            let (scrape, text_bytes) = (self.scrape, &mut self.text_bytes);
            self.families.retain(|entry| {
                let keep = scrape - entry.seen <= KEPT_SCRAPES;
                if !keep {
                    *text_bytes -= entry.size();
                }
                keep
            });
        }
        self.scrape += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_stays_ten_scrapes_after_its_family() {
        let mut cache = MetadataCache::default();
        assert!(cache.note("a", Said::Type(MetricType::Counter)));
        assert_eq!(cache.text_bytes(), 7);
        for _ in 0..=KEPT_SCRAPES {
            cache.end_scrape(true);
            assert!(cache.get("a").is_some());
        }
        cache.end_scrape(true);
        assert!(cache.is_empty());
        assert_eq!(cache.text_bytes(), 0);
    }

    #[test]
    fn a_change_is_news_for_one_scrape() {
        let mut cache = MetadataCache::default();
        cache.note("a", Said::Help("x"));
        cache.end_scrape(true);
        assert!(!cache.note("a", Said::Help("x")));
        cache.end_scrape(true);
        assert!(cache.note("a", Said::Help("y")));
        assert!(cache.note("a", Said::Help("y")), "still the same scrape");
    }
}
