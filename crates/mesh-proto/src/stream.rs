//! The sending side of a delta: merged state, cut lazily while it travels.
//!
//! A delta claims exactly what happened in `(since, until]`, of all origins. It is cut key by key while its parts are sent,
//! and the leader goes on meanwhile, so a piece may be out of date before the last one is cut. What makes the whole sound
//! is that `until` is said last, and that by then the latest piece of each key is what a cut at that moment would give:
//!
//! - the first pass goes through all keys that the receiver may lack something of;
//! - each further pass goes through the keys with events since the pass before it began. A later piece of a key takes the
//!   place of an earlier one, so it costs bytes and nothing else;
//! - a pass that fits into one part is cut within one step of the engine. Nothing can have happened during it, so that
//!   all pieces together are what one cut at that moment would be, and `until` is the version of that moment.
//!
//! A pass takes as long as what changed during the one before it takes to be sent: they shrink as long as a
//! connection carries more than is written. If they do not, the last is cut at once.
//!
//! Three things that can happen to a key leave no event behind, so that no pass would find them:
//!
//! - an emptied set whose removals are forgotten vanishes: it is named as gone ([`Sending::note_gone`]);
//! - removals are forgotten that the receiver has not seen: a delta that relies on them begins anew, with survivors;
//! - elements die by comparison with the survivors of somebody else's delta: then a delta begins anew too.
//!
//! So what a peer costs is a cursor, the parts under way, and the encoding of one value.

use crate::{
    Key, Kind, Part,
    codec::encode,
    keyspace::{KeyId, KeyPiece, Keyspace},
    lineage::Lineages,
    planted::{self, Bug},
    staging::Taken,
};
use crdt_core::ReplicaId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use version_vector::VersionVector;

/// So many parts may be under way: as many as are acknowledged one by one.
pub(crate) const WINDOW: u64 = 64;

/// So many bytes of parts may be under way.
pub(crate) const WINDOW_BYTES: usize = 4 << 20;

/// A part is lost if so many that were sent after it have arrived.
const OVERTAKEN: u64 = 3;

/// After so many passes, the rest is cut at once. They shrink by half or more on a connection that can carry the mesh.
const MAX_PASSES: u32 = 16;

/// So many keys are looked at in one step, whether the receiver lacks something of them or not.
const MAX_VISITS: usize = 1 << 14;

/// So many bytes of names of keys that are gone wait for a slow receiver; then its delta begins anew.
const MAX_GONE: usize = 1 << 20;

/// What a delta consists of; each with its length in front, in this order, but pieces and what is gone mixed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Item {
    /// The receiver has all this already.
    Begin {
        since: VersionVector,
    },
    /// What happened to a key; it takes the place of an earlier piece of the key.
    Piece(KeyPiece),
    /// A set that is empty, and of which nothing is remembered: an earlier piece of it is void.
    Gone(Key),
    End(End),
}

/// The end of a delta: what it claims.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) until: VersionVector,
    /// Set when the sender no longer remembers all removals since `since`: then every set's piece lists its survivors, and a
    /// set that has no piece has none. The removals after this floor are complete.
    pub(crate) floor: Option<VersionVector>,
    /// Which runs made the updates of the origins in the interval.
    pub(crate) lineages: Lineages,
}

impl Item {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let bytes = encode(self);
        out.extend(encode(&(bytes.len() as u64)));
        out.extend(bytes);
    }
}

/// Which keys come next.
#[derive(Debug)]
enum Place {
    /// All keys, in the order in which they came to be.
    Keys { next: KeyId, end: KeyId },
    /// The keys with events after `Walk::before`, in the order of the events, origin by origin.
    Events { next: Option<(ReplicaId, u64)> },
}

