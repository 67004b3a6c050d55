//! Two replicas of one counter diverge, exchange deltas that get lost and doubled, and converge.
//!
//! `cargo run -p g-counter --example two_replicas_g_counter`

use g_counter::{Delta, GCounter, Replica, ReplicaId};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Ids are drawn at random: nobody has to hand them out.
    let mut ann = Replica::new(ReplicaId::new(1), GCounter::new());
    let mut bob = Replica::new(ReplicaId::new(2), GCounter::new());

    ann.update(|visits, tick| visits.increment(tick, 3))?;
    bob.update(|visits, tick| visits.increment(tick, 4))?;
    println!("diverged:  ann counts {}, bob counts {}", ann.value(), bob.value());

    // A delta is made for a version. This one is lost on the way; nothing has to know.
    let lost = ann.delta_since(bob.version());
    println!("lost:      {} row(s) for bob", lost.rows().len());

    // The next one holds what is still missing, and arrives twice.
    ann.update(|visits, tick| visits.increment(tick, 10))?;
    let doubled = ann.delta_since(bob.version());
    println!("first:     bob grows: {}", bob.apply(&doubled)?);
    println!("again:     bob grows: {}", bob.apply(&doubled)?);

    ann.merge(&bob);
    println!("converged: ann counts {}, bob counts {}", ann.value(), bob.value());
    assert_eq!(ann.state(), bob.state());
    assert_eq!(ann.value(), 17);

    // What cannot be counted is refused, and changes nothing.
    match ann.update(|visits, tick| visits.increment(tick, u64::MAX)) {
        Ok(()) => unreachable!("13 and 2^64 - 1 do not fit"),
        Err(refused) => println!("refused:   {refused}; ann still counts {}", ann.value()),
    }
    Ok(())
}
