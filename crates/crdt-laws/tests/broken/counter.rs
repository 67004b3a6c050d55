//! A counter that goes up and down: two rows a replica.

use crate::caught;
use crdt_core::{Delta, Dotted, Gap, Merge, Replica, ReplicaId, Rows};
use crdt_laws::{Event, Law, Model, Outcome, Subject, Suite};
use quickcheck::{Arbitrary, Gen};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

const SOUND: u8 = 0;
/// A delta carries increments, and applying it adds them: a retransmitted one counts twice.
const DELTAS_ADD: u8 = 1;
/// An optimised merge that takes the side with more replicas.
const LARGER_SIDE_WINS: u8 = 2;
/// A merge that raises the row of another replica.
const WRONG_KEY: u8 = 3;
/// Two stores, of which the second is skipped when the first has no news.
const SECOND_STORE_SKIPPED: u8 = 4;
/// A restart under the old id loses increments.
const RESTART_LOSES: u8 = 5;
/// Deltas come from a buffer that is emptied before anybody has acknowledged it.
const BUFFER_RESET: u8 = 6;
/// The numbers of two replicas are added up where the larger should stay.
const MERGE_ADDS: u8 = 7;
/// An order by value, where merge knows more.
const ORDER_BY_VALUE: u8 = 8;
/// The bytes name replicas in no particular order: here, in the order of arrival.
const BYTES_IN_ARRIVAL_ORDER: u8 = 9;
/// `merge` says that it grew whenever the other side was not empty.
const GROWTH_GUESSED: u8 = 10;
/// A replica that has nothing takes over the other side but for one row.
const BOTTOM_SHORTCUT: u8 = 11;
/// The consuming merge forgets the second store.
const OWNED_FORGETS: u8 = 12;
/// The bytes leave the second store out.
const BYTES_FORGET: u8 = 13;
/// No update does anything.
const NO_EFFECT: u8 = 14;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Counter<const BUG: u8> {
    seen: Rows,
    up: Rows,
    #[serde(skip)]
    recent: Rows,
    #[serde(with = "down")]
    down: Down<BUG>,
    arrival: Vec<ReplicaId>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Down<const BUG: u8>(Rows);

mod down {
    use super::{BYTES_FORGET, Down};
    use crdt_core::Rows;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer, const BUG: u8>(
        down: &Down<BUG>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        if BUG == BYTES_FORGET { Rows::new().serialize(to) } else { down.0.serialize(to) }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, const BUG: u8>(
        from: D,
    ) -> Result<Down<BUG>, D::Error> {
        Rows::deserialize(from).map(Down)
    }
}

impl<const BUG: u8> PartialEq for Counter<BUG> {
    fn eq(&self, other: &Self) -> bool {
        self.seen == other.seen && self.up == other.up && self.down == other.down
    }
}

impl<const BUG: u8> PartialOrd for Counter<BUG> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        if BUG == ORDER_BY_VALUE {
            return self.value().partial_cmp(&other.value());
        }
        self.seen.partial_cmp(&other.seen)
    }
}

impl<const BUG: u8> Counter<BUG> {
    fn value(&self) -> i128 {
        i128::try_from(self.up.sum()).unwrap() - i128::try_from(self.down.0.sum()).unwrap()
    }

    fn arrived(&mut self, replica: ReplicaId) {
        if BUG == BYTES_IN_ARRIVAL_ORDER && !self.arrival.contains(&replica) {
            self.arrival.push(replica);
        }
    }
}

impl<const BUG: u8> Merge for Counter<BUG> {
    fn merge(&mut self, other: &Self) -> bool {
        if BUG == LARGER_SIDE_WINS && other.seen.len() > self.seen.len() {
            self.clone_from(other);
            return true;
        }
        if BUG == BOTTOM_SHORTCUT && self.seen.is_empty() && other.seen.len() > 1 {
            let last = other.up.iter().last();
            self.clone_from(other);
            self.up = other.up.iter().filter(|row| Some(*row) != last).collect();
            return true;
        }
        for (replica, _) in other.seen.iter() {
            self.arrived(replica);
        }
        let grew = self.seen.merge(&other.seen);
        if let (WRONG_KEY, Some((first, _))) = (BUG, other.up.iter().next()) {
            let changed = self.up.raise(first, other.up.iter().map(|row| row.1).max().unwrap_or(0));
            return grew | changed | self.down.0.merge(&other.down.0);
        }
        if BUG == MERGE_ADDS && grew {
            self.up = self.up.zip(&other.up).map(|(id, mine, theirs)| (id, mine + theirs)).collect();
        }
        let up = self.up.merge(&other.up);
        if BUG == SECOND_STORE_SKIPPED && !up {
            return grew;
        }
        let changed = grew | up | self.down.0.merge(&other.down.0);
        if BUG == GROWTH_GUESSED { !other.seen.is_empty() } else { changed }
    }

    fn merge_owned(&mut self, other: Self) -> bool {
        if BUG == OWNED_FORGETS {
            return self.seen.merge(&other.seen) | self.up.merge(&other.up);
        }
        self.merge(&other)
    }
}

