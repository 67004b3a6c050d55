//! An add-wins set without tombstones: live dots, a version vector, and a memory of deaths above a floor.

use crate::caught;
use crdt_core::{Delta, Dot, Dotted, Gap, Merge, Replica, ReplicaId, Rows};
use crdt_laws::{Event, Law, Model, Outcome, Subject, Suite};
use quickcheck::{Arbitrary, Gen};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeMap, BTreeSet};

const SOUND: u8 = 0;
/// Deltas leave removals out.
const NO_REMOVALS: u8 = 1;
/// Numbers its updates itself, in a field that a restart does not keep.
const REUSES_DOTS: u8 = 2;
/// A copy goes on writing under the id of the original.
const FORKED_WRITER: u8 = 3;
/// A delta is applied without what it builds on: the vector advances over a gap.
const OVER_A_GAP: u8 = 4;
/// Deaths are forgotten before they are stable, and nothing remembers that they were.
const FORGETS_EARLY: u8 = 5;
/// A delta claims everything and carries one birth.
const PARTIAL_DELTA: u8 = 6;
/// Decoded bytes have no deaths, and claim to have them all.
const NO_FLOOR_IN_BYTES: u8 = 7;
/// Merge looks a dot up under the wrong replica.
const WRONG_DOT_KEY: u8 = 8;
/// The floor is not joined in merges.
const FLOOR_NOT_JOINED: u8 = 9;
/// A removal spares what other replicas have added.
const REMOVES_ITS_OWN: u8 = 10;
/// The version does not count removals.
const REMOVALS_UNCOUNTED: u8 = 11;
/// A merge that takes the vector before it has compared the dots.
const VECTOR_FIRST: u8 = 12;

#[derive(Clone, Debug, Default, Serialize)]
struct Set<const BUG: u8> {
    live: Vec<(Dot, u8)>,
    seen: Rows,
    #[serde(skip)]
    deaths: BTreeMap<Dot, Vec<Dot>>,
    #[serde(skip)]
    floor: Rows,
    #[serde(skip)]
    issued: u64,
}

impl<'de, const BUG: u8> Deserialize<'de> for Set<BUG> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Raw {
            live: Vec<(Dot, u8)>,
            seen: Rows,
        }
        let Raw { live, seen } = Raw::deserialize(from)?;
        Ok(Set {
            live,
            floor: if BUG == NO_FLOOR_IN_BYTES { Rows::new() } else { seen.clone() },
            seen,
            deaths: BTreeMap::new(),
            issued: 0,
        })
    }
}

impl<const BUG: u8> PartialEq for Set<BUG> {
    fn eq(&self, other: &Self) -> bool {
        self.live == other.live && self.seen == other.seen
    }
}

fn covers(rows: &Rows, dot: Dot) -> bool {
    dot.counter <= rows.get(dot.replica)
}

impl<const BUG: u8> Set<BUG> {
    /// Adds the element, or removes it; both kill the dots of it that are here.
    fn write(&mut self, dot: Dot, element: u8, add: bool) {
        let spared = |live: Dot| BUG == REMOVES_ITS_OWN && live.replica != dot.replica;
        let killed = self.live.iter().filter(|live| live.1 == element && !spared(live.0));
        let killed: Vec<Dot> = killed.map(|live| live.0).collect();
        self.live.retain(|live| !killed.contains(&live.0));
        self.deaths.insert(dot, killed);
        if add {
            self.live.push((dot, element));
            self.live.sort_unstable();
        }
        if BUG != REMOVALS_UNCOUNTED || add {
            self.seen.raise(dot.replica, dot.counter);
        }
    }
}

