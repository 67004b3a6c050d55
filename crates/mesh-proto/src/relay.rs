//! What a leader keeps in order to pass on what leaders write.

use crate::{SessionId, batch::Log, early::Early};
use crdt_core::ReplicaId;
use std::collections::BTreeMap;

#[derive(Debug)]
pub(crate) struct Relay {
    /// The latest batches of all origins.
    pub(crate) log: Log,
    /// Batches that came before what they depend on.
    pub(crate) early: Early,
    /// Up to which of its own updates the leader has cut batches.
    pub(crate) cut: u64,
    /// The connection that brings an origin's batches first. Others that bring them too are asked to stop.
    pub(crate) parents: BTreeMap<ReplicaId, SessionId>,
    /// Origins of which peers have told of updates that are not here, and until when these are waited for.
    pub(crate) overdue: BTreeMap<ReplicaId, u64>,
    /// Who was asked for what is missing, and until when an answer is waited for.
    pub(crate) pulling: Option<(SessionId, u64)>,
    /// Counts the moments at which news is sent.
    pub(crate) flush: u64,
    /// When the next such moment may be.
    pub(crate) flush_at: u64,
    pub(crate) has_news: bool,
}

impl Relay {
    /// Of a leader whose own updates up to `cut` are sent as merged state.
    pub(crate) fn new(cut: u64) -> Self {
        Relay {
            log: Log::default(),
            early: Early::default(),
            cut,
            parents: BTreeMap::new(),
            overdue: BTreeMap::new(),
            pulling: None,
            flush: 0,
            flush_at: 0,
            has_news: false,
        }
    }

    /// A connection is closed: whatever came by it comes by another one.
    pub(crate) fn disconnect(&mut self, session: SessionId) {
        self.parents.retain(|_, parent| *parent != session);
        self.pulling = self.pulling.filter(|(asked, _)| *asked != session);
    }
}
