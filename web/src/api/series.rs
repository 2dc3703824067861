//! `/series`: the label sets of matching series.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use model::Labels;
use model::query::{Dictionary, SelectHints, SelectRequest};

use super::{Answer, TRUNCATED, blocking, named_matcher_sets, respond, write_annotations};
use crate::error::{ApiError, ErrorKind};
use crate::json;
use crate::params::Params;
use crate::state::Web;

/// Series that match any of the selectors, each once, in label order.
pub async fn series(State(web): State<Arc<Web>>, request: Request<Body>) -> Answer {
    let params = Params::read(request).await?;
    if params.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let (limit, range) = (params.limit()?, params.range()?);
    let sets = named_matcher_sets(&params)?;
    let storage = web.storage()?;
    blocking(move || {
        let querier = storage.queryable.querier(range)?;
        let dictionary = Dictionary::new();
        let mut found: BTreeSet<Labels> = BTreeSet::new();
        let mut warnings = Vec::new();
        for matchers in sets {
            let mut request = SelectRequest::new(matchers, range);
            request.hints = SelectHints { func: Some("series"), ..SelectHints::default() };
            // One more than asked for tells whether there are more.
            request.limit = if limit > 0 { limit.saturating_add(1) } else { 0 };
            let selected = querier.select(&request, &dictionary)?;
            warnings.extend(selected.warnings);
            let reader = dictionary.read();
            found.extend(selected.labels.iter().map(|row| reader.labels(row)));
        }
        if limit > 0 && found.len() > limit {
            warnings.push(TRUNCATED.to_owned());
        }
        let shown = if limit > 0 { limit } else { usize::MAX };
        let mut body = b"{\"status\":\"success\",\"data\":[".to_vec();
        for (i, labels) in found.iter().take(shown).enumerate() {
            if i > 0 {
                body.push(b',');
            }
            json::write_labels(&mut body, labels.iter());
        }
        body.push(b']');
        write_annotations(&mut body, &warnings, &[]);
        body.push(b'}');
        Ok(respond(body))
    })
    .await
}

/// `DELETE /series` is gone since the second version of the API.
pub async fn delete() -> Answer {
    Err(ApiError::new(ErrorKind::Internal, "not implemented"))
}
