//! A grow-only counter (G-Counter) that replicas increment independently and merge.
//!
//! [`GCounter`] keeps one total for each replica; its value is their sum, a merge takes the greater total of each.
//! Totals are absolute, never increments, so a merge or a delta that arrives twice, late or out of order counts once.
//!
//! ```
//! use g_counter::{GCounter, Replica, ReplicaId, UpdateError};
//!
//! let mut ann = Replica::new(ReplicaId::new(1), GCounter::new());
//! let mut bob = Replica::new(ReplicaId::new(2), GCounter::new());
//!
//! // The replicas diverge …
//! ann.update(|visits, tick| visits.increment(tick, 3))?;
//! bob.update(|visits, tick| visits.increment(tick, 4))?;
//! assert_eq!((ann.value(), bob.value()), (3, 4));
//!
//! // … and merge, in any order and any number of times.
//! ann.merge(&bob);
//! bob.merge(&ann);
//! bob.merge(&ann);
//! assert_eq!(ann.value(), 7);
//! assert_eq!(ann.state(), bob.state());
//! # Ok::<(), UpdateError>(())
//! ```
//!
//! [`Wire`] is a compact binary form of it.
//!
//! # Features
//!
//! - `serde`: `Serialize` and `Deserialize`; deserialising validates, equal counters give equal bytes.
//! - `rand`: `ReplicaId::random`.
#![no_std]

extern crate alloc;

mod counter;
mod wire;

pub use counter::GCounter;
pub use crdt_core::{
    Delta, Dot, Dotted, Gap, InvalidRows, Merge, Replica, ReplicaId, Rows, Tick, UpdateError,
    wire::{DecodeError, Wire},
};
