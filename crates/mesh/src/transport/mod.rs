//! Connections to peers: TCP, frames, the greeting, and the tasks that keep them.

mod connection;
mod dial;
mod frame;
mod handshake;
mod listen;

use crate::core::Core;
use std::{sync::Arc, time::Duration};
use tokio::net::TcpListener;

/// Starts all that talks to peers.
pub(crate) fn spawn(core: &Arc<Core>, listener: Option<TcpListener>) {
    if let Some(listener) = listener {
        core.tasks.spawn(listen::run(Arc::clone(core), listener));
    }
    for link in 0..core.links.len() {
        core.tasks.spawn(dial::run(Arc::clone(core), link));
    }
}

/// How often a connection carries something at least, if only a sign of life.
fn heartbeat(core: &Core) -> Duration {
    Duration::from_millis(core.config.engine.heartbeat.max(1))
}

/// Cuts a text of the other side, or one that quotes it, to what belongs in a log line.
fn brief(text: &str) -> String {
    const MOST: usize = 400;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
