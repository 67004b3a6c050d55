//! Bugs that other implementations shipped, each kind as one test.

use pn_counter::{Delta, Dotted, Merge, PnCounter, Replica, ReplicaId, Rows, UpdateError};

const ANN: ReplicaId = ReplicaId::new(1);
const BOB: ReplicaId = ReplicaId::new(2);

/// 3 up and 1 down by ann.
fn two() -> Replica<PnCounter> {
    let mut ann = Replica::new(ANN, PnCounter::new());
    ann.update(|c, tick| c.increment(tick, 3)).unwrap();
    ann.update(|c, tick| c.decrement(tick, 1)).unwrap();
    ann
}

/// Kind: delta counters that add, so that a duplicate delivery counts twice (6 for 3).
#[test]
fn a_duplicate_delta_counts_once() {
    let delta = two().delta_since(&PnCounter::new());
    let mut bob = PnCounter::new();
    assert_eq!(bob.apply(&delta), Ok(true));
    assert_eq!(bob.apply(&delta), Ok(false));
    assert!(!bob.merge(&delta));
    assert_eq!(bob.value(), 2);
}

/// Kind: reordered deltas, of which the later one claims what it does not carry.
#[test]
fn reordered_deltas_leave_prefixes() {
    let mut ann = Replica::new(ANN, PnCounter::new());
    ann.update(|c, tick| c.increment(tick, 3)).unwrap();
    let first = ann.delta_since(&PnCounter::new());
    let between = ann.clone();
    ann.update(|c, tick| c.decrement(tick, 1)).unwrap();
    let second = ann.delta_since(&between);
    let mut bob = PnCounter::new();
    bob.apply(&second).unwrap();
    assert_eq!((bob.value(), bob.last_counter(ANN)), (2, 4), "not -1, which never was");
    assert_eq!(bob.apply(&first), Ok(false));
    assert_eq!(bob, *ann.state());
}

/// Kind: a sub-state used as a delta deletes what it does not mention.
#[test]
fn a_delta_leaves_other_rows_alone() {
    let mut bob = Replica::new(BOB, PnCounter::new());
    bob.update(|c, tick| c.decrement(tick, 5)).unwrap();
    let ann = two();
    let delta = ann.delta_since(bob.version());
    bob.apply(&delta).unwrap();
    assert_eq!(bob.value(), -3);
}

/// Kind: a restarted replica reuses dots and its new updates vanish.
#[test]
fn a_restart_numbers_on() {
    let ann = two();
    let mut bob = ann.clone();
    let stored = ann.into_state();
    let mut ann = Replica::new(ANN, stored);
    ann.update(|c, tick| c.decrement(tick, 1)).unwrap();
    ann.update(|c, tick| c.increment(tick, 2)).unwrap();
    assert!(bob.merge(&ann));
    assert_eq!(bob.value(), 3);
}

/// Kind: the same, after the restart lost its disk: the reuse is refused as soon as it shows.
#[test]
fn a_restart_without_its_state_is_found_out() {
    let before = two();
    let mut after = Replica::new(ANN, PnCounter::new());
    after.merge(&before);
    let stale = Err(UpdateError::Stale { replica: ANN, issued: 0, last: 4 });
    assert_eq!(after.update(|c, tick| c.increment(tick, 1)), stale);
    assert_eq!(after.update(|c, tick| c.decrement(tick, 1)), stale);
    assert_eq!(after.state(), before.state());
}

/// Kind: a counter split over two stores, one for up and one for down, that number their updates alike.
#[test]
fn up_and_down_are_numbered_as_one() {
    let mut ann = two();
    assert_eq!(ann.last_counter(ANN), 4);
    assert_eq!(ann.update(|_, tick| tick.take()).unwrap().counter, 5);
}

