//! Meshes of leaders in virtual time.
//!
//! Everything is seeded: the same seed gives the same history, event for event.
//!
//! # Faults
//!
//! [`faults`] runs the engine of `mesh-proto`, the one that a leader runs, on meshes of 3 to 16 leaders of every
//! [`Topology`] while links lose, repeat, delay and reorder, partitions come and go, leaders crash, disks are slow or set
//! back, clocks step, and links change. What each leader shows is compared with a naive model after every commit, and
//! every [`Invariant`] is checked; in the end all must agree. How often each interesting situation was met is counted
//! ([`Sometimes`]), because a fault that never struck where it matters has tested nothing.
//!
//! ```
//! let report = mesh_sim::faults(6, 1, true);
//! assert!(report.failure.is_none(), "{report}");
//! ```
//!
//! What happens in a run is data, a [`Schedule`]: one that breaks an invariant is shrunk to a few lines that a person can
//! read. [`Planted`] bugs show that it would be found out; [`OwnType`] runs the same on a type of one's own.

mod builtin;
pub mod economy;
mod generate;
mod keys;
pub mod leaders;
mod link;
mod model;
mod own;
mod planted;
mod queue;
mod schedule;
mod shrink;
mod sometimes;
mod suite;
mod topology;
mod violation;
pub mod whatif;
mod world;

pub use generate::schedule;
pub use link::{Fate, Link};
pub use mesh_proto::{Custom, Dotted, Merge, ReplicaId, Tick, UpdateError};
pub use own::{OwnEvent, OwnType};
pub use planted::Planted;
pub use queue::Queue;
pub use rand::{RngExt, rngs::SmallRng};
pub use schedule::{Action, Schedule, Setup, Step};
pub use sometimes::{Seen, Sometimes};
pub use suite::{ENOUGH_SEEDS, Failure, Faults, Report, Tally, faults};
pub use topology::Topology;
pub use violation::{Invariant, Violation};
