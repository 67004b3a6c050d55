//! Two replicas edit a shopping list apart, then exchange what the other lacks.
//!
//! `cargo run -p or-set --example two_replicas_or_set`

use or_set::{Delta, OrSet, Replica, ReplicaId};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut ann = Replica::new(ReplicaId::new(1), OrSet::new());
    let mut bob = Replica::new(ReplicaId::new(2), OrSet::new());
    ann.update(|list, tick| list.extend(tick, ["milk", "bread", "salt"].map(String::from)))?;
    bob.apply(&ann.delta_since(bob.version()))?;

    // Apart: Bob buys the milk and the salt; Ann, who does not know, wants salt once more.
    bob.update(|list, tick| list.remove(tick, "milk"))?;
    bob.update(|list, tick| list.remove(tick, "salt"))?;
    ann.update(|list, tick| list.add(tick, "salt".into()))?;

    // Together: each sends what the other's version lacks, removals included.
    let to_ann = bob.delta_since(ann.version());
    let to_bob = ann.delta_since(bob.version());
    println!(
        "to Ann: {} removals; to Bob: {} add",
        to_ann.slice().deaths().len(),
        to_bob.slice().births().len()
    );
    ann.apply(&to_ann)?;
    bob.apply(&to_bob)?;

    assert_eq!(ann.state(), bob.state());
    for item in ann.iter() {
        println!("{item}"); // bread, salt: the add that Bob had not seen won
    }
    Ok(())
}
