use crate::{
    ability::Abilities,
    checks::{Checker, Doing, Faults, Finding},
    history::History,
    law::Law,
    report::{Report, Updates, Violation},
    subject::{Model, Subject},
    world::World,
};
use crdt_core::{Delta, wire::Wire};
use quickcheck::{Arbitrary, Gen};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeSet, env, fmt};

/// Checks the laws that every CRDT must keep: `Suite::<S>::new().check()`.
///
/// # Panics
///
/// With the printed [`Violation`] of the law that is broken.
#[track_caller]
pub fn check<S: Subject>() {
    Suite::<S>::new().check();
}

/// How many further histories are looked at once one has broken a law, for laws of a higher rank.
const LOOK_FURTHER: u64 = 100;

/// How many smaller histories are tried before a counterexample is called small.
const MOST_SHRINKS: u32 = 20_000;

/// The checks to be run on a type: which laws, on how many histories, from which seed.
///
/// A new suite checks what every [`Subject`] must keep; [`order`](Suite::order), [`delta`](Suite::delta),
/// [`wire`](Suite::wire), [`serde`](Suite::serde), [`binary`](Suite::binary) and [`model`](Suite::model) add the laws of
/// what else the type can do.
///
/// The default of 1,000 histories takes about one second of one core for a small type with all of that, optimised, and
/// some three seconds without optimisation. A step is checked in **O(r)** merges and deltas of `r` replicas (at most 6),
/// so time grows with the cost of those and of `==`; `Debug` is used only for a counterexample.
///
/// The run fails as well, by [`Law::Effect`], if hardly any update was accepted. While it runs, panics of the type under
/// test are caught and told as [`Law::Panics`] with the operation and its operands; they are not printed.
///
/// The same seed gives the same histories. Two environment variables, for a long soak or to repeat a run, override
/// what is set here: `CRDT_LAWS_CASES` and `CRDT_LAWS_SEED`.
#[must_use = "a suite checks nothing until it is run"]
pub struct Suite<S: Subject> {
    abilities: Abilities<S>,
    cases: u64,
    seed: u64,
    without: BTreeSet<Law>,
}

impl<S: Subject> Default for Suite<S> {
    fn default() -> Self {
        Suite::new()
    }
}

impl<S: Subject> Suite<S> {
    /// The laws of [`Merge`](crdt_core::Merge) and [`Dotted`](crdt_core::Dotted), 1,000 histories, seed 0.
    pub const fn new() -> Self {
        Suite { abilities: Abilities::NONE, cases: 1_000, seed: 0, without: BTreeSet::new() }
    }

    /// Adds: order agrees with merge.
    pub fn order(mut self) -> Self
    where
        S::State: PartialOrd,
    {
        self.abilities.order();
        self
    }

    /// Adds the laws of [`Delta`], and deltas to the histories: late, twice, out of order, or never.
    pub fn delta(mut self) -> Self
    where
        S::State: Delta<Change: 'static>,
    {
        self.abilities.delta();
        self
    }

    /// As [`delta`](Suite::delta), with versions and deltas also sent through postcard.
    pub fn wire(mut self) -> Self
    where
        S::State:
            Delta<Version: Serialize + DeserializeOwned, Change: Serialize + DeserializeOwned + 'static>,
    {
        self.abilities.delta();
        self.abilities.wire();
        self
    }

    /// Adds the laws of bytes, in two formats; a restart then keeps what the bytes keep.
    ///
    /// The state must go through both postcard, which does not describe itself (so no untagged enums, flattened or
    /// sometimes skipped fields), and JSON. JSON's maps take strings, integers, characters and booleans as keys, and
    /// `key must be a string` says that a key is something else: give its type a string form where the format
    /// [is human-readable](serde::Serializer::is_human_readable), as [`ReplicaId`](crdt_core::ReplicaId) and
    /// [`Dot`](crdt_core::Dot) have, or serialise the map as a list of pairs.
    ///
    /// Equal states must give equal bytes ([`Law::CanonicalBytes`]). What [`Subject::trim`] drops must therefore stay
    /// out of the bytes, as must all else that `==` does not see; leave that law out if it is in there on purpose.
    pub fn serde(mut self) -> Self
    where
        S::State: Serialize + DeserializeOwned,
    {
        self.abilities.serde();
        self
    }

