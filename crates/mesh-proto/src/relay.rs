//! What a leader keeps in order to pass on what leaders write.

use crate::{
    SessionId,
    batch::{Batch, Log},
    early::Early,
    planted::{self, Bug},
};
use crdt_core::{Dot, ReplicaId};
use std::collections::{BTreeMap, BTreeSet};
use version_vector::VersionVector;

/// The latest updates of all leaders, and who brings them.
///
/// What a batch depends on is the whole vector of its origin, but most of that is depended on by other updates that the
/// origin has seen. Only the rest is in the batch: as a rule, the latest of each leader that the origin hears from directly.
///
/// Source: Prakash, Raynal, Singhal, "An adaptive causal ordering algorithm suited to mobile computing environments",
/// Journal of Parallel and Distributed Computing 41 (1997), section 3: immediate dependencies.
#[derive(Debug)]
pub(crate) struct Relay {
    /// The latest batches of all origins.
    pub(crate) log: Log,
    /// Batches that came before what they depend on.
    pub(crate) early: Early,
    /// What has become visible since the leader last cut a batch, or was not when its last update was made, without what
    /// other updates in here depend on: with these and its own batch before, all that is visible is depended on.
    frontier: Frontier,
    /// The frontier as it was when the leader made the update with this counter, if it is another one now.
    at_update: Option<(u64, Frontier)>,
    /// The connection that brings an origin's batches first. Others that bring them too are asked to stop.
    pub(crate) parents: BTreeMap<ReplicaId, SessionId>,
    /// How many connections lie between an origin and this leader on the way by which its batches come; and which update
    /// came last, and when.
    pub(crate) ways: BTreeMap<ReplicaId, Way>,
    /// Connections that only tell of an origin's updates, and do so before its batches come.
    pub(crate) rivals: BTreeMap<ReplicaId, Rival>,
    /// Origins of which peers have told of updates that are not here, and until when these are waited for.
    pub(crate) overdue: BTreeMap<ReplicaId, u64>,
    /// Who was asked for what is missing.
    pub(crate) pulling: Option<Pulling>,
    /// Who was asked and has not answered in time. Others are asked first, as long as there are any.
    pub(crate) late: BTreeSet<SessionId>,
    /// Counts the moments at which news is sent.
    pub(crate) flush: u64,
    /// When the next such moment may be.
    pub(crate) flush_at: u64,
    pub(crate) has_news: bool,
    /// When to look next for batches that every peer has.
    pub(crate) forget_at: u64,
}

type Frontier = BTreeMap<ReplicaId, u64>;

/// A question that is under way.
#[derive(Debug)]
pub(crate) struct Pulling {
    pub(crate) session: SessionId,
    /// How long the answer is waited for.
    pub(crate) until: u64,
    /// The origins of which something was missing. Once there is news of each, others may be asked.
    pub(crate) origins: BTreeSet<ReplicaId>,
    /// The answer is a delta, of which some has come: what else comes is no answer.
    pub(crate) is_delta: bool,
}

/// How an origin's updates come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Way {
    pub(crate) hops: u64,
    pub(crate) until: u64,
    pub(crate) at: u64,
}

/// Who told first of updates that had not come.
#[derive(Debug)]
pub(crate) struct Rival {
    session: SessionId,
    /// Of which updates, and when.
    counter: u64,
    at: u64,
    /// How often in a row it was far ahead.
    leads: u32,
}

/// Who is far ahead so often becomes the parent.
const LEADS: u32 = 2;

impl Relay {
    /// Of a leader that has `version`.
    pub(crate) fn new(version: &VersionVector) -> Self {
        let mut relay = Relay {
            log: Log::default(),
            early: Early::default(),
            frontier: Frontier::new(),
            at_update: None,
            parents: BTreeMap::new(),
            ways: BTreeMap::new(),
            rivals: BTreeMap::new(),
            overdue: BTreeMap::new(),
            pulling: None,
            late: BTreeSet::new(),
            flush: 0,
            flush_at: 0,
            has_news: false,
            forget_at: 0,
        };
        relay.begin(version);
        relay
    }

    /// The leader's next batch is its first under its id, or in this run.
    pub(crate) fn begin(&mut self, version: &VersionVector) {
        self.frontier = version.iter().collect();
        self.at_update = None;
    }

