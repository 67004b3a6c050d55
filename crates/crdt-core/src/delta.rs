use crate::{Merge, ReplicaId};
use core::fmt;

/// A state that can be brought up to date by less than the whole of another.
///
/// A **delta** is a piece of state that claims exactly the interval `(since, until]` for which it is complete: all that
/// happened after version `since` and up to version `until`, removals included.
///
/// # Laws
///
/// For reachable states `x`, `y` of one history:
///
/// - **delta equals merge**: `x.apply(&y.delta_since(x.version()))` succeeds and leaves `x ∨ y`;
/// - a delta for an older `since` gives the same result, and so does applying it twice;
/// - a delta whose `since` the state does not cover is refused with [`Gap`], or (where each piece stands for itself, as
///   a counter's rows do) merges without claiming what lies in the gap; the state never claims what it does not have;
/// - **equal versions imply equal states**.
///
/// Source: Almeida, Shoker, Baquero, "Delta state replicated data types", JPDC 111 (2018), sections 4 and 6; that a
/// delta claims an *interval* is what its causal delta-merging condition (definition 6) asks for.
///
/// ```
/// use crdt_core::{Delta, Gap, Merge, Rows};
///
/// // Rows are their own version: the delta is the rows that grew.
/// let ours: Rows = [(1, 4), (2, 7)].into_iter().collect();
/// let mut theirs: Rows = [(1, 4), (2, 3)].into_iter().collect();
/// let delta = ours.delta_since(theirs.version());
/// assert_eq!(delta.len(), 1);
/// assert!(theirs.apply(&delta)?);
/// assert_eq!(theirs, ours);
/// # Ok::<(), Gap>(())
/// ```
pub trait Delta: Merge {
    /// What says which updates a state has: a version vector, the rows of a counter, the stamp of a register.
    /// Ordered as the states are.
    type Version: Clone + Default + PartialOrd;

    /// What [`delta_since`](Delta::delta_since) gives and [`apply`](Delta::apply) takes.
    type Change;

    /// Which updates this state has.
    fn version(&self) -> &Self::Version;

    /// What has happened here since `since`, removals included.
    ///
    /// `since` may be any version of the same history, also one concurrent with this state's.
    fn delta_since(&self, since: &Self::Version) -> Self::Change;

    /// Joins a delta; true exactly when `self` grew.
    ///
    /// # Errors
    ///
    /// [`Gap`] if the delta builds on updates that this state does not have. The state is unchanged; ask for a delta
    /// since [`version`](Delta::version).
    fn apply(&mut self, change: &Self::Change) -> Result<bool, Gap>;
}

/// A delta builds on updates that the state does not have; the state is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The replica whose updates are missing.
    pub replica: ReplicaId,
    /// The last update of that replica that the state has.
    pub have: u64,
    /// The last update of that replica that the delta builds on.
    pub since: u64,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gap { replica, have, since } = self;
        write!(f, "the delta builds on update {since} of replica {replica}, the state ends at {have}")
    }
}

impl core::error::Error for Gap {}
