//! The laws of deltas, and of what takes the place of a state: trimmed, or through bytes.

use crate::{
    ability::{Change, show},
    checks::{Checker, Known, Text},
    law::Law,
    subject::Subject,
};
use crdt_core::Merge;

impl<S: Subject> Checker<'_, S> {
    /// What `a` learned of `b`, passed on to `x`: a delta cut by one who merged must do for both.
    pub(crate) fn relay(
        &mut self,
        x: &Known<'_, S::State>,
        a: &Known<'_, S::State>,
        b: &Known<'_, S::State>,
    ) {
        let Some(deltas) = &self.abilities.delta else { return };
        self.about(&[x, a, b], |check| {
            check.doing("{0}.merge({1})", &[a.label, b.label]);
            let mut merged = a.state.clone();
            merged.merge(b.state);
            let mut relays = vec![(merged, "merged")];
            check.doing("{0}.apply(the delta of {1} since {0})", &[a.label, b.label]);
            let mut updated = a.state.clone();
            // That it is not refused is checked with the two alone.
            if (deltas.cut)(b.state, a.state)(&mut updated).is_ok() {
                relays.push((updated, "applied the delta of"));
            }
            let (l, relay, origin) = (x.label, a.label, b.label);
            for (passed_on, how) in relays {
                check.doing(
                    "{0} and {1}, which has news of {2}: the merge, or the delta since {0}",
                    &[l, relay, origin],
                );
                let mut joined = x.state.clone();
                joined.merge(&passed_on);
                let mut got = x.state.clone();
                let applied = (deltas.cut)(&passed_on, x.state)(&mut got);
                check.holds(
                    Law::DeltaEqualsMerge,
                    applied.is_ok() && got == joined,
                    (
                        &|| format!("{l} with the delta since {l} of {relay}, which has {how} {origin}"),
                        &|| show(&got),
                    ),
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
            let labels = [x.label, y.label, z.label];
            check.doing("{0}.merge({1})", &labels);
            let mut joined = x.state.clone();
            joined.merge(y.state);
            let what =
                |from: &str| format!("{} with the delta of {} since {}{from}", x.label, y.label, z.label);
            check.doing("{1}.delta_since(the version of {2})", &labels);
            let change = (deltas.cut)(y.state, z.state);
            check.doing("{0}.apply(the delta of {1} since {2})", &labels);
            check.apply(law, covered, x, y, &joined, &change, &|| what(""));
            if let Some(wire) = check.abilities.wire.filter(|_| x.label == z.label) {
                check.doing("the delta of {1} since {2} through bytes", &labels);
                match wire(y.state, z.state) {
                    Ok(change) => {
                        check.doing("{0}.apply(the delta of {1} since {2}, sent as bytes)", &labels);
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
        self.invariant(&got, what);
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

    /// `stand_in` took the place of `original` (bytes, trimming): merges and deltas with `other` must not notice.
    pub(crate) fn stand_in(
        &mut self,
        law: Law,
        original: &Known<'_, S::State>,
        stand_in: &Known<'_, S::State>,
        other: &Known<'_, S::State>,
        other_receives: bool,
    ) {
        self.about(&[original, stand_in, other], |check| {
            let (o, r) = (original.label, other.label);
            check.doing("{0}.merge({1})", &[o, r]);
            let mut joined = original.state.clone();
            joined.merge(other.state);
            let there = other_receives.then_some((other, stand_in));
            for (receiver, source) in [(stand_in, other)].into_iter().chain(there) {
                let (to, from) = (receiver.label, source.label);
                check.doing("{0}.merge({1})", &[to, from]);
                let mut got = receiver.state.clone();
                got.merge(source.state);
                check.equal(law, &got, &joined, (&|| format!("{to} ∨ {from}"), &|| format!("{o} ∨ {r}")));
                let Some(deltas) = &check.abilities.delta else { continue };
                check.doing("{0}.apply(the delta of {1} since {0})", &[to, from]);
                let mut got = receiver.state.clone();
                let applied = (deltas.cut)(source.state, receiver.state)(&mut got);
                check.holds(
                    law,
                    applied.is_ok() && got == joined,
                    (&|| format!("{to} with the delta of {from} since {to}"), &|| {
                        applied.map_or_else(|gap| format!("refused: {gap}"), |_| show(&got))
                    }),
                    (&|| format!("{o} ∨ {r}"), &|| show(&joined)),
                );
            }
        });
    }
}
