//! Two replicas that learn what the other has seen, and find out what they did concurrently.
//!
//! `cargo run -p version-vector --example two_replicas_version_vector`

use version_vector::{Replica, ReplicaId, UpdateError, VersionVector};

fn main() -> Result<(), UpdateError> {
    let mut ann = Replica::new(ReplicaId::new(1), VersionVector::new());
    let mut bob = Replica::new(ReplicaId::new(2), VersionVector::new());

    ann.update(VersionVector::increment)?;
    bob.merge(&ann);
    println!("bob has heard of ann's update:   ann is {:?} bob", ann.compare(&bob));

    bob.update(VersionVector::increment)?;
    println!("bob makes an update of his own:  ann is {:?} bob", ann.compare(&bob));

    let dot = ann.update(VersionVector::increment)?;
    println!("ann makes another, unaware:      ann is {:?} bob", ann.compare(&bob));
    println!("bob has seen {dot}: {}", bob.contains(dot));

    for (replica, counters) in ann.difference(&bob) {
        println!("bob lacks updates {counters:?} of {replica}");
    }
    ann.merge(&bob);
    bob.merge(&ann);
    println!("they merge:                      ann is {:?} bob", ann.compare(&bob));
    Ok(())
}
