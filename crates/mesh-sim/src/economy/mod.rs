//! What synchronising costs: the published protocols and this workspace's engine, side by side.
//!
//! All of them run in virtual time over the same overlays and links, with the same operations at the same moments. The
//! published ones share their containers ([`lattice`], [`object`]) and their encoding ([`codec`]); every frame is really
//! encoded and decoded. [`run()`] measures one protocol in one [`Scenario`]; [`published`] first shows that the runs of the
//! paper come out as published, and [`suite::economy`] compares everything and judges the engine by its [`goals`].

pub mod codec;
pub mod delta;
pub mod flooding;
pub mod full_state;
pub mod goals;
pub mod large;
pub mod lattice;
pub mod leader;
pub mod node;
pub mod object;
pub mod overlay;
pub mod published;
pub mod report;
mod run;
pub mod scuttlebutt;
pub mod single_leader;
pub mod suite;
mod track;
pub mod workload;

pub use overlay::Overlay;
pub use run::{Outcome, Protocol, Scenario, run, thread_nanos};
pub use suite::economy;
