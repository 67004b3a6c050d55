//! Bugs of kinds that others have shipped; each test says which.

use version_vector::{Causality, Dot, Replica, ReplicaId, VersionVector};

fn replica(n: u64) -> Replica<VersionVector> {
    Replica::new(ReplicaId::new(n), VersionVector::new())
}

/// Spurious conflicts: an update that has seen another is after it, however many replicas joined in between.
#[test]
fn who_has_seen_an_update_does_not_conflict_with_it() {
    let mut seen = replica(1);
    seen.update(VersionVector::increment).unwrap();
    for newcomer in 2..50 {
        let earlier = seen.clone();
        let mut later = replica(newcomer);
        later.merge(&earlier);
        later.update(VersionVector::increment).unwrap();
        assert_eq!(earlier.compare(&later), Causality::Before);
        assert_eq!(later.compare(&earlier), Causality::After);
        seen.merge(&later);
    }
}

/// Conflicts that are missed: updates that have not seen each other are concurrent, also when one side made many.
#[test]
fn unaware_updates_are_concurrent() {
    let (mut one, mut other) = (replica(1), replica(2));
    one.update(VersionVector::increment).unwrap();
    for _ in 0..1_000 {
        other.update(VersionVector::increment).unwrap();
    }
    assert_eq!(one.compare(&other), Causality::Concurrent);
}

/// `{a: 0}` that is neither equal to nor ordered against `{}`.
#[test]
fn an_entry_of_zero_is_no_entry() {
    let id = ReplicaId::new(1);
    let zero: VersionVector = [(id, 0)].into_iter().collect();
    assert_eq!(zero.compare(&VersionVector::new()), Causality::Equal);
    assert!(!VersionVector::new().advance(Dot { replica: id, counter: 0 }));
}

/// JSON that fails on struct keys, and bytes that are not canonical.
#[cfg(feature = "serde")]
#[test]
fn encodings_are_canonical() {
    let vector: VersionVector = [(1, 5), (0xab, 300)].into_iter().collect();
    let json = r#"{"0000000000000001":5,"00000000000000ab":300}"#;
    assert_eq!(serde_json::to_string(&vector).unwrap(), json);
    assert_eq!(serde_json::from_str::<VersionVector>(json).unwrap(), vector);
    let bytes = [2, 1, 5, 0xab, 1, 0xac, 2];
    assert_eq!(postcard::to_allocvec(&vector).unwrap(), bytes);
    assert_eq!(postcard::from_bytes::<VersionVector>(&bytes).unwrap(), vector);
    for bad in [r#"{"1":0}"#, r#"{"0":1}"#, r#"{"2":1,"1":1}"#, r#"{"1":1,"1":1}"#] {
        assert!(serde_json::from_str::<VersionVector>(bad).is_err(), "{bad}");
    }
}
