//! A type of one's own: its laws are checked, then a mesh replicates it.
//!
//! `cargo run -p mesh --example your_own_crdt`

use crdt_laws::{Event, Model, Outcome, Subject, Suite};
use mesh::{
    Custom, Dotted, Leader, LeaderConfig, Merge, Peer, Registry, Replica, ReplicaId, Storage, Tick,
    UpdateError,
};
use mesh::{VersionVector, WaitError};
use serde::{Deserialize, Serialize};
use std::{
    cmp::Ordering,
    collections::BTreeMap,
    error::Error,
    time::{Duration, Instant},
};

/// A ballot: everybody has one vote and may change their mind.
///
/// A vote that has seen another of the same voter replaces it. Of two that have not seen each other the one with more
/// changes of mind behind it counts, then the greater choice: any rule will do that all leaders apply alike.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Ballot {
    /// For each voter how often they have voted, and the last choice.
    votes: BTreeMap<String, (u32, String)>,
    /// Which updates are in here.
    seen: VersionVector,
}

impl Ballot {
    fn vote(&mut self, tick: Tick<'_>, voter: &str, choice: &str) -> Result<(), UpdateError> {
        let vote =
            self.votes.get(voter).map_or(0, |(nth, _)| *nth).checked_add(1).ok_or(UpdateError::Overflow)?;
        self.seen.increment(tick)?; // what fails comes first: then nothing has changed
        self.votes.insert(voter.into(), (vote, choice.into()));
        Ok(())
    }

    fn choices(&self) -> BTreeMap<String, String> {
        self.votes.iter().map(|(voter, (_, choice))| (voter.clone(), choice.clone())).collect()
    }
}

// A join: for each voter the greater of two votes.
impl Merge for Ballot {
    fn merge(&mut self, other: &Self) -> bool {
        for (voter, theirs) in &other.votes {
            if self.votes.get(voter).is_none_or(|ours| ours < theirs) {
                self.votes.insert(voter.clone(), theirs.clone());
            }
        }
        self.seen.merge(&other.seen)
    }
}

impl Dotted for Ballot {
    fn last_counter(&self, replica: ReplicaId) -> u64 {
        self.seen.get(replica)
    }
}

impl PartialOrd for Ballot {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.seen.partial_cmp(&other.seen)
    }
}

// What a mesh needs to know, besides the codec from serde.
impl Custom for Ballot {
    const TYPE: &'static str = "ballot";
}

// How the law kit drives it: few voters and few choices, so that they meet.
impl Subject for Ballot {
    type State = Self;
    type Op = (bool, bool);

    fn update(replica: &mut Replica<Self>, (voter, choice): &(bool, bool), _now: u64) -> Outcome {
        let (voter, choice) = (if *voter { "ann" } else { "bob" }, if *choice { "yes" } else { "no" });
        Ok(replica.update(|ballot, tick| ballot.vote(tick, voter, choice))?)
    }
}

// What it should show, said from the votes alone.
impl Model for Ballot {
    type View = BTreeMap<String, String>;

    fn view(ballot: &Self) -> Self::View {
        ballot.choices()
    }

    fn expected(past: &[&Event<(bool, bool)>]) -> Self::View {
        let mut nth = Vec::new();
        let mut last = BTreeMap::new();
        for (n, event) in past.iter().enumerate() {
            let (voter, choice) = event.op;
            let before =
                past[..n].iter().zip(&nth).filter(|(earlier, _)| earlier.op.0 == voter && event.saw(earlier));
            nth.push(before.map(|(_, nth)| *nth).max().unwrap_or(0) + 1);
            let vote = (nth[n], if choice { "yes" } else { "no" });
            let best = last.entry(if voter { "ann" } else { "bob" }).or_insert(vote);
            *best = vote.max(*best);
        }
        last.into_iter().map(|(voter, (_, choice))| (voter.into(), choice.into())).collect()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Belongs into a test of yours.
    Suite::<Ballot>::new().order().serde().model().check();
    println!("the laws hold");

    let registry = Registry::new().with::<Ballot>();
    let listen = Some("127.0.0.1:0".into());
    let eu = Leader::start(LeaderConfig {
        registry: registry.clone(),
        listen,
        ..LeaderConfig::new("eu", Storage::Memory)
    })
    .await?;
    let peers = vec![Peer::new("eu", eu.listen_addr().expect("it listens").to_string())];
    let us =
        Leader::start(LeaderConfig { registry, peers, ..LeaderConfig::new("us", Storage::Memory) }).await?;

    eu.update::<Ballot>("lunch", |ballot, tick| ballot.vote(tick, "ann", "soup")).await?;
    let bobs = us.update::<Ballot>("lunch", |ballot, tick| ballot.vote(tick, "bob", "pizza")).await?;
    see(&eu, &bobs.token).await?;
    let anns = eu.update::<Ballot>("lunch", |ballot, tick| ballot.vote(tick, "ann", "pizza")).await?;
    see(&us, &anns.token).await?;

    for leader in [&eu, &us] {
        let ballot: Ballot = leader.get("lunch").await?;
        println!("{}: {:?}", leader.status().await?.name, ballot.choices());
        assert!(ballot.choices().values().eq(["pizza", "pizza"]));
    }
    us.shutdown().await;
    eu.shutdown().await;
    Ok(())
}

async fn see(leader: &Leader, token: &VersionVector) -> Result<(), WaitError> {
    leader.wait_for(token, Instant::now() + Duration::from_secs(10)).await
}

#[test]
fn runs() {
    main().unwrap();
}
