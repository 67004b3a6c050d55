//! The types of a user's own that the suite itself puts into its meshes.

use crate::{
    Planted,
    own::{Own, OwnType},
};
use mesh_proto::{Custom, Dotted, Merge, ReplicaId, Tick, UpdateError};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// Of each leader how many updates it made, and how many votes it gave in them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Votes<const PLANTED: u8 = 0>(BTreeMap<ReplicaId, (u64, u64)>);

const ADDED_TWICE: u8 = 1;
const NOT_MONOTONE: u8 = 2;
const LOCAL_TIE: u8 = 3;

impl<const PLANTED: u8> Votes<PLANTED> {
    fn vote(&mut self, tick: Tick<'_>, votes: u64) -> Result<(), UpdateError> {
        let dot = tick.follows(self)?.take()?;
        let row = self.0.entry(dot.replica).or_default();
        *row = (dot.counter, row.1 + votes);
        Ok(())
    }

    fn total(&self) -> u64 {
        self.0.values().map(|row| row.1).sum()
    }
}

impl<const PLANTED: u8> Merge for Votes<PLANTED> {
    fn merge(&mut self, other: &Self) -> bool {
        let mut grew = false;
        for (replica, theirs) in &other.0 {
            let mine = self.0.entry(*replica).or_default();
            let newer = theirs.0 > mine.0;
            grew |= newer;
            match PLANTED {
                // What comes in counts on top, also when it comes again.
                ADDED_TWICE => *mine = (mine.0.max(theirs.0), mine.1 + if newer { theirs.1 } else { 0 }),
                // The fast path takes over whole rows, older ones too.
                NOT_MONOTONE => *mine = *theirs,
                // Who has something already keeps it.
                LOCAL_TIE if mine.0 > 0 => *mine = (mine.0.max(theirs.0), mine.1),
                _ if newer => *mine = *theirs,
                _ => {}
            }
        }
        grew
    }
}

impl<const PLANTED: u8> Dotted for Votes<PLANTED> {
    fn last_counter(&self, replica: ReplicaId) -> u64 {
        self.0.get(&replica).map_or(0, |row| row.0)
    }
}

impl<const PLANTED: u8> Custom for Votes<PLANTED> {
    const TYPE: &'static str = "votes";
}

fn votes<const PLANTED: u8>() -> Arc<dyn Own> {
    let votes = OwnType::new(
        |rng| rng.random_range(1..10u64),
        |votes: &mut Votes<PLANTED>, tick, by| votes.vote(tick, *by),
        Votes::total,
    );
    Arc::new(votes.model(|past| past.iter().map(|event| event.update).sum()))
}

/// The user's type in the meshes of the suite; broken, if that is what is planted.
pub(crate) fn own(planted: Option<Planted>) -> Arc<dyn Own> {
    match planted {
        Some(Planted::AddedTwice) => votes::<ADDED_TWICE>(),
        Some(Planted::NotMonotone) => votes::<NOT_MONOTONE>(),
        Some(Planted::LocalTie) => votes::<LOCAL_TIE>(),
        _ => votes::<0>(),
    }
}
