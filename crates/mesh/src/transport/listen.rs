//! Connections that others open.

use super::{
    connection,
    handshake::{self, Failed},
};
use crate::core::Core;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::sleep,
};
use tracing::{debug, info, warn};

/// The pause after the operating system has refused to give the next connection, as a rule for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes connections until the leader stops.
pub(crate) async fn run(core: Arc<Core>, listener: TcpListener) {
    let room = Arc::new(Semaphore::new(core.config.limits.connections));
    let refusals = Arc::new(Refusals::default());
    loop {
        let accepted = tokio::select! {
            () = core.disconnect.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(leader = core.config.name, %error, "cannot take a connection");
                sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            refusals.report(&core, address, "too many connections are open");
            continue;
        };
        let (task_core, refusals) = (Arc::clone(&core), Arc::clone(&refusals));
        core.tasks.spawn(async move {
            serve(&task_core, stream, address, &refusals).await;
            drop(place);
        });
    }
}

async fn serve(core: &Arc<Core>, stream: TcpStream, address: SocketAddr, refusals: &Refusals) {
    let leader = &core.config.name;
    let greeted = tokio::select! {
        () = core.disconnect.cancelled() => return,
        greeted = handshake::greet(core, stream, false) => greeted,
    };
    match greeted {
        Ok(ready) => {
            let peer = ready.name.clone();
            refusals.forget(address);
            info!(leader, peer, %address, "connected");
            let ended = connection::run(core, ready, &core.disconnect).await;
            info!(leader, peer, %address, why = %ended, "connection closed");
        }
        Err(failed @ (Failed::Duplicate(_) | Failed::Stopping)) => debug!(leader, %address, why = %failed),
        Err(failed) => refusals.report(core, address, &failed.to_string()),
    }
}

/// The reasons that were logged last, so that whoever tries again and again is reported once.
#[derive(Debug, Default)]
struct Refusals(Mutex<BTreeMap<IpAddr, String>>);

impl Refusals {
    /// How many addresses are remembered; then all are forgotten and reported anew.
    const MOST: usize = 256;

    fn report(&self, core: &Core, address: SocketAddr, why: &str) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.get(&address.ip()).is_some_and(|last| last == why) {
            debug!(leader = core.config.name, %address, why, "a connection was refused again");
            return;
        }
        if last.len() >= Self::MOST {
            last.clear();
        }
        last.insert(address.ip(), why.to_owned());
        warn!(leader = core.config.name, %address, why, "a connection was refused");
    }

    fn forget(&self, address: SocketAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&address.ip());
    }
}
