//! Two replicas of one register write at the same time under clocks that disagree, and converge.
//!
//! `cargo run -p lww-register --example two_replicas_lww_register`

use lww_register::{Delta, HybridClock, HybridTime, LwwRegister, Replica, ReplicaId};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Ids are drawn at random: nobody has to hand them out.
    let mut ann = Replica::new(ReplicaId::new(1), LwwRegister::new());
    let mut bob = Replica::new(ReplicaId::new(2), LwwRegister::new());
    let (mut anns_clock, mut bobs_clock) = (HybridClock::new(500), HybridClock::new(500));

    // Milliseconds; bob's clock is 200 ms ahead of ann's.
    let stamp = ann.update(|title, tick| title.set(tick, anns_clock.now(1_000), String::from("draft")))?;
    println!("ann writes at {}: {:?}", stamp.time, ann.get());
    let stamp = bob.update(|title, tick| title.set(tick, bobs_clock.now(1_200), String::from("final")))?;
    println!("bob writes at {}: {:?}", stamp.time, bob.get());

    println!("ann grows: {}", ann.apply(&bob.delta_since(ann.version()))?);
    println!("bob grows: {}", bob.apply(&ann.delta_since(bob.version()))?);
    println!("both hold {:?}", ann.get());
    assert_eq!(ann.state(), bob.state());

    // Ann has seen bob's write, so hers wins over it although her clock still reads less.
    let stamp =
        ann.update(|title, tick| title.set(tick, anns_clock.now(1_050), String::from("final, really")))?;
    println!("ann writes at {}: {:?}", stamp.time, ann.get());
    bob.merge(&ann);
    assert_eq!(ann.state(), bob.state());
    println!("both hold {:?}", bob.get());

    // A clock takes note of what it receives, within a bound.
    anns_clock.observe(stamp.time, 1_050)?;
    if let Err(refused) = anns_clock.observe(HybridTime::from_millis(3_600_000), 1_050) {
        println!("refused: {refused}");
    }
    Ok(())
}
