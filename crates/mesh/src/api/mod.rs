//! The HTTP and JSON API of a leader: [`serve`] it on an address, or mount its [`router`] in a server of one's own.
//!
//! The routes, bodies, replies and errors are described in the book's page "The HTTP API". All that is here is also
//! to be had from [`Leader`] itself.

mod blob;
mod body;
mod error;
mod leader;
mod request;
mod values;
mod watch;

use crate::{Leader, StartError};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{Method, StatusCode, Uri},
    routing::{get, post},
};
use error::ApiError;
use std::{net::SocketAddr, time::Duration};
use tokio::{net::TcpListener, time::sleep};
use tracing::{error, info};

/// The greatest body of a request, in bytes: a few of the largest values in their longest JSON form.
const MAX_BODY: usize = 16 << 20;

/// How long requests under way may take after the leader is shut down.
const GRACE: Duration = Duration::from_secs(2);

/// Serves the API of `leader` on `address` (`host:port`; port 0 takes a free one) until the leader is
/// [shut down](Leader::shutdown), and returns the actual address.
///
/// After the leader has stopped by itself the API stays and says why. It holds a handle of the leader, which therefore
/// goes on when all others are dropped.
///
/// # Errors
///
/// [`StartError::Listen`].
pub async fn serve(leader: &Leader, address: &str) -> Result<SocketAddr, StartError> {
    let failed = |source| StartError::Listen { address: address.to_owned(), source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let shutdown = leader.core.shutdown.clone();
    let server = axum::serve(listener, router(leader.clone()))
        .with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let name = leader.core.config.name.clone();
    info!(leader = name, address = %bound, "serving the HTTP API");
    leader.core.tasks.spawn(async move {
        let out_of_grace = async {
            shutdown.cancelled().await;
            sleep(GRACE).await;
        };
        tokio::select! {
            ended = async { server.await } => {
                if let Err(why) = ended {
                    error!(leader = name, %why, "the HTTP API has ended");
                }
            }
            () = out_of_grace => {}
        }
    });
    Ok(bound)
}

/// The API of `leader` as a service for axum.
pub fn router(leader: Leader) -> Router {
    Router::new()
        .route("/v1/counter/{key}", get(values::counter))
        .route("/v1/counter/{key}/incr", post(values::increment))
        .route("/v1/counter/{key}/decr", post(values::decrement))
        .route("/v1/g-counter/{key}", get(values::g_counter))
        .route("/v1/g-counter/{key}/incr", post(values::grow))
        .route("/v1/register/{key}", get(values::register).put(values::assign))
        .route("/v1/set/{key}", get(values::members))
        .route("/v1/set/{key}/contains", get(values::contains))
        .route("/v1/set/{key}/add", post(values::add))
        .route("/v1/set/{key}/remove", post(values::remove))
        .route("/v1/set/{key}/clear", post(values::clear))
        .route("/v1/keys", get(values::keys))
        .route("/v1/status", get(leader::status))
        .route("/v1/watch", get(watch::watch))
        .route("/healthz", get(leader::healthz))
        .route("/metrics", get(leader::metrics))
        .fallback(no_route)
        .method_not_allowed_fallback(no_route)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(leader)
}

async fn no_route(method: Method, uri: Uri) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not-found", format!("there is no route {method} {}", uri.path()))
}
