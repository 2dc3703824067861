//! `/rules`, `/alerts`, `/alertmanagers`: empty lists while no rules are loaded,
//! in the shape that dashboards expect.

use axum::extract::RawQuery;
use model::labels::go_quote;

use super::admin::parse_bool;
use super::{Answer, matcher_sets, success};
use crate::error::ApiError;
use crate::params::{Params, int_reason};

/// `/rules`: no group is loaded; parameters are checked all the same.
pub async fn rules(RawQuery(query): RawQuery) -> Answer {
    let params = Params::from_query(query.as_deref().unwrap_or_default());
    params.well_formed()?;
    matcher_sets(&params)?;
    let wanted = params.get("type").to_lowercase();
    if !matches!(wanted.as_str(), "" | "alert" | "record") {
        let wanted = go_quote(&wanted);
        return Err(ApiError::parameter("type", format_args!("not supported value {wanted}")));
    }
    let text = params.get("exclude_alerts").to_lowercase();
    if !text.is_empty() && parse_bool(&text).is_none() {
        let text = go_quote(&text);
        let reason = format_args!(
            "error converting exclude_alerts: strconv.ParseBool: parsing {text}: invalid syntax"
        );
        return Err(ApiError::parameter("exclude_alerts", reason));
    }
    let token = params.get("group_next_token");
    let paged = page_size(&params)?.is_some();
    if paged && !token.is_empty() {
        let reason = format_args!("invalid group_next_token '{token}'. were rule groups changed?");
        return Err(ApiError::parameter("group_next_token", reason));
    }
    success(&serde_json::json!({ "groups": [] }), &[])
}

/// How many groups an answer may have, where that is limited.
fn page_size(params: &Params) -> Result<Option<i32>, ApiError> {
    let text = params.get("group_limit");
    if text.is_empty() {
        return match params.get("group_next_token") {
            "" => Ok(None),
            _ => {
                let reason = "group_limit needs to be present in order to paginate over the groups";
                Err(ApiError::parameter("group_next_token", reason))
            }
        };
    }
    let reason = match text.parse::<i32>() {
        Ok(limit @ 1..) => return Ok(Some(limit)),
        Ok(_) => return Err(ApiError::parameter("group_limit", "group_limit needs to be greater than 0")),
        Err(error) => int_reason(error.kind()),
    };
    let text = go_quote(text);
    let reason =
        format_args!("group_limit needs to be a valid number: strconv.ParseInt: parsing {text}: {reason}");
    Err(ApiError::parameter("group_limit", reason))
}

/// `/alerts`: none.
pub async fn alerts() -> Answer {
    success(&serde_json::json!({ "alerts": [] }), &[])
}

/// `/alertmanagers`: none.
pub async fn alertmanagers() -> Answer {
    success(&serde_json::json!({ "activeAlertmanagers": [], "droppedAlertmanagers": [] }), &[])
}
