//! The HTTP and JSON API of a leader: [`serve`] it on an address, or mount its [`router`] in a server of one's own.
//!
//! The routes, bodies, replies and errors are described in the book's page "The HTTP API". All that is here is also
//! to be had from [`Leader`] itself.

mod blob;
mod body;
mod error;
mod hashes;
mod leader;
mod request;
mod server;
mod session;
mod topology;
mod values;
mod watch;

use crate::Leader;
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{Method, StatusCode, Uri},
    middleware::{Next, from_fn, from_fn_with_state},
    response::Response,
    routing::{get, post, put},
};
use error::ApiError;
pub use server::serve;

/// The greatest body of a request, in bytes: a few of the largest values in their longest JSON form.
const MAX_BODY: usize = 16 << 20;

/// The API of `leader` as a service for axum.
///
/// Of the [`Limits`](crate::Limits), `http_connections` and `http_head` are kept by [`serve`], or else by whoever
/// serves this.
pub fn router(leader: Leader) -> Router {
    let own = Router::new()
        .route("/healthz", get(leader::healthz))
        .route("/metrics", get(leader::metrics))
        .route_layer(from_fn(without_query));
    Router::new()
        .route("/v1/counter/{key}", get(values::counter))
        .route("/v1/counter/{key}/incr", post(values::increment))
        .route("/v1/counter/{key}/decr", post(values::decrement))
        .route("/v1/g-counter/{key}", get(values::g_counter))
        .route("/v1/g-counter/{key}/incr", post(values::grow))
        .route("/v1/register/{key}", get(values::register).put(values::assign))
        .route("/v1/set/{key}", get(values::members))
        .route("/v1/set/{key}/add", post(values::add))
        .route("/v1/set/{key}/remove", post(values::remove))
        .route("/v1/set/{key}/clear", post(values::clear))
        .route("/v1/status", get(leader::status))
        .route("/v1/topology", get(topology::show).put(topology::set))
        .route("/v1/members/{name}", put(topology::add).delete(topology::remove))
        .route_layer(from_fn(without_query))
        .route("/v1/set/{key}/contains", get(values::contains))
        .route("/v1/keys", get(values::keys))
        .route("/v1/hashes", get(hashes::hashes))
        .route("/v1/watch", get(watch::watch))
        .route_layer(from_fn_with_state(leader.clone(), session::session))
        .merge(own)
        .fallback(no_route)
        .method_not_allowed_fallback(no_route)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(leader)
}

/// For the routes that take no parameters.
async fn without_query(request: Request, next: Next) -> Result<Response, ApiError> {
    let [] = request::query(request.uri(), [])?;
    Ok(next.run(request).await)
}

async fn no_route(method: Method, uri: Uri) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not-found", format!("there is no route {method} {}", uri.path()))
}
