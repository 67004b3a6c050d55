//! The change stream: one JSON object a line.

use super::{
    body::{Change, Line},
    error::ApiError,
    request::query,
};
use crate::{Changes, Leader, Token, Watch};
use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use std::{convert::Infallible, time::Duration};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long a line may stay away before an empty one says that the stream lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

pub(super) async fn watch(State(leader): State<Leader>, uri: Uri) -> Result<Response, ApiError> {
    let [prefix, since] = query(&uri, ["prefix", "since"])?;
    let since: Token = since.as_deref().unwrap_or_default().parse().map_err(|why| {
        ApiError::bad_request(format!("since must be a token as receipts and lines have it: {why}"))
    })?;
    if let Some(reason) = leader.stop_reason() {
        return Err(ApiError::stopped(format!("the leader has stopped: {reason}")));
    }
    leader.core.check_metadata()?;
    let shutdown = leader.core.shutdown.clone();
    let lines = stream::unfold(
        (leader.watch(prefix.unwrap_or_default(), since.vector().clone()), shutdown),
        async |(mut watch, shutdown)| {
            let line = next(&mut watch, &shutdown).await?;
            Some((Ok::<_, Infallible>(line), (watch, shutdown)))
        },
    );
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

/// The next line; `None` when there will be no more.
async fn next(watch: &mut Watch, shutdown: &CancellationToken) -> Option<Bytes> {
    let next = shutdown.run_until_cancelled(timeout(SIGN_OF_LIFE, watch.next())).await?;
    let Ok(changes) = next else { return Some(Bytes::from_static(b"\n")) };
    let Changes { token, keys } = changes.ok()?;
    let line = Line { token, changes: keys.into_iter().filter_map(Change::of).collect() };
    let mut bytes = serde_json::to_vec(&line).expect("the keys are strings, and memory can be written");
    bytes.push(b'\n');
    Some(bytes.into())
}
