use serde::{Serialize, Serializer, ser::SerializeMap};
use std::fmt;

macro_rules! situations {
    ($($(#[$doc:meta])* $name:ident: $text:literal,)*) => {
        /// A situation that a suite of enough seeds must have reached: a fault that never fell into the moment where it
        /// matters has tested nothing.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Sometimes {
            $($(#[$doc])* $name,)*
        }

        impl Sometimes {
            /// All of them.
            pub const ALL: &[Sometimes] = &[$(Sometimes::$name,)*];

            /// The situation in words.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Sometimes::$name => $text,)*
                }
            }
        }
    };
}

situations! {
    /// Writes were lost that nobody had been told of.
    CrashBeforeDurable: "crash before durable, with writes pending",
    /// A commit was durable, and neither its clients nor its peers had heard.
    CrashBetweenDurableAndSent: "crash between durable and sent",
    /// A client found its leader down.
    AskedWhileDown: "write asked of a leader that is down",
    /// A leader was set back to an older state of its disk.
    RestoredFromBackup: "restart from an older backup",
    /// A leader was told by a peer that it lacks its own updates.
    LostUpdatesNoticed: "lost updates noticed, new id taken",
    /// Updates were lost with a disk before anybody else had them.
    LostWithTheDisk: "acknowledged updates that only a lost disk had",
    /// A write was repeated under its idempotency key and not counted again.
    Repeated: "idempotent repeat, answered from the kept reply",
    /// As before, with a crash in between.
    RepeatedAfterCrash: "idempotent repeat after a crash",
    /// A write was lost in a crash and repeated under its idempotency key.
    RepeatedLostWrite: "repeat of a write that a crash had lost",
    /// One leader added what another removed, neither knew of the other, and messages between them were being dropped.
    AddAndRemoveAcrossCut: "concurrent add and remove across a partition",
    /// Two leaders assigned one register, neither knew of the other.
    ConcurrentAssigns: "concurrent assignments of a register",
    /// A register was written after its leader's clock had stepped back.
    ClockSteppedBack: "register written after the clock stepped back",
    /// A leader whose clock is behind overwrote what a clock ahead had stamped.
    SlowClockOverwrites: "a slow clock overwrites what a fast one stamped",
    /// A message was lost on a link.
    Lost: "message lost",
    /// A message vanished in a partition.
    Dropped: "message dropped by a partition",
    /// A message vanished in a partition of one direction only.
    DroppedOneWay: "message dropped by a one-way partition",
    /// A message arrived twice.
    Twice: "message delivered twice",
    /// A message arrived before one that was sent earlier on the same connection.
    Overtaken: "message overtaken by a later one",
    /// A connection closed while messages were on it.
    ClosedUnderWay: "connection closed with messages under way",
    /// A connection was replaced by a newer one before its end was noticed.
    Replaced: "connection replaced before its end was noticed",
    /// A message came for a connection that was no more.
    Stray: "message for a closed connection",
    /// Links were added and taken away while messages were under way.
    GraphChanged: "topology changed with messages under way",
    /// Events came by way of a leader that did not make them.
    Relayed: "events relayed by a third leader",
    /// A leader took up a hundred or more events in one step.
    CaughtUp: "a hundred or more events taken up in one step",
    /// What came was held until what it depends on came too.
    EarlyHeld: "early batch held",
    /// News came that was known already.
    NothingNew: "news that was known already",
    /// A gap was filled with merged state, because what was missing is not retained as it was written.
    MergedState: "gap filled with merged state",
    /// A connection closed while a delta was on it.
    ClosedInDelta: "connection closed with a delta under way",
    /// Inputs waited for a slow disk.
    DiskBehind: "inputs queued behind a slow disk",
    /// Nothing to send was given out although there was news, because it was not durable yet.
    HeldUntilDurable: "asked for messages before the commit, and given none",
    /// Own types of the user were updated concurrently.
    OwnTypeConcurrent: "own type updated concurrently",
    /// A fault was healed with leaders at different vectors.
    HealedApart: "healed with leaders apart",
}

impl fmt::Display for Sometimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text())
    }
}

/// How often each situation was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen([u64; Sometimes::ALL.len()]);

impl Default for Seen {
    fn default() -> Self {
        Seen([0; Sometimes::ALL.len()])
    }
}

impl Seen {
    /// How often `what` was reached.
    pub fn count(&self, what: Sometimes) -> u64 {
        self.0[what as usize]
    }

    /// The situations that were never reached.
    pub fn never(&self) -> Vec<Sometimes> {
        Sometimes::ALL.iter().copied().filter(|what| self.count(*what) == 0).collect()
    }

    pub(crate) fn note(&mut self, what: Sometimes) {
        self.0[what as usize] += 1;
    }

    pub(crate) fn add(&mut self, other: &Seen) {
        self.0.iter_mut().zip(&other.0).for_each(|(sum, count)| *sum += count);
    }
}

impl Serialize for Seen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(Sometimes::ALL.len()))?;
        for what in Sometimes::ALL {
            map.serialize_entry(what.text(), &self.count(*what))?;
        }
        map.end()
    }
}
