//! A mesh of leaders: embed one, write locally, replicate to all, survive partitions.
//!
//! A [`Leader`] takes writes by itself, makes them durable, and replicates them to its peers by merging state. Leaders
//! that are cut off go on alone; when they meet again they converge, and nothing that was acknowledged is lost or
//! counted twice.
//!
//! - [`LeaderConfig`] says who a leader is, where its data lies and whom it knows;
//! - [`Leader`] writes, reads, [watches](Leader::watch) and [waits](Leader::wait_for);
//! - [`api`] serves a leader over HTTP and JSON.
//!
//! What a write may do is an [`Op`] on one of the built-in types, or an update of a type of one's own: [`Custom`].
//!
//! # Example: two leaders
//!
//! ```
//! use mesh::{Leader, LeaderConfig, Peer, Storage};
//! use std::time::{Duration, Instant};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let data = |name: &str| Storage::Dir(folder.path().join(name));
//! let listen = Some("127.0.0.1:0".into());
//! let eu = Leader::start(LeaderConfig { listen, ..LeaderConfig::new("eu", data("eu")) }).await?;
//! let peers = vec![Peer::new("eu", eu.listen_addr().expect("it listens").to_string())];
//! let us = Leader::start(LeaderConfig { peers, ..LeaderConfig::new("us", data("us")) }).await?;
//!
//! eu.increment("visits", 2).await?;
//! let receipt = us.increment("visits", 3).await?; // neither waits for the other
//!
//! // Read at eu what was written at us.
//! eu.wait_for(&receipt.token, Instant::now() + Duration::from_secs(10)).await?;
//! assert_eq!(eu.counter("visits").await?, 5);
//!
//! us.shutdown().await;
//! eu.shutdown().await;
//! # Ok(())
//! # }
//! ```

pub mod api;

mod actor;
mod clock;
mod config;
mod core;
mod disk;
mod error;
mod keeper;
mod leader;
mod map;
mod metrics;
mod readers;
mod start;
mod status;
mod token;
mod topology;
mod transport;
mod watch;

pub use config::{LeaderConfig, Limits, Metadata, Peer, Storage};
pub use crdt_core::Rows;
pub use error::{LeaderError, StartError, WaitError};
pub use leader::Leader;
pub use mesh_proto::{
    ChangedKey, Config, Custom, Dot, Dotted, Engine, Key, Kind, MAX_LEADER_NAME, Merge, Op, Receipt,
    RecoverError, Registry, Replica, ReplicaId, Snapshot, Stamp, Tick, UpdateError, VersionVector,
    WriteError,
};
pub use mesh_store::{Batch, MemoryStore, RedbStore, Store, StoreError};
pub use status::{PeerReport, Status};
pub use token::{Token, TokenError};
pub use topology::{
    LeaderReport, LinkReport, Member, PlanError, Problem, RESERVED, Source, Topology, TopologyReport,
    parse_duration,
};
pub use watch::{Changes, Watch};
