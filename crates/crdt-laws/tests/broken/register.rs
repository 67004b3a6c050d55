//! A register: the last write wins.

use crate::caught;
use crdt_core::{Dot, Dotted, Merge, Replica, ReplicaId, Rows, UpdateError};
use crdt_laws::{Event, Law, Model, Outcome, Subject, Suite};
use quickcheck::{Arbitrary, Gen};

pub(crate) const SOUND: u8 = 0;
/// Values are averaged.
pub(crate) const AVERAGE: u8 = 1;
/// Of two writes with one stamp each side keeps its own.
pub(crate) const TIE_KEPT_LOCAL: u8 = 2;
/// A write is stamped with what the clock shows, also when that is behind what the register holds.
const RAW_CLOCK: u8 = 3;
/// The earlier write wins.
const FIRST_WINS: u8 = 4;
/// Refuses a write after it has taken the number and the value.
const REFUSES_LATE: u8 = 5;
/// A clock at its end makes it panic.
const OVERFLOWS: u8 = 6;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Register<const BUG: u8> {
    value: u64,
    stamp: (u64, Option<Dot>),
    seen: Rows,
}

#[derive(Clone, Debug)]
pub(crate) struct Set(u64);

impl Arbitrary for Set {
    fn arbitrary(g: &mut Gen) -> Self {
        Set(u64::arbitrary(g) % 10)
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        Box::new(self.0.shrink().map(Set))
    }
}

impl<const BUG: u8> Merge for Register<BUG> {
    fn merge(&mut self, other: &Self) -> bool {
        let grew = self.seen.merge(&other.seen);
        let wins = match BUG {
            AVERAGE => {
                let before = self.value;
                self.value = self.value.midpoint(other.value);
                self.stamp = self.stamp.max(other.stamp);
                return grew || self.value != before;
            }
            TIE_KEPT_LOCAL => self.stamp.0 < other.stamp.0,
            FIRST_WINS => other.stamp.0 > 0 && (self.stamp.0 == 0 || other.stamp < self.stamp),
            _ => self.stamp < other.stamp,
        };
        if wins {
            (self.value, self.stamp) = (other.value, other.stamp);
        }
        grew || wins
    }
}

impl<const BUG: u8> Dotted for Register<BUG> {
    fn last_counter(&self, replica: ReplicaId) -> u64 {
        self.seen.get(replica)
    }
}

pub(crate) struct Driver<const BUG: u8>;

impl<const BUG: u8> Subject for Driver<BUG> {
    type State = Register<BUG>;
    type Op = Set;

    fn update(replica: &mut Replica<Register<BUG>>, op: &Set, now: u64) -> Outcome {
        replica.update(|register, tick| {
            let tick = tick.follows(register)?;
            if BUG == REFUSES_LATE && now == u64::MAX {
                register.value = op.0 + 1;
                tick.take()?;
                return Err(UpdateError::Overflow.into());
            }
            if BUG == FIRST_WINS && register.stamp.0 > 0 {
                let dot = tick.take()?;
                register.seen.raise(dot.replica, dot.counter);
                return Ok(());
            }
            let above = register.stamp.0.checked_add(1);
            assert!(BUG != OVERFLOWS || above.is_some(), "a clock at its end");
            let mut time = now.max(above.ok_or(UpdateError::Overflow)?);
            if BUG == RAW_CLOCK {
                time = now;
            }
            let dot = tick.take()?;
            register.seen.raise(dot.replica, dot.counter);
            register.stamp = (time, Some(dot));
            register.value = op.0;
            Ok(())
        })
    }
}

/// Replays the clock rule on events: a write is later than all that it saw.
impl<const BUG: u8> Model for Driver<BUG> {
    type View = u64;

    fn view(state: &Register<BUG>) -> u64 {
        state.value
    }

    fn expected(past: &[&Event<Set>]) -> u64 {
        let mut stamps: Vec<(u64, Dot)> = Vec::new();
        for event in past {
            let seen = past.iter().zip(&stamps).filter(|(earlier, _)| event.saw(earlier));
            let after = seen.map(|(_, stamp)| stamp.0.saturating_add(1)).max().unwrap_or(1);
            stamps.push((event.now.max(after), event.dot));
        }
        let last = past.iter().zip(stamps).max_by_key(|(_, stamp)| *stamp);
        last.map_or(0, |(event, _)| event.op.0)
    }
}

pub(crate) fn suite<const BUG: u8>() -> Suite<Driver<BUG>> {
    Suite::new().model()
}

#[test]
fn sound() {
    suite::<SOUND>().cases(500).check();
}

#[test]
fn values_are_averaged() {
    caught(suite::<AVERAGE>(), Law::Associative);
}

#[test]
fn a_tie_is_kept_local() {
    caught(suite::<TIE_KEPT_LOCAL>(), Law::Commutative);
}

#[test]
fn a_write_below_what_it_saw() {
    caught(suite::<RAW_CLOCK>(), Law::Inflationary);
}

#[test]
fn the_wrong_write_wins() {
    caught(suite::<FIRST_WINS>(), Law::Model);
}

#[test]
fn a_refusal_with_effect() {
    caught(suite::<REFUSES_LATE>(), Law::RefusedUpdate);
}

#[test]
fn an_overflow_that_panics() {
    caught(suite::<OVERFLOWS>(), Law::Panics);
}
