//! A last-writer-wins register with hybrid logical clocks; ties cannot diverge.
//!
//! [`LwwRegister`] holds one value and the [`Stamp`] of the write that set it; a merge keeps the greater stamp. Stamps
//! are totally ordered by ([`HybridTime`], replica, counter), and a write stamps above what its register holds: **a
//! write that has seen another always wins over it**, whatever the clocks say. Clocks decide only between concurrent
//! writes.
//!
//! ```
//! use lww_register::{HybridClock, LwwRegister, Replica, ReplicaId, UpdateError};
//!
//! let mut ann = Replica::new(ReplicaId::new(1), LwwRegister::new());
//! let mut bob = Replica::new(ReplicaId::new(2), LwwRegister::new());
//! let (mut anns_clock, mut bobs_clock) = (HybridClock::new(500), HybridClock::new(500));
//!
//! // The replicas diverge: bob's clock (in milliseconds) is ahead, his write is the later one …
//! ann.update(|title, tick| title.set(tick, anns_clock.now(1_000), "draft"))?;
//! bob.update(|title, tick| title.set(tick, bobs_clock.now(1_200), "final"))?;
//!
//! // … and merge, in any order and any number of times.
//! ann.merge(&bob);
//! bob.merge(&ann);
//! assert_eq!(ann.get(), Some(&"final"));
//! assert_eq!(ann.state(), bob.state());
//!
//! // Ann's clock still reads less than the stamp she has seen. Her next write wins nevertheless.
//! ann.update(|title, tick| title.set(tick, anns_clock.now(1_050), "final, really"))?;
//! bob.merge(&ann);
//! assert_eq!(bob.get(), Some(&"final, really"));
//! # Ok::<(), UpdateError>(())
//! ```
//!
//! What it does *not* promise: of two concurrent writes one is overwritten, and the register does not tell.
//!
//! [`Wire`] is a compact binary form of it.
//!
//! # Features
//!
//! - `serde`: `Serialize` and `Deserialize`; deserialising validates, equal registers give equal bytes.
//! - `rand`: `ReplicaId::random`.
#![no_std]

extern crate alloc;

mod clock;
mod register;
mod stamp;
mod time;
mod wire;

pub use clock::{Drift, HybridClock};
pub use crdt_core::{
    Delta, Dot, Dotted, Gap, Merge, Replica, ReplicaId, Tick, UpdateError,
    wire::{DecodeError, Wire},
};
pub use register::{LwwRegister, Tie};
pub use stamp::Stamp;
pub use time::HybridTime;
