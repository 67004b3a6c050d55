//! Bugs that other implementations shipped, each kind as one test.

use lww_register::{
    Delta, Dot, HybridClock, HybridTime, LwwRegister, Merge, Replica, ReplicaId, Stamp, UpdateError,
};

const ANN: ReplicaId = ReplicaId::new(1);
const BOB: ReplicaId = ReplicaId::new(2);
const NOON: HybridTime = HybridTime::from_millis(43_200_000);

/// One write at noon.
fn at_noon(id: ReplicaId, value: &'static str) -> Replica<LwwRegister<&'static str>> {
    let mut replica = Replica::new(id, LwwRegister::new());
    replica.update(|r, tick| r.set(tick, NOON, value)).unwrap();
    replica
}

/// Both merge orders of two states, by reference and moved; they must agree.
#[track_caller]
fn converge(a: &LwwRegister<&'static str>, b: &LwwRegister<&'static str>) -> &'static str {
    let (mut ab, mut ba) = (a.clone(), b.clone());
    ab.merge(b);
    ba.merge(a);
    assert_eq!(ab, ba);
    let (mut moved, mut back) = (a.clone(), b.clone());
    moved.merge_owned(b.clone());
    back.merge_owned(a.clone());
    assert_eq!((&moved, &back), (&ab, &ab));
    ab.into_value().unwrap()
}

/// Kind: ties that diverge, each side keeping its own value.
#[test]
fn at_one_time_both_sides_choose_the_same() {
    let (ann, bob) = (at_noon(ANN, "z"), at_noon(BOB, "a"));
    assert_eq!(converge(&ann, &bob), "a", "the greater replica, not the greater value");
}

/// Kind: ties that diverge because ids were truncated: these two are equal in their low 32 bits.
#[test]
fn all_bits_of_an_id_count() {
    let (low, high) = (ReplicaId::new(7), ReplicaId::new((1 << 32) | 7));
    assert_eq!(converge(&at_noon(low, "low"), &at_noon(high, "high")), "high");
    assert_eq!(converge(&at_noon(high, "high"), &at_noon(low, "low")), "high");
}

/// Kind: ties that diverge where even the stamps are equal, as after a forged or cloned writer.
#[test]
fn a_forged_tie_converges_and_is_reported() {
    let (here, forged) = (at_noon(ANN, "here"), at_noon(ANN, "there"));
    assert_eq!(here.stamp(), forged.stamp());
    assert_eq!(converge(&here, &forged), "there");
    for (a, b) in [(&here, &forged), (&forged, &here)] {
        let mut register = a.state().clone();
        assert_eq!(register.try_merge(b).unwrap_err().stamp, a.stamp().unwrap());
        assert_eq!(register, *a.state(), "unchanged");
    }
}

/// Kind: a slow clock whose writes vanish, though they were made in knowledge of what they replace.
#[test]
fn a_write_that_has_seen_another_wins() {
    let mut bob = at_noon(BOB, "first");
    let mut ann = Replica::new(ANN, LwwRegister::new());
    ann.merge(&bob);
    ann.update(|r, tick| r.set(tick, HybridTime::MIN, "second")).unwrap();
    assert!(bob.merge(&ann));
    assert_eq!(bob.get(), Some(&"second"));
}

/// Kind: a restarted replica reuses dots and its new writes vanish: here after its own write was overwritten, under a
/// clock that was set back.
#[test]
fn writes_after_a_restart_win() {
    let (mut ann, mut bob) = (at_noon(ANN, "before"), at_noon(BOB, "between"));
    ann.merge(&bob);
    bob.merge(&ann);
    let stored = ann.into_state();
    let mut ann = Replica::new(ANN, stored);
    let stamp = ann.update(|r, tick| r.set(tick, HybridTime::MIN, "after")).unwrap();
    assert_eq!(stamp.dot(), Dot::new(ANN, 1), "the counter starts anew; the stamp is new by its time");
    assert!(bob.merge(&ann));
    assert_eq!(bob.get(), Some(&"after"));
}

