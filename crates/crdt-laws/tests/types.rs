//! All laws, and a naive model, for every type of this family.

use crdt_core::{Dot, Dotted, Merge, Replica, ReplicaId, Rows};
use crdt_laws::{Event, Law, Model, Outcome, Report, Subject, Suite};
use g_counter::GCounter;
use lww_register::{HybridTime, LwwRegister, Stamp};
use or_set::OrSet;
use pn_counter::PnCounter;
use quickcheck::{Arbitrary, Gen};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    hash::Hash,
    marker::PhantomData,
};
use version_vector::VersionVector;

/// What no history ever led to was not checked: every law must have been, but those left out on purpose.
#[track_caller]
fn passes<S: Subject>(suite: Suite<S>, unchecked: &[Law]) {
    let report: Report = suite.cases(500).run().unwrap_or_else(|violation| panic!("{violation}"));
    for law in Law::ALL {
        assert!(unchecked.contains(&law) || report.checks(law) > 0, "{law} was never checked:\n{report}");
    }
}

/// A small amount, or now and then one that overflows.
#[derive(Clone, Debug)]
struct Amount(u64);

impl Arbitrary for Amount {
    fn arbitrary(g: &mut Gen) -> Self {
        Amount(*g.choose(&[0, 1, 1, 2, 3, 5, 8, 13, 1 << 63, u64::MAX]).expect("not empty"))
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        Box::new(self.0.shrink().map(Amount))
    }
}

#[derive(Clone, Debug)]
enum UpDown {
    Up(Amount),
    Down(Amount),
}

impl Arbitrary for UpDown {
    fn arbitrary(g: &mut Gen) -> Self {
        let amount = Amount::arbitrary(g);
        if bool::arbitrary(g) { UpDown::Up(amount) } else { UpDown::Down(amount) }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        match self {
            UpDown::Up(amount) => Box::new(amount.shrink().map(UpDown::Up)),
            UpDown::Down(amount) => {
                let up = std::iter::once(UpDown::Up(amount.clone()));
                Box::new(up.chain(amount.shrink().map(UpDown::Down)))
            }
        }
    }
}

struct RowsOfUpdates;

impl Subject for RowsOfUpdates {
    type State = Rows;
    type Op = ();

    fn update(replica: &mut Replica<Rows>, (): &(), _now: u64) -> Outcome {
        replica.update(|rows, tick| {
            let dot = tick.follows(rows)?.take()?;
            rows.raise(dot.replica, dot.counter);
            Ok(())
        })
    }
}

impl Model for RowsOfUpdates {
    type View = u128;

    fn view(state: &Rows) -> u128 {
        state.sum()
    }

    fn expected(past: &[&Event<()>]) -> u128 {
        past.len() as u128
    }
}

struct Versions;

impl Subject for Versions {
    type State = VersionVector;
    type Op = ();

    fn update(replica: &mut Replica<VersionVector>, (): &(), _now: u64) -> Outcome {
        replica.update(VersionVector::increment)?;
        Ok(())
    }
}

impl Model for Versions {
    type View = usize;

    fn view(state: &VersionVector) -> usize {
        state.iter().map(|(_, counter)| usize::try_from(counter).expect("few")).sum()
    }

    fn expected(past: &[&Event<()>]) -> usize {
        past.len()
    }
}

struct GCounters;

impl Subject for GCounters {
    type State = GCounter;
    type Op = Amount;

    fn update(replica: &mut Replica<GCounter>, by: &Amount, _now: u64) -> Outcome {
        Ok(replica.update(|counter, tick| counter.increment(tick, by.0))?)
    }
}

impl Model for GCounters {
    type View = u128;

    fn view(state: &GCounter) -> u128 {
        state.value()
    }

    fn expected(past: &[&Event<Amount>]) -> u128 {
        past.iter().map(|event| u128::from(event.op.0)).sum()
    }
}

struct PnCounters;

impl Subject for PnCounters {
    type State = PnCounter;
    type Op = UpDown;

    fn update(replica: &mut Replica<PnCounter>, op: &UpDown, _now: u64) -> Outcome {
        replica.update(|counter, tick| match op {
            UpDown::Up(by) => Ok(counter.increment(tick, by.0)?),
            UpDown::Down(by) => Ok(counter.decrement(tick, by.0)?),
        })
    }
}