impl<const BUG: u8> Merge for Set<BUG> {
    fn merge(&mut self, other: &Self) -> bool {
        let before = self.clone();
        if BUG == VECTOR_FIRST {
            self.seen.merge(&other.seen);
        }
        let wrong_key = |rows: &Rows, dot: Dot| match BUG {
            WRONG_DOT_KEY => rows.iter().next().is_some_and(|first| dot.counter <= first.1),
            _ => covers(rows, dot),
        };
        let mine: BTreeSet<_> = self.live.iter().copied().collect();
        let theirs: BTreeSet<_> = other.live.iter().copied().collect();
        let kept = mine.iter().filter(|live| theirs.contains(live) || !covers(&other.seen, live.0));
        let new = theirs.iter().filter(|live| !mine.contains(live) && !wrong_key(&self.seen, live.0));
        let mut live: Vec<_> = kept.chain(new).copied().collect();
        live.sort_unstable();
        self.live = live;
        self.seen.merge(&other.seen);
        self.deaths.extend(other.deaths.iter().map(|(dot, killed)| (*dot, killed.clone())));
        if BUG != FLOOR_NOT_JOINED {
            self.floor.merge(&other.floor);
        }
        *self != before
    }
}

impl<const BUG: u8> Dotted for Set<BUG> {
    fn last_counter(&self, replica: ReplicaId) -> u64 {
        self.seen.get(replica)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Change {
    since: Rows,
    until: Rows,
    births: Vec<(Dot, u8)>,
    deaths: Vec<(Dot, Vec<Dot>)>,
    /// Where deaths are forgotten: all that lives, and the floor.
    whole: Option<(Vec<Dot>, Rows)>,
}

impl<const BUG: u8> Delta for Set<BUG> {
    type Version = Rows;
    type Change = Change;

    fn version(&self) -> &Rows {
        &self.seen
    }

    fn delta_since(&self, since: &Rows) -> Change {
        let mut births: Vec<_> = self.live.iter().filter(|live| !covers(since, live.0)).copied().collect();
        if BUG == PARTIAL_DELTA {
            births.truncate(1);
        }
        let deaths = self.deaths.iter().filter(|death| !covers(since, *death.0) && BUG != NO_REMOVALS);
        let forgotten = since.covers(&self.floor).is_err();
        Change {
            since: since.clone(),
            until: self.seen.clone(),
            births,
            deaths: deaths.map(|(dot, killed)| (*dot, killed.clone())).collect(),
            whole: forgotten.then(|| (self.live.iter().map(|live| live.0).collect(), self.floor.clone())),
        }
    }

    fn apply(&mut self, change: &Change) -> Result<bool, Gap> {
        if BUG != OVER_A_GAP {
            self.seen.covers(&change.since)?;
        }
        let before = self.clone();
        let new = change.births.iter().filter(|birth| !covers(&before.seen, birth.0));
        self.live.extend(new);
        for dead in change.deaths.iter().flat_map(|death| &death.1) {
            self.live.retain(|live| live.0 != *dead);
        }
        if let Some((alive, floor)) = &change.whole {
            self.live.retain(|live| alive.contains(&live.0) || !covers(&change.until, live.0));
            self.floor.merge(floor);
        }
        self.live.sort_unstable();
        self.seen.merge(&change.until);
        self.deaths.extend(change.deaths.iter().cloned());
        Ok(*self != before)
    }
}

#[derive(Clone, Debug)]
enum Op {
    Add(u8),
    Remove(u8),
}

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Self {
        let element = u8::arbitrary(g) % 3;
        if u8::arbitrary(g) % 3 == 0 { Op::Remove(element) } else { Op::Add(element) }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        match *self {
            Op::Add(element) => Box::new(element.shrink().map(Op::Add)),
            Op::Remove(element) => Box::new(element.shrink().map(Op::Remove)),
        }
    }
}

struct Driver<const BUG: u8>;

impl<const BUG: u8> Subject for Driver<BUG> {
    type State = Set<BUG>;
    type Op = Op;

    fn update(replica: &mut Replica<Set<BUG>>, op: &Op, _now: u64) -> Outcome {
        replica.update(|set, tick| {
            let dot = if BUG == REUSES_DOTS {
                set.issued += 1;
                Dot::new(tick.replica(), set.issued)
            } else if BUG == REMOVALS_UNCOUNTED {
                tick.take()?
            } else {
                tick.follows(set)?.take()?
            };
            match *op {
                Op::Add(element) => set.write(dot, element, true),
                Op::Remove(element) => set.write(dot, element, false),
            }
            Ok(())
        })
    }

