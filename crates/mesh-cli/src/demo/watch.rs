//! How the leaders say they are: their lag while they work, and whether they have converged.

use super::{
    load::{Board, Connection},
    model::{Id, Vector},
    plan::{LEADERS, NAMES},
    progress::Progress,
};
use crate::client::{ApiAddr, Client};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::{array, time::Duration};

/// What is read of a leader's status.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Status {
    pub(super) replica: Id,
    pub(super) vector: Vector,
    pub(super) fingerprint: String,
    peers: Vec<Peer>,
}

#[derive(Clone, Debug, Deserialize)]
struct Peer {
    connected: bool,
    events_behind: u64,
    oldest_ms: u64,
}

/// How far behind a leader the peer is that is furthest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lag {
    pub(super) events: u64,
    pub(super) ms: u64,
}

impl Status {
    pub(super) fn of(client: &Client) -> Result<Self> {
        Ok(client.get("/v1/status")?.value)
    }

    /// How many events it wrote, and how many of others it has.
    pub(super) fn written_and_merged(&self) -> (u64, u64) {
        let written = self.vector.get(&self.replica).copied().unwrap_or(0);
        (written, self.vector.values().sum::<u64>() - written)
    }

    pub(super) fn lag(&self) -> Lag {
        let worst = |field: fn(&Peer) -> u64| self.peers.iter().map(field).max().unwrap_or(0);
        Lag { events: worst(|peer| peer.events_behind), ms: worst(|peer| peer.oldest_ms) }
    }

    /// Whether all peers are connected and have acknowledged all that it has.
    fn is_settled(&self) -> bool {
        self.peers.len() == LEADERS - 1
            && self.peers.iter().all(|peer| peer.connected && peer.events_behind == 0)
    }
}

/// Looks at all leaders until all is over. The worst lag that each has reported.
pub(super) fn observe(board: &Board, progress: &Progress) -> [Lag; LEADERS] {
    let mut worst = [Lag::default(); LEADERS];
    let mut connections: [Connection; LEADERS] = Default::default();
    while !board.is_over() {
        for (leader, (connection, worst)) in connections.iter_mut().zip(&mut worst).enumerate() {
            let Some((life, api)) = board.life(leader) else { continue };
            match Status::of(connection.to(life, &api)) {
                Ok(status) => {
                    let lag = status.lag();
                    *worst = Lag { events: worst.events.max(lag.events), ms: worst.ms.max(lag.ms) };
                }
                // Killed in the meantime.
                Err(_) if board.life(leader).is_none_or(|(now, _)| now != life) => {}
                Err(error) => {
                    board.fail(error.context(format!("the status of {} cannot be read", NAMES[leader])));
                }
            }
        }
        let state = board.state();
        let in_flight: [usize; LEADERS] = array::from_fn(|leader| state.lanes[leader].in_flight);
        let answered = state.answered();
        drop(state);
        progress.at(answered, in_flight);
        drop(board.pause(Duration::from_millis(100)));
    }
    worst
}

/// Waits until all have the same, and each knows that of its peers.
///
/// # Errors
///
/// Equal vectors with unequal fingerprints; that it takes too long.
pub(super) fn converged(board: &Board, apis: &[ApiAddr; LEADERS]) -> Result<[Status; LEADERS]> {
    let clients = apis.clone().map(Client::new);
    board
        .poll("for the leaders to converge", || {
            let mut statuses = Vec::with_capacity(LEADERS);
            for client in &clients {
                statuses.push(Status::of(client)?);
            }
            let Ok(statuses) = <[Status; LEADERS]>::try_from(statuses) else { bail!("a status is missing") };
            let same = statuses.windows(2).all(|pair| pair[0].vector == pair[1].vector);
            if same {
                let fingerprints = statuses.each_ref().map(|status| status.fingerprint.as_str());
                ensure!(
                    fingerprints.windows(2).all(|pair| pair[0] == pair[1]),
                    "the leaders have equal vectors and unequal fingerprints: {}",
                    fingerprints.join(", ")
                );
            }
            Ok((same && statuses.iter().all(Status::is_settled)).then_some(statuses))
        })
        .context("the leaders have not converged")
}
