//! Finding and repairing what two leaders differ in, where vectors do not tell.
//!
//! That is so in two cases: two leaders have equal vectors and different fingerprints, which is damage on either side; or a
//! leader has lost its causal metadata and has nothing but values. Both are compared item by item, by the crate
//! [`reconcile`], whose items are here the summands of the fingerprint:
//!
//! ```text
//! asks                                            answers
//! Ask, with an estimator           -->
//!                                  <--            Symbols: enough to find the difference
//! Differ: what is wanted, and what
//! only this side has               -->
//!                                  <--            Found: what is wanted, and what is known to have ended
//! Ended: what is known here to
//! have ended, if anything          -->
//! ```
//!
//! **Equal vectors.** The leader with the lesser id asks, when it has heard of the difference twice running, and the other
//! answers while the vectors are still equal. Both take what the other has by the rule in [`repair`](crate::keyspace::repair),
//! store it, and report the keys. If they still differ they do it again, less and less often; from the fourth time on they
//! tell each other everything.
//!
//! **Metadata lost.** The leader without metadata has a new id, shows nothing and takes no writes. It becomes a
//! [`copy`](crate::keyspace::copy) of a peer, joins what it had written itself, and goes on from there.
//!
//! Nothing of it is kept beyond an exchange. Each costs both sides three passes over all items, so a leader asks one peer
//! at a time and answers one at a time, each peer at most every other heartbeat.

mod hear;
mod records;
#[cfg(test)]
mod tests;

use crate::{
    Engine, Event, Message, Now, SessionId,
    codec::encode,
    keyspace::{
        Keyspace,
        copy::Source,
        repair::{Deaths, Places},
    },
    message::{MAX_PART, StepPart},
    sync::digest,
};
use crdt_core::{Merge, ReplicaId, wire::Wire};
use reconcile::{Difference, MAX_SYMBOLS, Reconciliation, Request, Seed, Snapshot, Wanted};
use records::Records;
use serde::{Deserialize, Serialize};
use std::{
    cmp::Reverse,
    collections::{BTreeSet, VecDeque},
};
use twox_hash::XxHash3_64;
use version_vector::VersionVector;

/// How many keys a report names.
const MAX_NAMED: usize = 1_000;

/// How often the symbols of one exchange are asked for; hardly ever more than twice.
const MAX_ASKED: u32 = 4;

/// After so many exchanges that did not help two leaders tell each other everything.
const MAX_FAILED: u32 = 3;

/// One of the messages above.
#[derive(Debug, Serialize, Deserialize)]
enum Step {
    /// With a digest of the asking leader's vector, unless that is lost.
    Ask {
        request: Vec<u8>,
        vector: Option<u64>,
    },
    /// `None` if the difference is too large for symbols.
    Symbols {
        seed: u64,
        answer: Option<Vec<u8>>,
    },
    /// `None` if everything is wanted.
    Differ {
        seed: u64,
        wanted: Option<Vec<u8>>,
        records: Records,
    },
    /// With what it is to be a copy of, if the asking leader's metadata is lost.
    Found {
        seed: u64,
        records: Records,
        source: Option<Source>,
    },
    Ended {
        seed: u64,
        records: Records,
    },
}

/// What is to be said once everything is durable.
#[derive(Debug)]
enum Due {
    Ask,
    More(Request),
    Symbols { request: Request, vector: Option<u64> },
    Differ,
    Found { places: Places, deaths: Deaths },
    Copy { wanted: Option<Wanted> },
    Ended(Deaths),
}

/// What a connection has of an exchange.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    /// What this side greeted with.
    greeted: VersionVector,
    asking: Option<Asking>,
    answering: Option<Answering>,
    due: VecDeque<Due>,
    sending: Option<Outgoing>,
    pub(crate) staged: Option<Staged>,
}

#[derive(Debug)]
struct Asking {
    seed: Seed,
    /// What both sides have; nothing if the metadata is lost.
    vector: VersionVector,
    until: u64,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Symbols(Box<Reconciliation>),
    /// `None` if everything counts as different.
    Differ(Option<Difference>),
    /// The places of what only this side has, or of everything.
    Found {
        places: Places,
        is_all: bool,
    },
}

