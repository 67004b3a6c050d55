use serde::{Deserialize, Serialize};
use std::fmt;

/// What a mesh must keep, whatever happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Invariant {
    /// A leader shows exactly what the events in its vector make.
    Shows,
    /// What an event depends on is visible before it or with it.
    Causality,
    /// A leader's own counters are 1, 2, 3, …: none is used twice, none is left out.
    OwnCounters,
    /// Nobody has, or is told, what its origin has not made durable.
    Durability,
    /// A leader's vector never goes back, a crash included, unless its disk did.
    Progress,
    /// Leaders with equal vectors have equal fingerprints.
    Fingerprint,
    /// What was acknowledged is there at the end.
    Acknowledged,
    /// A repeated write with an idempotency key counts once.
    Idempotency,
    /// A register's write is above every write that its leader had seen.
    Stamp,
    /// What leaders hold and say has bounds.
    Bounds,
    /// A leader recovers from what it has made durable.
    Recovery,
    /// Honest greetings, messages and writes are accepted.
    Acceptance,
    /// A leader that was set back is told so by whoever has more of its updates.
    Amnesia,
    /// Once all links are whole and all leaders up, all agree within a bounded time.
    Convergence,
    /// Joining the same updates in any order, and twice, gives the same value, and a join never takes anything back.
    Join,
    /// The code under test does not panic.
    Panics,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Invariant; 16] = [
        Invariant::Shows,
        Invariant::Causality,
        Invariant::OwnCounters,
        Invariant::Durability,
        Invariant::Progress,
        Invariant::Fingerprint,
        Invariant::Acknowledged,
        Invariant::Idempotency,
        Invariant::Stamp,
        Invariant::Bounds,
        Invariant::Recovery,
        Invariant::Acceptance,
        Invariant::Amnesia,
        Invariant::Convergence,
        Invariant::Join,
        Invariant::Panics,
    ];

    /// The invariant as a sentence.
    pub const fn statement(self) -> &'static str {
        match self {
            Invariant::Shows => "a leader shows exactly what the events in its vector make",
            Invariant::Causality => "what an event depends on is visible before it or with it",
            Invariant::OwnCounters => "own counters are never reused and never skipped",
            Invariant::Durability => "nobody has what its origin has not made durable",
            Invariant::Progress => "a vector never goes back",
            Invariant::Fingerprint => "equal vectors have equal fingerprints",
            Invariant::Acknowledged => "what was acknowledged is not lost",
            Invariant::Idempotency => "a repeated write counts once",
            Invariant::Stamp => "a register's write is above all that its leader had seen",
            Invariant::Bounds => "what leaders hold and say has bounds",
            Invariant::Recovery => "a leader recovers from what it has made durable",
            Invariant::Acceptance => "honest greetings, messages and writes are accepted",
            Invariant::Amnesia => "a leader that was set back is told so",
            Invariant::Convergence => "healed, all agree within a bounded time",
            Invariant::Join => "merging is a join: in any order, also twice, and nothing is taken back",
            Invariant::Panics => "the code under test does not panic",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.statement())
    }
}

/// A broken invariant: where, when, and what was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// What does not hold.
    pub invariant: Invariant,
    /// At which leader it was noticed, if at one.
    pub leader: Option<usize>,
    /// Which key is concerned, if one is.
    pub key: Option<String>,
    /// The last step of the schedule that had been taken.
    pub step: usize,
    /// The virtual time, in microseconds.
    pub at: u64,
    /// What was seen, as a sentence.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not kept: {}", self.invariant)?;
        if let Some(leader) = self.leader {
            write!(f, "; at leader {leader}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ", key {key}")?;
        }
        write!(f, ", {}.{:03} ms, after step {}: {}", self.at / 1_000, self.at % 1_000, self.step, self.what)
    }
}

impl std::error::Error for Violation {}

/// What a check has found; the world adds when and where.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) invariant: Invariant,
    pub(crate) key: Option<String>,
    pub(crate) what: String,
}

impl Finding {
    pub(crate) fn new(invariant: Invariant, what: impl Into<String>) -> Self {
        Finding { invariant, key: None, what: what.into() }
    }

    pub(crate) fn of_key(invariant: Invariant, key: impl Into<String>, what: impl Into<String>) -> Self {
        Finding { invariant, key: Some(key.into()), what: what.into() }
    }
}