impl Model for PnCounters {
    type View = i128;

    fn view(state: &PnCounter) -> i128 {
        state.value()
    }

    fn expected(past: &[&Event<UpDown>]) -> i128 {
        let signed = past.iter().map(|event| match &event.op {
            UpDown::Up(by) => i128::from(by.0),
            UpDown::Down(by) => -i128::from(by.0),
        });
        signed.sum()
    }
}

struct Registers;

impl Subject for Registers {
    type State = LwwRegister<String>;
    type Op = String;

    fn update(replica: &mut Replica<LwwRegister<String>>, text: &String, now: u64) -> Outcome {
        replica.update(|register, tick| register.set(tick, HybridTime::from_bits(now), text.clone()))?;
        Ok(())
    }
}

/// The rule of the stamps, on events: a write is later than all that it saw.
impl Model for Registers {
    type View = Option<String>;

    fn view(state: &LwwRegister<String>) -> Option<String> {
        state.get().cloned()
    }

    fn expected(past: &[&Event<String>]) -> Option<String> {
        let mut stamps: Vec<Stamp> = Vec::new();
        for event in past {
            let seen = past.iter().zip(&stamps).filter(|(earlier, _)| event.saw(earlier));
            let above = seen.filter_map(|(_, stamp)| stamp.time.next()).max().unwrap_or_default();
            stamps.push(Stamp::new(above.max(HybridTime::from_bits(event.now)), event.dot));
        }
        let last = past.iter().zip(stamps).max_by_key(|(_, stamp)| *stamp);
        last.map(|(event, _)| event.op.clone())
    }
}

/// One of four elements.
trait Element: Eq + Hash + Ord + Clone + Debug + 'static {
    fn from(number: u8) -> Self;
}

impl Element for u8 {
    fn from(number: u8) -> Self {
        number
    }
}

impl Element for String {
    fn from(number: u8) -> Self {
        "x".repeat(number.into())
    }
}

#[derive(Clone, Debug)]
enum SetOp<E> {
    Add(E),
    Extend(Vec<E>),
    Remove(E),
    Clear,
}

impl<E: Element> Arbitrary for SetOp<E> {
    fn arbitrary(g: &mut Gen) -> Self {
        let mut element = || E::from(u8::arbitrary(g) % 4);
        match element() {
            first if first == E::from(0) => SetOp::Extend(vec![element(), element(), element()]),
            first if first == E::from(1) => SetOp::Remove(element()),
            _ => match u8::arbitrary(g) % 8 {
                0 => SetOp::Clear,
                1..4 => SetOp::Remove(E::from(u8::arbitrary(g) % 4)),
                _ => SetOp::Add(E::from(u8::arbitrary(g) % 4)),
            },
        }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        let zero = || E::from(0);
        match self {
            SetOp::Add(element) if *element == zero() => Box::new(std::iter::empty()),
            SetOp::Remove(element) if *element == zero() => Box::new(std::iter::empty()),
            SetOp::Add(_) => Box::new(std::iter::once(SetOp::Add(zero()))),
            SetOp::Remove(_) | SetOp::Clear => Box::new(std::iter::once(SetOp::Remove(zero()))),
            SetOp::Extend(elements) => Box::new(elements.clone().into_iter().map(SetOp::Add)),
        }
    }
}

struct Sets<E>(PhantomData<E>);

impl<E: Element> Subject for Sets<E> {
    type State = OrSet<E>;
    type Op = SetOp<E>;

    fn update(replica: &mut Replica<OrSet<E>>, op: &SetOp<E>, _now: u64) -> Outcome {
        replica.update(|set, tick| match op {
            SetOp::Add(element) => set.add(tick, element.clone()).map(Some),
            SetOp::Extend(elements) => set.extend(tick, elements.iter().cloned()),
            SetOp::Remove(element) => set.remove(tick, element),
            SetOp::Clear => set.clear(tick),
        })?;
        Ok(())
    }

    fn trim(state: &mut OrSet<E>, stable: &Rows) {
        // Beyond what is stable as well: forgetting is safe for any version, and costs bytes only.
        let odd = stable.sum() % 2 == 1;
        let up_to = if odd { VersionVector::from(stable.clone()) } else { state.version().clone() };
        state.forget_deaths(&up_to);
    }
}

