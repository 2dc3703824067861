//! From the pairs that name a series on the wire to its labels and its handle.

use model::Labels;
use model::append::SeriesHandle;
use model::series_cache::{SeriesCache, SeriesKey};

/// Most bytes that the labels of one series may have together. References to
/// one long symbol could otherwise make a label set larger than any memory.
pub const LABEL_BYTES_MAX: usize = 1 << 20;

/// Most bytes of labels that one request may make: the same for all its series.
pub const REQUEST_LABEL_BYTES_MAX: usize = 512 << 20;

/// Why the labels of a series cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelFault {
    /// No metric name, an empty label name, or bytes that are no UTF-8; the
    /// labels as far as they can be shown.
    Invalid(String),
    /// A name stands twice.
    Duplicate {
        /// The labels.
        labels: String,
        /// The name.
        name: String,
    },
    /// The labels together are longer than [`LABEL_BYTES_MAX`]: their length.
    TooLong(usize),
}

/// A label set of raw pairs, which may come in any order.
///
/// # Errors
/// See [`LabelFault`].
pub fn labels<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> Result<Labels, LabelFault> {
    let bytes =
        pairs.clone().fold(0usize, |sum, (name, value)| sum.saturating_add(name.len() + value.len() + 2));
    if bytes > LABEL_BYTES_MAX {
        return Err(LabelFault::TooLong(bytes));
    }
    let mut text = Vec::new();
    let mut valid = true;
    for (name, value) in pairs {
        match (std::str::from_utf8(name), std::str::from_utf8(value)) {
            (Ok(name), Ok(value)) => {
                valid &= !name.is_empty();
                text.push((name, value));
            }
            _ => valid = false,
        }
    }
    text.sort_by_key(|(name, _)| *name);
    let duplicate = text.windows(2).find(|pair| pair[0].0 == pair[1].0).map(|pair| pair[0].0.to_owned());
    let labels = Labels::from_pairs(text.iter().copied());
    // A missing name comes first: so upstream asks.
    if !valid || labels.metric_name().is_empty() {
        return Err(LabelFault::Invalid(labels.to_string()));
    }
    match duplicate {
        Some(name) => {
            let one = |pair: &(&str, &str)| {
                let shown = Labels::from_pairs([*pair]).to_string();
                shown.trim_start_matches('{').trim_end_matches('}').to_owned()
            };
            let all: Vec<String> = text.iter().map(one).collect();
            Err(LabelFault::Duplicate { labels: format!("{{{}}}", all.join(", ")), name })
        }
        None => Ok(labels),
    }
}

/// The series a sender has named, and those that this request adds. These join
/// the cache only once the batch is committed: a batch that is rolled back
/// may take its new series along.
pub struct Known<'c> {
    cache: &'c SeriesCache,
    new: Vec<(SeriesKey, SeriesHandle)>,
    label_bytes: usize,
}

impl<'c> Known<'c> {
    /// Nothing new yet.
    pub fn new(cache: &'c SeriesCache) -> Known<'c> {
        Known { cache, new: Vec::new(), label_bytes: 0 }
    }

    /// The handles of many keys, in their order; `handles` is cleared first.
    pub fn get_all(&self, keys: &[SeriesKey], handles: &mut Vec<Option<SeriesHandle>>) {
        self.cache.get_all(keys, handles);
    }

    /// Notes the handle of a key.
    pub fn add(&mut self, key: SeriesKey, handle: SeriesHandle) {
        self.new.push((key, handle));
    }

    /// Counts labels that are made; whether the request may go on.
    pub fn may_make(&mut self, labels: &Labels) -> bool {
        self.label_bytes = self.label_bytes.saturating_add(labels.as_bytes().len());
        self.label_bytes <= REQUEST_LABEL_BYTES_MAX
    }

    /// Takes the new series out, to remember them after the commit.
    pub fn into_new(self) -> Vec<(SeriesKey, SeriesHandle)> {
        self.new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Labels, LabelFault> {
        labels(pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
    }

    #[test]
    fn labels_come_in_any_order_but_never_twice() {
        let sorted = of(&[("b", "2"), ("__name__", "up"), ("a", "1")]).unwrap();
        assert_eq!(sorted.to_string(), r#"{__name__="up", a="1", b="2"}"#);
        assert!(
            matches!(of(&[("__name__", "up"), ("a", "1"), ("a", "1")]), Err(LabelFault::Duplicate { name, .. }) if name == "a")
        );
        let Err(LabelFault::Duplicate { labels: shown, .. }) =
            of(&[("a", "{2}"), ("__name__", "up"), ("a", "1")])
        else {
            panic!("a name stands twice")
        };
        assert_eq!(shown, r#"{__name__="up", a="{2}", a="1"}"#, "all of them are shown");
        assert!(matches!(of(&[("a", "1")]), Err(LabelFault::Invalid(_))));
        assert!(matches!(of(&[("__name__", "up"), ("", "1")]), Err(LabelFault::Invalid(_))));
        let bytes: [(&[u8], &[u8]); 2] = [(b"__name__", b"up"), (b"a", b"\xff")];
        assert!(matches!(labels(bytes.into_iter()), Err(LabelFault::Invalid(_))));
    }

    #[test]
    fn a_label_set_is_bounded_before_it_is_made() {
        let long = "x".repeat(LABEL_BYTES_MAX / 4);
        let names: Vec<String> = (0..5).map(|i| format!("l{i}")).collect();
        let pairs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), long.as_str())).collect();
        assert!(matches!(of(&pairs), Err(LabelFault::TooLong(_))));
    }
}