/// A way through a keyspace that changes.
#[derive(Debug)]
struct Walk {
    since: VersionVector,
    /// Whether all sets' pieces list their survivors.
    survivors: bool,
    /// How often elements had died by comparison when the walk began.
    compared: u64,
    passes: u32,
    /// Whether nothing of this pass has been cut yet.
    begins: bool,
    /// What the passes before this one have covered, and what this one covers.
    before: VersionVector,
    covers: VersionVector,
    at: Place,
}

impl Walk {
    fn new(space: &Keyspace, known: &VersionVector) -> Self {
        // A delta claims what it has: of a vector that is ahead of this one, only the common part.
        let since: VersionVector =
            known.zip(space.version()).map(|(id, theirs, mine)| (id, theirs.min(mine))).collect();
        let survivors =
            since.is_empty() || since.covers(space.floor()).is_err() && !planted::is(Bug::FloorIgnored);
        let at = if survivors {
            Place::Keys { next: 0, end: space.next_id() }
        } else {
            Place::Events { next: None }
        };
        let (before, covers, compared) = (since.clone(), space.version().clone(), space.compared());
        Walk { since, survivors, compared, passes: 0, begins: true, before, covers, at }
    }

    /// Whether something has happened that no pass finds.
    fn is_void(&self, space: &Keyspace) -> bool {
        if self.survivors {
            self.compared != space.compared()
        } else {
            self.since.covers(space.floor()).is_err() && !planted::is(Bug::FloorIgnored)
        }
    }

    /// Cuts pieces until there are about `limit` bytes, or until all is covered: true then.
    fn cut(&mut self, space: &Keyspace, out: &mut Buffer, limit: usize) -> bool {
        let mut visits = MAX_VISITS;
        loop {
            let begins = std::mem::replace(&mut self.begins, false);
            if begins {
                self.covers.clone_from(space.version());
                if let Place::Keys { end, .. } = &mut self.at {
                    // What the delta begins with may take a while to be sent.
                    *end = space.next_id();
                }
            }
            let limit = if self.passes < MAX_PASSES { limit } else { usize::MAX };
            if !self.pass(space, out, limit, &mut visits) {
                return planted::is(Bug::FirstPartClaimsAll);
            }
            if begins || planted::is(Bug::ClosingPassSkipped) {
                return true;
            }
            self.passes += 1;
            self.begins = true;
            self.before.clone_from(&self.covers);
            self.at = Place::Events { next: None };
        }
    }

    /// True when the pass is over.
    fn pass(&mut self, space: &Keyspace, out: &mut Buffer, limit: usize, visits: &mut usize) -> bool {
        match &mut self.at {
            Place::Keys { next, end } => {
                for (id, entry) in space.entries(*next..*end) {
                    if out.len() >= limit || *visits == 0 {
                        *next = id;
                        return false;
                    }
                    *visits -= 1;
                    let is_listed = entry.key.kind == Kind::Set && !self.since.is_empty();
                    if is_listed || self.since.covers(&entry.newest).is_err() {
                        out.piece(entry.cut(&self.since, self.survivors));
                    }
                }
                true
            }
            Place::Events { next } => {
                for (origin, counter, entry) in space.changed(&self.before, &self.covers, *next) {
                    if out.len() >= limit {
                        *next = Some((origin, counter));
                        return false;
                    }
                    // A key that several leaders wrote comes once. If its first event is newer than this pass, the next
                    // one finds it.
                    let first = entry.newest.difference(&self.before).next();
                    if first.is_some_and(|(id, _)| id == origin) {
                        out.piece(entry.cut(&self.since, self.survivors));
                    }
                }
                true
            }
        }
    }

    fn end(&self, space: &Keyspace) -> End {
        let until = space.version().clone();
        let floor = if self.since.is_empty() { space.version() } else { space.floor() };
        let origins = until.difference(&self.since).map(|(id, _)| id);
        let lineages = origins.filter_map(|id| Some((id, space.lineages().get(&id)?.clone()))).collect();
        End { floor: self.survivors.then(|| floor.clone()), lineages, until }
    }
}