/// An element is there if an addition of it was seen by no removal of it.
impl<E: Element> Model for Sets<E> {
    type View = BTreeSet<E>;

    fn view(state: &OrSet<E>) -> BTreeSet<E> {
        state.iter().cloned().collect()
    }

    fn expected(past: &[&Event<SetOp<E>>]) -> BTreeSet<E> {
        let removes = |event: &Event<SetOp<E>>, element: &E| match &event.op {
            SetOp::Remove(removed) => removed == element,
            SetOp::Clear => true,
            SetOp::Add(_) | SetOp::Extend(_) => false,
        };
        let mut expected = BTreeSet::new();
        for &add in past {
            let added = match &add.op {
                SetOp::Add(element) => std::slice::from_ref(element),
                SetOp::Extend(elements) => elements,
                SetOp::Remove(_) | SetOp::Clear => &[],
            };
            for element in added {
                if !past.iter().any(|event| removes(event, element) && event.saw(add)) {
                    expected.insert(element.clone());
                }
            }
        }
        expected
    }
}

/// Lines by the dots that wrote them: in JSON a dot is a string, so that it may be a key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Lines(BTreeMap<Dot, bool>);

impl Merge for Lines {
    fn merge(&mut self, other: &Self) -> bool {
        let before = self.0.len();
        self.0.extend(&other.0);
        self.0.len() > before
    }
}

impl Dotted for Lines {
    fn last_counter(&self, replica: ReplicaId) -> u64 {
        self.0.keys().filter(|dot| dot.replica == replica).map(|dot| dot.counter).max().unwrap_or(0)
    }
}

impl Subject for Lines {
    type State = Self;
    type Op = bool;

    fn update(replica: &mut Replica<Self>, &line: &bool, _now: u64) -> Outcome {
        replica.update(|lines, tick| {
            let dot = tick.follows(lines)?.take()?;
            lines.0.insert(dot, line);
            Ok(())
        })
    }

    /// Dots count from 1, without holes.
    fn invariant(state: &Self) -> Result<(), String> {
        let hole = state.0.keys().find(|dot| {
            dot.counter == 0
                || (dot.counter > 1 && !state.0.contains_key(&Dot::new(dot.replica, dot.counter - 1)))
        });
        hole.map_or(Ok(()), |dot| Err(format!("{dot} is there and the one before it is not")))
    }
}

impl Model for Lines {
    type View = usize;

    fn view(state: &Self) -> usize {
        state.0.len()
    }

    fn expected(past: &[&Event<bool>]) -> usize {
        past.len()
    }
}

/// Its updates are refused only when counters end, which is not reached here by ones.
const NEVER_REFUSED: &[Law] = &[Law::RefusedUpdate];

#[test]
fn rows() {
    passes(Suite::<RowsOfUpdates>::new().order().wire().serde().binary().model(), NEVER_REFUSED);
}

#[test]
fn version_vector() {
    passes(Suite::<Versions>::new().order().wire().serde().binary().model(), NEVER_REFUSED);
}

#[test]
fn g_counter() {
    passes(Suite::<GCounters>::new().order().wire().serde().binary().model(), &[]);
}

#[test]
fn pn_counter() {
    passes(Suite::<PnCounters>::new().order().wire().serde().binary().model(), &[]);
}

#[test]
fn lww_register() {
    // A register remembers the dot of the write it holds and of no other; its writes are told apart by their stamps.
    let suite = Suite::<Registers>::new().order().wire().serde().binary().model();
    passes(suite.without(Law::Dots).without(Law::Counters), &[Law::Dots, Law::Counters]);
}

#[test]
fn or_set_of_bytes() {
    passes(Suite::<Sets<u8>>::new().order().wire().serde().binary().model(), NEVER_REFUSED);
}

#[test]
fn or_set_of_strings() {
    passes(Suite::<Sets<String>>::new().order().wire().serde().binary().model(), NEVER_REFUSED);
}

#[test]
fn a_map_by_dots() {
    let of_other_abilities = [
        Law::WireRoundTrip,
        Law::WireExtent,
        Law::Order,
        Law::DeltaEqualsMerge,
        Law::DeltaGap,
        Law::EqualVersions,
        Law::VersionOrder,
        Law::RefusedUpdate,
    ];
    passes(Suite::<Lines>::new().serde().model(), &of_other_abilities);
}
