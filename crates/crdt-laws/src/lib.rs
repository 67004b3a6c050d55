//! Checks that a type is a CRDT: generated histories, shrunk counterexamples, laws by name.
//!
//! Say how your type is updated, and [`check`] plays generated histories with it: replicas that update, fork, merge,
//! crash, and lose, repeat and reorder messages, under clocks that disagree. After every step the laws are checked on
//! the states that were reached; *reachable* states, because arbitrary ones give one dot to two updates and break
//! every CRDT. What breaks a law is shrunk to a history that a person can read.
//!
//! # Checking a type of one's own
//!
//! ```
//! use crdt_core::{Dotted, Merge, Replica, ReplicaId, Rows};
//! use crdt_laws::{Event, Law, Model, Outcome, Subject, Suite};
//! use std::cmp::Ordering;
//!
//! /// The greatest score reached, and by how many games.
//! #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
//! struct HighScore {
//!     best: u8,
//!     games: Rows,
//! }
//!
//! impl Merge for HighScore {
//!     fn merge(&mut self, other: &Self) -> bool {
//!         let before = self.best;
//!         self.best = before.max(other.best);
//!         self.games.merge(&other.games) || self.best > before
//!     }
//! }
//!
//! impl Dotted for HighScore {
//!     fn last_counter(&self, replica: ReplicaId) -> u64 {
//!         self.games.get(replica)
//!     }
//! }
//!
//! impl PartialOrd for HighScore {
//!     fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
//!         self.games.partial_cmp(&other.games)
//!     }
//! }
//!
//! // How to drive it: here an update is a score.
//! impl Subject for HighScore {
//!     type State = Self;
//!     type Op = u8;
//!
//!     fn update(replica: &mut Replica<Self>, score: &u8, _now: u64) -> Outcome {
//!         replica.update(|state, tick| {
//!             let dot = tick.follows(state)?.take()?;
//!             state.games.raise(dot.replica, dot.counter);
//!             state.best = state.best.max(*score);
//!             Ok(())
//!         })
//!     }
//! }
//!
//! // What it should show, said from the updates alone.
//! impl Model for HighScore {
//!     type View = (u8, u128);
//!
//!     fn view(state: &Self) -> (u8, u128) {
//!         (state.best, state.games.sum())
//!     }
//!
//!     fn expected(past: &[&Event<u8>]) -> (u8, u128) {
//!         (past.iter().map(|event| event.op).max().unwrap_or(0), past.len() as u128)
//!     }
//! }
//!
//! // One line. The laws of merging:
//! crdt_laws::check::<HighScore>();
//! // With everything else that the type can do:
//! Suite::<HighScore>::new().order().serde().model().check();
//!
//! // And so a mistake looks. An average is no join: in which order three replicas merge decides the outcome.
//! #[derive(Clone, Debug, Default, PartialEq)]
//! struct Average(HighScore);
//!
//! impl Merge for Average {
//!     fn merge(&mut self, other: &Self) -> bool {
//!         let before = self.0.best;
//!         self.0.best = before.midpoint(other.0.best);
//!         self.0.games.merge(&other.0.games) || self.0.best != before
//!     }
//! }
//! # impl Dotted for Average {
//! #     fn last_counter(&self, replica: ReplicaId) -> u64 {
//! #         self.0.games.get(replica)
//! #     }
//! # }
//! # impl Subject for Average {
//! #     type State = Self;
//! #     type Op = u8;
//! #     fn update(replica: &mut Replica<Self>, score: &u8, _now: u64) -> Outcome {
//! #         replica.update(|state, tick| {
//! #             let dot = tick.follows(state)?.take()?;
//! #             state.0.games.raise(dot.replica, dot.counter);
//! #             state.0.best = state.0.best.max(*score);
//! #             Ok(())
//! #         })
//! #     }
//! # }
//! let violation = Suite::<Average>::new().run().unwrap_err();
//! assert_eq!(violation.law(), Law::Associative);
//! println!("{violation}");
//! ```
//!
//! which prints
//!
//! ```text
//! law broken: associative (Law::Associative): (a ∨ b) ∨ c == a ∨ (b ∨ c)
//!   by my_crate::Average, case 1 of seed 0
//!
//!   history, shrunk from 3 steps to 1:
//!      1. A: 2 at 0
//!         A = Average(HighScore { best: 2, games: {a: 1} })
//!
//!   given
//!       A = Average(HighScore { best: 2, games: {a: 1} })
//!       B = Average(HighScore { best: 0, games: {} })
//!       C = Average(HighScore { best: 0, games: {} })
//!
//!   these should be equal
//!       (A ∨ B) ∨ C
//!           Average(HighScore { best: 0, games: {a: 1} })
//!       A ∨ (B ∨ C)
//!           Average(HighScore { best: 1, games: {a: 1} })
//!
//!   also broken
//!       idempotent (Law::Idempotent): a ∨ a == a
//!       inflationary (Law::Inflationary): merges and updates never move a state down
//!       bottom (Law::Bottom): bottom ∨ a == a
//!       convergence (Law::Convergence): equal histories imply equal states
//! ```
//!
//! # What is there
//!
//! - [`Subject`]: how to drive a type; also how it restarts, forks and trims, where that is special, and what
//!   holds inside every state. [`Model`]: what it
//!   should show. Without a model, a type that loses the same updates everywhere passes most laws.
//! - [`Suite`]: which abilities, bytes in serde's formats and in the compact [binary form](crdt_core::wire) among them;
//!   which laws, how many histories, which seed. [`Law`]: the laws by name. [`Violation`]: the counterexample.
//! - [`Forks`]: states of one history as input to properties of one's own.
//!
//! # Soak
//!
//! A suite takes about a second for its 1,000 histories.
//! `CRDT_LAWS_CASES=1000000 CRDT_LAWS_SEED=42 cargo test --release` runs every suite longer and elsewhere. Without them
//! a test checks the same histories each time.
//!
//! # What it does not show
//!
//! A suite that passes has found nothing in the histories that it played: replicas are few, histories short, and faults
//! those of honest systems. It does not forge states; decoding of hostile bytes is a matter for fuzzing.

mod ability;
mod bytes;
mod checks;
mod deltas;
mod forks;
mod history;
mod law;
mod panics;
mod report;
mod subject;
mod suite;
mod world;

pub use forks::Forks;
pub use law::Law;
pub use report::{Report, Violation};
pub use subject::{Event, Model, Outcome, Subject};
pub use suite::{Suite, check};
