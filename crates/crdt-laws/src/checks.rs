//! The laws themselves, on given states; those of deltas and stand-ins are in `deltas`.

use crate::{
    ability::{Abilities, show},
    law::Law,
    panics,
    subject::{Event, Past, Subject},
};
use crdt_core::{Dotted, Merge, ReplicaId};
use std::{cmp::Ordering, fmt};

/// A reachable state, its name for the reader, and what it has seen.
pub(crate) struct Known<'a, T> {
    pub(crate) label: Label,
    pub(crate) state: &'a T,
    pub(crate) past: &'a Past,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    Bottom,
    /// All replicas merged.
    All,
    /// A replica as it is now.
    Now(usize),
    /// A replica as it was before the update that is looked at.
    Before(usize),
    /// A replica as it was after a step.
    At(usize, usize),
    /// A replica, its metadata dropped.
    Trimmed(usize),
    /// A replica, encoded and decoded.
    Decoded(usize),
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Label::Bottom => f.write_str("bottom"),
            Label::All => f.write_str("all replicas merged"),
            Label::Now(node) => write!(f, "{}", name(node)),
            Label::At(node, 0) => write!(f, "({} at the start)", name(node)),
            Label::Before(node) => write!(f, "({} before the update)", name(node)),
            Label::Trimmed(node) => write!(f, "({} trimmed)", name(node)),
            Label::Decoded(node) => write!(f, "({} through bytes)", name(node)),
            Label::At(node, step) => write!(f, "({} after step {step})", name(node)),
        }
    }
}

/// More replicas than this show no bug that these do not.
pub(crate) const MOST_REPLICAS: usize = 6;

/// The ids read as the names do: replica A writes as `a`.
pub(crate) fn id(node: usize) -> ReplicaId {
    ReplicaId::new(0xa + node as u64)
}

/// A, B, C ...
pub(crate) fn name(node: usize) -> char {
    char::from(b'A' + u8::try_from(node).expect("few replicas"))
}

/// One law found broken: what was looked at, and what it was.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) law: Law,
    pub(crate) found: Vec<(String, String)>,
    /// The states it happened to.
    pub(crate) given: Vec<(String, String)>,
    /// As what it was found, before it was laid to trimming or to bytes, and why it was.
    pub(crate) laid: Option<(Law, &'static str)>,
}

/// What the type is asked to do just now, in case it panics; `{0}`, `{1}` and `{2}` stand for the operands.
///
/// Set before every operation, so it has to be cheap: it becomes text only when someone reads it.
#[derive(Clone, Copy)]
pub(crate) struct Doing {
    text: &'static str,
    pub(crate) operands: [Label; 3],
}

impl Doing {
    pub(crate) const NOTHING: Self = Doing { text: "", operands: [Label::Bottom; 3] };
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = ["{0}", "{1}", "{2}"].into_iter().zip(self.operands);
        f.write_str(
            &named.fold(self.text.to_owned(), |text, (at, label)| text.replace(at, &label.to_string())),
        )
    }
}

/// What is really done where a history says so; switched off to learn what a broken law is owed to.
#[derive(Clone, Copy)]
pub(crate) struct Faults {
    pub(crate) trimming: bool,
    pub(crate) bytes: bool,
}

pub(crate) struct Checker<'s, S: Subject> {
    pub(crate) abilities: &'s Abilities<S>,
    pub(crate) wanted: &'s dyn Fn(Law) -> bool,
    pub(crate) faults: Faults,
    pub(crate) every_version: bool,
    pub(crate) doing: Doing,
    pub(crate) counts: [u64; Law::ALL.len()],
    pub(crate) findings: Vec<Finding>,
}

pub(crate) type Text<'a> = &'a dyn Fn() -> String;

