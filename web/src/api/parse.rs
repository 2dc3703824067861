//! `/format_query` and `/parse_query`: an expression, printed or as a tree.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};

use super::{Answer, success};
use crate::error::ApiError;
use crate::json;
use crate::params::Params;
use crate::state::Web;

/// `/format_query`: the expression, laid out over lines.
pub async fn format(State(web): State<Arc<Web>>, request: Request<Body>) -> Answer {
    let expr = expression(&web, request).await?;
    success(&promql::prettify(&expr, promql::MAX_CHARACTERS_PER_LINE), &[])
}

/// `/parse_query`: the expression's syntax tree.
pub async fn parse(State(web): State<Arc<Web>>, request: Request<Body>) -> Answer {
    let expr = expression(&web, request).await?;
    success(&json::html_safe(&promql::to_json(&expr)), &[])
}

async fn expression(web: &Web, request: Request<Body>) -> Result<promql::ast::Expr, ApiError> {
    let params = Params::read(request).await?;
    promql::parse(params.get("query"), web.engine.options().features)
        .map_err(|error| ApiError::parameter("query", error))
}
