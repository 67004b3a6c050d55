//! Bugs that other implementations shipped, each kind as one test.

use g_counter::{Delta, GCounter, Merge, Replica, ReplicaId, UpdateError};

const ANN: ReplicaId = ReplicaId::new(1);
const BOB: ReplicaId = ReplicaId::new(2);

/// Kind: delta counters that add, so that a duplicate delivery counts twice (6 for 3).
#[test]
fn a_duplicate_delta_counts_once() {
    let mut ann = Replica::new(ANN, GCounter::new());
    ann.update(|c, tick| c.increment(tick, 3)).unwrap();
    let delta = ann.delta_since(&GCounter::new());
    let mut bob = GCounter::new();
    assert_eq!(bob.apply(&delta), Ok(true));
    assert_eq!(bob.apply(&delta), Ok(false));
    assert!(!bob.merge(&delta));
    assert_eq!(bob.value(), 3);
}

/// Kind: a late, older delta takes a counter back.
#[test]
fn an_older_delta_lowers_nothing() {
    let mut ann = Replica::new(ANN, GCounter::new());
    ann.update(|c, tick| c.increment(tick, 1)).unwrap();
    let older = ann.delta_since(&GCounter::new());
    ann.update(|c, tick| c.increment(tick, 1)).unwrap();
    let mut bob = ann.clone();
    assert_eq!(bob.apply(&older), Ok(false));
    assert_eq!(bob.value(), 2);
}

/// Kind: a sub-state used as a delta deletes what it does not mention.
#[test]
fn a_delta_leaves_other_rows_alone() {
    let ours: GCounter = [(1, 3), (2, 4)].into_iter().collect();
    let mut theirs: GCounter = [(2, 4), (3, 5)].into_iter().collect();
    let delta = ours.delta_since(theirs.version());
    assert_eq!(delta.rows().len(), 1);
    theirs.apply(&delta).unwrap();
    assert_eq!(theirs, [(1, 3), (2, 4), (3, 5)].into_iter().collect());
}

/// Kind: a restarted replica reuses dots and its new increments vanish.
#[test]
fn a_restart_numbers_on() {
    let mut ann = Replica::new(ANN, GCounter::new());
    ann.update(|c, tick| c.increment(tick, 3)).unwrap();
    let mut bob = ann.clone();
    let stored = ann.into_state();
    let mut ann = Replica::new(ANN, stored);
    ann.update(|c, tick| c.increment(tick, 2)).unwrap();
    assert!(bob.merge(&ann));
    assert_eq!(bob.value(), 5);
}

/// Kind: the same, after the restart lost its disk: the reuse is refused as soon as it shows.
#[test]
fn a_restart_without_its_state_is_found_out() {
    let mut before = Replica::new(ANN, GCounter::new());
    before.update(|c, tick| c.increment(tick, 3)).unwrap();
    let mut after = Replica::new(ANN, GCounter::new());
    after.merge(&before);
    let refused = after.update(|c, tick| c.increment(tick, 1));
    assert_eq!(refused, Err(UpdateError::Stale { replica: ANN, issued: 0, last: 3 }));
    assert_eq!(after.state(), before.state());
}

/// Kind: a row of zero is neither equal to nor ordered against no row.
#[test]
fn zero_is_not_written_down() {
    let mut ann = Replica::new(ANN, GCounter::new());
    ann.update(|c, tick| c.increment(tick, 0)).unwrap();
    let collected = GCounter::from_iter([(ANN, 0)]);
    for zero in [ann.state(), &collected] {
        assert_eq!(*zero, GCounter::default());
        assert!(*zero <= GCounter::default() && *zero >= GCounter::default());
    }
    #[cfg(feature = "serde")]
    {
        assert!(serde_json::from_str::<GCounter>(r#"{"1":0}"#).is_err());
        assert!(postcard::from_bytes::<GCounter>(&[1, 1, 0]).is_err());
    }
}

/// Kind: overflow that wraps in release builds.
#[test]
fn overflow_is_an_error_and_the_sum_is_wide() {
    let full: GCounter = [(1, u64::MAX), (2, u64::MAX), (3, 1)].into_iter().collect();
    let mut ann = Replica::new(ANN, full.clone());
    assert_eq!(ann.update(|c, tick| c.increment(tick, 1)), Err(UpdateError::Overflow));
    assert_eq!(*ann.state(), full);
    assert_eq!(ann.value(), 2 * u128::from(u64::MAX) + 1);
}

/// Kind: JSON that fails because keys are structs.
#[cfg(feature = "serde")]
#[test]
fn json_round_trips() {
    let counter: GCounter = [(1, 3), (u64::MAX, u64::MAX)].into_iter().collect();
    let json = serde_json::to_string(&counter).unwrap();
    assert_eq!(serde_json::from_str::<GCounter>(&json).unwrap(), counter);
}

/// Kind: the identity inside the state, so that converged replicas are unequal.
#[test]
fn converged_replicas_are_equal() {
    let mut ann = Replica::new(ANN, GCounter::new());
    let mut bob = Replica::new(BOB, GCounter::new());
    ann.update(|c, tick| c.increment(tick, 1)).unwrap();
    bob.update(|c, tick| c.increment(tick, 2)).unwrap();
    ann.merge(&bob);
    bob.merge(&ann);
    assert_eq!(ann.state(), bob.state());
    #[cfg(feature = "serde")]
    assert_eq!(postcard::to_allocvec(ann.state()).unwrap(), postcard::to_allocvec(bob.state()).unwrap());
}

/// Kind: the identity inside the state, so that a clone writes as its original and one of both writes is lost.
#[test]
fn a_clone_counts_under_its_own_id() {
    let mut ann = Replica::new(ANN, GCounter::new());
    ann.update(|c, tick| c.increment(tick, 1)).unwrap();
    let mut copy = Replica::new(BOB, ann.clone());
    ann.update(|c, tick| c.increment(tick, 1)).unwrap();
    copy.update(|c, tick| c.increment(tick, 1)).unwrap();
    ann.merge(&copy);
    assert_eq!(ann.value(), 3);
}

/// Kind: validation that refuses legitimate state, or takes quadratic time: 200,000 rows would then take minutes.
#[cfg(feature = "serde")]
#[test]
fn a_counter_of_many_replicas_is_read_back() {
    let large: GCounter = (1..=200_000).map(|id| (id, u64::MAX)).collect();
    let bytes = postcard::to_allocvec(&large).unwrap();
    assert_eq!(postcard::from_bytes::<GCounter>(&bytes).unwrap(), large);
}