    /// Adds the laws of the compact binary form: what is read equals what was written, equal states give equal bytes, and
    /// bytes of which some are missing or to which one was added are refused.
    ///
    /// For its deltas and versions, [`Wire`] can be checked as any property of values is.
    pub fn binary(mut self) -> Self
    where
        S::State: Wire,
    {
        self.abilities.binary();
        self
    }

    /// Adds the comparison with the type's naive [`Model`].
    pub fn model(mut self) -> Self
    where
        S: Model,
    {
        self.abilities.model();
        self
    }

    /// Leaves a law out, for a type that does without it on purpose; say why beside it.
    pub fn without(mut self, law: Law) -> Self {
        self.without.insert(law);
        self
    }

    /// How many histories; by default 1,000.
    pub fn cases(mut self, cases: u64) -> Self {
        self.cases = cases;
        self
    }

    /// Where to start; by default 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Runs the suite, and panics with the counterexample if a law is broken.
    ///
    /// # Panics
    ///
    /// With the printed [`Violation`].
    #[track_caller]
    pub fn check(self) {
        if let Err(violation) = self.run() {
            panic!("{violation}");
        }
    }

    /// Runs the suite.
    ///
    /// # Errors
    ///
    /// The [`Violation`] of the highest rank among the first histories that break a law, shrunk.
    pub fn run(mut self) -> Result<Report, Box<Violation>> {
        self.cases = from_env("CRDT_LAWS_CASES").unwrap_or(self.cases);
        self.seed = from_env("CRDT_LAWS_SEED").unwrap_or(self.seed);
        let mut report = Report::default();
        for case in 0..self.cases {
            let played = self.play(&self.history(case), Look::ONCE);
            if !played.findings.is_empty() {
                return Err(Box::new(self.explain(case)));
            }
            report.add(&played.counts, played.updates);
        }
        if self.wants(Law::Effect)
            && let Some(found) = report.effect()
        {
            return Err(Box::new(self.without_effect(found)));
        }
        Ok(report)
    }

    /// Histories grow with the number of the case, up to a length beyond which bugs are only harder to read.
    fn history(&self, case: u64) -> History<S::Op> {
        let size = 4 + (case % 40) as usize;
        // Neighbouring seeds share no cases.
        let seed = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(case);
        History::arbitrary(&mut Gen::from_size_and_seed(size, seed))
    }

    /// Plays a history. What it breaks only if states are trimmed is laid to trimming, and so for bytes.
    fn play(&self, history: &History<S::Op>, look: Look) -> Played {
        let all = Faults { trimming: true, bytes: true };
        let mut played = self.play_with(history, look, all);
        if !played.findings.iter().any(|finding| finding.law.may_follow()) {
            return played;
        }
        let (neither, untraced) = (Faults { trimming: false, bytes: false }, Look { traced: false, ..look });
        for (law, without, why) in [
            (
                Law::DeltaAfterTrimming,
                Faults { bytes: true, ..neither },
                "which the same history keeps if nothing is trimmed",
            ),
            (
                Law::DeltaAfterBytes,
                Faults { trimming: true, ..neither },
                "which the same history keeps if no state goes through bytes",
            ),
            (
                Law::DeltaAfterTrimming,
                neither,
                "which the same history keeps if no state is trimmed or goes through bytes",
            ),
        ] {
            if self.wants(law) && self.play_with(history, untraced, without).findings.is_empty() {
                for finding in played.findings.iter_mut().filter(|finding| finding.law.may_follow()) {
                    finding.laid = (finding.law != law).then_some((finding.law, why));
                    finding.law = law;
                }
                break;
            }
        }
        played
    }

