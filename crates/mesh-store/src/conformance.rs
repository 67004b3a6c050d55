//! One suite of checks for every [`Store`]: those of this crate and anybody's own.
//!
//! [`check`] runs named checks of the laws of [`Store`] and stops at the first that fails. It is given a [`Harness`], which
//! knows how to make an empty store and how to restart one; [`Store`] has a complete example.
//!
//! What it cannot check is the medium: that a commit was synced shows only when the power fails. Cut it, or kill the
//! process, in a test of its own.

mod checks;

use crate::{Store, StoreError};
use std::{error::Error, fmt};

/// Makes and restarts the stores that are checked.
pub trait Harness {
    /// The store under test.
    type Store: Store;

    /// An empty store that has nothing to do with those made before.
    ///
    /// # Errors
    ///
    /// Whatever the store reports; the check that asked for it fails.
    fn create(&mut self) -> Result<Self::Store, StoreError>;

    /// Ends the handle as abruptly as can be done within a process, and opens the same store again.
    ///
    /// # Errors
    ///
    /// Whatever the store reports; the check that asked for it fails.
    fn restart(&mut self, store: Self::Store) -> Result<Self::Store, StoreError>;

    /// Makes the next commit fail, as late in its work as can be arranged, and returns true.
    ///
    /// A harness that cannot arrange it returns false, as this default does; then
    /// [`Check::FailedCommitIsAtomic`] and [`Check::FailedCommitPoisons`] pass without having been put to the test.
    fn fail_next_commit(&mut self, store: &mut Self::Store) -> bool {
        let _ = store;
        false
    }
}

/// What is checked, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Check {
    /// A new store has no rows.
    EmptyAtFirst,
    /// What is committed can be read by the handle that committed it.
    CommitIsVisible,
    /// What is committed is there after a restart, from the first commit to the last.
    CommitSurvivesRestart,
    /// Every write of a batch is stored, the first and the last included.
    WholeBatch,
    /// A later batch replaces values, whatever their lengths.
    Overwrite,
    /// A deleted key is gone, also after a restart; deleting what is not there does nothing.
    DeleteSticks,
    /// Within a batch the last write of a key counts, be it a put or a delete.
    LastWriteCounts,
    /// An empty batch can be committed and changes nothing.
    EmptyBatch,
    /// Keys and values can be empty, and an empty value is not an absent one.
    EmptyKeyAndValue,
    /// A key is found by all its bytes and nothing less.
    GetIsExact,
    /// Scanning lends keys in ascending order of their unsigned bytes.
    ScanInOrder,
    /// Scanning lends the keys with the prefix and no others, for every prefix.
    ScanExactPrefix,
    /// A value of 8 MiB is kept.
    LargeValue,
    /// Ten thousand rows are kept.
    ManyKeys,
    /// `disk_bytes` is at least what is kept, which is random and so cannot be made smaller.
    DiskBytes,
    /// A commit that failed is there wholly or not at all after a restart, and all before it is there.
    FailedCommitIsAtomic,
    /// After a commit that failed, the handle refuses everything with [`StoreError::Poisoned`].
    FailedCommitPoisons,
    /// A random history of batches and restarts reads like an ordered map.
    RandomHistory,
}

/// The check that a store failed, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which check.
    pub check: Check,
    /// What was expected and what was found.
    pub detail: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store does not pass {:?}: {}", self.check, self.detail)
    }
}

impl Error for Failure {}

/// Checks every law that can be checked from within a process.
///
/// Takes some 200 commits and 60 restarts, 8 MiB and about 10,000 rows.
///
/// # Errors
///
/// The first check that the store does not pass.
pub fn check<H: Harness>(harness: &mut H) -> Result<(), Failure> {
    for (check, run) in checks::all::<H>() {
        run(harness).map_err(|checks::Mismatch(detail)| Failure { check, detail })?;
    }
    Ok(())
}
