//! What serialised states are checked for, whatever the format.

use crate::set::OrSetDelta;
use crdt_core::Dot;
use version_vector::VersionVector;

/// What is wrong with bytes that have the right shape.
#[derive(Clone, Copy)]
pub(crate) enum Invalid {
    #[cfg(feature = "serde")]
    EmptyRow,
    Unsorted,
    Overflow,
    Count,
    NotCovered,
    Repeated,
    Table,
    Floor,
}

impl Invalid {
    pub(crate) const fn what(self) -> &'static str {
        match self {
            #[cfg(feature = "serde")]
            Invalid::EmptyRow => "a row without entries is not written",
            Invalid::Unsorted => "rows or entries are out of order or written twice",
            Invalid::Overflow => "a counter is 0 or beyond 2^64 - 1",
            Invalid::Count => "runs and elements differ in number",
            Invalid::NotCovered => "a dot lies outside the version that should cover it",
            Invalid::Repeated => "an element has two live dots of one replica",
            Invalid::Table => "a table of replicas lacks one, or has one that is not used",
            Invalid::Floor => "survivors are listed exactly when deaths since then are forgotten",
        }
    }
}

#[cfg(feature = "serde")]
impl core::fmt::Display for Invalid {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.what())
    }
}

pub(crate) fn ascending<T: PartialOrd>(items: &[T]) -> Result<(), Invalid> {
    if items.is_sorted_by(|a, b| a < b) { Ok(()) } else { Err(Invalid::Unsorted) }
}

pub(crate) fn covered(version: &VersionVector, dot: Dot) -> Result<(), Invalid> {
    if version.contains(dot) { Ok(()) } else { Err(Invalid::NotCovered) }
}

/// Whether all that it brings lies in the interval that it claims.
pub(crate) fn check_delta<E>(delta: &OrSetDelta<E>) -> Result<(), Invalid> {
    let OrSetDelta { since, until, slice, floor } = delta;
    if until.covers(since).is_err() || until.covers(floor).is_err() {
        return Err(Invalid::NotCovered);
    }
    let news = |dot: Dot| {
        if since.contains(dot) {
            return Err(Invalid::NotCovered);
        }
        covered(until, dot)
    };
    for (dot, _) in &slice.births {
        news(*dot)?;
    }
    for (event, killed) in &slice.deaths {
        news(*event)?;
        covered(until, *killed)?;
    }
    for run in slice.survivors.iter().flatten() {
        covered(since, Dot::new(run.replica, run.last))?;
    }
    let is_behind = since.covers(floor).is_err();
    // Who is not behind the floor has no use for it.
    if slice.survivors.is_some() != is_behind || !is_behind && !floor.is_empty() {
        return Err(Invalid::Floor);
    }
    Ok(())
}
