//! The workloads, on one way of storing a set.

use crate::{
    measure::{Effort, allocations, chill, fresh, live_bytes, mix, repeat, time},
    representation::{Digest, Element, Numbering, Representation, State},
    table::Unit,
};
use crdt_core::Dot;
use std::{collections::VecDeque, hint::black_box, marker::PhantomData};

/// What the sets of one line of the tables are like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) n: u64,
    pub(crate) replicas: u64,
    pub(crate) is_sparse: bool,
    /// Strings of 24 bytes instead of numbers.
    pub(crate) is_text: bool,
    /// The other side is no clone: it took the same dots in another order, with another hash seed.
    pub(crate) is_independent: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Identical,
    Changed,
    ChangedCold,
    Disjoint,
    Add,
    Contains,
    Iterate,
    Clone,
    CloneCalls,
    Fresh,
    Fifo,
    Random,
    IterateRandom,
}

/// Sets of this size, and larger ones, are measured by single samples: a copy takes as long as a hundred merges.
pub(crate) const LARGE: u64 = 1_000_000;
/// Churn is run on sets up to this size.
const CHURNED: u64 = 10_000;
/// Add and remove pairs for each element.
const PAIRS: u64 = 10;

impl Work {
    pub(crate) const ALL: [Work; 13] = [
        Work::Identical,
        Work::Changed,
        Work::ChangedCold,
        Work::Disjoint,
        Work::Add,
        Work::Contains,
        Work::Iterate,
        Work::IterateRandom,
        Work::Clone,
        Work::CloneCalls,
        Work::Fresh,
        Work::Fifo,
        Work::Random,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Work::Identical => "merge, nothing new",
            Work::Changed => "merge, d = 100 (10 at n = 10²)",
            Work::ChangedCold => "merge, d = 100, cold",
            Work::Disjoint => "merge, disjoint",
            Work::Add => "add",
            Work::Contains => "contains",
            Work::Iterate => "iterate, an element",
            Work::IterateRandom => "iterate after random churn, an element",
            Work::Clone => "clone",
            Work::CloneCalls => "clone, allocator calls",
            Work::Fresh => "live bytes an element",
            Work::Fifo => "live bytes an element after churn, oldest first",
            Work::Random => "live bytes an element after churn, at random",
        }
    }

    pub(crate) const fn unit(self) -> Unit {
        match self {
            Work::CloneCalls => Unit::Calls,
            Work::Fresh | Work::Fifo | Work::Random => Unit::Bytes,
            _ => Unit::Nanoseconds,
        }
    }

    /// What is counted is the same each time.
    pub(crate) fn is_timed(self) -> bool {
        self.unit() == Unit::Nanoseconds
    }

    pub(crate) const fn applies(self, case: Case) -> bool {
        match self {
            Work::Identical | Work::Changed => true,
            Work::ChangedCold => case.n >= LARGE,
            // How the other side came about makes no difference to the rest.
            _ if case.is_independent => false,
            Work::Fifo | Work::Random | Work::IterateRandom => case.n <= CHURNED,
            _ => true,
        }
    }
}

impl Case {
    /// How much each side has changed: half of it are adds and half removals.
    fn changes(self) -> u64 {
        (self.n / 10).min(100)
    }

    /// The elements whose adding is timed.
    fn added(self) -> std::ops::Range<u64> {
        self.n..self.n + (self.n / 10).min(10_000)
    }

    /// The adds of elements `from .. from + n` by replicas from `first` on, in turn.
    fn births(self, first: u64, from: u64) -> (Vec<(Dot, u64)>, Numbering) {
        let mut numbering = Numbering::new(self.is_sparse);
        let births = (from..from + self.n).map(|k| (numbering.next(first + k % self.replicas), k)).collect();
        (births, numbering)
    }
}

/// What the sets of a case are after the works that change them.
#[derive(Clone, Copy)]
pub(crate) struct Expected {
    changed: Digest,
    disjoint: Digest,
    added: Digest,
}

impl Expected {
    pub(crate) fn new<E: Element>(case: Case) -> Self {
        let sum = |items: &mut dyn Iterator<Item = u64>| {
            items.map(E::make).fold(Digest::default(), |sum, element| sum.with(&element))
        };
        let base = sum(&mut (0..case.n));
        let mut changed = base;
        for side in 0..2 {
            let (added, removed) = changes(case, side);
            changed = changed.plus(sum(&mut added.into_iter())).minus(sum(&mut removed.into_iter()));
        }
        let disjoint = base.plus(sum(&mut (case.n..2 * case.n)));
        Expected { changed, disjoint, added: base.plus(sum(&mut case.added())) }
    }
}

