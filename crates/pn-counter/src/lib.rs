//! A counter (PN-Counter) that replicas increment and decrement independently and merge.
//!
//! [`PnCounter`] keeps two totals for each replica, what it has added and what it has taken away; its value is the
//! difference of their sums, a merge takes the greater of each total. Totals are absolute, so a merge or a delta that
//! arrives twice, late or out of order counts once.
//!
//! ```
//! use pn_counter::{PnCounter, Replica, ReplicaId, UpdateError};
//!
//! let mut ann = Replica::new(ReplicaId::new(1), PnCounter::new());
//! let mut bob = Replica::new(ReplicaId::new(2), PnCounter::new());
//!
//! // The replicas diverge …
//! ann.update(|stock, tick| stock.increment(tick, 3))?;
//! bob.update(|stock, tick| stock.decrement(tick, 5))?;
//! assert_eq!((ann.value(), bob.value()), (3, -5));
//!
//! // … and merge, in any order and any number of times.
//! ann.merge(&bob);
//! bob.merge(&ann);
//! bob.merge(&ann);
//! assert_eq!(ann.value(), -2);
//! assert_eq!(ann.state(), bob.state());
//! # Ok::<(), UpdateError>(())
//! ```
//!
//! What it does *not* promise: a lower bound. Two replicas that each see one item in stock may both take it, and the
//! merged value is −1. Whoever needs a bound needs coordination.
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

pub use counter::{PnCounter, TooManyEvents};
pub use crdt_core::{
    Delta, Dot, Dotted, Gap, InvalidRows, Merge, Replica, ReplicaId, Rows, Tick, UpdateError,
    wire::{DecodeError, Wire},
};
