//! `/series`: the label sets of matching series.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use model::memory::Lease;
use model::query::{Dictionary, SelectHints, SelectRequest};
use model::{LabelTable, Labels, Matcher, Querier, SelectedSeries, StorageError, TimeRange};

use super::{Answer, TRUNCATED, add_warning, blocking, list, named_matcher_sets};
use crate::error::ApiError;
use crate::json;
use crate::params::Params;
use crate::state::{Storage, Web};

/// Series that match any of the selectors, each once, in label order.
pub async fn series(State(web): State<Arc<Web>>, request: Request<Body>) -> Answer {
    let params = Params::read(request).await?;
    params.well_formed()?;
    if params.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let (limit, range) = (params.limit()?, params.range()?);
    let sets = named_matcher_sets(&params)?;
    let storage = web.storage()?;
    blocking(move || {
        let room = web.room("series request")?;
        let found = match <[Vec<Matcher>; 1]>::try_from(sets) {
            Ok([matchers]) => one(&storage, range, matchers, limit, room)?,
            Err(sets) => any(&storage, range, sets, limit, room)?,
        };
        let shown = if limit > 0 { found.len().min(limit) } else { found.len() };
        let mut warnings = found.warnings.clone();
        if shown < found.len() {
            add_warning(&mut warnings, TRUNCATED);
        }
        Ok(list(shown, &warnings, move |out, i| found.write(out, i)))
    })
    .await
}

/// What a label set of its own takes beside its text, in a list or a tree.
const LABELS_BYTES: usize = 64;

/// Series, once each.
struct Found {
    dictionary: Arc<Dictionary>,
    series: Rows,
    warnings: Vec<String>,
    /// Given back when they are sent.
    _room: Lease,
}

enum Rows {
    /// As one selector found them, in label order.
    Table(LabelTable),
    /// Of several selectors, in label order.
    Merged(Vec<Labels>),
}

impl Found {
    fn len(&self) -> usize {
        match &self.series {
            Rows::Table(table) => table.len(),
            Rows::Merged(series) => series.len(),
        }
    }

    fn write(&self, out: &mut Vec<u8>, i: usize) {
        match &self.series {
            Rows::Table(table) => json::write_labels(out, self.dictionary.read().row(table.row(i))),
            Rows::Merged(series) => json::write_labels(out, series[i].iter()),
        }
    }
}

fn select(
    querier: &dyn Querier,
    dictionary: &Dictionary,
    range: TimeRange,
    matchers: Vec<Matcher>,
    limit: usize,
) -> Result<SelectedSeries, ApiError> {
    let mut request = SelectRequest::new(matchers, range);
    request.hints = SelectHints { func: Some("series"), ..SelectHints::default() };
    // One more than asked for tells whether there are more.
    request.limit = if limit > 0 { limit.saturating_add(1) } else { 0 };
    Ok(querier.select(&request, dictionary)?)
}

fn one(
    storage: &Storage,
    range: TimeRange,
    matchers: Vec<Matcher>,
    limit: usize,
    room: Lease,
) -> Result<Found, ApiError> {
    let querier = storage.queryable.querier(range)?;
    let dictionary = Arc::new(Dictionary::new());
    let selected = select(&*querier, &dictionary, range, matchers, limit)?;
    room.grow_to((selected.labels.heap_bytes() + dictionary.heap_bytes()) as u64)
        .map_err(StorageError::from)?;
    Ok(Found { dictionary, series: Rows::Table(selected.labels), warnings: selected.warnings, _room: room })
}

fn any(
    storage: &Storage,
    range: TimeRange,
    sets: Vec<Vec<Matcher>>,
    limit: usize,
    room: Lease,
) -> Result<Found, ApiError> {
    let querier = storage.queryable.querier(range)?;
    let dictionary = Arc::new(Dictionary::new());
    let mut merged: BTreeSet<Labels> = BTreeSet::new();
    let mut warnings = Vec::new();
    let mut merged_bytes = 0;
    for matchers in sets {
        let selected = select(&*querier, &dictionary, range, matchers, limit)?;
        selected.warnings.iter().for_each(|warning| add_warning(&mut warnings, warning));
        let reader = dictionary.read();
        for row in selected.labels.iter() {
            let labels = reader.labels(row);
            let bytes = labels.as_bytes().len() + LABELS_BYTES;
            merged_bytes += if merged.insert(labels) { bytes } else { 0 };
            let held = merged_bytes + selected.labels.heap_bytes() + dictionary.heap_bytes();
            room.grow_to(held as u64).map_err(StorageError::from)?;
        }
    }
    let series = Rows::Merged(merged.into_iter().collect());
    Ok(Found { dictionary, series, warnings, _room: room })
}
