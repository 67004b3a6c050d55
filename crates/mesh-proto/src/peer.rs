//! What a leader knows of the others, and how far they are behind.

use crdt_core::{Merge, ReplicaId};
use std::collections::VecDeque;
use version_vector::VersionVector;

/// A connection to a peer, numbered by whoever runs the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// What is known of a peer, connected or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The id that it writes under.
    pub replica: ReplicaId,
    /// Its name.
    pub name: String,
    /// The connection, if there is one.
    pub session: Option<SessionId>,
    /// What it is known to have, durably.
    pub vector: VersionVector,
    /// How many events this leader has that the peer is not known to have.
    pub events_behind: u128,
    /// How many events the peer has that this leader lacks.
    pub events_ahead: u128,
    /// How long the oldest event that the peer is not known to have has been here, in milliseconds; 0 if none.
    pub oldest_ms: u64,
    /// How long ago it was heard of, in milliseconds.
    pub last_contact_ms: u64,
    /// Whether at the last look with equal vectors its fingerprint differed from this leader's.
    pub diverged: bool,
}

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) known: VersionVector,
    pub(crate) session: Option<SessionId>,
    pub(crate) heard: u64,
    pub(crate) diverged: bool,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) peer: ReplicaId,
    /// What this side last said it has.
    pub(crate) said: VersionVector,
    /// The peer sent a delta that builds on what is not here: say so.
    pub(crate) behind: bool,
    /// The delta under way, until the peer says that it has it.
    pub(crate) sending: Option<Sending>,
    /// When news of other leaders, which reach the peer by other ways too, is due.
    pub(crate) relay_at: Option<u64>,
    pub(crate) alive_at: u64,
    /// The parts that came so far.
    pub(crate) staged: Option<Staged>,
}

#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) delta: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) offset: usize,
    /// What the peer has once it has merged the delta.
    pub(crate) until: VersionVector,
    pub(crate) resend_at: u64,
}

#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) delta: u64,
    pub(crate) bytes: Vec<u8>,
}

/// When this leader came to have what it has: vectors with the times at which they were reached.
///
/// Bounded: when it is full, every other entry goes, and ages become coarser (older events look up to twice as old as
/// they are, never younger).
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    reached: VecDeque<(u64, VersionVector)>,
}

const TIMELINE: usize = 512;

impl Timeline {
    pub(crate) fn note(&mut self, now: u64, vector: &VersionVector) {
        match self.reached.back_mut() {
            Some((_, last)) if last == vector => return,
            Some((at, last)) if *at == now => {
                last.merge(vector);
                return;
            }
            _ => self.reached.push_back((now, vector.clone())),
        }
        if self.reached.len() > TIMELINE {
            // Of two neighbours the earlier time and the later vector stay.
            let mut halved = VecDeque::with_capacity(TIMELINE);
            let mut all = std::mem::take(&mut self.reached).into_iter();
            while let Some((at, vector)) = all.next() {
                halved.push_back((at, all.next().map_or(vector, |(_, later)| later)));
            }
            self.reached = halved;
        }
    }

    /// For how long the oldest event that `known` lacks has been here.
    pub(crate) fn age(&self, now: u64, known: &VersionVector) -> u64 {
        let lacking = self.reached.iter().find(|(_, vector)| known.covers(vector).is_err());
        lacking.map_or(0, |(at, _)| now.saturating_sub(*at))
    }
}