    fn play_with(&self, history: &History<S::Op>, look: Look, faults: Faults) -> Played {
        let checker = Checker {
            abilities: &self.abilities,
            wanted: &|law| self.wants(law),
            faults,
            every_version: look.every_version,
            doing: Doing::NOTHING,
            counts: [0; Law::ALL.len()],
            findings: Vec::new(),
        };
        let mut world = World::new(Some(checker), look.traced);
        world.play(history);
        let trace = world.trace.take().unwrap_or_default();
        let updates = std::mem::take(&mut world.updates);
        let checker = world.into_checker().expect("given above");
        Played { findings: checker.findings, counts: checker.counts, trace, updates }
    }

    fn wants(&self, law: Law) -> bool {
        !self.without.contains(&law)
    }

    /// From the first case that broke something to the counterexample that says most.
    fn explain(&self, first: u64) -> Violation {
        let mut broken = BTreeSet::new();
        let mut worst: Option<(Law, u64)> = None;
        for case in first..self.cases.min(first + LOOK_FURTHER) {
            for finding in self.play(&self.history(case), Look::ONCE).findings {
                broken.insert(finding.law);
                if worst.is_none_or(|(law, _)| finding.law < law) {
                    worst = Some((finding.law, case));
                }
            }
        }
        let (law, case) = worst.expect("the first case broke a law, and cases are repeatable");
        let original = self.history(case);
        // A step that matters only because the next one is looked at differently is to be shrunk away, so everything
        // is looked at, unless that finds another law first.
        let every = Look { every_version: true, ..Look::ONCE };
        let look = if self.breaks(&original, law, every) { every } else { Look::ONCE };
        let small = self.shrink(original.clone(), law, look);
        let mut played = self.play(&small, Look { traced: true, ..look });
        let at = played.findings.iter().position(|finding| finding.law == law);
        let Finding { found, given, laid, .. } =
            played.findings.swap_remove(at.expect("shrinking keeps the law"));
        broken.remove(&law);
        Violation {
            law,
            subject: std::any::type_name::<S>(),
            case: first,
            seed: self.seed,
            steps: Some((original.steps.len(), small.steps.len())),
            history: played.trace,
            given,
            found,
            laid,
            also: broken.into_iter().collect(),
        }
    }

    fn breaks(&self, history: &History<S::Op>, law: Law, look: Look) -> bool {
        self.play(history, look).findings.iter().any(|finding| finding.law == law)
    }

    fn shrink(&self, mut history: History<S::Op>, law: Law, look: Look) -> History<S::Op> {
        let mut left = MOST_SHRINKS;
        'smaller: loop {
            for candidate in history.shrink() {
                let Some(rest) = left.checked_sub(1) else { break };
                left = rest;
                if self.breaks(&candidate, law, look) {
                    history = candidate;
                    continue 'smaller;
                }
            }
            return history;
        }
    }

    fn without_effect(&self, found: Vec<(String, String)>) -> Violation {
        Violation {
            law: Law::Effect,
            subject: std::any::type_name::<S>(),
            case: self.cases.saturating_sub(1),
            seed: self.seed,
            steps: None,
            history: Vec::new(),
            given: Vec::new(),
            found,
            laid: None,
            also: Vec::new(),
        }
    }
}

impl<S: Subject> fmt::Debug for Suite<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite")
            .field("subject", &std::any::type_name::<S>())
            .field("cases", &self.cases)
            .field("seed", &self.seed)
            .field("without", &self.without)
            .finish_non_exhaustive()
    }
}

/// How closely a history is looked at while it is played.
#[derive(Clone, Copy)]
struct Look {
    /// Writes down what happens.
    traced: bool,
    /// Checks deltas since every version at hand, not since one in turn.
    every_version: bool,
}

impl Look {
    const ONCE: Self = Look { traced: false, every_version: false };
}

struct Played {
    findings: Vec<Finding>,
    counts: [u64; Law::ALL.len()],
    trace: Vec<String>,
    updates: Updates,
}

/// A number from the environment; text that is not one is an error of the caller's, not to be passed over.
fn from_env(variable: &str) -> Option<u64> {
    let value = env::var(variable).ok()?;
    let number = value.parse();
    Some(number.unwrap_or_else(|error| panic!("{variable} is {value:?}, which is not a number: {error}")))
}
