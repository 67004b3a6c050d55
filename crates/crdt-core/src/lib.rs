//! The shared traits of state-based CRDTs, and the one writer of a state.
//!
//! A state-based CRDT is a **join-semilattice**: states are partially ordered, any two have a least upper bound, and
//! [`Merge::merge`] computes it. Replicas update their own copy and merge each other's, in any order, any number of
//! times, and end up equal. Everything in this family of crates follows from that one sentence.
//!
//! What lives here:
//!
//! - [`Merge`], the join, and [`Delta`], a piece of state that brings another state up to date;
//! - [`ReplicaId`] and [`Dot`], the names of writers and of their updates;
//! - [`Replica`], which owns a state and lends its writer, a [`Tick`], together with that one writable copy;
//! - [`wire`], a compact and canonical binary form;
//! - [`Rows`], one number for each replica joined by maximum: what counters and version vectors are made of.
//!
//! # Why updates need a `Tick`
//!
//! Two copies of one state that both write under one replica id lose data, silently: each numbers its next update the
//! same, so each believes that it already has the other's. So an update takes a [`Tick`], only the owner of a writable
//! copy can lend one, and a clone of a [`Replica`]'s state is a value to read, send and merge, never a second writer.
//!
//! # Example: a CRDT of one's own
//!
//! ```
//! use crdt_core::{Dotted, Merge, Replica, ReplicaId, Rows, Tick, UpdateError};
//!
//! /// How often each replica said hello.
//! #[derive(Clone, Debug, Default, PartialEq)]
//! struct Hellos(Rows);
//!
//! impl Hellos {
//!     fn say(&mut self, tick: Tick<'_>) -> Result<(), UpdateError> {
//!         let dot = tick.follows(self)?.take()?;
//!         self.0.raise(dot.replica, dot.counter);
//!         Ok(())
//!     }
//! }
//!
//! impl Merge for Hellos {
//!     fn merge(&mut self, other: &Self) -> bool {
//!         self.0.merge(&other.0)
//!     }
//! }
//!
//! impl Dotted for Hellos {
//!     fn last_counter(&self, replica: ReplicaId) -> u64 {
//!         self.0.get(replica)
//!     }
//! }
//!
//! let mut ann = Replica::new(ReplicaId::new(1), Hellos::default());
//! let mut bob = Replica::new(ReplicaId::new(2), Hellos::default());
//! ann.update(|hellos, tick| hellos.say(tick))?;
//! bob.update(|hellos, tick| hellos.say(tick))?;
//! assert!(bob.merge(&ann));
//! assert!(!bob.merge(&ann), "merging again brings nothing");
//! assert_eq!(bob.0.sum(), 2);
//! # Ok::<(), UpdateError>(())
//! ```
#![no_std]

extern crate alloc;

mod delta;
mod dot;
mod merge;
mod replica;
mod rows;
pub mod wire;

pub use delta::{Delta, Gap};
pub use dot::{Dot, InvalidDot, InvalidReplicaId, ReplicaId};
pub use merge::Merge;
pub use replica::{Dotted, Replica, Tick, UpdateError, Writer};
pub use rows::{Causality, InvalidRows, Rows};