/// Bytes that are cut and not sent.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    sent: usize,
    /// How many of the bytes are values.
    payload: usize,
}

impl Buffer {
    fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    fn piece(&mut self, piece: KeyPiece) {
        self.payload += piece.bytes.len();
        self.item(&Item::Piece(piece));
    }

    fn item(&mut self, item: &Item) {
        if self.sent > 0 {
            // Less than a part is left whenever something is added.
            self.bytes.drain(..std::mem::take(&mut self.sent));
        }
        item.write(&mut self.bytes);
    }

    fn take(&mut self, len: usize) -> (Vec<u8>, usize) {
        let end = self.bytes.len().min(self.sent + len);
        let bytes = self.bytes[self.sent..end].to_vec();
        self.sent = end;
        if self.len() == 0 {
            // Values differ in size by orders of magnitude: what a large one took is given back.
            *self = Buffer { payload: self.payload, ..Buffer::default() };
        }
        let payload = self.payload.min(bytes.len());
        self.payload -= payload;
        (bytes, payload)
    }
}

/// A delta under way to one peer.
#[derive(Debug)]
pub(crate) struct Sending {
    delta: u64,
    walk: Walk,
    gone: Vec<Key>,
    gone_bytes: usize,
    buffer: Buffer,
    /// What the peer has once it has merged the delta; known when the last of it is cut.
    until: Option<VersionVector>,
    /// The number of the next part.
    next: u64,
    /// How many were sent, again or for the first time.
    sent: u64,
    under_way: BTreeMap<u64, UnderWay>,
    bytes_under_way: usize,
}

/// A part of which it is not known whether it arrived.
#[derive(Debug)]
struct UnderWay {
    /// To be sent again; without bytes where nothing is lost.
    part: Part,
    len: usize,
    /// The how-manieth it was among all that were sent.
    order: u64,
    at: u64,
    is_lost: bool,
}

/// What a delta is sent by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) now: u64,
    /// How many bytes a part has.
    pub(crate) part: usize,
    /// After so long without an answer a part is sent again; `None` where nothing is lost.
    pub(crate) resend: Option<u64>,
}

impl Sending {
    /// All that somebody who has `known` lacks.
    pub(crate) fn new(delta: u64, space: &Keyspace, known: &VersionVector) -> Self {
        let mut buffer = Buffer::default();
        let walk = Walk::new(space, known);
        buffer.item(&Item::Begin { since: walk.since.clone() });
        Sending {
            delta,
            walk,
            gone: Vec::new(),
            gone_bytes: 0,
            buffer,
            until: None,
            next: 0,
            sent: 0,
            under_way: BTreeMap::new(),
            bytes_under_way: 0,
        }
    }

    /// What the peer has once it has merged the delta, if all of that is cut.
    pub(crate) fn until(&self) -> Option<&VersionVector> {
        self.until.as_ref()
    }

    /// Whether the delta has to begin anew.
    pub(crate) fn is_void(&self, space: &Keyspace) -> bool {
        self.until.is_none()
            && (self.gone_bytes > MAX_GONE || self.walk.is_void(space))
            && !planted::is(Bug::VoidDeltaSent)
    }

    /// A set has vanished.
    pub(crate) fn note_gone(&mut self, key: &Key) {
        // Without survivors, nothing vanishes of which there may be a piece; and who has to begin anew need not know.
        if self.until.is_none()
            && self.walk.survivors
            && self.gone_bytes <= MAX_GONE
            && !planted::is(Bug::GoneNotSaid)
        {
            self.gone_bytes += key.name.len() + std::mem::size_of::<Key>();
            self.gone.push(key.clone());
        }
    }

