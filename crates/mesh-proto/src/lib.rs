//! The replication engine of a mesh of leaders: no sockets, no clocks, no threads.
//!
//! An [`Engine`] is one leader. What goes in: writes, messages of peers, ticks, and the time with each; what comes out is
//! plain data: rows to make durable ([`Commit`]), messages to send and [`Event`]s to report. The same inputs give
//! the same bytes. Whoever runs it (the crate `mesh` over TCP, a simulator in virtual time) does so in this order:
//!
//! 1. any number of inputs: [`write`](Engine::write), [`handle`](Engine::handle), [`tick`](Engine::tick), …;
//! 2. [`take_commit`](Engine::take_commit); if there is one, make it durable, in one step, then say
//!    [`committed`](Engine::committed). Nothing is read, answered or sent before that: then nothing is visible that
//!    could be lost. Many writes in one commit are what makes this cheap;
//! 3. [`poll`](Engine::poll) each connection that has room until it has nothing more, and send.
//!
//! A leader numbers its updates across its whole keyspace, so one [`VersionVector`] says what it has. What it writes it
//! cuts into batches that name what they depend on; leaders pass them on, along a tree for each leader, so any connected
//! graph converges. A peer that lacks more says what it has and gets the delta since then, cut from merged state: many
//! updates of one key cost one transfer. Where vectors are equal and values are not, or a vector is lost, leaders compare
//! items.
//!
//! # Example: two leaders
//!
//! ```
//! use mesh_proto::{Config, Engine, Identity, Now, Op, Recovery, Registry, ReplicaId, SessionId};
//!
//! let mut leaders: Vec<Engine> = (1..=2)
//!     .map(|n| {
//!         let id = Identity { cluster: "demo".into(), name: format!("leader-{n}"), replica: ReplicaId::new(n) };
//!         Engine::recover(Config::default(), id, Recovery::new(Registry::new(), n)).unwrap()
//!     })
//!     .collect();
//! let now = Now { wall: 1_700_000_000_000, mono: 0 };
//! let hellos: Vec<_> = leaders.iter().map(Engine::hello).collect();
//! leaders[0].connect(SessionId(0), &hellos[0], hellos[1].clone(), now).unwrap();
//! leaders[1].connect(SessionId(0), &hellos[1], hellos[0].clone(), now).unwrap();
//!
//! leaders[0].write("visits", &Op::Increment(2), None, now).unwrap();
//! leaders[1].write("visits", &Op::Increment(3), None, now).unwrap();
//! // Deliver until nobody has anything to say.
//! loop {
//!     let mut sent = Vec::new();
//!     for (n, leader) in leaders.iter_mut().enumerate() {
//!         if leader.take_commit().is_some() {
//!             leader.committed(now); // here it would be on disk
//!         }
//!         while let Some(message) = leader.poll(SessionId(0), now) {
//!             sent.push((1 - n, message));
//!         }
//!     }
//!     if sent.is_empty() {
//!         break;
//!     }
//!     for (to, message) in sent {
//!         leaders[to].handle(SessionId(0), message, now).unwrap();
//!     }
//! }
//! assert_eq!(leaders[0].counter("visits"), Some(5));
//! assert_eq!(leaders[1].counter("visits"), Some(5));
//! assert_eq!(leaders[0].fingerprint(), leaders[1].fingerprint());
//! ```

#[cfg(test)]
extern crate self as mesh_proto;

mod batch;
mod codec;
mod config;
mod custom;
mod delta;
mod early;
mod engine;
mod entropy;
mod frame;
#[cfg(test)]
mod hostile;
mod idempotency;
mod key;
mod keyspace;
mod lineage;
mod link;
mod message;
mod news;
mod op;
mod peer;
mod persist;
#[cfg_attr(not(planted), expect(unreachable_pub, reason = "exported where bugs can be planted"))]
mod planted;
mod read;
mod reconcile;
mod relay;
mod said;
mod staging;
mod stream;
mod sync;
mod value;
mod visible;

pub use config::Config;
pub use crdt_core::{Dot, Dotted, Merge, Replica, ReplicaId, Tick, UpdateError};
pub use custom::{Custom, Registry};
pub use engine::{Commit, Engine, Event, HandleError, Identity, Now};
pub use idempotency::MAX_IDEMPOTENCY_KEY;
pub use key::{Key, Kind, MAX_NAME};
pub use keyspace::repair::Repair;
pub use lineage::Lineage;
pub use lww_register::{HybridTime, Stamp};
pub use message::{
    Frame, Hello, HelloError, MAGIC, MAX_LEADER_NAME, MAX_MESSAGE, Message, Part, WIRE_VERSION,
};
pub use op::{MAX_BLOB, Op, Receipt, WriteError};
pub use peer::{PeerStatus, SessionId};
pub use persist::{RecoverError, Recovery, STORE_VERSION};
#[cfg(planted)]
pub use planted::{Bug, plant};
pub use read::{ChangedKey, Snapshot};
pub use staging::Taken;
pub use value::{BadPiece, Blob};
pub use version_vector::VersionVector;
