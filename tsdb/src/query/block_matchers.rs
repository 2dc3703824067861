//! Which series of a block match: the shortest list of series first, the others
//! asked by seeking, so that one rare label makes long lists cheap.

use model::{MatchOp, Matcher};
use roaring::RoaringBitmap;

use crate::corruption::FileError;
use crate::index::{BlockSeriesRef, IndexReader, PostingsList};

/// The series of an index that match, ascending.
pub(crate) fn matching_series(
    index: &IndexReader,
    matchers: &[Matcher],
) -> Result<Vec<BlockSeriesRef>, FileError> {
    // Lists that all have the series; then of each other matcher the lists of
    // which one has it, and of those that must not.
    let mut required = Vec::new();
    let mut one_of = Vec::new();
    let mut none_of = Vec::new();
    for matcher in matchers {
        let accepts_empty = matcher.matches_empty();
        if matcher.op() == MatchOp::Equal && !accepts_empty {
            required.push(index.postings(matcher.name(), matcher.value())?);
        } else if accepts_empty {
            none_of.push(lists_of(index, matcher, false)?);
        } else {
            one_of.push(lists_of(index, matcher, true)?);
        }
    }
    required.sort_by_key(PostingsList::len);
    one_of.sort_by_key(|lists| total(lists));
    let mut one_of = one_of.into_iter();
    let mut series = match required.split_first() {
        Some((shortest, others)) => common(shortest, others),
        None => match one_of.next() {
            Some(lists) => union(&lists),
            None => index.all_postings()?.iter().collect(),
        },
    };
    for lists in one_of {
        retain(&mut series, &lists, true);
    }
    for lists in none_of {
        retain(&mut series, &lists, false);
    }
    Ok(series)
}

/// The lists of all values that the matcher accepts (or refuses).
fn lists_of(index: &IndexReader, matcher: &Matcher, accepted: bool) -> Result<Vec<PostingsList>, FileError> {
    if matcher.op() == MatchOp::NotEqual && !accepted && !matcher.value().is_empty() {
        return Ok(vec![index.postings(matcher.name(), matcher.value())?]);
    }
    let mut places = Vec::new();
    index.label_values(matcher.name(), |value, place| {
        if matcher.matches(value) == accepted {
            places.push(place);
        }
        true
    })?;
    places.into_iter().map(|place| index.postings_at(place)).collect()
}

fn total(lists: &[PostingsList]) -> usize {
    lists.iter().map(PostingsList::len).sum()
}

/// The series of the shortest list that are in all others.
fn common(shortest: &PostingsList, others: &[PostingsList]) -> Vec<BlockSeriesRef> {
    let mut others: Vec<_> = others.iter().map(PostingsList::iter).collect();
    shortest.iter().filter(|&series| others.iter_mut().all(|other| other.seek(series))).collect()
}

fn union(lists: &[PostingsList]) -> Vec<BlockSeriesRef> {
    if let [only] = lists {
        return only.iter().collect();
    }
    let mut union = RoaringBitmap::new();
    for list in lists {
        union |= RoaringBitmap::from_sorted_iter(list.iter().map(|series| series.0)).unwrap_or_default();
    }
    union.into_iter().map(BlockSeriesRef).collect()
}

/// Keeps the series that are in one of the lists, or in none.
fn retain(series: &mut Vec<BlockSeriesRef>, lists: &[PostingsList], in_one: bool) {
    let mut found = vec![false; series.len()];
    for list in lists {
        mark(series, list, &mut found);
    }
    let mut found = found.into_iter();
    series.retain(|_| found.next() == Some(in_one));
}

/// Marks the series that are in the list; the shorter of the two is walked.
fn mark(series: &[BlockSeriesRef], list: &PostingsList, found: &mut [bool]) {
    if list.len() < series.len() {
        let mut rest = 0;
        for one in list.iter() {
            rest += series[rest..].partition_point(|have| have.0 < one.0);
            match series.get(rest) {
                Some(have) if *have == one => found[rest] = true,
                Some(_) => {}
                None => return,
            }
        }
    } else {
        let mut list = list.iter();
        for (have, found) in series.iter().zip(found) {
            *found |= list.seek(*have);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use model::Labels;
    use testkit::Rng;

    use super::*;
    use crate::index::IndexWriter;
    use crate::real_fs;

    /// An index of series with up to four labels of few values each, in label order.
    fn index(path: &Path, rng: &mut Rng) -> (IndexReader, Vec<(BlockSeriesRef, Labels)>) {
        let mut all: Vec<Labels> = (0..400)
            .map(|n| {
                let mut pairs = vec![("__name__".to_owned(), format!("m{}", rng.below(3)))];
                for (name, values) in [("a", 2), ("b", 7), ("c", 60)] {
                    if !rng.one_in(5) {
                        pairs.push((name.to_owned(), format!("v{}", rng.below(values))));
                    }
                }
                pairs.push(("n".to_owned(), n.to_string()));
                Labels::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
            })
            .collect();
        all.sort();
        let mut symbols: Vec<&str> =
            all.iter().flat_map(|labels| labels.iter().flat_map(|l| [l.name, l.value])).collect();
        symbols.sort_unstable();
        symbols.dedup();
        let mut writer = IndexWriter::create(real_fs(), path, &symbols).unwrap();
        for labels in &all {
            let ids: Vec<_> = labels
                .iter()
                .map(|label| (writer.symbol(label.name).unwrap(), writer.symbol(label.value).unwrap()))
                .collect();
            writer.add_series(&ids, &[]).unwrap();
        }
        writer.finish().unwrap();
        let index = IndexReader::open(&*real_fs(), path).unwrap();
        let refs: Vec<BlockSeriesRef> = index.all_postings().unwrap().iter().collect();
        assert_eq!(refs.len(), all.len());
        (index, refs.into_iter().zip(all).collect())
    }

    fn matcher(rng: &mut Rng) -> Matcher {
        let name = ["__name__", "a", "b", "c", "absent"][rng.below(5) as usize];
        let value = match rng.below(3) {
            0 => String::new(),
            _ if name == "__name__" => format!("m{}", rng.below(4)),
            _ => format!("v{}", rng.below(8)),
        };
        match rng.below(8) {
            0..=2 => Matcher::new(MatchOp::Equal, name, &value),
            3 | 4 => Matcher::new(MatchOp::NotEqual, name, &value),
            5 => Matcher::new(MatchOp::Regex, name, &format!("{value}.*")),
            6 => Matcher::new(MatchOp::Regex, name, "(v1|v2|v30|m0)"),
            _ => Matcher::new(MatchOp::NotRegex, name, &format!("{value}|v[0-3].+")),
        }
        .unwrap()
    }

    #[test]
    fn series_match_as_their_labels_do() {
        let folder = tempfile::tempdir().unwrap();
        let mut rng = Rng::new(7);
        let mut most = 0;
        for round in 0..4 {
            let (index, all) = index(&folder.path().join(format!("index{round}")), &mut rng);
            for _ in 0..500 {
                let matchers: Vec<Matcher> = (0..=rng.below(4)).map(|_| matcher(&mut rng)).collect();
                let fits =
                    |labels: &Labels| matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or("")));
                let expected: Vec<BlockSeriesRef> =
                    all.iter().filter(|(_, labels)| fits(labels)).map(|(series, _)| *series).collect();
                most = most.max(expected.len() * usize::from(expected.len() < all.len()));
                assert_eq!(matching_series(&index, &matchers).unwrap(), expected, "{matchers:?}");
            }
        }
        assert!(most > 100, "some sets find many series");
    }
}
