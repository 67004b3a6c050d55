//! What a leader knows of the others, and how far they are behind.

use crate::{
    lineage::Lineage,
    link::{Inbound, Outbound},
    reconcile::{Dealings, Exchange},
    staging::{Staged, Taken},
    stream::Sending,
};
use crdt_core::{Merge, ReplicaId};
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
    pub(crate) dealings: Dealings,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) peer: ReplicaId,
    pub(crate) out: Outbound,
    pub(crate) inn: Inbound,
    /// Which runs made the peer's updates, and up to which they are here: to be said first.
    pub(crate) lineage: Option<(Lineage, u64)>,
    /// The peer has more of this leader's updates than this leader, and has to say first which runs made them.
    pub(crate) owes_lineage: bool,
    /// The peer is to get a delta of all that it lacks.
    pub(crate) owes_delta: bool,
    /// The delta under way, until the peer has it.
    pub(crate) sending: Option<Sending>,
    /// When the peer last asked for a delta, and until when it has to wait if it asks too often.
    pub(crate) asked_at: Option<u64>,
    pub(crate) wait_until: u64,
    /// When a sign of life is due if nothing else is said before, and when at the latest.
    pub(crate) alive_at: u64,
    pub(crate) digest_at: u64,
    /// What has come of the peer's delta, as long as it is not complete.
    pub(crate) staged: Option<Staged>,
    /// Up to this one the peer's deltas are complete, or not wanted any more.
    pub(crate) finished: u64,
    /// What the peer is to be told of that, once.
    pub(crate) tells: Option<Taken>,
    pub(crate) exchange: Exchange,
}

/// When this leader came to have what it has: what was new, and when.
///
/// Bounded: neighbours are joined when the span they cover is at most an eighth of their age, so about 17 entries remain
/// for each doubling of the age, and an event looks at most an eighth older than it is, never younger.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    reached: Vec<Reached>,
    /// All of it together.
    latest: VersionVector,
}

#[derive(Debug)]
struct Reached {
    /// When the first and when the last event in here came.
    first: u64,
    last: u64,
    /// The rows that grew. Whole vectors would take the product of their length and the number of entries.
    news: VersionVector,
}

/// When to look for neighbours to join. Ages from a millisecond to a century need about 700 entries.
const TIMELINE: usize = 2_048;

impl Timeline {
    pub(crate) fn note(&mut self, now: u64, vector: &VersionVector) {
        let news: VersionVector =
            vector.difference(&self.latest).map(|(id, grown)| (id, *grown.end())).collect();
        if news.is_empty() {
            return;
        }
        self.latest.merge(&news);
        self.reached.push(Reached { first: now, last: now, news });
        if self.reached.len() > TIMELINE {
            self.reached.dedup_by(|later, earlier| {
                let joins = later.last - earlier.first <= now.saturating_sub(later.last) / 8;
                if joins {
                    earlier.last = later.last;
                    earlier.news.merge(&later.news);
                }
                joins
            });
        }
    }

    /// For how long the oldest event that `known` lacks has been here.
    pub(crate) fn age(&self, now: u64, known: &VersionVector) -> u64 {
        let lacking = self.reached.iter().find(|reached| known.covers(&reached.news).is_err());
        lacking.map_or(0, |reached| now.saturating_sub(reached.first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crdt_core::Dot;

    /// Every age that a lag can have, after a long and busy time, against the time of the event itself.
    #[test]
    fn ages_are_at_most_an_eighth_too_old_and_memory_is_bounded() {
        let id = ReplicaId::new(1);
        let up_to = |counter: u64| -> VersionVector { [(id, counter)].into_iter().collect() };
        let mut timeline = Timeline::default();
        let mut vector = VersionVector::new();
        let now = 300_000;
        for at in 1..=now {
            vector.advance(Dot::new(id, at));
            timeline.note(at, &vector);
            assert!(timeline.reached.len() <= TIMELINE);
        }
        for lag in (1..200).chain((200..now).step_by(997)) {
            let age = timeline.age(now, &up_to(now - lag));
            let exact = lag - 1;
            assert!((exact..=exact + exact / 8).contains(&age), "{lag} events behind: {age} ms for {exact}");
        }
        assert_eq!(timeline.age(now, &vector), 0);
    }

    /// Of many replicas only those that write take memory.
    #[test]
    fn what_stays_as_it_is_is_kept_once() {
        let mut vector: VersionVector = (1..=10_000).map(|id| (ReplicaId::new(id), 1)).collect();
        let mut timeline = Timeline::default();
        for counter in 1..=1_000 {
            vector.advance(Dot::new(ReplicaId::new(1), counter));
            timeline.note(counter, &vector);
        }
        let rows: usize = timeline.reached.iter().map(|reached| reached.news.len()).sum();
        assert_eq!(rows, 10_999);
        let others: VersionVector = vector.iter().skip(1).collect();
        assert_eq!(timeline.age(1_000, &others), 999);
    }

    /// A clock that stands still, or events by the thousand in one millisecond, do not make it grow without end.
    #[test]
    fn one_moment_is_one_entry_in_the_end() {
        let id = ReplicaId::new(1);
        let mut timeline = Timeline::default();
        let mut vector = VersionVector::new();
        for counter in 1..=50_000 {
            vector.advance(Dot::new(id, counter));
            timeline.note(7, &vector);
        }
        assert!(timeline.reached.len() <= TIMELINE + 1);
    }
}
