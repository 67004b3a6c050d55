//! The five properties, checked at every event against what the events alone say.

use super::{
    rng::Rng,
    states::State,
    trace::{Trace, digest},
};
use crdt_core::Causality;
use std::fmt;
use version_vector::VersionVector;

/// Up to so many events, the vectors of all pairs are compared.
const ALL_PAIRS: usize = 5_000;
/// Beyond, each is compared with so many others.
const SAMPLE: usize = 64;

/// Something that was found to be otherwise than the history says.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Mismatch {
    pub(super) event: usize,
    /// The CRDT crate.
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) expected: String,
    pub(super) found: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch { event, kind, expected, found } = self;
        write!(f, "event {event}, {kind}: expected {expected}; found {found}")
    }
}

/// Compares states with the history and counts.
///
/// Sums and greatest stamps need no search: an event's ancestors of one leader are the first few events of that
/// leader's chain, so one running value along each chain tells them all.
#[derive(Debug)]
pub(super) struct Check<'t> {
    trace: &'t Trace,
    /// Of each leader, after each of its events.
    chains: Vec<Vec<Running>>,
    matches: Vec<bool>,
    first: Option<Mismatch>,
}

/// What a prefix of a leader's chain comes to.
#[derive(Clone, Copy, Debug, Default)]
struct Running {
    plus: u128,
    minus: u128,
    /// (`t`, `r`, `c`): the greatest stamp.
    stamp: (u64, u64, usize),
}

impl<'t> Check<'t> {
    pub(super) fn new(trace: &'t Trace) -> Self {
        let mut chains = vec![Vec::new(); trace.leaders()];
        for (c, event) in trace.events().iter().enumerate() {
            let chain: &mut Vec<Running> = &mut chains[event.leader];
            let before = chain.last().copied().unwrap_or_default();
            let stamp = (event.time, trace.replica(event.leader).get(), c);
            chain.push(Running {
                plus: before.plus + u128::from(event.plus),
                minus: before.minus + u128::from(event.minus),
                stamp: before.stamp.max(stamp),
            });
        }
        Check { trace, chains, matches: vec![true; trace.events().len()], first: None }
    }

    /// How many events match in everything checked so far.
    pub(super) fn matching(&self) -> usize {
        self.matches.iter().filter(|matches| **matches).count()
    }

    /// The first event that does not match; of its mismatches, the one found first.
    pub(super) fn first(&self) -> Option<&Mismatch> {
        self.first.as_ref()
    }

    /// Notes what is otherwise than expected.
    pub(super) fn expect<T: PartialEq + fmt::Display + ?Sized>(
        &mut self,
        event: usize,
        kind: &'static str,
        expected: &T,
        found: &T,
    ) {
        if expected != found {
            self.matches[event] = false;
            if self.first.as_ref().is_none_or(|first| event < first.event) {
                self.first =
                    Some(Mismatch { event, kind, expected: expected.to_string(), found: found.to_string() });
            }
        }
    }

    /// Checks the set, the counters and the register after `event`.
    pub(super) fn state(&mut self, event: usize, state: &State<'_>) {
        let trace = self.trace;
        let Running { plus, minus, stamp } = self.history(event);
        let facts = &trace.events()[event];

        let mut ranks: Vec<u32> = state.paths.iter().map(|path| path.rank).collect();
        ranks.sort_unstable();
        let found =
            Tree { count: ranks.len(), digest: digest(ranks.iter().map(|rank| trace.path(*rank).name)) };
        let expected = Tree { count: facts.count, digest: facts.digest };
        self.expect(event, OR_SET, &expected, &found);
        self.expect(event, OR_SET, &facts.count, &state.paths.len());

        self.expect(event, G_COUNTER, &plus, &state.plus.value());
        let net = plus.cast_signed() - minus.cast_signed();
        self.expect(event, PN_COUNTER, &net, &state.net.value());
        let (_, _, written) = stamp;
        let held = Written(state.last.get().copied());
        self.expect(event, LWW_REGISTER, &Written(Some(written as u64)), &held);
    }

    /// What the event and all its ancestors come to.
    fn history(&self, event: usize) -> Running {
        let reach = self.trace.ancestry().reach(event);
        let chains = reach.iter().zip(&self.chains);
        let prefixes = chains.filter_map(|(&held, chain)| chain[..held].last());
        prefixes.fold(Running::default(), |all, prefix| Running {
            plus: all.plus + prefix.plus,
            minus: all.minus + prefix.minus,
            stamp: all.stamp.max(prefix.stamp),
        })
    }

