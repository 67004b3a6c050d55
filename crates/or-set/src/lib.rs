//! An add-wins observed-remove set: any replica adds and removes at any time, and all converge.
//!
//! No tombstones: what was removed leaves nothing behind but a bounded memory that makes deltas small. A delta is cut
//! from the receiver's version vector alone, carries removals, and costs what changed, not what is there.
//!
//! ```
//! use or_set::{Delta, Merge, OrSet, Replica, ReplicaId};
//!
//! let mut ann = Replica::new(ReplicaId::new(1), OrSet::new());
//! let mut bob = Replica::new(ReplicaId::new(2), OrSet::new());
//! ann.update(|tags, tick| tags.extend(tick, ["rust", "crdt", "draft"]))?;
//! bob.merge(&ann);
//!
//! ann.update(|tags, tick| tags.remove(tick, "draft"))?;
//! bob.update(|tags, tick| tags.add(tick, "replication"))?;
//!
//! let delta = ann.delta_since(bob.version()); // one removal, not three elements
//! assert_eq!((delta.slice().births().len(), delta.slice().deaths().len()), (0, 1));
//! bob.apply(&delta)?;
//! assert_eq!(bob.iter().collect::<Vec<_>>(), [&"rust", &"crdt", &"replication"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - [`OrSet`] is the set, [`OrSetDelta`] what [`Delta::delta_since`] gives.
//! - [`Kernel`] is its algorithm without a context of its own, for stores in which many sets share one numbering;
//!   [`Slice`] is what its deltas are made of, and [`Change`] what it tells a watcher.
//!
//! [`Wire`] is a compact binary form of sets and deltas; with the feature `serde` they have all other formats as well.
//! Both are canonical: equal states give equal bytes. Reading checks every invariant, in linear time.
#![no_std]

extern crate alloc;

mod births;
mod chunk;
mod elements;
mod index;
mod kernel;
mod merge;
mod repair;
mod row;
#[cfg(feature = "serde")]
mod serde_impls;
mod set;
mod slice;
mod table;
mod valid;
mod wire;

pub use crdt_core::{
    Delta, Dot, Dotted, Gap, Merge, Replica, ReplicaId, Tick, UpdateError,
    wire::{DecodeError, Wire},
};
pub use kernel::{Change, Kernel};
pub use set::{OrSet, OrSetDelta};
pub use slice::Slice;
pub use version_vector::{Causality, VersionVector};