/// Kind: a duplicated or late delta takes a register back.
#[test]
fn an_older_delta_changes_nothing() {
    let mut ann = at_noon(ANN, "old");
    let older = ann.delta_since(&Stamp::NEVER);
    let mut bob = LwwRegister::new();
    assert_eq!(bob.apply(&older), Ok(true));
    assert_eq!(bob.apply(&older), Ok(false));
    ann.update(|r, tick| r.set(tick, NOON, "new")).unwrap();
    bob.merge(&ann);
    assert_eq!(bob.apply(&older), Ok(false));
    assert_eq!(bob.get(), Some(&"new"));
}

/// Kind: overflow that wraps in release builds: a register at the end of time would start again at its beginning.
#[test]
fn the_end_of_time_is_an_error() {
    let last = Stamp::new(HybridTime::MAX, Dot::new(BOB, 1));
    let mut ann = Replica::new(ANN, LwwRegister::new());
    let mut end = LwwRegister::new();
    end.set_at(last, "last");
    ann.merge(&end);
    let refused = ann.update(|r, tick| r.set(tick, HybridTime::MAX, "later"));
    assert_eq!(refused, Err(UpdateError::Overflow));
    assert_eq!((ann.stamp(), ann.get()), (Some(last), Some(&"last")));
}

/// Kind: a stamp from the future is adopted by the clock that receives it.
#[test]
fn a_stamp_from_the_future_does_not_move_the_clock() {
    let mut clock = HybridClock::new(500);
    let before = clock.now(1_000);
    assert!(clock.observe(HybridTime::MAX, 1_000).is_err());
    assert_eq!(clock.last(), before);
    assert_eq!(clock.now(1_001), HybridTime::from_millis(1_001));
}

/// Kind: a bottom with some of its parts written, neither equal to nor ordered against bottom.
#[test]
fn there_is_one_bottom() {
    let bottom = LwwRegister::<u8>::default();
    assert_eq!(bottom, LwwRegister::new());
    assert!(bottom <= LwwRegister::new());
    #[cfg(feature = "serde")]
    for json in [r#"{"value":1}"#, r#"{"stamp":{"time":0,"replica":"1","counter":1}}"#] {
        assert!(serde_json::from_str::<LwwRegister<u8>>(json).is_err());
    }
}

/// Kind: JSON that fails because keys are structs.
#[cfg(feature = "serde")]
#[test]
fn json_round_trips() {
    let ann = at_noon(ReplicaId::new(u64::MAX), "value");
    let json = serde_json::to_string(ann.state()).unwrap();
    let back: LwwRegister<&str> = serde_json::from_str(&json).unwrap();
    assert_eq!(back, *ann.state());
}

/// Kind: the identity inside the state, so that converged replicas are unequal.
#[test]
fn converged_replicas_are_equal() {
    let (mut ann, mut bob) = (at_noon(ANN, "a"), at_noon(BOB, "b"));
    ann.merge(&bob);
    bob.merge(&ann);
    assert_eq!(ann.state(), bob.state());
    #[cfg(feature = "serde")]
    assert_eq!(postcard::to_allocvec(ann.state()).unwrap(), postcard::to_allocvec(bob.state()).unwrap());
}

/// Kind: the identity inside the state, so that a clone writes as its original and both claim one stamp.
#[test]
fn a_clone_writes_under_its_own_id() {
    let mut ann = at_noon(ANN, "both");
    let mut copy = Replica::new(BOB, ann.clone());
    let left = ann.update(|r, tick| r.set(tick, NOON, "original")).unwrap();
    let right = copy.update(|r, tick| r.set(tick, NOON, "copy")).unwrap();
    assert_eq!(left.time, right.time);
    assert_ne!(left, right);
    assert_eq!(ann.state().clone().try_merge(&copy), Ok(true));
    assert_eq!(converge(&ann, &copy), "copy");
}