    /// The next part to send, if one may be sent. **O(part)**, and the size of the value that it begins or ends in.
    pub(crate) fn next_part(&mut self, space: &Keyspace, pace: Pace) -> Option<Part> {
        let Pace { now, part, resend } = pace;
        let is_due = |one: &UnderWay| one.is_lost || resend.is_some_and(|resend| one.at + resend <= now);
        if resend.is_some()
            && let Some(lost) =
                self.under_way.values_mut().filter(|one| is_due(one)).min_by_key(|one| one.order)
        {
            self.sent += 1;
            (lost.at, lost.order, lost.is_lost) = (now, self.sent, false);
            return Some(lost.part.clone());
        }
        let first = self.under_way.keys().next().copied().unwrap_or(self.next);
        if self.next - first >= WINDOW || self.bytes_under_way >= WINDOW_BYTES {
            return None;
        }
        if self.until.is_none() && self.buffer.len() < part {
            self.gone.drain(..).for_each(|key| self.buffer.item(&Item::Gone(key)));
            self.gone_bytes = 0;
            if self.walk.cut(space, &mut self.buffer, part) {
                let end = self.walk.end(space);
                self.until = Some(end.until.clone());
                self.buffer.item(&Item::End(end));
            }
        } else if self.buffer.len() == 0 {
            return None;
        }
        let (bytes, payload) = self.buffer.take(part);
        let part = Part { delta: self.delta, number: self.next, bytes, payload };
        let len = part.bytes.len();
        let kept = if resend.is_some() { part.clone() } else { Part::default() };
        self.sent += 1;
        let one = UnderWay { part: kept, len, order: self.sent, at: now, is_lost: false };
        self.under_way.insert(self.next, one);
        self.bytes_under_way += len;
        self.next += 1;
        Some(part)
    }

    /// The peer says what has arrived; true if nothing more of this is to be sent.
    pub(crate) fn arrived(&mut self, taken: Taken) -> bool {
        if taken.delta != self.delta {
            return false;
        }
        if taken.next == Taken::ALL {
            return true;
        }
        let has = |number: u64| {
            let ahead = number.checked_sub(taken.next.saturating_add(1));
            number < taken.next || ahead.is_some_and(|bit| bit < 64 && taken.ahead >> bit & 1 == 1)
        };
        let mut latest = 0;
        let bytes = &mut self.bytes_under_way;
        self.under_way.retain(|number, one| {
            let has = has(*number);
            if has {
                latest = latest.max(one.order);
                *bytes -= one.len;
            }
            !has
        });
        for one in self.under_way.values_mut() {
            one.is_lost |= one.order + OVERTAKEN <= latest;
        }
        self.until.is_some() && self.buffer.len() == 0 && self.under_way.is_empty()
    }

