use std::fmt;

/// One law, by name.
///
/// In order of rank: when a type breaks several laws at once, the one reported is the first of this list, because those
/// further down usually break as a consequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Law {
    /// No update, merge, delta or round trip panics.
    Panics,
    /// An update that returns an error leaves the state and the numbering as they were.
    RefusedUpdate,
    /// An update takes a number of its own replica that no other update ever had.
    ///
    /// A type that keeps no last counters because its updates have other names, as a register has its stamps, leaves
    /// this law and [`Counters`](Law::Counters) out.
    Dots,
    /// A restart gives back what was last shown to anybody.
    Restart,
    /// `decode(encode(a)) == a`, in postcard and in JSON.
    SerdeRoundTrip,
    /// Equal states encode to equal bytes.
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
    /// Updates have an effect at all.
    Effect,
}

impl Law {
    /// Every law, by rank.
    pub const ALL: [Law; 24] = [
        Law::Panics,
        Law::RefusedUpdate,
        Law::Dots,
        Law::Restart,
        Law::SerdeRoundTrip,
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

    /// The law's name in words, as reports print it.
    pub const fn name(self) -> &'static str {
        match self {
            Law::Panics => "nothing panics",
            Law::RefusedUpdate => "a refused update changes nothing",
            Law::Dots => "dots are never reused",
            Law::Restart => "a restart keeps what was shown",
            Law::SerdeRoundTrip => "serde round-trip",
            Law::CanonicalBytes => "equal states give equal bytes",
            Law::Commutative => "commutative",
            Law::Associative => "associative",
            Law::Idempotent => "idempotent",
            Law::Inflationary => "inflationary",
            Law::Bottom => "bottom",
            Law::Order => "order agrees with merge",
            Law::Growth => "merge tells growth",
            Law::Counters => "last counters never fall",
            Law::MergeOwned => "merge_owned equals merge",
            Law::DeltaEqualsMerge => "delta equals merge",
            Law::DeltaGap => "a delta claims only what it brings",
            Law::DeltaAfterBytes => "delta after a round-trip through bytes equals merge",
            Law::DeltaAfterTrimming => "delta after trimming equals merge",
            Law::EqualVersions => "equal versions imply equal states",
            Law::VersionOrder => "versions are ordered as states",
            Law::Convergence => "equal histories imply equal states",
            Law::Model => "matches its model",
            Law::Effect => "updates have an effect",
        }
    }
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