    /// Compares the vectors of all events with the ancestry: all pairs, both ways, or a sample where there are too
    /// many. Calls `progress` after each event.
    pub(super) fn vectors(&mut self, vectors: &[VersionVector], mut progress: impl FnMut(usize)) {
        let events = vectors.len();
        // Which others is not a secret: a fixed seed makes a mismatch come back.
        let mut rng = Rng::new(0);
        for event in 0..events {
            if events <= ALL_PAIRS {
                for earlier in 0..event {
                    self.pair(vectors, event, earlier);
                    self.pair(vectors, earlier, event);
                }
            } else {
                for _ in 0..SAMPLE {
                    let other = (event + 1 + rng.below(events - 1)) % events;
                    self.pair(vectors, event, other);
                }
            }
            progress(event + 1);
        }
    }

    fn pair(&mut self, vectors: &[VersionVector], event: usize, other: usize) {
        let ancestry = self.trace.ancestry();
        let expected = if ancestry.is_ancestor(event, other) {
            Causality::Before
        } else if ancestry.is_ancestor(other, event) {
            Causality::After
        } else {
            Causality::Concurrent
        };
        let found = vectors[event].compare(&vectors[other]);
        if found != expected {
            let said = |causality| format!("{causality:?} when compared with event {other}");
            self.expect(event, VERSION_VECTOR, &said(expected), &said(found));
        }
    }
}

pub(super) const OR_SET: &str = "or-set";
pub(super) const G_COUNTER: &str = "g-counter";
pub(super) const PN_COUNTER: &str = "pn-counter";
pub(super) const LWW_REGISTER: &str = "lww-register";
pub(super) const VERSION_VECTOR: &str = "version-vector";

/// The elements of a set, as a trace records them.
#[derive(PartialEq)]
struct Tree {
    count: usize,
    digest: u64,
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} paths with digest {:016x}", self.count, self.digest)
    }
}

/// The value of a register.
#[derive(PartialEq)]
struct Written(Option<u64>);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(event) => write!(f, "what event {event} wrote"),
            None => f.write_str("nothing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::{generate, states::States};
    use crdt_core::Merge;
    use g_counter::GCounter;
    use lww_register::LwwRegister;
    use or_set::OrSet;
    use pn_counter::PnCounter;

    const EVENTS: usize = 200;

    type Spoil = fn(&mut State<'_>);

    fn trace() -> Trace {
        let file = tempfile::NamedTempFile::new().unwrap();
        let shape = generate::Shape { events: EVENTS, leaders: 5, paths: 20 };
        generate::write(file.path(), 1, shape, |_| ()).unwrap();
        Trace::open(file.path()).unwrap()
    }

    /// Runs the history, with `spoil` applied to each state before it is checked (and not to what later ones build on).
    fn check<'t>(trace: &'t Trace, mut spoil: impl FnMut(usize, &mut State<'t>)) -> Check<'t> {
        let mut check = Check::new(trace);
        let mut states = States::new(trace);
        let mut vectors = Vec::new();
        for (c, event) in trace.events().iter().enumerate() {
            let mut state = states.join(&event.parents);
            state.update(trace, c, |kind, error| panic!("{kind}: {error}"));
            let mut shown = state.clone();
            spoil(c, &mut shown);
            check.state(c, &shown);
            vectors.push(shown.seen);
            states.keep(c, state);
        }
        check.vectors(&vectors, |_| ());
        check
    }

    #[test]
    fn a_wrong_value_of_each_type_is_named_with_its_event() {
        let trace = trace();
        assert_eq!(check(&trace, |_, _| ()).matching(), EVENTS);
        let spoil: [(&str, Spoil); 4] = [
            (OR_SET, |state| state.paths = OrSet::new()),
            (G_COUNTER, |state| state.plus = GCounter::new()),
            (PN_COUNTER, |state| state.net = PnCounter::new()),
            (LWW_REGISTER, |state| state.last = LwwRegister::new()),
        ];
        for (kind, spoil) in spoil {
            let found = check(&trace, |c, state| {
                if c == 120 || c == 150 {
                    spoil(state);
                }
            });
            assert_eq!(found.matching(), EVENTS - 2, "{kind}");
            let first = found.first().unwrap();
            assert_eq!((first.event, first.kind), (120, kind));
        }
    }

    /// A vector that is too small, or too large, stands wrongly to those of other events.
    #[test]
    fn a_wrong_vector_is_found_by_its_relations() {
        let trace = trace();
        let mut others = Vec::new();
        let stale = check(&trace, |c, state| {
            others.push(state.seen.clone());
            if c == 150 {
                state.seen = others[trace.events()[c].parents[0]].clone();
            }
        });
        assert_eq!(stale.first().unwrap().kind, VERSION_VECTOR);
        let bold = check(&trace, |c, state| {
            if c == 150 {
                state.seen = others.iter().fold(VersionVector::new(), |mut all, seen| {
                    all.merge(seen);
                    all
                });
            }
        });
        assert_eq!(bold.first().unwrap().kind, VERSION_VECTOR);
        assert!(!bold.matches[150]);
    }
}
