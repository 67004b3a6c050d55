//! Two replicas of one stock count diverge, merge, and converge; neither keeps it from going below zero.
//!
//! `cargo run -p pn-counter --example two_replicas_pn_counter`

use pn_counter::{Delta, PnCounter, Replica, ReplicaId};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Ids are drawn at random: nobody has to hand them out.
    let mut ann = Replica::new(ReplicaId::new(1), PnCounter::new());
    let mut bob = Replica::new(ReplicaId::new(2), PnCounter::new());

    ann.update(|stock, tick| stock.increment(tick, 5))?;
    bob.merge(&ann);
    println!("delivered: ann sees {}, bob sees {}", ann.value(), bob.value());

    ann.update(|stock, tick| stock.decrement(tick, 4))?;
    bob.update(|stock, tick| stock.decrement(tick, 3))?;
    println!("sold:      ann sees {}, bob sees {}", ann.value(), bob.value());

    // A delta holds absolute totals: it may arrive twice.
    let delta = ann.delta_since(bob.version());
    println!("first:     bob grows: {}", bob.apply(&delta)?);
    println!("again:     bob grows: {}", bob.apply(&delta)?);

    ann.merge(&bob);
    println!("converged: ann sees {}, bob sees {}", ann.value(), bob.value());
    assert_eq!(ann.state(), bob.state());
    assert_eq!(ann.value(), -2, "all sales count; that they were too many is for people to settle");

    // What cannot be counted is refused, and changes nothing.
    match ann.update(|stock, tick| stock.decrement(tick, u64::MAX)) {
        Ok(()) => unreachable!("9 events and 2^64 - 1 more do not fit"),
        Err(refused) => println!("refused:   {refused}; ann still sees {}", ann.value()),
    }
    Ok(())
}