    /// When a part was sent of which nothing has been heard for longest.
    pub(crate) fn waits_since(&self) -> Option<u64> {
        self.under_way.values().map(|one| one.at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Config, Engine, Identity, Now, Op, Recovery, Registry,
        staging::{Progress, Staged},
    };

    const NOW: Now = Now { wall: 1_000, mono: 1_000 };
    const PACE: Pace = Pace { now: 0, part: 2_000, resend: None };

    /// A leader with this many registers of a kilobyte.
    fn leader(keys: usize) -> Engine {
        let identity = Identity { cluster: "c".into(), name: "a".into(), replica: ReplicaId::new(1) };
        let mut leader =
            Engine::recover(Config::default(), identity, Recovery::new(Registry::new(), 1)).unwrap();
        (0..keys).for_each(|key| write(&mut leader, key));
        leader
    }

    fn write(leader: &mut Engine, key: usize) {
        leader.write(&format!("k{key}"), &Op::Assign(vec![7; 1_000]), None, NOW).unwrap();
    }

    fn up_to(next: u64) -> Taken {
        Taken { delta: 1, next, ahead: 0 }
    }

    #[test]
    fn a_slow_peer_costs_a_window_and_no_more() {
        let leader = leader(2_000);
        let mut sending = Sending::new(1, &leader.space, &VersionVector::new());
        let mut parts = 0;
        while sending.next_part(&leader.space, PACE).is_some() {
            parts += 1;
        }
        assert_eq!((parts, sending.until.is_none()), (WINDOW, true));
        while sending.until.is_none() {
            assert!(sending.buffer.len() < 2_000 && sending.bytes_under_way <= 2_000 * 64);
            assert!(!sending.arrived(up_to(parts)));
            parts += u64::from(sending.next_part(&leader.space, PACE).is_some());
        }
        while sending.next_part(&leader.space, PACE).is_some() {
            parts += 1;
        }
        assert!((1_000..1_100).contains(&parts), "2 MB in {parts} parts of 2,000 bytes");
        assert!(sending.arrived(up_to(parts)));
        // Large parts are bounded in bytes.
        let mut sending = Sending::new(1, &leader.space, &VersionVector::new());
        let mut bytes = 0;
        while let Some(part) = sending.next_part(&leader.space, Pace { part: 1 << 19, ..PACE }) {
            bytes += part.bytes.len();
        }
        assert!(bytes < WINDOW_BYTES + (1 << 19), "{bytes} bytes under way");
    }

    #[test]
    fn what_is_overtaken_or_unanswered_for_long_is_sent_again_and_nothing_else() {
        let leader = leader(100);
        let pace = Pace { resend: Some(50), ..PACE };
        let mut sending = Sending::new(1, &leader.space, &VersionVector::new());
        for number in 0..10 {
            assert_eq!(sending.next_part(&leader.space, pace).unwrap().number, number);
        }
        // 0 and 1 have come, 2 has not, 3 to 5 have.
        assert!(!sending.arrived(Taken { delta: 1, next: 2, ahead: 0b111 }));
        assert_eq!(sending.under_way.keys().copied().collect::<Vec<_>>(), [2, 6, 7, 8, 9]);
        assert_eq!(sending.next_part(&leader.space, pace).unwrap().number, 2, "three later ones have come");
        assert_eq!(sending.next_part(&leader.space, pace).unwrap().number, 10);
        // Of those left nothing is heard.
        let later = Pace { now: 50, ..pace };
        let again: Vec<u64> =
            (0..6).map(|_| sending.next_part(&leader.space, later).unwrap().number).collect();
        assert_eq!(again, [6, 7, 8, 9, 2, 10], "in the order in which they were sent");
        assert_eq!(sending.next_part(&leader.space, later).unwrap().number, 11);
    }

    /// The beginning of a delta names all leaders: where these are many, it takes several parts itself.
    #[test]
    fn a_key_that_comes_to_be_while_the_beginning_is_sent_is_in_the_delta() {
        let mut leader = leader(3);
        let mut sending = Sending::new(1, &leader.space, &VersionVector::new());
        let (mut staged, pace) = (Staged::new(1), Pace { part: 1, ..PACE });
        let receiver = Keyspace::new(Registry::new());
        let until = loop {
            let part = sending.next_part(&leader.space, pace).unwrap();
            let number = part.number;
            if let Progress::Complete(end) = staged.take(part, &receiver).unwrap() {
                break end.until;
            }
            sending.arrived(up_to(number + 1));
            if number == 0 {
                write(&mut leader, 3);
            }
        };
        assert_eq!((&until, staged.pieces.len()), (leader.space.version(), 4));
    }

    #[test]
    fn a_delta_ends_although_everything_is_written_all_the_time() {
        let mut leader = leader(50);
        let mut sending = Sending::new(1, &leader.space, &VersionVector::new());
        let mut parts = 0;
        while sending.until.is_none() {
            (0..50).for_each(|key| write(&mut leader, key));
            assert!(sending.next_part(&leader.space, PACE).is_some());
            parts += 1;
            sending.arrived(up_to(parts));
            assert!(parts < 1_000, "it does not end");
        }
        assert_eq!(sending.until.as_ref(), Some(leader.space.version()));
    }
}
