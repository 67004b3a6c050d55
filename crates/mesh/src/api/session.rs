//! Sessions over several leaders: a request may say what its client has seen, and every reply says what it has seen now.

use super::{error::ApiError, request::split_query};
use crate::{Leader, Token, parse_duration};
use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use std::time::{Duration, Instant};

/// How long a leader waits for what the client has seen, if nothing is said.
const WITHIN: Duration = Duration::from_secs(2);

/// The longest that it waits: the connection is taken for as long.
const MAX_WITHIN: Duration = Duration::from_mins(10);

/// The header that names what the reply has seen.
const NAME: HeaderName = HeaderName::from_static("mesh-token");

/// Waits for what the parameter `after` names before it answers, and answers with the token of what was seen.
pub(super) async fn session(
    State(leader): State<Leader>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let [after, within] = split_query(request.uri_mut(), ["after", "within"])?;
    let bad = |name: &str, why: String| ApiError::bad_request(format!("{name}: {why}"));
    let within = within.map_or(Ok(WITHIN), |text| parse_duration(&text)).map_err(|why| bad("within", why))?;
    if within > MAX_WITHIN {
        return Err(bad("within", format!("a leader waits for {} s at most", MAX_WITHIN.as_secs())));
    }
    if let Some(after) = after {
        let token: Token = after.parse().map_err(|why: crate::TokenError| bad("after", why.to_string()))?;
        leader.wait_for(token.vector(), Instant::now() + within).await?;
    }
    let mut response = next.run(request).await;
    if response.status().is_success() {
        // What is durable now is at least what the reply was made from.
        let seen = Token::from(leader.core.version.borrow().clone()).to_string();
        response.headers_mut().extend(HeaderValue::try_from(seen).ok().map(|seen| (NAME, seen)));
    }
    Ok(response)
}
