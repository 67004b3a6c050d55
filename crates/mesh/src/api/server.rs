//! Serving the API on an address, whatever clients do.

use super::router;
use crate::{Leader, StartError, topology::look};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

/// How long requests under way may take after the leader is shut down.
const GRACE: Duration = Duration::from_secs(2);

/// The pause after the operating system has refused to give the next connection, as a rule for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves the API of `leader` on `address` (`host:port`; port 0 takes a free one) until the leader is
/// [shut down](Leader::shutdown), and returns the actual address.
///
/// How many connections there are and how long requests take to arrive is bounded by the leader's
/// [`Limits`](crate::Limits). After the leader has stopped by itself the API stays and says why. It holds a handle of
/// the leader, which therefore goes on when all others are dropped. The other leaders learn the address.
///
/// # Errors
///
/// [`StartError::Listen`].
pub async fn serve(leader: &Leader, address: &str) -> Result<SocketAddr, StartError> {
    let failed = |source| StartError::Listen { address: address.to_owned(), source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    info!(leader = leader.core.config.name, address = %bound, "serving the HTTP API");
    leader.core.tasks.spawn(run(leader.clone(), listener));
    if let Some(reachable) = reachable(leader, bound).await {
        // The first one counts where it is served on several.
        let _ = leader.core.api.set(reachable);
    }
    Ok(bound)
}

/// Where others reach what is served on `bound`: of a leader that serves on all its addresses, at the host of its peer port.
async fn reachable(leader: &Leader, bound: SocketAddr) -> Option<String> {
    if !bound.ip().is_unspecified() {
        return Some(bound.to_string());
    }
    let core = Arc::clone(&leader.core);
    let found = leader.core.view(move |view| look(&core.config, view.engine)).await.ok()?;
    let own = found.plan.members.get(&leader.core.config.name)?;
    let (host, _) = own.address.rsplit_once(':')?;
    Some(format!("{host}:{}", bound.port()))
}

/// Takes connections until the leader is shut down.
async fn run(leader: Leader, listener: TcpListener) {
    let core = &leader.core;
    let room = Arc::new(Semaphore::new(core.config.limits.http_connections));
    let router = router(leader.clone());
    // A flood is reported once.
    let mut full = false;
    loop {
        let accepted = tokio::select! {
            () = core.shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(leader = core.config.name, %error, "cannot take a connection to the HTTP API");
                sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            if !full {
                warn!(leader = core.config.name, %address, "too many connections to the HTTP API are open");
            }
            full = true;
            continue;
        };
        full = false;
        let (leader, router) = (leader.clone(), router.clone());
        core.tasks.spawn(async move {
            connection(&leader, stream, router).await;
            drop(place);
        });
    }
}

/// Answers the requests of one connection.
async fn connection(leader: &Leader, stream: TcpStream, router: Router) {
    let core = &leader.core;
    // Lines of a watch are small and should not wait for more. Whoever has gone already is found out below.
    let _ = stream.set_nodelay(true);
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(core.config.limits.http_head)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = core.shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            timeout(GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(why) = ended {
        debug!(leader = core.config.name, %why, "a connection to the HTTP API broke");
    }
}
