use std::fmt;

/// One law, by name.
///
/// In order of rank: when a type breaks several laws at once, the one reported is the first of this list, because those
/// further down usually break as a consequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Law {
    /// No update, merge, delta, comparison or round trip panics.
    Panics,
    /// An update that returns an error leaves the state and the numbering as they were.
    RefusedUpdate,
    /// An update takes a number of its own replica that no other update ever had.
    ///
    /// An accepted update that changes nothing may take none. A type that keeps no last counters because its updates have
    /// other names, as a register has its stamps, leaves this law and [`Counters`](Law::Counters) out.
    Dots,
    /// [`Subject::invariant`](crate::Subject::invariant) holds in every state that is reached.
    ///
    /// A type that states none passes; its checks are counted all the same.
    Invariant,
    /// A restart gives back what was last shown to anybody.
    Restart,
    /// A trimmed state equals what it was.
    Trimming,
    /// `decode(encode(a)) == a`, in postcard and in JSON.
    SerdeRoundTrip,
    /// `from_bytes(to_bytes(a)) == a`, in the compact binary form.
    WireRoundTrip,
    /// Of bytes in the compact binary form, some at the end of which are missing, and those that go on, are refused.
    WireExtent,
    /// Equal states encode to equal bytes, in every form.
    CanonicalBytes,
    /// `a ∨ b == b ∨ a`.
    Commutative,
    /// `(a ∨ b) ∨ c == a ∨ (b ∨ c)`.
    Associative,
    /// `a ∨ a == a`.
    Idempotent,
    /// `a <= a ∨ b`, and an update moves a state up.
    Inflationary,
    /// `Default::default() ∨ a == a`.
    Bottom,
    /// `a <= b` exactly when `a ∨ b == b`, for all four outcomes of `partial_cmp`.
    Order,
    /// `merge` returns true exactly when the state grew.
    Growth,
    /// No merge lowers `last_counter`.
    Counters,
    /// `merge_owned` gives what `merge` gives.
    MergeOwned,
    /// A delta since a version that the receiver covers leaves `a ∨ b`; applied again, nothing.
    DeltaEqualsMerge,
    /// A delta over a gap is refused without effect, or brings something without claiming the rest.
    DeltaGap,
    /// Merges and deltas of states, and with deltas that went through bytes, equal the merge.
    DeltaAfterBytes,
    /// Merges and deltas of trimmed states equal the merge.
    DeltaAfterTrimming,
    /// States of equal versions are equal.
    EqualVersions,
    /// Versions are ordered as the states are.
    VersionOrder,
    /// Replicas that have seen the same updates are equal; one that has seen more is above.
    Convergence,
    /// A state shows what a naive model makes of the updates that it has seen.
    Model,
    /// Updates are accepted, at least one in a hundred over the whole run, and have an effect at all.
    ///
    /// Where hardly any is, the other laws were checked on next to nothing.
    Effect,
}

impl Law {
    /// Every law, by rank.
    pub const ALL: [Law; 28] = [
        Law::Panics,
        Law::RefusedUpdate,
        Law::Dots,
        Law::Invariant,
        Law::Restart,
        Law::Trimming,
        Law::SerdeRoundTrip,
        Law::WireRoundTrip,
        Law::WireExtent,
        Law::CanonicalBytes,
        Law::Commutative,
        Law::Associative,
        Law::Idempotent,
        Law::Inflationary,
        Law::Bottom,
        Law::Order,
        Law::Growth,
        Law::Counters,
        Law::MergeOwned,
        Law::DeltaEqualsMerge,
        Law::DeltaGap,
        Law::DeltaAfterBytes,
        Law::DeltaAfterTrimming,
        Law::EqualVersions,
        Law::VersionOrder,
        Law::Convergence,
        Law::Model,
        Law::Effect,
    ];

    /// Whether it may be broken because something else was, before: by trimmed states, or decoded ones.
    pub(crate) fn may_follow(self) -> bool {
        (Law::Commutative..=Law::Model).contains(&self)
    }

    /// How the values that a counterexample shows are related.
    pub(crate) const fn relation(self) -> &'static str {
        match self {
            Law::Panics | Law::Invariant | Law::Effect | Law::WireExtent => "found",
            Law::Dots => "the first should be above the second",
            Law::Counters => "the first should not be below the second",
            _ => "these should be equal",
        }
    }

    /// The law's name in a few words: `delta gap`.
    pub const fn name(self) -> &'static str {
        match self {
            Law::Panics => "panics",
            Law::RefusedUpdate => "refused update",
            Law::Dots => "dots",
            Law::Invariant => "invariant",
            Law::Restart => "restart",
            Law::Trimming => "trimming",
            Law::SerdeRoundTrip => "serde round-trip",
            Law::WireRoundTrip => "wire round-trip",
            Law::WireExtent => "wire extent",
            Law::CanonicalBytes => "canonical bytes",
            Law::Commutative => "commutative",
            Law::Associative => "associative",
            Law::Idempotent => "idempotent",
            Law::Inflationary => "inflationary",
            Law::Bottom => "bottom",
            Law::Order => "order",
            Law::Growth => "growth",
            Law::Counters => "counters",
            Law::MergeOwned => "merge_owned",
            Law::DeltaEqualsMerge => "delta equals merge",
            Law::DeltaGap => "delta gap",
            Law::DeltaAfterBytes => "merge or delta after bytes",
            Law::DeltaAfterTrimming => "merge or delta after trimming",
            Law::EqualVersions => "equal versions",
            Law::VersionOrder => "version order",
            Law::Convergence => "convergence",
            Law::Model => "model",
            Law::Effect => "effect",
        }
    }

    /// What the law says, in a clause: `a delta claims only what it brings`.
    pub const fn statement(self) -> &'static str {
        match self {
            Law::Panics => "nothing panics",
            Law::RefusedUpdate => "a refused update changes nothing",
            Law::Dots => "an update takes a number that none had before",
            Law::Invariant => "every reached state keeps the invariant",
            Law::Restart => "a restart keeps what was shown",
            Law::Trimming => "trimming changes nothing",
            Law::SerdeRoundTrip => "what is decoded equals what was encoded",
            Law::WireRoundTrip => "what is read in binary form equals what was written",
            Law::WireExtent => "binary forms that are cut short or go on are refused",
            Law::CanonicalBytes => "equal states give equal bytes",
            Law::Commutative => "a ∨ b == b ∨ a",
            Law::Associative => "(a ∨ b) ∨ c == a ∨ (b ∨ c)",
            Law::Idempotent => "a ∨ a == a",
            Law::Inflationary => "merges and updates never move a state down",
            Law::Bottom => "bottom ∨ a == a",
            Law::Order => "order agrees with merge",
            Law::Growth => "merge tells whether the state grew",
            Law::Counters => "no merge lowers a last counter",
            Law::MergeOwned => "merge_owned equals merge",
            Law::DeltaEqualsMerge => "a delta brings what a merge would",
            Law::DeltaGap => "a delta claims only what it brings",
            Law::DeltaAfterBytes => "states and deltas that went through bytes merge as before",
            Law::DeltaAfterTrimming => "trimmed states merge, and give deltas, as untrimmed ones",
            Law::EqualVersions => "equal versions imply equal states",
            Law::VersionOrder => "versions are ordered as states",
            Law::Convergence => "equal histories imply equal states",
            Law::Model => "a state shows what its model says",
            Law::Effect => "updates are accepted, and have an effect",
        }
    }
}

/// The name in words and the name in code: `delta gap (Law::DeltaGap)`.
impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} (Law::{self:?})", self.name()))
    }
}