#[derive(Debug)]
struct Answering {
    seed: Seed,
    /// What this side had when it gave symbols.
    vector: VersionVector,
    /// Whether the other side's metadata is lost.
    to_copy: bool,
    asked: u32,
    until: u64,
    /// What is waited for: that the other side says what differs, or what has ended.
    is_differ_due: bool,
}

/// The parts of a step that came so far.
#[derive(Debug)]
pub(crate) struct Staged {
    number: u64,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Outgoing {
    number: u64,
    bytes: Vec<u8>,
    payload: usize,
    offset: usize,
}

/// How often there were exchanges with a peer.
#[derive(Debug, Default)]
pub(crate) struct Dealings {
    /// Since the fingerprints were last equal.
    asked: u32,
    not_before: u64,
    answered: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Reconciling {
    lost: Option<Lost>,
    /// No two exchanges have one seed.
    begun: u64,
    answered: Option<u64>,
}

/// What is left to a leader whose causal metadata is lost.
#[derive(Debug)]
pub(crate) struct Lost {
    space: Keyspace,
    /// The ids that it wrote under.
    former: BTreeSet<ReplicaId>,
    /// The updates of others of which there are traces.
    others: VersionVector,
    unreachable: VersionVector,
    goes_without: bool,
}

impl Reconciling {
    pub(crate) fn new(lost: Option<Lost>) -> Self {
        Reconciling { lost, ..Reconciling::default() }
    }
}

impl Lost {
    pub(crate) fn new(space: Keyspace, former: BTreeSet<ReplicaId>) -> Self {
        let others = space.traces().iter().filter(|row| !former.contains(&row.0)).collect();
        Lost { space, former, others, unreachable: VersionVector::new(), goes_without: false }
    }
}

impl Engine {
    /// Whether this leader has lost its causal metadata and has not got it back from a peer yet; see
    /// [`Recovery::without_metadata`](crate::Recovery::without_metadata).
    pub fn has_lost_metadata(&self) -> bool {
        self.reconciling.lost.is_some()
    }

    /// Gives up the updates that [`Event::Unreachable`] names: this leader becomes a copy of a connected peer although none
    /// has them. Whoever brings them later is heard as always. Nothing happens if no metadata is lost.
    pub fn go_without_unreachable(&mut self) {
        if let Some(lost) = &mut self.reconciling.lost {
            lost.goes_without = true;
        }
    }

    /// A peer with an equal vector has had another fingerprint twice running.
    pub(crate) fn note_diverged(&mut self, at: SessionId, id: ReplicaId, now: Now) {
        self.expire_exchanges(now);
        let is_asking = self.sessions.values().any(|session| session.exchange.asking.is_some());
        let is_due = self.peer(id).dealings.not_before <= now.mono;
        let me = self.identity.replica;
        let exchange = &mut self.session(at).exchange;
        if me < id && is_due && !is_asking && exchange.is_idle() {
            exchange.due.push_back(Due::Ask);
        }
    }

    /// Ends what the other side does not answer.
    fn expire_exchanges(&mut self, now: Now) {
        for session in self.sessions.values_mut() {
            let Exchange { asking, answering, .. } = &mut session.exchange;
            asking.take_if(|asking| asking.until < now.mono);
            answering.take_if(|answering| answering.until < now.mono);
        }
    }

