use super::body::json;
use crate::{LeaderError, WaitError};
use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use mesh_proto::{UpdateError, WriteError};
use serde::Serialize;
use std::time::Duration;

/// A refusal: a status, a word for programs and a sentence for people.
#[derive(Debug, Serialize)]
pub(super) struct ApiError {
    #[serde(skip)]
    status: StatusCode,
    error: String,
    code: &'static str,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, error: impl Into<String>) -> Self {
        ApiError { status, error: error.into(), code }
    }

    pub(super) fn bad_request(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", error)
    }

    pub(super) fn too_large(error: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", error)
    }

    pub(super) fn too_slow(limit: Duration) -> Self {
        let sentence = format!("the body did not arrive within {} s", limit.as_secs_f64());
        Self::new(StatusCode::REQUEST_TIMEOUT, "too-slow", sentence)
    }

    pub(super) fn stopped(error: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopped", error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, json(&self)).into_response()
    }
}

impl From<LeaderError> for ApiError {
    fn from(error: LeaderError) -> Self {
        match error {
            LeaderError::Refused(error) => error.into(),
            plan @ LeaderError::Plan(_) => ApiError::new(StatusCode::CONFLICT, "plan", plan.to_string()),
            reserved @ LeaderError::Reserved { .. } => {
                ApiError::new(StatusCode::FORBIDDEN, "reserved", reserved.to_string())
            }
            lost @ LeaderError::LostMetadata { .. } => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "lost-metadata", lost.to_string())
            }
            stopped @ LeaderError::Stopped { .. } => ApiError::stopped(stopped.to_string()),
        }
    }
}

impl From<WaitError> for ApiError {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::Timeout { .. } => {
                ApiError::new(StatusCode::GATEWAY_TIMEOUT, "not-yet", error.to_string())
            }
            WaitError::Stopped { .. } => ApiError::stopped(error.to_string()),
        }
    }
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        let sentence = error.to_string();
        match error {
            WriteError::OtherType { .. } | WriteError::UnknownType(_) => {
                ApiError::new(StatusCode::CONFLICT, "other-type", sentence)
            }
            WriteError::Size { bytes, limit, .. } if bytes > limit => ApiError::too_large(sentence),
            WriteError::Update(UpdateError::Overflow) => {
                ApiError::new(StatusCode::CONFLICT, "overflow", sentence)
            }
            WriteError::KeyReused => ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", sentence),
            WriteError::KeysExhausted { .. } => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "keys-exhausted", sentence)
            }
            WriteError::Update(_)
            | WriteError::LostUpdates
            | WriteError::LostMetadata
            | WriteError::Forked { .. } => ApiError::stopped(sentence),
            _ => ApiError::bad_request(sentence),
        }
    }
}