/// Kind: a row of zero is neither equal to nor ordered against no row.
#[test]
fn zero_is_not_written_down() {
    let mut ann = Replica::new(ANN, PnCounter::new());
    ann.update(|c, tick| c.increment(tick, 0)).unwrap();
    ann.update(|c, tick| c.decrement(tick, 0)).unwrap();
    let zero = || Rows::from_iter([(ANN, 0)]);
    let collected = PnCounter::from_rows(zero(), zero()).unwrap();
    for zero in [ann.state(), &collected] {
        assert_eq!(*zero, PnCounter::default());
        assert!(*zero <= PnCounter::default() && *zero >= PnCounter::default());
    }
    #[cfg(feature = "serde")]
    {
        let json = r#"{"increments":{"1":0},"decrements":{}}"#;
        assert!(serde_json::from_str::<PnCounter>(json).is_err());
        assert!(postcard::from_bytes::<PnCounter>(&[0, 1, 1, 0]).is_err());
    }
}

/// Kind: an order derived field by field, so that concurrent states look ordered.
#[test]
fn the_order_is_not_lexicographic() {
    let up = PnCounter::from_rows([(1, 2)].into_iter().collect(), Rows::new()).unwrap();
    let down = PnCounter::from_rows([(1, 1)].into_iter().collect(), [(2, 1)].into_iter().collect()).unwrap();
    assert_eq!(up.partial_cmp(&down), None);
    assert_eq!(down.partial_cmp(&up), None);
}

/// Kind: a merge that stops at the first half that grew.
#[test]
fn both_halves_merge() {
    let mut bob = PnCounter::new();
    bob.merge(&two());
    assert_eq!(bob, *two().state());
}

/// Kind: overflow that wraps in release builds.
#[test]
fn overflow_is_an_error_and_the_value_is_wide() {
    let full = || -> Rows { [(1, u64::MAX), (2, u64::MAX)].into_iter().collect() };
    let top = PnCounter::from_rows(full(), Rows::new()).unwrap();
    let bottom = PnCounter::from_rows(Rows::new(), full()).unwrap();
    assert_eq!(top.value(), 2 * i128::from(u64::MAX));
    assert_eq!(bottom.value(), -2 * i128::from(u64::MAX));
    for state in [top, bottom] {
        let mut ann = Replica::new(ANN, state.clone());
        let refused = ann.update(|c, tick| c.increment(tick, 1));
        assert_eq!(refused, Err(UpdateError::Overflow));
        let refused = ann.update(|c, tick| c.decrement(tick, 1));
        assert_eq!(refused, Err(UpdateError::Overflow));
        assert_eq!(*ann.state(), state);
    }
}

/// Kind: JSON that fails because keys are structs.
#[cfg(feature = "serde")]
#[test]
fn json_round_trips() {
    let json = serde_json::to_string(two().state()).unwrap();
    assert_eq!(serde_json::from_str::<PnCounter>(&json).unwrap(), *two().state());
}

/// Kind: the identity inside the state, so that converged replicas are unequal.
#[test]
fn converged_replicas_are_equal() {
    let mut ann = two();
    let mut bob = Replica::new(BOB, PnCounter::new());
    bob.update(|c, tick| c.decrement(tick, 2)).unwrap();
    ann.merge(&bob);
    bob.merge(&ann);
    assert_eq!(ann.state(), bob.state());
    #[cfg(feature = "serde")]
    assert_eq!(postcard::to_allocvec(ann.state()).unwrap(), postcard::to_allocvec(bob.state()).unwrap());
}

/// Kind: the identity inside the state, so that a clone writes as its original and one of both writes is lost.
#[test]
fn a_clone_counts_under_its_own_id() {
    let mut ann = two();
    let mut copy = Replica::new(BOB, ann.clone());
    ann.update(|c, tick| c.increment(tick, 1)).unwrap();
    copy.update(|c, tick| c.increment(tick, 1)).unwrap();
    ann.merge(&copy);
    assert_eq!(ann.value(), 4);
}

/// Kind: validation that refuses legitimate state, or takes quadratic time: 100,000 rows would then take minutes.
#[cfg(feature = "serde")]
#[test]
fn a_counter_of_many_replicas_is_read_back() {
    let up = (1..=100_000).map(|id| (id, u64::MAX - id)).collect();
    let down = (1..=100_000).map(|id| (id, id)).collect();
    let large = PnCounter::from_rows(up, down).unwrap();
    let bytes = postcard::to_allocvec(&large).unwrap();
    assert_eq!(postcard::from_bytes::<PnCounter>(&bytes).unwrap(), large);
}
