#[cfg(planted)]
use mesh_proto::Bug;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A bug that the suite can be asked to plant, to show that it is found: in what surrounds the engine, in a user's own
/// type, or, in a build with `--cfg planted`, in the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Planted {
    /// Messages go out while the commit is on its way to the disk.
    SentBeforeDurable,
    /// Clients are told before the commit is durable.
    AcknowledgedBeforeDurable,
    /// A crash leaves the header of a commit without the rows that it speaks of.
    TornCommit,
    /// A disk forgets its last commit in a crash, and the leader goes on under its old id.
    ForgetfulDisk,
    /// A leader restored from an old backup writes on under its old id.
    OldIdAfterRestore,
    /// A merge counts a state that comes again once more.
    AddedTwice,
    /// A merge with a fast path that is not monotone.
    NotMonotone,
    /// A merge in which each side keeps its own value of a tie.
    LocalTie,
    /// A bug of the engine.
    #[cfg(planted)]
    #[serde(untagged)]
    Engine(Bug),
}

impl Planted {
    /// Those that any build has.
    pub const ALL: &[Planted] = &[
        Planted::SentBeforeDurable,
        Planted::AcknowledgedBeforeDurable,
        Planted::TornCommit,
        Planted::ForgetfulDisk,
        Planted::OldIdAfterRestore,
        Planted::AddedTwice,
        Planted::NotMonotone,
        Planted::LocalTie,
    ];

    /// All that this build has.
    pub fn all() -> impl Iterator<Item = Planted> {
        let all = Planted::ALL.iter().copied();
        #[cfg(planted)]
        let all = all.chain(Bug::ALL.iter().copied().map(Planted::Engine));
        all
    }

    /// What it is in the engine.
    #[cfg(planted)]
    pub(crate) fn in_engine(self) -> Option<Bug> {
        if let Planted::Engine(bug) = self { Some(bug) } else { None }
    }

    /// The name on the command line and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Planted::SentBeforeDurable => "sent-before-durable",
            Planted::AcknowledgedBeforeDurable => "acknowledged-before-durable",
            Planted::TornCommit => "torn-commit",
            Planted::ForgetfulDisk => "forgetful-disk",
            Planted::OldIdAfterRestore => "old-id-after-restore",
            Planted::AddedTwice => "added-twice",
            Planted::NotMonotone => "not-monotone",
            Planted::LocalTie => "local-tie",
            #[cfg(planted)]
            Planted::Engine(bug) => bug.name(),
        }
    }

    /// What is wrong, as a sentence.
    pub const fn description(self) -> &'static str {
        match self {
            Planted::SentBeforeDurable => "messages go out while the commit is on its way to the disk",
            Planted::AcknowledgedBeforeDurable => "clients are told before the commit is durable",
            Planted::TornCommit => "a crash leaves the header of a commit without the rows that it speaks of",
            Planted::ForgetfulDisk => "a replica restarts under its old id and has lost its last increments",
            Planted::OldIdAfterRestore => "an old backup is restored and written to under the same identity",
            Planted::AddedTwice => "a retransmitted delta is counted on top of what is there",
            Planted::NotMonotone => "an optimised merge goes back to older rows",
            Planted::LocalTie => "a tie is kept as it is locally",
            #[cfg(planted)]
            Planted::Engine(bug) => bug.description(),
        }
    }
}

impl fmt::Display for Planted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