    /// Whether to ask this peer for what the lost metadata is of: the one that has most, if all that there are traces of
    /// can be had from those that are connected.
    fn is_to_ask_for_copy(&mut self, at: SessionId, now: Now) -> bool {
        if self.reconciling.lost.is_none() {
            return false;
        }
        self.expire_exchanges(now);
        let Engine { sessions, peers, reconciling, events, .. } = self;
        let Some(lost) = &mut reconciling.lost else { return false };
        if sessions.values().any(|session| session.exchange.asking.is_some()) {
            return false;
        }
        let mut reachable = VersionVector::new();
        for session in sessions.values() {
            reachable.merge(&peers[&session.peer].known);
        }
        let missing: VersionVector =
            lost.others.difference(&reachable).map(|(id, missing)| (id, *missing.end())).collect();
        if lost.unreachable != missing && !missing.is_empty() {
            events.push_back(Event::Unreachable { updates: missing.clone() });
        }
        lost.unreachable = missing;
        if !lost.unreachable.is_empty() && !lost.goes_without {
            return false;
        }
        let rank = |id: &SessionId| {
            let peer = &peers[&sessions[id].peer];
            (Reverse(peer.dealings.asked), peer.known.ahead_of(&VersionVector::new()), Reverse(*id))
        };
        let best = sessions.keys().max_by_key(|id| rank(id));
        best == Some(&at) && peers[&sessions[&at].peer].dealings.not_before <= now.mono
    }

    /// The next message of an exchange.
    pub(crate) fn next_step(&mut self, at: SessionId, now: Now) -> Option<Message> {
        loop {
            let (part, resend) = (self.config.part.clamp(1, MAX_PART), self.config.resend);
            let exchange = &mut self.sessions.get_mut(&at)?.exchange;
            if let Some(part) = exchange.next_part(part, now.mono + resend) {
                return Some(Message::Reconcile(part));
            }
            let step = match exchange.due.pop_front() {
                Some(due) => self.prepare(at, due, now),
                None if self.is_to_ask_for_copy(at, now) => self.prepare(at, Due::Ask, now),
                None => return None,
            };
            if let Some(step) = step {
                let payload = match &step {
                    Step::Differ { records, .. }
                    | Step::Found { records, .. }
                    | Step::Ended { records, .. } => records.payload(),
                    Step::Ask { .. } | Step::Symbols { .. } => 0,
                };
                self.next_delta += 1;
                let (number, bytes) = (self.next_delta, encode(&step));
                self.session(at).exchange.sending = Some(Outgoing { number, bytes, payload, offset: 0 });
            }
        }
    }

    fn prepare(&mut self, at: SessionId, due: Due, now: Now) -> Option<Step> {
        let until = now.mono + self.config.resend;
        match due {
            Due::Ask => Some(self.ask(at, now)),
            Due::More(request) => {
                let vector = self.sessions.get(&at)?.exchange.asking.as_ref().map(|asking| &asking.vector)?;
                let vector = (!self.has_lost_metadata()).then(|| digest(vector));
                Some(Step::Ask { request: request.to_bytes(), vector })
            }
            Due::Symbols { request, vector } => {
                // News that is under way would look like a difference.
                if vector.is_some_and(|vector| vector != digest(&self.durable)) {
                    return None;
                }
                let snapshot = Snapshot::new(request.seed(), self.space.items());
                let answer = snapshot.answer(&request, MAX_SYMBOLS).ok().map(|answer| answer.to_bytes());
                let (seed, vector, to_copy) = (request.seed(), self.durable.clone(), vector.is_none());
                let answering = &mut self.session(at).exchange.answering;
                match answering {
                    // More of the same.
                    Some(answering) if answering.seed == seed => answering.asked += 1,
                    _ => {
                        let is_differ_due = true;
                        *answering =
                            Some(Answering { seed, vector, to_copy, asked: 1, until, is_differ_due });
                    }
                }
                Some(Step::Symbols { seed: seed.get(), answer })
            }
            Due::Differ => {
                let asking = self.sessions.get_mut(&at)?.exchange.asking.as_mut()?;
                let Phase::Differ(difference) = &mut asking.phase else { return None };
                let (seed, difference) = (asking.seed, difference.take());
                let is_meant =
                    |item| difference.as_ref().is_none_or(|found| found.is_only_local(seed.id(item)));
                let lost = self.reconciling.lost.as_ref();
                let places = lost.map_or(&self.space, |lost| &lost.space).find(is_meant);
                let records = match lost {
                    None => self.space.records(&places, &Deaths::new(), &asking.vector),
                    // What the other side has is what counts.
                    Some(_) => Vec::new(),
                };
                asking.phase = Phase::Found { places, is_all: difference.is_none() };
                let wanted = difference.map(|difference| difference.wanted().to_bytes());
                Some(Step::Differ { seed: seed.get(), wanted, records: Records(records) })
            }
            Due::Found { places, deaths } => {
                let answering = self.sessions.get(&at)?.exchange.answering.as_ref()?;
                let records = Records(self.space.records(&places, &deaths, &answering.vector));
                Some(Step::Found { seed: answering.seed.get(), records, source: None })
            }
            Due::Copy { wanted } => {
                let answering = self.sessions.get_mut(&at)?.exchange.answering.take()?;
                let seed = answering.seed;
                let is_wanted = |item| wanted.as_ref().is_none_or(|wanted| wanted.contains(seed.id(item)));
                let records = self.space.records_to_copy(&answering.vector, is_wanted)?;
                let source = Some(self.space.source(&self.sessions[&at].exchange.greeted));
                Some(Step::Found { seed: seed.get(), records: Records(records), source })
            }
            Due::Ended(deaths) => {
                let asking = self.sessions.get_mut(&at)?.exchange.asking.take()?;
                let records = Records(self.space.records(&Places::new(), &deaths, &asking.vector));
                Some(Step::Ended { seed: asking.seed.get(), records })
            }
        }
    }

