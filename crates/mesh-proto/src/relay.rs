//! What a leader keeps in order to pass on what leaders write.

use crate::{SessionId, batch::Log, early::Early};
use crdt_core::ReplicaId;
use std::collections::{BTreeMap, BTreeSet};

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
    /// Who was asked for what is missing.
    pub(crate) pulling: Option<Pulling>,
    /// Counts the moments at which news is sent.
    pub(crate) flush: u64,
    /// When the next such moment may be.
    pub(crate) flush_at: u64,
    pub(crate) has_news: bool,
}

/// A question that is under way.
#[derive(Debug)]
pub(crate) struct Pulling {
    pub(crate) session: SessionId,
    /// How long the answer is waited for.
    pub(crate) until: u64,
    /// The origins of which something was missing. Once there is news of each, others may be asked.
    pub(crate) origins: BTreeSet<ReplicaId>,
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

    /// There is news: when is it to be sent? With `gather`, once in so many ms, at moments that differ from leader to leader
    /// but not from one time to the next. Otherwise the trees, which follow who is first, would never settle.
    pub(crate) fn note_news(&mut self, me: ReplicaId, now: u64, gather: u64) {
        if !std::mem::replace(&mut self.has_news, true) && gather > 0 {
            self.flush_at = now + gather - (now + gather - me.get() % gather) % gather;
        }
    }

    /// Begins a flush if there is news and it is time.
    pub(crate) fn begins_flush(&mut self, now: u64) -> bool {
        let begins = self.has_news && self.flush_at <= now;
        if begins {
            self.has_news = false;
            self.flush += 1;
        }
        begins
    }

    /// Something of an origin has come. Once something has of each that was asked for, others may be asked.
    pub(crate) fn answered(&mut self, origin: ReplicaId) {
        if let Some(pulling) = &mut self.pulling
            && pulling.origins.remove(&origin)
            && pulling.origins.is_empty()
        {
            self.pulling = None;
        }
    }

    /// A connection is closed: whatever came by it comes by another one.
    pub(crate) fn disconnect(&mut self, session: SessionId) {
        self.parents.retain(|_, parent| *parent != session);
        if self.pulling.as_ref().is_some_and(|pulling| pulling.session == session) {
            // No answer will come: what was asked for is due at once, from whoever is left or connects next.
            self.pulling = None;
            self.overdue.values_mut().for_each(|due| *due = 0);
        }
    }
}