impl<S: Subject> Checker<'_, S> {
    /// Says what the type is asked to do next, and to which states.
    pub(crate) fn doing(&mut self, text: &'static str, operands: &[Label]) {
        self.doing = Doing { text, ..Doing::NOTHING };
        self.doing.operands[..operands.len()].copy_from_slice(operands);
    }

    /// Records a check; `found` gives what was looked at and what it was.
    pub(crate) fn record(
        &mut self,
        law: Law,
        holds: bool,
        found: impl FnOnce() -> Vec<(String, String)>,
    ) -> bool {
        if !(self.wanted)(law) {
            return true;
        }
        self.counts[law as usize] += 1;
        if !holds && self.findings.iter().all(|found| found.law != law) {
            self.findings.push(Finding { law, found: found(), given: Vec::new(), laid: None });
        }
        holds
    }

    /// Records a check of two values that should agree.
    pub(crate) fn holds(
        &mut self,
        law: Law,
        holds: bool,
        left: (Text<'_>, Text<'_>),
        right: (Text<'_>, Text<'_>),
    ) -> bool {
        self.record(law, holds, || vec![(left.0(), left.1()), (right.0(), right.1())])
    }

    /// Records whether what was being done has panicked.
    pub(crate) fn panicked<T>(&mut self, outcome: Result<T, String>) -> Option<T> {
        let doing = self.doing;
        let said = outcome.as_ref().err().cloned().unwrap_or_default();
        self.record(Law::Panics, outcome.is_ok(), || vec![(format!("{doing} panics"), said)]);
        outcome.ok()
    }

    /// The type's own invariant.
    pub(crate) fn invariant(&mut self, state: &S::State, name: Text<'_>) {
        let said = S::invariant(state);
        self.record(Law::Invariant, said.is_ok(), || {
            let wrong = said.err().unwrap_or_default();
            vec![(name(), show(state)), ("breaks its invariant".into(), wrong)]
        });
    }

    /// The two states must be equal.
    pub(crate) fn equal(
        &mut self,
        law: Law,
        left: &S::State,
        right: &S::State,
        names: (Text<'_>, Text<'_>),
    ) -> bool {
        self.holds(law, left == right, (names.0, &|| show(left)), (names.1, &|| show(right)))
    }

    /// A function said `said`; it should have said `truth`.
    pub(crate) fn truth<V: Copy + PartialEq + fmt::Debug>(
        &mut self,
        law: Law,
        said: V,
        truth: V,
        names: (Text<'_>, Text<'_>),
    ) -> bool {
        self.holds(law, said == truth, (names.0, &|| show(&said)), (names.1, &|| show(&truth)))
    }

    /// Runs `checks` with these states as what findings are about; a panic in it is one.
    pub(crate) fn about(&mut self, states: &[&Known<'_, S::State>], checks: impl FnOnce(&mut Self)) {
        let found = self.findings.len();
        // The checks work on copies: what a panic leaves half done goes with them.
        let outcome = panics::catch(|| checks(self));
        self.panicked(outcome);
        for finding in &mut self.findings[found..] {
            finding.given.extend(states.iter().map(|known| (known.label.to_string(), show(known.state))));
        }
    }

    /// Laws of one state.
    pub(crate) fn one(&mut self, a: &Known<'_, S::State>) {
        self.about(&[a], |check| {
            let (name, state) = (a.label, a.state);
            check.doing("the invariant of {0}", &[name]);
            check.invariant(state, &|| name.to_string());
            check.doing("{0}.merge({0})", &[name]);
            let mut twice = state.clone();
            let grew = twice.merge(state);
            check.equal(
                Law::Idempotent,
                &twice,
                state,
                (&|| format!("{name} ∨ {name}"), &|| name.to_string()),
            );
            check.truth(
                Law::Growth,
                grew,
                twice != *state,
                (&|| format!("{name}.merge({name}) returned"), &|| "whether it grew".into()),
            );
            check.doing("bottom.merge({0})", &[name]);
            let mut from_bottom = S::State::default();
            from_bottom.merge(state);
            check.invariant(&from_bottom, &|| format!("bottom ∨ {name}"));
            check.equal(
                Law::Bottom,
                &from_bottom,
                state,
                (&|| format!("bottom ∨ {name}"), &|| name.to_string()),
            );
            check.doing("{0}.merge(bottom)", &[name]);
            let mut with_bottom = state.clone();
            with_bottom.merge(&S::State::default());
            check.equal(
                Law::Bottom,
                &with_bottom,
                state,
                (&|| format!("{name} ∨ bottom"), &|| name.to_string()),
            );
            check.bytes(a);
            check.binary(a);
        });
    }

    /// Laws of two states.
    pub(crate) fn two(&mut self, a: &Known<'_, S::State>, b: &Known<'_, S::State>) {
        self.about(&[a, b], |check| {
            let ab = check.join(a, b);
            let ba = check.join(b, a);
            let (l, r) = (a.label, b.label);
            check.equal(Law::Commutative, &ab, &ba, (&|| format!("{l} ∨ {r}"), &|| format!("{r} ∨ {l}")));
            check.order(a, b, &ab, &ba);
            check.versions(a, b, &ab);
            for (x, y, joined) in [(a, b, &ab), (b, a, &ba)] {
                if x.past.is_subset(y.past) {
                    let (x, y) = (x.label, y.label);
                    check.equal(
                        Law::Convergence,
                        joined,
                        if y == l { a.state } else { b.state },
                        (&|| format!("{x} ∨ {y}, where {y} has seen all that {x} has"), &|| y.to_string()),
                    );
                }
            }
            if a.past.is_subset(b.past) && b.past.is_subset(a.past) {
                check.equal(
                    Law::Convergence,
                    a.state,
                    b.state,
                    (&|| l.to_string(), &|| format!("{r}, which has seen the same updates")),
                );
            }
            if a.state == b.state {
                check.same_bytes(a, b);
            }
        });
    }

    /// `x ∨ y`, with the laws that look at the merge itself.
    fn join(&mut self, x: &Known<'_, S::State>, y: &Known<'_, S::State>) -> S::State {
        let (l, r) = (x.label, y.label);
        self.doing("{0}.merge({1})", &[l, r]);
        let mut joined = x.state.clone();
        let grew = joined.merge(y.state);
        self.invariant(&joined, &|| format!("{l} ∨ {r}"));
        self.truth(
            Law::Growth,
            grew,
            joined != *x.state,
            (&|| format!("{l}.merge({r}) returned"), &|| format!("whether {l} changed")),
        );
        self.doing("{0}.merge_owned({1})", &[l, r]);
        let mut owned = x.state.clone();
        let owned_grew = owned.merge_owned(y.state.clone());
        self.equal(
            Law::MergeOwned,
            &owned,
            &joined,
            (&|| format!("{l}.merge_owned({r})"), &|| format!("{l}.merge({r})")),
        );
        self.truth(
            Law::MergeOwned,
            owned_grew,
            grew,
            (&|| format!("{l}.merge_owned({r}) returned"), &|| format!("{l}.merge({r}) returned")),
        );
        self.doing("the last counters of {0}, {1} and {0} ∨ {1}", &[l, r]);
        for id in (0..MOST_REPLICAS).map(id) {
            let had = x.state.last_counter(id).max(y.state.last_counter(id));
            let has = joined.last_counter(id);
            self.holds(
                Law::Counters,
                has >= had,
                (&|| format!("the last counter of {id} in {l} ∨ {r}"), &|| has.to_string()),
                (&|| "one of them had".into(), &|| had.to_string()),
            );
        }
        for side in [x, y] {
            let name = side.label;
            self.doing("{2}.merge({0} ∨ {1})", &[l, r, name]);
            let mut above = side.state.clone();
            above.merge(&joined);
            self.equal(
                Law::Inflationary,
                &above,
                &joined,
                (&|| format!("{name} ∨ ({l} ∨ {r})"), &|| format!("{l} ∨ {r}")),
            );
        }
        self.doing("({0} ∨ {1}).merge({1})", &[l, r]);
        let mut again = joined.clone();
        again.merge(y.state);
        self.equal(
            Law::Idempotent,
            &again,
            &joined,
            (&|| format!("({l} ∨ {r}) ∨ {r}"), &|| format!("{l} ∨ {r}")),
        );
        joined
    }

    fn order(&mut self, a: &Known<'_, S::State>, b: &Known<'_, S::State>, ab: &S::State, ba: &S::State) {
        let Some(compare) = self.abilities.order else { return };
        let truth = by_merge(ab == b.state, ba == a.state);
        let (l, r) = (a.label, b.label);
        self.doing("comparing {0} and {1}", &[l, r]);
        self.truth(
            Law::Order,
            compare(a.state, b.state),
            truth,
            (&|| format!("{l}.partial_cmp({r})"), &|| "the order that merge defines".into()),
        );
        self.truth(
            Law::Order,
            compare(b.state, a.state),
            truth.map(Ordering::reverse),
            (&|| format!("{r}.partial_cmp({l})"), &|| "the order that merge defines".into()),
        );
    }

    fn versions(&mut self, a: &Known<'_, S::State>, b: &Known<'_, S::State>, ab: &S::State) {
        let Some(delta) = &self.abilities.delta else { return };
        let (l, r) = (a.label, b.label);
        self.doing("comparing the versions of {0} and {1}", &[l, r]);
        let versions = (delta.compare)(a.state, b.state);
        if versions == Some(Ordering::Equal) {
            self.equal(
                Law::EqualVersions,
                a.state,
                b.state,
                (&|| l.to_string(), &|| format!("{r}, of the same version")),
            );
        }
        self.truth(
            Law::VersionOrder,
            versions.is_some_and(Ordering::is_le),
            ab == b.state,
            (&|| format!("the version of {l} is at most that of {r}"), &|| format!("{l} ∨ {r} == {r}")),
        );
    }

    /// The law of three states.
    pub(crate) fn three(
        &mut self,
        a: &Known<'_, S::State>,
        b: &Known<'_, S::State>,
        c: &Known<'_, S::State>,
    ) {
        self.about(&[a, b, c], |check| {
            check.doing("merging {0}, {1} and {2}", &[a.label, b.label, c.label]);
            let mut left = a.state.clone();
            left.merge(b.state);
            left.merge(c.state);
            let mut right = b.state.clone();
            right.merge(c.state);
            let mut whole = a.state.clone();
            whole.merge(&right);
            let (a, b, c) = (a.label, b.label, c.label);
            check.equal(
                Law::Associative,
                &left,
                &whole,
                (&|| format!("({a} ∨ {b}) ∨ {c}"), &|| format!("{a} ∨ ({b} ∨ {c})")),
            );
        });
    }

    /// What the state shows, against the model.
    pub(crate) fn model(&mut self, a: &Known<'_, S::State>, past: &[&Event<S::Op>]) {
        let Some(model) = self.abilities.model else { return };
        self.about(&[a], |check| {
            check.doing("what {0} shows, or its model", &[a.label]);
            let mismatch = model(a.state, past);
            check.record(Law::Model, mismatch.is_none(), || {
                let (expected, shown) = mismatch.unwrap_or_default();
                vec![(format!("{} shows", a.label), shown), ("its model says".into(), expected)]
            });
        });
    }
}

fn by_merge(le: bool, ge: bool) -> Option<Ordering> {
    match (le, ge) {
        (true, true) => Some(Ordering::Equal),
        (true, false) => Some(Ordering::Less),
        (false, true) => Some(Ordering::Greater),
        (false, false) => None,
    }
}
