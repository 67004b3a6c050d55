//! The laws themselves, on given states.

use crate::{
    ability::{Abilities, Change, show},
    law::Law,
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
    /// A replica as it was after a step.
    At(usize, usize),
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Label::Bottom => f.write_str("bottom"),
            Label::All => f.write_str("all replicas merged"),
            Label::Now(node) => write!(f, "{}", name(node)),
            Label::At(node, 0) => write!(f, "({} at the start)", name(node)),
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

/// One law found broken: what was compared, and the values.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) law: Law,
    pub(crate) left: (String, String),
    pub(crate) right: (String, String),
    /// The states it happened to.
    pub(crate) given: Vec<(String, String)>,
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
    pub(crate) counts: [u64; Law::ALL.len()],
    pub(crate) findings: Vec<Finding>,
}

type Text<'a> = &'a dyn Fn() -> String;

impl<S: Subject> Checker<'_, S> {
    /// Records a check; `left` and `right` each give what was looked at and what it was.
    pub(crate) fn holds(
        &mut self,
        law: Law,
        holds: bool,
        left: (Text<'_>, Text<'_>),
        right: (Text<'_>, Text<'_>),
    ) -> bool {
        if !(self.wanted)(law) {
            return true;
        }
        self.counts[law as usize] += 1;
        if !holds && self.findings.iter().all(|found| found.law != law) {
            self.findings.push(Finding {
                law,
                left: (left.0(), left.1()),
                right: (right.0(), right.1()),
                given: Vec::new(),
            });
        }
        holds
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
    fn truth<V: Copy + PartialEq + fmt::Debug>(
        &mut self,
        law: Law,
        said: V,
        truth: V,
        names: (Text<'_>, Text<'_>),
    ) -> bool {
        self.holds(law, said == truth, (names.0, &|| show(&said)), (names.1, &|| show(&truth)))
    }

    /// Runs `checks` with these states as what findings are about.
    fn about(&mut self, states: &[&Known<'_, S::State>], checks: impl FnOnce(&mut Self)) {
        let found = self.findings.len();
        checks(self);
        for finding in &mut self.findings[found..] {
            finding.given.extend(states.iter().map(|known| (known.label.to_string(), show(known.state))));
        }
    }

    /// Laws of one state.
    pub(crate) fn one(&mut self, a: &Known<'_, S::State>) {
        self.about(&[a], |check| {
            let (name, state) = (a.label, a.state);
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
            let mut from_bottom = S::State::default();
            from_bottom.merge(state);
            check.equal(
                Law::Bottom,
                &from_bottom,
                state,
                (&|| format!("bottom ∨ {name}"), &|| name.to_string()),
            );
            let mut with_bottom = state.clone();
            with_bottom.merge(&S::State::default());
            check.equal(
                Law::Bottom,
                &with_bottom,
                state,
                (&|| format!("{name} ∨ bottom"), &|| name.to_string()),
            );
            check.bytes(a);
        });
    }

    fn bytes(&mut self, a: &Known<'_, S::State>) {
        let Some(serde) = &self.abilities.serde else { return };
        let name = a.label;
        let check = |check: &mut Self, decoded: Result<S::State, String>, format: &str| {
            let holds = decoded.as_ref().is_ok_and(|back| back == a.state);
            check.holds(
                Law::SerdeRoundTrip,
                holds,
                (&|| format!("{name} after {format}"), &|| decoded.as_ref().map_or_else(String::clone, show)),
                (&|| name.to_string(), &|| show(a.state)),
            );
            decoded.ok()
        };
        let encoded = match (serde.encode)(a.state) {
            Ok(encoded) => encoded,
            Err(error) => {
                check(self, Err(error), "encoding");
                return;
            }
        };
        check(self, (serde.decode_json)(&encoded.json), "JSON");
        let back = check(self, (serde.decode)(&encoded.bytes), "postcard");
        if let Some(Ok(again)) = back.filter(|back| back == a.state).map(|back| (serde.encode)(&back)) {
            let equal = again.bytes == encoded.bytes && again.json == encoded.json;
            self.holds(
                Law::CanonicalBytes,
                equal,
                (&|| format!("bytes of {name}"), &|| format!("{:?} {}", encoded.bytes, encoded.json)),
                (&|| format!("bytes of {name} decoded"), &|| format!("{:?} {}", again.bytes, again.json)),
            );
        }
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
        let mut joined = x.state.clone();
        let grew = joined.merge(y.state);
        self.truth(
            Law::Growth,
            grew,
            joined != *x.state,
            (&|| format!("{l}.merge({r}) returned"), &|| format!("whether {l} changed")),
        );
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
            let mut above = side.state.clone();
            above.merge(&joined);
            let name = side.label;
            self.equal(
                Law::Inflationary,
                &above,
                &joined,
                (&|| format!("{name} ∨ ({l} ∨ {r})"), &|| format!("{l} ∨ {r}")),
            );
        }
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

    fn same_bytes(&mut self, a: &Known<'_, S::State>, b: &Known<'_, S::State>) {
        let Some(serde) = &self.abilities.serde else { return };
        let (Ok(left), Ok(right)) = ((serde.encode)(a.state), (serde.encode)(b.state)) else { return };
        let (l, r) = (a.label, b.label);
        self.holds(
            Law::CanonicalBytes,
            left.bytes == right.bytes && left.json == right.json,
            (&|| format!("bytes of {l}"), &|| format!("{:?} {}", left.bytes, left.json)),
            (&|| format!("bytes of {r}, an equal state"), &|| format!("{:?} {}", right.bytes, right.json)),
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

    /// What `a` learned of `b`, passed on to `x`: a delta cut by one who merged must do for both.
    pub(crate) fn relay(
        &mut self,
        x: &Known<'_, S::State>,
        a: &Known<'_, S::State>,
        b: &Known<'_, S::State>,
    ) {
        let Some(deltas) = &self.abilities.delta else { return };
        let mut merged = a.state.clone();
        merged.merge(b.state);
        let mut relays = vec![(merged, "merged")];
        let mut updated = a.state.clone();
        // That it is not refused is checked with the two alone.
        if (deltas.cut)(b.state, a.state)(&mut updated).is_ok() {
            relays.push((updated, "applied the delta of"));
        }
        self.about(&[x, a, b], |check| {
            let (l, relay, origin) = (x.label, a.label, b.label);
            for (passed_on, how) in relays {
                let mut joined = x.state.clone();
                joined.merge(&passed_on);
                let mut got = x.state.clone();
                let applied = (deltas.cut)(&passed_on, x.state)(&mut got);
                check.holds(
                    Law::DeltaEqualsMerge,
                    applied.is_ok() && got == joined,
                    (&|| format!("{l} with the delta of {relay}, which has {how} {origin}"), &|| show(&got)),
                    (&|| format!("{l} ∨ {relay}, which has {how} {origin}"), &|| show(&joined)),
                );
            }
        });
    }

    /// The delta of `y` since the version of `z`, at `x`.
    pub(crate) fn delta(
        &mut self,
        x: &Known<'_, S::State>,
        y: &Known<'_, S::State>,
        z: &Known<'_, S::State>,
    ) {
        let Some(deltas) = &self.abilities.delta else { return };
        self.about(&[x, y, z], |check| {
            let covered = z.past.is_subset(x.past);
            let law = if covered { Law::DeltaEqualsMerge } else { Law::DeltaGap };
            let mut joined = x.state.clone();
            joined.merge(y.state);
            let what =
                |from: &str| format!("{} with the delta of {} since {}{from}", x.label, y.label, z.label);
            check.apply(law, covered, x, y, &joined, &(deltas.cut)(y.state, z.state), &|| what(""));
            if let Some(wire) = check.abilities.wire.filter(|_| x.label == z.label) {
                match wire(y.state, z.state) {
                    Ok(change) => {
                        check.apply(Law::DeltaAfterBytes, covered, x, y, &joined, &change, &|| {
                            what(", sent as bytes")
                        });
                    }
                    Err(error) => {
                        check.holds(
                            Law::DeltaAfterBytes,
                            false,
                            (&|| what(", sent as bytes"), &|| error.clone()),
                            (&|| "expected".into(), &|| "decodes".into()),
                        );
                    }
                }
            }
        });
    }

    #[allow(clippy::too_many_arguments, reason = "one call from each of two places, all of one kind")]
    fn apply(
        &mut self,
        law: Law,
        covered: bool,
        x: &Known<'_, S::State>,
        y: &Known<'_, S::State>,
        joined: &S::State,
        change: &Change<S::State>,
        what: Text<'_>,
    ) {
        let (l, r) = (x.label, y.label);
        let join: Text<'_> = &|| format!("{l} ∨ {r}");
        let mut got = x.state.clone();
        let grew = match change(&mut got) {
            Ok(grew) => grew,
            Err(gap) => {
                self.holds(law, !covered, (what, &|| format!("refused: {gap}")), (join, &|| show(joined)));
                self.equal(law, &got, x.state, (&|| format!("{} (refused)", what()), &|| l.to_string()));
                return;
            }
        };
        self.truth(
            law,
            grew,
            got != *x.state,
            (&|| format!("{}: returned", what()), &|| format!("whether {l} changed")),
        );
        if covered {
            self.equal(law, &got, joined, (what, join));
            let mut twice = got.clone();
            let again = change(&mut twice);
            self.equal(
                law,
                &twice,
                &got,
                (&|| format!("{}, applied twice", what()), &|| "applied once".into()),
            );
            self.truth(law, again, Ok(false), (&|| "the second time returned".into(), &|| "expected".into()));
            return;
        }
        // What a delta over a gap brought must not hide what it did not bring.
        for (left, right, text) in [(&got, y.state, "then merged with"), (y.state, &got, "merged into")] {
            let mut healed = left.clone();
            healed.merge(right);
            self.equal(law, &healed, joined, (&|| format!("{}, {text} {r}", what()), join));
        }
        if let Some(deltas) = &self.abilities.delta {
            let rest = (deltas.cut)(y.state, &got);
            let mut healed = got.clone();
            let applied = rest(&mut healed);
            self.holds(
                law,
                applied.is_ok() && healed == *joined,
                (&|| format!("{}, then with the delta since that", what()), &|| show(&healed)),
                (join, &|| show(joined)),
            );
        }
    }

    /// What the state shows, against the model.
    pub(crate) fn model(&mut self, a: &Known<'_, S::State>, past: &[&Event<S::Op>]) {
        let Some(model) = self.abilities.model else { return };
        let mismatch = model(a.state, past);
        let (expected, shown) = mismatch.clone().unwrap_or_default();
        self.about(&[a], |check| {
            check.holds(
                Law::Model,
                mismatch.is_none(),
                (&|| format!("{} shows", a.label), &|| shown.clone()),
                (&|| "its model says".into(), &|| expected.clone()),
            );
        });
    }

    /// `stand_in` took the place of `original` (bytes, trimming): merges and deltas with `other` must not notice.
    pub(crate) fn stand_in(
        &mut self,
        law: Law,
        original: &Known<'_, S::State>,
        stand_in: &S::State,
        what: &str,
        other: &Known<'_, S::State>,
        other_receives: bool,
    ) {
        self.about(&[original, other], |check| {
            let (o, r) = (original.label, other.label);
            let substitute = || format!("({o} {what})");
            let mut joined = original.state.clone();
            joined.merge(other.state);
            let receivers = [(stand_in, other.state), (other.state, stand_in)];
            for (at, (receiver, source)) in receivers.into_iter().enumerate() {
                if at == 1 && !other_receives {
                    continue;
                }
                let mut got = receiver.clone();
                got.merge(source);
                check.equal(
                    law,
                    &got,
                    &joined,
                    (
                        &|| {
                            if at == 0 {
                                format!("{} ∨ {r}", substitute())
                            } else {
                                format!("{r} ∨ {}", substitute())
                            }
                        },
                        &|| format!("{o} ∨ {r}"),
                    ),
                );
                let Some(deltas) = &check.abilities.delta else { continue };
                let mut got = receiver.clone();
                let applied = (deltas.cut)(source, receiver)(&mut got);
                check.holds(
                    law,
                    applied.is_ok() && got == joined,
                    (
                        &|| match at {
                            0 => format!("{} with the delta of {r}", substitute()),
                            _ => format!("{r} with the delta of {}", substitute()),
                        },
                        &|| applied.map_or_else(|gap| format!("refused: {gap}"), |_| show(&got)),
                    ),
                    (&|| format!("{o} ∨ {r}"), &|| show(&joined)),
                );
            }
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
