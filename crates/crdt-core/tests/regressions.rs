//! Bugs of kinds that others have shipped; each test says which.
#![cfg(feature = "serde")]

use crdt_core::{Causality, Dot, Merge, Replica, ReplicaId, Rows, Tick, UpdateError};

fn count(rows: &mut Rows, tick: Tick<'_>) -> Result<Dot, UpdateError> {
    let dot = tick.follows(rows)?.take()?;
    rows.raise(dot.replica, dot.counter);
    Ok(dot)
}

/// Undefined behaviour from input: an id out of range is an error, not a value that no code expects.
#[test]
fn an_id_out_of_range_is_refused() {
    for bad in ["\"\"", "\"0\"", "\"10000000000000000\"", "\"-1\"", "\"+1\"", "\"g\"", "256", "null"] {
        assert!(serde_json::from_str::<ReplicaId>(bad).is_err(), "{bad}");
    }
    assert!(postcard::from_bytes::<ReplicaId>(&[0]).is_err());
    assert!(postcard::from_bytes::<ReplicaId>(&[0xff; 11]).is_err());
    assert!(postcard::from_bytes::<Dot>(&[1, 0]).is_err(), "counters start at 1");
}

/// JSON that fails on struct keys: a map from ids to numbers is a JSON object.
#[test]
fn json_has_plain_keys() {
    let dot = Dot::new(ReplicaId::new(7), 9);
    let by_dot = std::collections::BTreeMap::from([(dot, 'x')]);
    let json = serde_json::to_string(&by_dot).unwrap();
    assert_eq!(json, r#"{"0000000000000007:9":"x"}"#);
    assert_eq!(serde_json::from_str::<std::collections::BTreeMap<Dot, char>>(&json).unwrap(), by_dot);
    for bad in ["\"7:0\"", "\"7:+1\"", "\"7:\"", "\":1\"", "\"7\"", "\"7:18446744073709551616\"", "7"] {
        assert!(serde_json::from_str::<Dot>(bad).is_err(), "{bad}");
    }
    let rows: Rows = [(7, 1)].into_iter().collect();
    assert_eq!(serde_json::to_string(&rows).unwrap(), r#"{"0000000000000007":1}"#);
}

/// `{a: 0}` that is neither equal to nor ordered against `{}`: zero is never stored and never read.
#[test]
fn zero_is_absence() {
    let zero: Rows = [(1, 0)].into_iter().collect();
    assert_eq!(zero, Rows::new());
    assert_eq!(zero.compare(&Rows::new()), Causality::Equal);
    assert!(serde_json::from_str::<Rows>(r#"{"0000000000000001":0}"#).is_err());
    assert!(postcard::from_bytes::<Rows>(&[1, 1, 0]).is_err());
}

/// Identity inside the state: converged replicas are equal, and a clone cannot write in another's name.
#[test]
fn converged_states_are_equal_and_clones_do_not_write() {
    let mut ann = Replica::new(ReplicaId::new(1), Rows::new());
    let mut bob = Replica::new(ReplicaId::new(2), Rows::new());
    ann.update(count).unwrap();
    bob.update(count).unwrap();
    ann.merge(&bob);
    bob.merge(&ann);
    assert_eq!(ann.state(), bob.state());
    let mut copy: Rows = ann.clone();
    assert!(!copy.merge(&bob), "a clone is a state and has no method to update");
}

/// A restarted replica reuses dots and its new writes vanish: the numbering goes on where the state ends.
#[test]
fn a_restarted_replica_does_not_reuse_dots() {
    let mut replica = Replica::new(ReplicaId::new(1), Rows::new());
    replica.update(count).unwrap();
    let bytes = postcard::to_allocvec(replica.state()).unwrap();
    let mut restarted = Replica::new(ReplicaId::new(1), postcard::from_bytes::<Rows>(&bytes).unwrap());
    assert_eq!(restarted.update(count), Ok(Dot::new(ReplicaId::new(1), 2)));
}

/// A restarted replica that *lost* its state reuses dots: the first contact finds it out.
#[test]
fn a_replica_that_lost_its_state_is_found_out() {
    let mut before = Replica::new(ReplicaId::new(1), Rows::new());
    before.update(count).unwrap();
    let mut after = Replica::new(ReplicaId::new(1), Rows::new());
    after.merge(&before);
    assert_eq!(
        after.update(count),
        Err(UpdateError::Stale { replica: ReplicaId::new(1), issued: 0, last: 1 })
    );
}