/// One way of storing the sets of a case.
pub(crate) trait Contestant {
    fn name(&self) -> &'static str;

    /// One sample, in the unit of the work.
    fn sample(&mut self, work: Work, effort: Effort) -> f64;
}

pub(crate) struct Bench<E, R> {
    case: Case,
    expected: Expected,
    base: State<R>,
    /// The same elements.
    twin: State<R>,
    /// The other side of a merge after its changes.
    changed: State<R>,
    /// As many other elements, by other replicas.
    other: Option<R>,
    other_numbering: Numbering,
    churned: Option<R>,
    fresh_bytes: f64,
    elements: PhantomData<E>,
}

impl<E: Element, R: Representation<E>> Bench<E, R> {
    pub(crate) fn new(case: Case, expected: Expected) -> Self {
        let (mut births, numbering) = case.births(1, 0);
        let (fresh_bytes, set) = live_bytes(|| build(&births));
        let base = State { set, numbering };
        let twin = if case.is_independent {
            births.sort_by_key(|(dot, _)| (std::cmp::Reverse(dot.replica), dot.counter));
            State { set: build(&births), numbering: base.numbering.clone() }
        } else {
            base.clone()
        };
        let mut changed = twin.clone();
        change(case, &mut changed, 1);
        let (births, other_numbering) = case.births(1 + case.replicas, case.n);
        let other = Work::Disjoint.applies(case).then(|| build(&births));
        let churned = Work::IterateRandom.applies(case).then(|| churn(case, random));
        Bench {
            case,
            expected,
            base,
            twin,
            changed,
            other,
            other_numbering,
            churned,
            fresh_bytes,
            elements: PhantomData,
        }
    }

    /// Times `run` on states of its own. `expected` is what they are afterwards.
    fn timed(
        &self,
        effort: Effort,
        prepare: impl Fn() -> State<R>,
        run: impl Fn(&mut State<R>),
        expected: Digest,
    ) -> f64 {
        let check = |state: &State<R>| {
            assert_eq!(Digest::of(state.set.iter()), expected, "{} gives another state", R::NAME);
        };
        if self.case.n >= LARGE {
            let mut state = prepare();
            let (took, ()) = time(|| run(&mut state));
            check(&state);
            return took;
        }
        let most = usize::try_from((100_000 / self.case.n).clamp(1, 500)).expect("small");
        fresh(effort, most, prepare, run, check)
    }

    fn merge_changed(&self, effort: Effort, is_cold: bool) -> f64 {
        let prepare = || {
            let mut state = self.base.clone();
            change(self.case, &mut state, 0);
            if is_cold {
                chill();
            }
            state
        };
        self.timed(effort, prepare, |state| state.join(&self.changed), self.expected.changed)
    }

    fn merge_nothing(&mut self, effort: Effort) -> f64 {
        // Other sets have changed, so that the vectors differ; this one has not.
        let mut theirs = self.base.numbering.clone();
        theirs.next(u64::MAX);
        let State { set, numbering } = &mut self.base;
        assert!(!set.merge(&self.twin.set, &numbering.seen, &theirs.seen), "{} has grown", R::NAME);
        repeat(effort.few(), || set.merge(&self.twin.set, &numbering.seen, &theirs.seen))
    }

    fn merge_disjoint(&self, effort: Effort) -> f64 {
        let other = State {
            set: self.other.clone().expect("made for this case"),
            numbering: self.other_numbering.clone(),
        };
        self.timed(effort, || self.base.clone(), |state| state.join(&other), self.expected.disjoint)
    }

    fn add(&self, effort: Effort) -> f64 {
        let items: Vec<E> = self.case.added().map(E::make).collect();
        let run = |state: &mut State<R>| items.iter().for_each(|item| state.add(1, item.clone()));
        // The first add after a clone makes room for many.
        let prepare = || {
            let mut state = self.base.clone();
            let item = E::make(u64::MAX);
            state.add(1, item.clone());
            state.remove(1, &item);
            state
        };
        self.timed(effort, prepare, run, self.expected.added) / items.len() as f64
    }

