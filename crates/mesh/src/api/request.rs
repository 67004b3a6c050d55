//! What handlers take: the key of the path, and a write with its body and its idempotency key.

use super::{body::Form, error::ApiError};
use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, request::Parts},
};
use mesh_proto::{MAX_IDEMPOTENCY_KEY, MAX_NAME};

/// The name of the key in the path.
pub(super) struct Name(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(name) =
            path.map_err(|_| ApiError::bad_request("the key in the path is not percent-encoded UTF-8"))?;
        if name.len() > MAX_NAME {
            let bytes = name.len();
            return Err(ApiError::too_large(format!(
                "the name has {bytes} bytes, it must have 1 to {MAX_NAME}"
            )));
        }
        Ok(Name(name))
    }
}

/// A write: to what, what, and under which idempotency key.
pub(super) struct Write<T> {
    pub(super) name: String,
    pub(super) body: T,
    pub(super) idempotency_key: Option<String>,
}

impl<S: Send + Sync, T: Form> FromRequest<S> for Write<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let Name(name) = Name::from_request_parts(&mut parts, state).await?;
        let idempotency_key = idempotency_key(&parts.headers)?;
        let bytes = Bytes::from_request(Request::from_parts(parts, body), state).await;
        let bytes = bytes.map_err(|why| match why.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                ApiError::too_large(format!("the body is larger than the limit of {} bytes", super::MAX_BODY))
            }
            _ => ApiError::bad_request(format!("the body cannot be read: {why}")),
        })?;
        Ok(Write { name, body: parse(&bytes)?, idempotency_key })
    }
}

fn parse<T: Form>(bytes: &[u8]) -> Result<T, ApiError> {
    if bytes.is_empty()
        && let Some(body) = T::empty()
    {
        return Ok(body);
    }
    serde_json::from_slice(bytes)
        .map_err(|why| ApiError::bad_request(format!("the body must be {}: {why}", T::FORM)))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::bad_request("there is more than one header Idempotency-Key"));
    }
    match std::str::from_utf8(value.as_bytes()) {
        Ok(key) if (1..=MAX_IDEMPOTENCY_KEY).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(ApiError::bad_request(format!(
            "an Idempotency-Key is UTF-8 of 1 to {MAX_IDEMPOTENCY_KEY} bytes"
        ))),
    }
}

/// The query of a request, or what is wrong with it.
pub(super) fn query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    query
        .map(|Query(query)| query)
        .map_err(|why| ApiError::bad_request(format!("the query is not understood: {why}")))
}