    fn ask(&mut self, at: SessionId, now: Now) -> Step {
        let (me, until) = (self.identity.replica, now.mono + self.config.resend);
        let Reconciling { lost, begun, .. } = &mut self.reconciling;
        let space = lost.as_ref().map_or(&self.space, |lost| &lost.space);
        *begun += 1;
        // What is asked about is chosen before, and what it is asked with cannot be told from outside.
        let drawn =
            [me.get(), *begun, now.mono, now.wall, space.fingerprint()].map(u64::to_le_bytes).concat();
        let seed = Seed::new(XxHash3_64::oneshot_with_seed(self.run, &drawn));
        let reconciliation = Box::new(Reconciliation::new(seed, space.items(), MAX_SYMBOLS));
        let request = reconciliation.request().to_bytes();
        let (vector, digest) = (self.durable.clone(), lost.is_none().then(|| digest(&self.durable)));
        let heartbeat = self.config.heartbeat;
        let session = self.session(at);
        session.exchange.asking = Some(Asking { seed, vector, until, phase: Phase::Symbols(reconciliation) });
        let id = session.peer;
        let dealings = &mut self.peer(id).dealings;
        dealings.asked += 1;
        dealings.not_before = now.mono + (heartbeat << dealings.asked.min(10));
        Step::Ask { request, vector: digest }
    }
}

impl Exchange {
    /// On a connection that this side opened with a greeting with this vector.
    pub(crate) fn new(greeted: VersionVector) -> Self {
        Exchange { greeted, ..Exchange::default() }
    }

    fn is_idle(&self) -> bool {
        self.due.is_empty() && self.sending.is_none()
    }

    fn prolong(&mut self, until: u64) {
        let times = self.asking.iter_mut().map(|asking| &mut asking.until);
        let times = times.chain(self.answering.iter_mut().map(|answering| &mut answering.until));
        times.for_each(|time| *time = until);
    }

    fn next_part(&mut self, size: usize, until: u64) -> Option<StepPart> {
        let Outgoing { number, bytes, payload, offset } = self.sending.as_mut()?;
        let rest = &bytes[*offset..];
        let last = rest.len() <= size;
        let payload_here = if last { *payload } else { size.min(*payload) };
        let part = StepPart {
            number: *number,
            offset: *offset as u64,
            last,
            bytes: rest[..rest.len().min(size)].to_vec(),
            payload: payload_here,
        };
        (*payload, *offset) = (*payload - payload_here, *offset + part.bytes.len());
        if last {
            self.sending = None;
        }
        self.prolong(until);
        Some(part)
    }
}

impl Dealings {
    /// The fingerprints are equal.
    pub(crate) fn agree(&mut self) {
        (self.asked, self.not_before) = (0, 0);
    }
}
