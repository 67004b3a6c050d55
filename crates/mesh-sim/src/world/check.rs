//! What is checked: after each commit what has changed, every so often and at the end everything.

use super::{Found, World, leader::Leader, net::Net};
use crate::{
    Invariant, Sometimes,
    keys::{KEYS, KeyIx, NUMBERS, OWN},
    model::{Fact, History, What, is_own},
    sometimes::Seen,
    violation::Finding,
};
use mesh_proto::{Dot, Op, ReplicaId, SessionId};
use std::collections::{BTreeMap, hash_map::Entry};

/// After how many commits of a leader everything it shows is checked.
const EVERYTHING: u64 = 64;

/// How many commits apart it is tried whether a leader gives out what is not durable.
const PROBE: u64 = 8;

/// How many events taken up in one step count as catching up.
const CAUGHT_UP: u64 = 100;

impl World<'_> {
    /// A leader has become durable: what it shows now is what its vector says.
    pub(super) fn observe(&mut self, n: usize) -> Found {
        let World { leaders, history, names, .. } = self;
        let leader = &mut leaders[n];
        let Some(engine) = &leader.engine else { return Ok(()) };
        let checked = leader.shadow.advance(engine.version(), history).and_then(|taken| {
            let builtin = (0..OWN).filter(|key| taken.keys >> key & 1 == 1);
            for key in builtin {
                leader.shadow.check(key, &names[key], engine)?;
            }
            Ok(taken)
        });
        let taken = checked.map_err(|found| self.violation(Some(n), found))?;
        let leader = &self.leaders[n];
        let Some(engine) = &leader.engine else { return Ok(()) };
        let (own, issued) = (leader.shadow.version.get(leader.id), leader.issued);
        if own != issued {
            let what = format!("it made {issued} updates of {}, and its vector has {own}", leader.id);
            let set_back = leader.suspect == Some(leader.id);
            return self.broken(n, if set_back { Invariant::Amnesia } else { Invariant::OwnCounters }, what);
        }
        let fingerprint = engine.fingerprint();
        match self.fingerprints.entry(leader.shadow.hash) {
            Entry::Vacant(entry) => drop(entry.insert(fingerprint)),
            Entry::Occupied(entry) if *entry.get() == fingerprint => {}
            Entry::Occupied(entry) => {
                let what =
                    format!("{fingerprint:x}, where a leader with an equal vector had {:x}", entry.get());
                let key = self.differing_key(n);
                return Err(self.violation(Some(n), Finding { invariant: Invariant::Fingerprint, key, what }));
            }
        }
        let relayed = (0..self.leaders.len())
            .any(|from| taken.from >> from & 1 == 1 && from != n && !self.net.pair(n, from).wanted);
        if relayed {
            self.seen.note(Sometimes::Relayed);
        }
        if taken.events >= CAUGHT_UP {
            self.seen.note(Sometimes::CaughtUp);
        }
        if self.leaders[n].commits % EVERYTHING == EVERYTHING - 1 { self.check_everything(n) } else { Ok(()) }
    }

    /// A key that a leader shows otherwise than another one with an equal vector does now.
    fn differing_key(&self, n: usize) -> Option<String> {
        let leader = &self.leaders[n];
        let equal = |other: &&Leader| other.shadow.hash == leader.shadow.hash && other.committing.is_none();
        let mut others = self.leaders.iter().filter(equal).filter_map(|other| other.engine.as_ref());
        let mine = leader.engine.as_ref()?;
        others
            .find_map(|other| self.names.iter().find(|name| other.snapshot(name) != mine.snapshot(name)))
            .map(|name| name.name.to_string())
    }

    /// All keys, sizes, and the user's own type. **O(keys + events of the user's type)**.
    pub(super) fn check_everything(&mut self, n: usize) -> Found {
        let leader = &self.leaders[n];
        let Some(engine) = &leader.engine else { return Ok(()) };
        let mut checked = Ok(());
        for key in 0..KEYS {
            let name = &self.names[key];
            checked = checked.and_then(|()| leader.shadow.check(key, name, engine));
            if is_own(key) && checked.is_ok() {
                let past = self.history.own_past(key, &leader.shadow.version);
                checked = self.own.check(engine, &name.name, self.shown[n][key].as_ref(), &past);
                self.shown[n][key] = self.own.state(engine, &name.name);
            }
        }
        checked.map_err(|found| self.violation(Some(n), found))?;
        let replies = leader.kept.len();
        if engine.kept_replies() != replies {
            let what = format!("it keeps {} replies, {replies} were given", engine.kept_replies());
            return self.broken(n, Invariant::Idempotency, what);
        }
        // A base and pieces of at most its size for each key, the removals that are remembered, and a reply for each key.
        let origins = leader.shadow.version.len();
        let events: usize =
            leader.shadow.version.iter().map(|row| usize::try_from(row.1).unwrap_or(usize::MAX)).sum();
        let deaths = events.min(2 * self.schedule.setup.config.min_deaths.max(KEYS));
        let row = 256 + 64 * origins;
        let limit =
            KEYS * (4_096 + 4 * row) + 64 * leader.shadow.elements() + 96 * deaths + (replies + 1) * row;
        if leader.disk.bytes > limit {
            let what = format!("its store has {} bytes, of at most {limit}", leader.disk.bytes);
            return self.broken(n, Invariant::Bounds, what);
        }
        Ok(())
    }

    /// Asks for messages although something is not durable: there must be none.
    pub(super) fn probe(&mut self, n: usize) -> Found {
        let now = self.now(n);
        let leader = &mut self.leaders[n];
        let (Some(engine), Some((connection, _))) = (&mut leader.engine, leader.sessions.first()) else {
            return Ok(());
        };
        if leader.pending.facts.is_empty() || !leader.commits.is_multiple_of(PROBE) {
            return Ok(());
        }
        self.seen.note(Sometimes::HeldUntilDurable);
        if engine.poll(SessionId(*connection as u64), now).is_none() {
            return Ok(());
        }
        self.broken(n, Invariant::Durability, "it has something to send while its writes are not durable")
    }

    /// A client reads its own write.
    pub(super) fn check_written(&self, n: usize, name: &str, op: &Op) -> Found {
        let Some(engine) = &self.leaders[n].engine else { return Ok(()) };
        let holds = match op {
            Op::Add(elements) => elements.iter().all(|element| engine.contains(name, element)),
            Op::Remove(elements) => !elements.iter().any(|element| engine.contains(name, element)),
            Op::Clear => engine.set_len(name) == 0,
            Op::Assign(value) => engine.register(name).is_some_and(|found| found.0 == value),
            _ => true,
        };
        if holds {
            return Ok(());
        }
        let what = format!("right after {op:?} it shows something else");
        Err(self.violation(Some(n), Finding::of_key(Invariant::Shows, name, what)))
    }

    /// Whether all leaders are up, at rest, and have equal vectors.
    pub(super) fn agree(&self) -> bool {
        let first = self.leaders[0].shadow.hash;
        self.leaders.iter().all(|leader| {
            leader.shadow.hash == first && leader.committing.is_none() && leader.engine.is_some()
        })
    }

    /// All leaders agree: on all that was acknowledged, and on what it makes.
    pub(super) fn check_end(&mut self) -> Found {
        let version = self.leaders[0].shadow.version.clone();
        for n in 0..self.leaders.len() {
            if self.leaders[n].shadow.version != version {
                return self.broken(n, Invariant::Convergence, "its vector differs from leader 0's");
            }
            self.check_everything(n)?;
        }
        for (id, origin) in self.history.origins() {
            let (have, durable) = (version.get(*id), origin.facts.len() as u64);
            if have < origin.sure {
                let what = format!("{have} of {} acknowledged updates of {id} are left", origin.sure);
                let leader = origin.leader;
                return self.broken(leader, Invariant::Acknowledged, what);
            }
            if have < durable {
                self.seen.note(Sometimes::LostWithTheDisk);
            }
        }
        let Some(engine) = &self.leaders[0].engine else { return Ok(()) };
        for key in OWN..KEYS {
            let states = self.history.own_states(key, &version);
            let replayed = self.own.replay(engine, &self.names[key].name, &states);
            replayed.map_err(|found| self.violation(None, found))?;
        }
        Ok(())
    }

    pub(super) fn not_agreed(&self) -> Found {
        let unaware = |leader: &&Leader| {
            let elsewhere = self.leaders.iter().map(|other| other.shadow.version.get(leader.id)).max();
            leader.suspect == Some(leader.id) && elsewhere > Some(leader.issued)
        };
        if let Some(n) = self.leaders.iter().position(|leader| unaware(&leader)) {
            return self.broken(
                n,
                Invariant::Amnesia,
                "it was set back, others have more of its updates, and it does not know",
            );
        }
        let most = |id: ReplicaId| {
            self.leaders.iter().map(|leader| leader.shadow.version.get(id)).max().unwrap_or(0)
        };
        let lacking = self.leaders.iter().enumerate().filter_map(|(n, leader)| {
            let lacks = |(id, origin): (&ReplicaId, &crate::model::Origin)| {
                let (have, most) = (leader.shadow.version.get(*id), most(*id));
                (have < most).then(|| format!("{have} of {most} of leader {}'s", origin.leader))
            };
            let lacks: Vec<_> = self.history.origins().filter_map(lacks).collect();
            (!lacks.is_empty()).then(|| format!("leader {n} has {}", lacks.join(", ")))
        });
        let lacking: Vec<_> = lacking.collect();
        let what = format!("{} ms after everything was made whole, {}", self.patience, lacking.join("; "));
        Err(self.violation(None, Finding::new(Invariant::Convergence, what)))
    }
}

