/// A join-semilattice: `merge` computes the least upper bound of two states.
///
/// # Laws
///
/// For all reachable states `a`, `b`, `c` of one history, where `a ∨ b` is `a` after `a.merge(&b)`:
///
/// - **commutative**: `a ∨ b == b ∨ a`;
/// - **associative**: `(a ∨ b) ∨ c == a ∨ (b ∨ c)`;
/// - **idempotent**: `a ∨ a == a`, and then `merge` returns `false`;
/// - **inflationary**: `a <= a ∨ b`; an update never moves a state down either;
/// - **bottom**: `Default::default() ∨ a == a`;
/// - **order agrees with merge**: where the type is `PartialOrd`, `a <= b` exactly when `a ∨ b == b`.
///
/// The crate `crdt-laws` checks them for a type in one line. *Reachable* matters: two states that number different
/// updates alike (a forked writer, a restart that lost its last updates) are not of one history.
///
/// Source: Shapiro, Preguiça, Baquero, Zawirski, "A comprehensive study of Convergent and Commutative Replicated Data
/// Types", INRIA RR-7506 (2011), section 2.2.
///
/// # Example
///
/// ```
/// use crdt_core::Merge;
///
/// #[derive(Clone, Debug, Default, PartialEq, PartialOrd)]
/// struct HighScore(u32);
///
/// impl Merge for HighScore {
///     fn merge(&mut self, other: &Self) -> bool {
///         let grew = other.0 > self.0;
///         self.0 = self.0.max(other.0);
///         grew
///     }
/// }
///
/// let (mut here, mut there) = (HighScore(3), HighScore(5));
/// assert!(here.merge(&there), "here grew");
/// assert!(!there.merge(&here), "there knew already");
/// assert_eq!(here, there);
/// ```
pub trait Merge {
    /// Joins `other` into `self`; true exactly when `self` grew.
    fn merge(&mut self, other: &Self) -> bool;

    /// As [`merge`](Merge::merge), for a side that can be consumed: what it brings is moved, not cloned.
    fn merge_owned(&mut self, other: Self) -> bool
    where
        Self: Sized,
    {
        self.merge(&other)
    }
}

/// `None` is bottom: a state that need not exist yet.
impl<S: Merge + Clone> Merge for Option<S> {
    fn merge(&mut self, other: &Self) -> bool {
        match (self.as_mut(), other) {
            (_, None) => false,
            (Some(mine), Some(theirs)) => mine.merge(theirs),
            (None, Some(theirs)) => {
                *self = Some(theirs.clone());
                true
            }
        }
    }

    fn merge_owned(&mut self, other: Self) -> bool {
        match (self.as_mut(), other) {
            (_, None) => false,
            (Some(mine), Some(theirs)) => mine.merge_owned(theirs),
            (None, theirs) => {
                *self = theirs;
                true
            }
        }
    }
}