    /// What was visible when the leader made its latest update, which is `last`, is kept before more becomes so.
    fn keep(&mut self, last: u64) {
        if self.at_update.as_ref().is_none_or(|(at, _)| *at != last) {
            self.at_update = Some((last, self.frontier.clone()));
        }
    }

    /// A batch has become visible, after the leader's own update `last`.
    pub(crate) fn shown(&mut self, batch: &Batch, last: u64) {
        self.keep(last);
        for dep in &batch.deps {
            let is_covered = |counter: &u64| *counter <= dep.counter || planted::is(Bug::FrontierForgets);
            if self.frontier.get(&dep.replica).is_some_and(is_covered) {
                self.frontier.remove(&dep.replica);
            }
        }
        self.frontier.insert(batch.origin, batch.until);
    }

    /// Merged state has become visible, after the leader's own update `last`: what of it depends on what is not known.
    pub(crate) fn merged(&mut self, until: impl Iterator<Item = Dot>, last: u64) {
        self.keep(last);
        self.frontier.extend(until.map(|dot| (dot.replica, dot.counter)));
    }

    /// What the leader's next batch, which ends with its update `last`, depends on, for it is being cut.
    pub(crate) fn take_frontier(&mut self, me: ReplicaId, last: u64) -> Vec<Dot> {
        let deps = match self.at_update.take_if(|(at, _)| *at == last) {
            Some((_, deps)) => {
                self.frontier.retain(|id, counter| deps.get(id).is_none_or(|dep| dep < counter));
                deps
            }
            None => std::mem::take(&mut self.frontier),
        };
        let deps = deps.into_iter().filter(|(id, _)| *id != me);
        deps.map(|(id, counter)| Dot::new(id, counter)).collect()
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

    /// A connection tells of updates that have not come.
    pub(crate) fn told_first(&mut self, origin: ReplicaId, session: SessionId, counter: u64, now: u64) {
        let rival = self.rivals.entry(origin).or_insert(Rival { session, counter: 0, at: now, leads: 0 });
        if rival.counter == 0 || rival.leads == 0 && rival.session != session {
            let leads = if rival.session == session { rival.leads } else { 0 };
            *rival = Rival { session, counter, at: now, leads };
        }
    }

    /// Updates have come by the parent. Says who should bring them in its place: who told of them `lead` ms before, again
    /// and again.
    pub(crate) fn overtakes(
        &mut self,
        origin: ReplicaId,
        until: u64,
        now: u64,
        lead: u64,
    ) -> Option<SessionId> {
        let rival = self.rivals.get_mut(&origin)?;
        if rival.counter == 0 || until < rival.counter {
            return None;
        }
        rival.leads = if now >= rival.at + lead { rival.leads + 1 } else { 0 };
        rival.counter = 0;
        let session = rival.session;
        (rival.leads >= LEADS).then(|| {
            self.rivals.remove(&origin);
            session
        })
    }

    /// Something of an origin has come. Once something has of each that was asked for, others may be asked.
    pub(crate) fn answered(&mut self, origin: ReplicaId) {
        if let Some(pulling) = &mut self.pulling
            && !pulling.is_delta
            && pulling.origins.remove(&origin)
            && pulling.origins.is_empty()
        {
            self.pulling = None;
        }
    }

    /// Some of a delta has come, which is waited for until `until` unless more comes.
    pub(crate) fn note_part(&mut self, session: SessionId, until: u64) {
        if self.pulling.as_ref().is_none_or(|pulling| pulling.session == session) {
            let origins = self.pulling.take().map_or_else(BTreeSet::new, |pulling| pulling.origins);
            self.pulling = Some(Pulling { session, until, origins, is_delta: true });
        }
    }

    /// No more of a delta comes.
    pub(crate) fn end_delta(&mut self, session: SessionId) {
        if self.pulling.as_ref().is_some_and(|pulling| pulling.session == session) {
            self.pulling = None;
        }
    }

    /// A connection is closed: whatever came by it comes by another one.
    pub(crate) fn disconnect(&mut self, session: SessionId) {
        self.parents.retain(|_, parent| *parent != session);
        self.rivals.retain(|_, rival| rival.session != session);
        self.late.remove(&session);
        if self.pulling.as_ref().is_some_and(|pulling| pulling.session == session) {
            // No answer will come: what was asked for is due at once, from whoever is left or connects next.
            self.pulling = None;
            self.overdue.values_mut().for_each(|due| *due = 0);
        }
    }
}