impl<const BUG: u8> Dotted for Counter<BUG> {
    fn last_counter(&self, replica: ReplicaId) -> u64 {
        self.seen.get(replica)
    }
}

impl<const BUG: u8> Delta for Counter<BUG> {
    type Version = Rows;
    type Change = Counter<BUG>;

    fn version(&self) -> &Rows {
        &self.seen
    }

    fn delta_since(&self, since: &Rows) -> Self {
        let ahead = if BUG == BUFFER_RESET { self.recent.clone() } else { self.seen.delta_since(since) };
        let news = |rows: &Rows| rows.iter().filter(|row| ahead.get(row.0) > 0).collect();
        Counter {
            up: news(&self.up),
            down: Down(news(&self.down.0)),
            seen: ahead,
            recent: Rows::new(),
            arrival: self.arrival.clone(),
        }
    }

    fn apply(&mut self, change: &Self) -> Result<bool, Gap> {
        if BUG == DELTAS_ADD {
            self.seen.merge(&change.seen);
            self.up = self.up.zip(&change.up).map(|(id, mine, theirs)| (id, mine + theirs)).collect();
            return Ok(!change.up.is_empty());
        }
        Ok(self.merge(change))
    }
}

#[derive(Clone, Debug)]
struct Add(i8);

impl Arbitrary for Add {
    fn arbitrary(g: &mut Gen) -> Self {
        Add(i8::arbitrary(g) % 5)
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        Box::new(self.0.shrink().map(Add))
    }
}

struct Driver<const BUG: u8>;

impl<const BUG: u8> Subject for Driver<BUG> {
    type State = Counter<BUG>;
    type Op = Add;

    fn update(replica: &mut Replica<Counter<BUG>>, &Add(by): &Add, _now: u64) -> Outcome {
        if BUG == NO_EFFECT {
            return Ok(());
        }
        replica.update(|counter, tick| {
            let dot = tick.follows(counter)?.take()?;
            counter.arrived(dot.replica);
            counter.seen.raise(dot.replica, dot.counter);
            let rows = if by < 0 { &mut counter.down.0 } else { &mut counter.up };
            rows.raise(dot.replica, rows.get(dot.replica) + u64::from(by.unsigned_abs()));
            if BUG == BUFFER_RESET {
                counter.recent = [(dot.replica, dot.counter)].into_iter().collect();
            }
            Ok(())
        })
    }

    fn restart(id: ReplicaId, mut state: Counter<BUG>) -> Counter<BUG> {
        if BUG == RESTART_LOSES {
            state.up = state.up.iter().filter(|row| row.0 != id).collect();
        }
        state
    }
}

impl<const BUG: u8> Model for Driver<BUG> {
    type View = i128;

    fn view(state: &Counter<BUG>) -> i128 {
        state.value()
    }

    fn expected(past: &[&Event<Add>]) -> i128 {
        past.iter().map(|event| i128::from(event.op.0)).sum()
    }
}

fn suite<const BUG: u8>() -> Suite<Driver<BUG>> {
    Suite::new().order().wire().serde().model()
}

#[test]
fn sound() {
    suite::<SOUND>().cases(500).check();
}

#[test]
fn a_delta_counted_twice() {
    caught(suite::<DELTAS_ADD>(), Law::DeltaEqualsMerge);
}

#[test]
fn an_optimised_merge_that_is_not_monotone() {
    caught(suite::<LARGER_SIDE_WINS>(), Law::Commutative);
}

#[test]
fn a_wrong_key_in_merge() {
    caught(suite::<WRONG_KEY>(), Law::Commutative);
}

#[test]
fn a_counter_split_over_two_stores() {
    caught(suite::<SECOND_STORE_SKIPPED>(), Law::Commutative);
}

#[test]
fn a_restart_that_loses_increments() {
    caught(suite::<RESTART_LOSES>(), Law::Restart);
}

#[test]
fn a_delta_buffer_reset_before_its_acknowledgement() {
    caught(Suite::<Driver<BUFFER_RESET>>::new().delta(), Law::DeltaEqualsMerge);
}

#[test]
fn a_merge_that_adds() {
    for seed in 0..5 {
        caught(suite::<MERGE_ADDS>().seed(seed), Law::Commutative);
    }
}

#[test]
fn an_order_that_merge_does_not_know() {
    caught(suite::<ORDER_BY_VALUE>(), Law::Order);
}

#[test]
fn bytes_that_depend_on_the_way() {
    caught(suite::<BYTES_IN_ARRIVAL_ORDER>(), Law::CanonicalBytes);
}

#[test]
fn a_growth_that_is_guessed() {
    caught(suite::<GROWTH_GUESSED>(), Law::Growth);
}

#[test]
fn a_shortcut_from_bottom() {
    caught(suite::<BOTTOM_SHORTCUT>(), Law::Commutative);
}

#[test]
fn a_consuming_merge_that_differs() {
    caught(suite::<OWNED_FORGETS>(), Law::MergeOwned);
}

#[test]
fn bytes_that_leave_something_out() {
    caught(suite::<BYTES_FORGET>(), Law::SerdeRoundTrip);
}

#[test]
fn updates_without_effect() {
    caught(Suite::<Driver<NO_EFFECT>>::new(), Law::Effect);
}
