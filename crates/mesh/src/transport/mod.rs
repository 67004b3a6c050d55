//! Connections to peers: TCP, frames, the greeting, and the tasks that keep them.

mod connection;
mod dial;
mod frame;
mod handshake;
mod listen;

use crate::core::Core;
pub(crate) use dial::run as keep_up;
pub(crate) use listen::run as listen;
use std::time::Duration;

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
