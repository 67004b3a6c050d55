//! A merge type of one's own, put through everything that can happen to a mesh.
//!
//! `cargo run -p mesh-sim --release --example own_type`
//!
//! An auction: the highest bid of each leader counts. The first version is a join, and passes. The second has a fast path
//! that a reviewer might let through; it is caught, with a schedule of a few steps.

use mesh_sim::{Custom, Dotted, Merge, OwnType, ReplicaId, RngExt, Tick, UpdateError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Of each leader how many bids it took, and the highest of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Auction<const FAST: bool>(BTreeMap<ReplicaId, Row>);

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Row {
    bids: u64,
    highest: u64,
}

impl<const FAST: bool> Auction<FAST> {
    fn bid(&mut self, tick: Tick<'_>, amount: u64) -> Result<(), UpdateError> {
        let dot = tick.follows(self)?.take()?;
        let row = self.0.entry(dot.replica).or_default();
        *row = Row { bids: dot.counter, highest: row.highest.max(amount) };
        Ok(())
    }

    fn highest(&self) -> u64 {
        self.0.values().map(|row| row.highest).max().unwrap_or(0)
    }
}

impl<const FAST: bool> Merge for Auction<FAST> {
    fn merge(&mut self, other: &Self) -> bool {
        if FAST && other.0.len() > self.0.len() {
            // "It knows more leaders, so it knows more": not of each of them.
            *self = other.clone();
            return true;
        }
        let mut grew = false;
        for (replica, theirs) in &other.0 {
            let mine = self.0.entry(*replica).or_default();
            if theirs.bids > mine.bids {
                *mine = *theirs;
                grew = true;
            }
        }
        grew
    }
}

impl<const FAST: bool> Dotted for Auction<FAST> {
    fn last_counter(&self, replica: ReplicaId) -> u64 {
        self.0.get(&replica).map_or(0, |row| row.bids)
    }
}

impl<const FAST: bool> Custom for Auction<FAST> {
    const TYPE: &'static str = "auction";
}

fn auction<const FAST: bool>() -> OwnType<Auction<FAST>, u64, u64> {
    OwnType::new(
        |rng| rng.random_range(1..1_000),
        |auction: &mut Auction<FAST>, tick, amount| auction.bid(tick, *amount),
        Auction::highest,
    )
    .model(|past| past.iter().map(|event| event.update).max().unwrap_or(0))
}

fn main() {
    match auction::<false>().check(0..30, 200) {
        Ok(report) => println!("the join:\n{report}"),
        Err(failure) => panic!("a join fails: {failure}"),
    }
    match auction::<true>().check(0..30, 200) {
        Ok(report) => panic!("the fast path passes: {report}"),
        Err(failure) => println!("the fast path:\n{failure}"),
    }
}