/// Finds writes of different leaders that did not know of each other.
#[derive(Default)]
pub(super) struct Concurrency {
    adds: BTreeMap<(KeyIx, Vec<u8>), Dot>,
    removals: BTreeMap<(KeyIx, Vec<u8>), Dot>,
    assigns: BTreeMap<KeyIx, Dot>,
}

impl Concurrency {
    #[expect(clippy::too_many_arguments, reason = "parts of a world that is borrowed apart")]
    pub(super) fn note(
        &mut self,
        id: ReplicaId,
        first: u64,
        facts: &[Fact],
        leader: usize,
        net: &Net,
        history: &History,
        seen: &mut Seen,
    ) {
        // What became durable earlier cannot have seen this.
        let unseen = |fact: &Fact, dot: Dot, earlier: Option<&Dot>| {
            earlier.copied().filter(|earlier| earlier.replica != id && !fact.saw(dot, *earlier))
        };
        let cut = |other: Dot| {
            let other = history.leader(other.replica).unwrap_or(leader);
            net.is_cut(leader, other) || net.is_cut(other, leader)
        };
        for (counter, fact) in (first..).zip(facts) {
            let dot = Dot::new(id, counter);
            match &fact.what {
                What::Add(element) => {
                    let of = (fact.key, element.clone());
                    if unseen(fact, dot, self.removals.get(&of)).is_some_and(cut) {
                        seen.note(Sometimes::AddAndRemoveAcrossCut);
                    }
                    self.adds.insert(of, dot);
                }
                What::Remove(elements) => {
                    for element in elements {
                        let of = (fact.key, element.clone());
                        if unseen(fact, dot, self.adds.get(&of)).is_some_and(cut) {
                            seen.note(Sometimes::AddAndRemoveAcrossCut);
                        }
                        self.removals.insert(of, dot);
                    }
                }
                What::Assign(..) | What::Own(..) => {
                    if unseen(fact, dot, self.assigns.get(&fact.key)).is_some() {
                        let own = fact.key / NUMBERS == OWN / NUMBERS;
                        seen.note(if own {
                            Sometimes::OwnTypeConcurrent
                        } else {
                            Sometimes::ConcurrentAssigns
                        });
                    }
                    self.assigns.insert(fact.key, dot);
                }
                _ => {}
            }
        }
    }
}
