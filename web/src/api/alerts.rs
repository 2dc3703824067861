//! `/rules`, `/alerts`, `/alertmanagers`: empty lists while no rules are loaded,
//! in the shape that dashboards expect.

use axum::extract::RawQuery;

use super::admin::parse_bool;
use super::{Answer, matcher_sets, success};
use crate::error::ApiError;
use crate::params::Params;

/// `/rules`: no group is loaded; parameters are checked all the same.
pub async fn rules(RawQuery(query): RawQuery) -> Answer {
    let params = Params::from_query(query.as_deref().unwrap_or_default());
    let wanted = params.get("type").to_lowercase();
    if !matches!(wanted.as_str(), "" | "alert" | "record") {
        let wanted = model::labels::go_quote(&wanted);
        return Err(ApiError::parameter("type", format_args!("not supported value {wanted}")));
    }
    let text = params.get("exclude_alerts");
    if !text.is_empty() && parse_bool(text).is_none() {
        let text = model::labels::go_quote(text);
        let reason = format_args!(
            "error converting exclude_alerts: strconv.ParseBool: parsing {text}: invalid syntax"
        );
        return Err(ApiError::parameter("exclude_alerts", reason));
    }
    matcher_sets(&params)?;
    let (limit, token) = (params.get("group_limit"), params.get("group_next_token"));
    if limit.is_empty() && !token.is_empty() {
        let reason = "group_limit needs to be present in order to paginate over the groups";
        return Err(ApiError::parameter("group_limit", reason));
    }
    if !limit.is_empty() && limit.parse::<i64>().is_ok_and(|limit| limit <= 0) {
        return Err(ApiError::parameter("group_limit", "group_limit needs to be greater than 0"));
    }
    if !limit.is_empty() && limit.parse::<i64>().is_err() {
        let text = model::labels::go_quote(limit);
        let reason = format_args!(
            "group_limit needs to be a valid number: strconv.ParseInt: parsing {text}: invalid syntax"
        );
        return Err(ApiError::parameter("group_limit", reason));
    }
    if !token.is_empty() {
        let text = model::labels::go_quote(token);
        let reason = format_args!("invalid group_next_token {text}. were rule groups changed?");
        return Err(ApiError::parameter("group_next_token", reason));
    }
    success(&serde_json::json!({ "groups": [] }), &[])
}

/// `/alerts`: none.
pub async fn alerts() -> Answer {
    success(&serde_json::json!({ "alerts": [] }), &[])
}

/// `/alertmanagers`: none.
pub async fn alertmanagers() -> Answer {
    success(&serde_json::json!({ "activeAlertmanagers": [], "droppedAlertmanagers": [] }), &[])
}
