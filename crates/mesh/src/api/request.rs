//! What handlers take: the key of the path, the parameters of the query, and a write with its body and its
//! idempotency key.

use super::{body::Form, error::ApiError};
use crate::Leader;
use axum::{
    body::{Bytes, HttpBody},
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{HeaderMap, StatusCode, Uri, request::Parts},
};
use mesh_proto::{MAX_IDEMPOTENCY_KEY, MAX_NAME};
use percent_encoding::percent_decode_str;
use tokio::time::timeout;

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

/// The body of a request.
pub(super) struct Body<T>(pub(super) T);

impl<T: Form> FromRequest<Leader> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, leader: &Leader) -> Result<Self, ApiError> {
        let too_large =
            || ApiError::too_large(format!("the body is larger than the limit of {} bytes", super::MAX_BODY));
        // What declares its length need not be read to be refused.
        if request.body().size_hint().lower() > super::MAX_BODY as u64 {
            return Err(too_large());
        }
        let limit = leader.core.config.limits.http_body;
        let bytes = timeout(limit, Bytes::from_request(request, leader)).await;
        let bytes = bytes.map_err(|_| ApiError::too_slow(limit))?.map_err(|why| match why.status() {
            StatusCode::PAYLOAD_TOO_LARGE => too_large(),
            _ => ApiError::bad_request(format!("the body cannot be read: {why}")),
        })?;
        Ok(Body(parse(&bytes)?))
    }
}

/// A write: to what, what, and under which idempotency key.
pub(super) struct Write<T> {
    pub(super) name: String,
    pub(super) body: T,
    pub(super) idempotency_key: Option<String>,
}

impl<T: Form> FromRequest<Leader> for Write<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, leader: &Leader) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let Name(name) = Name::from_request_parts(&mut parts, leader).await?;
        let idempotency_key = idempotency_key(&parts.headers)?;
        let Body(body) = Body::from_request(Request::from_parts(parts, body), leader).await?;
        Ok(Write { name, body, idempotency_key })
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

/// The values of the parameters `known` in the query; no other may be there, and none twice.
pub(super) fn query<const N: usize>(uri: &Uri, known: [&str; N]) -> Result<[Option<String>; N], ApiError> {
    let mut values = [const { None }; N];
    for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name).ok_or_else(|| {
            ApiError::bad_request(format!("the query parameter {name} is not percent-encoded UTF-8"))
        })?;
        let value = decode(value).ok_or_else(|| {
            ApiError::bad_request(format!(
                "the value of the query parameter {name:?} is not percent-encoded UTF-8"
            ))
        })?;
        let Some(n) = known.iter().position(|known| *known == name) else {
            return Err(ApiError::bad_request(format!("there is no query parameter {name:?} here")));
        };
        if values[n].replace(value).is_some() {
            return Err(ApiError::bad_request(format!(
                "the query parameter {name:?} is there more than once"
            )));
        }
    }
    Ok(values)
}

/// Takes the parameters `known` out of the query; what else is there stays for whoever knows it.
pub(super) fn split_query<const N: usize>(
    uri: &mut Uri,
    known: [&str; N],
) -> Result<[Option<String>; N], ApiError> {
    let Some(text) = uri.query() else { return Ok([const { None }; N]) };
    let is_known = |pair: &&str| {
        let name = decode(pair.split_once('=').map_or(*pair, |(name, _)| name));
        name.is_some_and(|name| known.contains(&name.as_str()))
    };
    let (ours, rest): (Vec<&str>, Vec<&str>) = text.split('&').partition(is_known);
    let with = |query: &str| {
        let uri = Uri::try_from(format!("{}?{query}", uri.path()));
        uri.map_err(|why| ApiError::bad_request(format!("the query cannot be understood: {why}")))
    };
    let (ours, rest) = (with(&ours.join("&"))?, with(&rest.join("&"))?);
    *uri = rest;
    query(&ours, known)
}

/// A part of a query as forms encode it: `+` is a space.
fn decode(text: &str) -> Option<String> {
    String::from_utf8(percent_decode_str(&text.replace('+', " ")).collect()).ok()
}
