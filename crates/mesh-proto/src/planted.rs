//! Bugs for the simulator to find, in a build with `--cfg planted`. In any other [`is`] is always false, and nothing is left
//! of them.

#[cfg(planted)]
use std::cell::Cell;

macro_rules! bugs {
    ($($bug:ident $name:literal $what:literal)*) => {
        /// A bug of the engine.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[cfg_attr(planted, derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
        pub enum Bug {
            $(#[doc = $what] $bug,)*
        }

        #[cfg(planted)]
        impl Bug {
            /// All of them.
            pub const ALL: &[Bug] = &[$(Bug::$bug,)*];

            /// The name on the command line and in tables.
            pub const fn name(self) -> &'static str {
                match self { $(Bug::$bug => $name,)* }
            }

            /// What is wrong, as a sentence.
            pub const fn description(self) -> &'static str {
                match self { $(Bug::$bug => $what,)* }
            }
        }
    };
}

bugs! {
    GapSkipped "gap-skipped" "a vector is advanced over a gap by what came early"
    DependenciesIgnored "dependencies-ignored" "batches are shown before what they depend on"
    FrontierForgets "frontier-forgets" "a newer dependency is taken for covered by an older one"
    LaterChangesCut "later-changes-cut" "a batch has what others changed after its last update, and does not depend on it"
    RemovalsForgotten "removals-forgotten" "removals are forgotten and the floor is not raised"
    UncutRemovalsForgotten "uncut-removals-forgotten" "removals are forgotten before they are cut into a batch"
    FloorIgnored "floor-ignored" "a delta relies on removals that are forgotten"
    FirstPartClaimsAll "first-part-claims-all" "a delta ends with its first part and claims the full context"
    ClosingPassSkipped "closing-pass-skipped" "a delta claims what was written while it was cut"
    VoidDeltaSent "void-delta-sent" "a delta under way goes on after what it relies on was forgotten"
    GoneNotSaid "gone-not-said" "a delta under way does not say that a set has vanished"
    WrongDot "wrong-dot" "an element is merged under the dot before its own"
    DeadRevived "dead-revived" "a merge takes dots that it has seen die for new ones"
    SplitCounter "split-counter" "decrements are left to another store when there are increments"
    CountedTwice "counted-twice" "a retransmitted total is counted again"
    TieKept "tie-kept" "of two writes at the same time each leader keeps its own"
    LocalClock "local-clock" "a write is stamped by the local clock and nothing else"
    BufferReset "buffer-reset" "what was sent is dropped before it is acknowledged"
    AcknowledgedEarly "acknowledged-early" "what waits in memory is acknowledged as durable"
    TalksBeforeDurable "talks-before-durable" "messages go out while something is not durable"
    NeverGrafted "never-grafted" "what is announced on a pruned link is never asked for"
    DotsReused "dots-reused" "after a crash the last dot is given out again"
    AmnesiaIgnored "amnesia-ignored" "a leader goes on although a peer has more of its updates"
    ReplyNotStored "reply-not-stored" "the reply of an idempotent write is not in the write's commit"
    HeaderFirst "header-first" "a commit has its header and not all rows that it speaks of"
}

#[cfg(planted)]
thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// All engines have this bug, and no other, as long as they run on this thread.
#[cfg(planted)]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

#[cfg(planted)]
pub(crate) fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

#[cfg(not(planted))]
pub(crate) const fn is(_: Bug) -> bool {
    false
}
