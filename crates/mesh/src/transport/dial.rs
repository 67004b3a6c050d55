//! Connections that this leader opens: one task for each link that it keeps up.

use super::{
    connection::{self, Ended},
    handshake::{self, Failed},
};
use crate::core::{Core, Link};
use crdt_core::ReplicaId;
use std::{sync::Arc, time::Duration};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tracing::{info, warn};

/// Keeps up a connection to a peer until the link is closed, or the leader stops.
pub(crate) async fn run(core: Arc<Core>, link: Arc<Link>) {
    // The greeting and the connection see to it themselves that the engine knows of their end.
    Dialler { core: &core, link: &link }.keep_up().await;
}

struct Dialler<'a> {
    core: &'a Arc<Core>,
    link: &'a Link,
}

impl Dialler<'_> {
    async fn keep_up(&self) {
        let limits = &self.core.config.limits;
        let mut pause = limits.reconnect_min;
        loop {
            let close = &self.link.close;
            if close.run_until_cancelled(self.until_needed()).await.is_none() {
                return;
            }
            match self.connect().await {
                Ok(()) => pause = limits.reconnect_min,
                Err(Failed::Duplicate(_)) => self.link.state().problem = None,
                Err(failed) => self.report(failed.to_string()),
            }
            // Leaders that lost each other at one moment should not knock at one moment.
            let pause_now = sleep(pause.mul_f64(rand::random_range(0.5..=1.0)));
            if close.run_until_cancelled(pause_now).await.is_none() {
                return;
            }
            pause =
                (pause * 2).clamp(Duration::from_millis(1), limits.reconnect_max.max(limits.reconnect_min));
        }
    }

    /// Waits while the peer is connected, as it is after it has opened a connection itself.
    async fn until_needed(&self) {
        let mut connected = self.core.connected.clone();
        // Fails when the engine has ended, and then this task is about to.
        let _ = connected.wait_for(|connected| !self.link.is_connected(connected)).await;
    }

    /// Opens a connection and serves it until it ends.
    async fn connect(&self) -> Result<(), Failed> {
        let (core, peer) = (self.core, &self.link.peer);
        let limit = core.config.limits.handshake;
        // Resolves the name anew.
        let open = timeout(limit, TcpStream::connect(peer.address.as_str()));
        let Some(opened) = self.link.close.run_until_cancelled(open).await else { return Ok(()) };
        let stream = match opened {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                return Err(Failed::Refused(format!("cannot connect to {}: {error}", peer.address)));
            }
            Err(_) => {
                let seconds = limit.as_secs_f64();
                return Err(Failed::Refused(format!("{} did not answer within {seconds} s", peer.address)));
            }
        };
        let ready = match handshake::greet(core, stream, true).await {
            Ok(ready) => ready,
            Err(failed) => {
                if let Failed::Duplicate(replica) = failed {
                    self.found(replica);
                }
                return Err(failed);
            }
        };
        self.found(ready.replica);
        self.link.state().problem = None;
        let leader = &core.config.name;
        info!(leader, peer = peer.name, address = peer.address, "connected");
        if ready.name != peer.name {
            warn!(
                leader,
                peer = peer.name,
                its_name = ready.name,
                "the peer goes by another name than the configured one"
            );
        }
        let ended = connection::run(core, ready, &self.link.close).await;
        info!(leader, peer = peer.name, why = %ended, "connection closed");
        if !matches!(ended, Ended::Here) {
            self.link.state().problem = Some(format!("the connection was lost: {ended}"));
        }
        Ok(())
    }

    fn found(&self, replica: ReplicaId) {
        self.link.state().replica = Some(replica);
    }

    /// Says why there is no connection: in the log once, in the status as long as it is so.
    fn report(&self, problem: String) {
        let mut state = self.link.state();
        if state.problem.as_ref() != Some(&problem) {
            let peer = &self.link.peer;
            warn!(
                leader = self.core.config.name,
                peer = peer.name,
                address = peer.address,
                problem,
                "not connected"
            );
            state.problem = Some(problem);
        }
    }
}