    fn contains(&self, effort: Effort) -> f64 {
        let n = self.case.n;
        // In no order, half of them absent.
        let asked: Vec<u64> = (0..n.min(100_000)).map(|k| mix(k) % (2 * n)).collect();
        let present = asked.iter().filter(|k| **k < n).count();
        let asked: Vec<E> = asked.into_iter().map(E::make).collect();
        let count = || asked.iter().filter(|element| self.base.set.contains(element)).count();
        assert_eq!(count(), present, "{} finds others", R::NAME);
        repeat(effort.few(), count) / asked.len() as f64
    }

    fn clone_all(&self, effort: Effort) -> f64 {
        if self.case.n >= LARGE {
            return time(|| self.base.set.clone()).0;
        }
        let most = usize::try_from((100_000 / self.case.n).clamp(1, 500)).expect("small");
        fresh(effort, most, || None, |copy| *copy = Some(self.base.set.clone()), |_| ())
    }

    fn per_element(&self, bytes: f64) -> f64 {
        (bytes + size_of::<R>() as f64) / self.case.n as f64
    }
}

impl<E: Element, R: Representation<E>> Contestant for Bench<E, R> {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn sample(&mut self, work: Work, effort: Effort) -> f64 {
        let iterate = |set: &R| repeat(effort.few(), || Digest::of(set.iter())) / self.case.n as f64;
        match work {
            Work::Identical => self.merge_nothing(effort),
            Work::Changed => self.merge_changed(effort, false),
            Work::ChangedCold => self.merge_changed(effort, true),
            Work::Disjoint => self.merge_disjoint(effort),
            Work::Add => self.add(effort),
            Work::Contains => self.contains(effort),
            Work::Iterate => iterate(&self.base.set),
            Work::IterateRandom => iterate(self.churned.as_ref().expect("made for this case")),
            Work::Clone => self.clone_all(effort),
            // The elements' own, which everyone must make, are not counted.
            Work::CloneCalls => {
                let own = if self.case.is_text { self.case.n as f64 } else { 0.0 };
                allocations(|| self.base.set.clone()).0 - own
            }
            Work::Fresh => self.per_element(self.fresh_bytes),
            Work::Fifo => self.per_element(live_bytes(|| churn::<E, R>(self.case, |_, _| 0)).0),
            Work::Random => self.per_element(live_bytes(|| churn::<E, R>(self.case, random)).0),
        }
    }
}

fn build<E: Element, R: Representation<E>>(births: &[(Dot, u64)]) -> R {
    births.iter().fold(R::default(), |mut set, (dot, k)| {
        set.add(*dot, E::make(*k));
        set
    })
}

/// What a side adds, and what it removes: spread over the set.
fn changes(case: Case, side: u64) -> (Vec<u64>, Vec<u64>) {
    let d = case.changes();
    let added = (0..d / 2).map(|k| case.n + 2 * k + side).collect();
    (added, (0..d / 2).map(|k| (2 * k + side) * (case.n / (2 * d))).collect())
}

fn change<E: Element, R: Representation<E>>(case: Case, state: &mut State<R>, side: u64) {
    let replica = 1_000 + side;
    let (added, removed) = changes(case, side);
    for k in added {
        state.add(replica, E::make(k));
    }
    for k in removed {
        state.remove(replica, &E::make(k));
    }
}

fn random(pair: u64, live: usize) -> usize {
    mix(pair) as usize % live
}

/// Adds an element and removes one, over and over, by all replicas in turn; deaths are forgotten now and then.
fn churn<E: Element, R: Representation<E>>(case: Case, choose: impl Fn(u64, usize) -> usize) -> R {
    let (births, numbering) = case.births(1, 0);
    let mut state: State<R> = State { set: build(&births), numbering };
    let mut live: VecDeque<u64> = (0..case.n).collect();
    for pair in 0..PAIRS * case.n {
        let at = choose(pair, live.len());
        let removed = live.swap_remove_front(at).expect("it is among them");
        state.remove(1 + (pair + 1) % case.replicas, &E::make(removed));
        state.add(1 + pair % case.replicas, E::make(case.n + pair));
        live.push_back(case.n + pair);
        if pair % case.n == case.n - 1 {
            state.set.forget_deaths(&state.numbering.seen);
        }
    }
    assert_eq!(black_box(state.set.iter().count()) as u64, case.n, "{} has lost elements", R::NAME);
    state.set
}
