//! The routes of the leader itself.

use super::{body::json, error::ApiError};
use crate::Leader;
use axum::{
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use serde::Serialize;

pub(super) async fn status(State(leader): State<Leader>) -> Result<Response, ApiError> {
    Ok(json(&leader.status().await?))
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

pub(super) async fn healthz(State(leader): State<Leader>) -> Result<Response, ApiError> {
    if let Some(reason) = leader.stop_reason() {
        return Err(ApiError::stopped(format!("the leader has stopped: {reason}")));
    }
    if let Some(why) = leader.core.forked.get() {
        return Err(ApiError::stopped(why));
    }
    leader.core.check_metadata()?;
    Ok(json(&Health { status: "ok" }))
}

pub(super) async fn metrics(State(leader): State<Leader>) -> Result<Response, ApiError> {
    let status = leader.status().await?;
    let text = leader.core.metrics.encode(&status);
    Ok(([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}