    fn fork(original: &Replica<Set<BUG>>, id: ReplicaId) -> Replica<Set<BUG>> {
        let id = if BUG == FORKED_WRITER { original.id() } else { id };
        let mut copy = original.state().clone();
        copy.issued = 0;
        Replica::new(id, copy)
    }

    /// With a floor, forgetting is safe at any time, stable or not.
    fn trim(state: &mut Set<BUG>, _stable: &Rows) {
        state.deaths.clear();
        if BUG != FORGETS_EARLY {
            state.floor = state.seen.clone();
        }
    }
}

impl<const BUG: u8> Model for Driver<BUG> {
    type View = BTreeSet<u8>;

    fn view(state: &Set<BUG>) -> BTreeSet<u8> {
        state.live.iter().map(|live| live.1).collect()
    }

    /// An element is there if an addition of it was seen by no removal of it.
    fn expected(past: &[&Event<Op>]) -> BTreeSet<u8> {
        let removed = |add: &Event<Op>, element| {
            let mut removals = past.iter().filter(|event| matches!(event.op, Op::Remove(e) if e == element));
            removals.any(|removal| removal.saw(add))
        };
        let alive = past.iter().filter_map(|event| match event.op {
            Op::Add(element) if !removed(event, element) => Some(element),
            _ => None,
        });
        alive.collect()
    }
}

fn suite<const BUG: u8>() -> Suite<Driver<BUG>> {
    Suite::new().wire().serde().model()
}

#[test]
fn sound() {
    suite::<SOUND>().cases(500).check();
}

#[test]
fn deltas_without_removals() {
    caught(suite::<NO_REMOVALS>(), Law::DeltaEqualsMerge);
}

#[test]
fn dots_reused_after_a_restart() {
    caught(suite::<REUSES_DOTS>(), Law::Dots);
}

#[test]
fn a_forked_writer() {
    caught(suite::<FORKED_WRITER>(), Law::Dots);
}

#[test]
fn a_vector_advanced_over_a_gap() {
    caught(suite::<OVER_A_GAP>(), Law::DeltaGap);
}

#[test]
fn a_removal_forgotten_before_it_is_stable() {
    let text = caught(suite::<FORGETS_EARLY>(), Law::DeltaAfterTrimming).to_string();
    for part in ["with the delta of ", " since ", " trimmed) = Set", "deaths: {}, floor: {}"] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

#[test]
fn a_full_context_with_a_partial_delta() {
    caught(suite::<PARTIAL_DELTA>(), Law::DeltaEqualsMerge);
}

#[test]
fn bytes_that_claim_deaths_they_lack() {
    caught(suite::<NO_FLOOR_IN_BYTES>(), Law::DeltaAfterBytes);
}

#[test]
fn a_wrong_dot_key_in_merge() {
    caught(suite::<WRONG_DOT_KEY>(), Law::Commutative);
}

#[test]
fn a_floor_that_is_not_joined() {
    let suite = Suite::<Driver<FLOOR_NOT_JOINED>>::new().delta().model();
    let text = caught(suite, Law::DeltaAfterTrimming).to_string();
    assert!(
        text.contains("(Law::DeltaEqualsMerge), which the same history keeps if nothing is trimmed"),
        "{text}"
    );
}

#[test]
fn removals_that_the_version_does_not_count() {
    caught(suite::<REMOVALS_UNCOUNTED>(), Law::Dots);
}

#[test]
fn a_vector_taken_before_the_dots() {
    caught(suite::<VECTOR_FIRST>(), Law::Commutative);
}

#[test]
fn a_removal_that_spares_what_others_added() {
    caught(suite::<REMOVES_ITS_OWN>(), Law::Model);
}
