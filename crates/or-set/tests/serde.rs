//! Bytes: pinned, canonical, and refused when malformed.
#![cfg(feature = "serde")]

use or_set::{Delta, OrSet, OrSetDelta, Replica, ReplicaId, VersionVector};

/// Ann adds a to d and removes c; Bob adds b too, and the two merge.
fn example() -> Replica<OrSet<String>> {
    let mut ann = Replica::new(ReplicaId::new(1), OrSet::new());
    let mut bob = Replica::new(ReplicaId::new(0xab), OrSet::new());
    ann.update(|set, tick| set.extend(tick, ["a", "b", "c", "d"].map(String::from))).unwrap();
    ann.update(|set, tick| set.remove(tick, "c")).unwrap();
    bob.update(|set, tick| set.add(tick, "b".into())).unwrap();
    ann.merge(&bob);
    ann
}

#[test]
fn golden_set() {
    let ann = example();
    #[rustfmt::skip]
    let golden = [
        2, 1, 5, 0xab, 1, 1,                 // version: 1 at 5, 0xab at 1
        2,                                   // rows
        1, 2, 0, 2, 1, 1, 3, 1, b'a', 1, b'b', 1, b'd', // 1: runs 1..=2 and 4, three elements
        0xab, 1, 1, 0, 1, 1, 1, b'b',        // 0xab: run 1, one element
    ];
    assert_eq!(postcard::to_allocvec(ann.state()).unwrap(), golden);
    assert_eq!(&postcard::from_bytes::<OrSet<String>>(&golden).unwrap(), ann.state());
    let json = concat!(
        r#"{"version":{"0000000000000001":5,"00000000000000ab":1},"live":["#,
        r#"{"replica":"0000000000000001","runs":[[0,2],[1,1]],"elements":["a","b","d"]},"#,
        r#"{"replica":"00000000000000ab","runs":[[0,1]],"elements":["b"]}]}"#
    );
    assert_eq!(serde_json::to_string(ann.state()).unwrap(), json);
    assert_eq!(&serde_json::from_str::<OrSet<String>>(json).unwrap(), ann.state());
}

#[test]
fn golden_delta() {
    let ann = example();
    let since: VersionVector = [(1, 3)].into_iter().collect();
    let delta = ann.delta_since(&since);
    #[rustfmt::skip]
    let golden = [
        1, 1, 3,                             // since: 1 at 3
        2, 1, 5, 0xab, 1, 1,                 // until
        2, 1, 0xab, 1,                       // replicas of the slice
        2, 0, 1, 3, 1, 1, 1, b'd',           // births of 1: run 4
        1, 1, 0, 1, 1, 1, b'b',              // of 0xab: run 1
        1, 0, 1, 5, 0, 3,                    // deaths by 1: its event 5 ended 1:3
        0,                                   // no survivors
        0,                                   // no floor
    ];
    assert_eq!(postcard::to_allocvec(&delta).unwrap(), golden);
    assert_eq!(postcard::from_bytes::<OrSetDelta<String>>(&golden).unwrap(), delta);
}

#[test]
fn golden_delta_with_survivors() {
    let mut ann = example();
    let all = ann.version().clone();
    assert_eq!(ann.update(|set, _| set.forget_deaths(&all)), 1);
    let since: VersionVector = [(1, 3)].into_iter().collect();
    let delta = ann.delta_since(&since);
    #[rustfmt::skip]
    let golden = [
        1, 1, 3,
        2, 1, 5, 0xab, 1, 1,
        2, 1, 0xab, 1,
        2, 0, 1, 3, 1, 1, 1, b'd',
        1, 1, 0, 1, 1, 1, b'b',
        0,                                   // deaths are forgotten
        1, 1, 0, 1, 0, 2,                    // survivors of 1: run 1..=2
        1, 1, 5,                             // floor
    ];
    assert_eq!(postcard::to_allocvec(&delta).unwrap(), golden);
    assert_eq!(postcard::from_bytes::<OrSetDelta<String>>(&golden).unwrap(), delta);
    let json = serde_json::to_string(&delta).unwrap();
    assert_eq!(serde_json::from_str::<OrSetDelta<String>>(&json).unwrap(), delta);
}

/// A fresh, dense set costs its elements and a few bytes for each replica.
#[test]
fn dense_sets_have_no_overhead() {
    let mut ann = Replica::new(ReplicaId::new(u64::MAX), OrSet::new());
    ann.update(|set, tick| set.extend(tick, (0..10_000).map(|n| n % 100 + 128 * n))).unwrap();
    let bytes = postcard::to_allocvec(ann.state()).unwrap();
    let payload = postcard::to_allocvec(&ann.iter().collect::<Vec<&u64>>()).unwrap();
    assert!(bytes.len() <= payload.len() + 40, "{} against {}", bytes.len(), payload.len());
}

/// Equal states that came about in different ways, with different memories of deaths, are equal bytes.
#[test]
fn equal_states_are_equal_bytes() {
    let ann = example();
    let mut other = OrSet::new();
    other.apply(&ann.delta_since(&[(1, 2)].into_iter().collect())).unwrap_err();
    other.apply(&ann.delta_since(&VersionVector::new())).unwrap();
    other.forget_deaths(ann.version());
    assert_ne!(other.deaths(), ann.deaths());
    assert_eq!(postcard::to_allocvec(&other).unwrap(), postcard::to_allocvec(ann.state()).unwrap());
}

fn refused_set(live: &str) -> String {
    let json = format!(r#"{{"version":{{"1":9,"2":9}},"live":[{live}]}}"#);
    serde_json::from_str::<OrSet<String>>(&json).unwrap_err().to_string()
}

#[test]
fn malformed_sets_are_refused() {
    let ok = r#"{"version":{"1":9},"live":[{"replica":"1","runs":[[0,1]],"elements":["a"]}]}"#;
    assert!(serde_json::from_str::<OrSet<String>>(ok).is_ok());
    for (live, why) in [
        (r#"{"replica":"1","runs":[],"elements":[]}"#, "a row without entries"),
        (r#"{"replica":"1","runs":[[0,0]],"elements":[]}"#, "out of order"),
        (r#"{"replica":"1","runs":[[0,1],[0,1]],"elements":["a","b"]}"#, "out of order"),
        (r#"{"replica":"1","runs":[[0,2]],"elements":["a"]}"#, "differ in number"),
        (r#"{"replica":"1","runs":[[0,1]],"elements":["a","b"]}"#, "differ in number"),
        (r#"{"replica":"1","runs":[[9,1]],"elements":["a"]}"#, "outside the version"),
        (r#"{"replica":"3","runs":[[0,1]],"elements":["a"]}"#, "outside the version"),
        (r#"{"replica":"1","runs":[[0,2]],"elements":["a","a"]}"#, "two live dots of one replica"),
        (r#"{"replica":"1","runs":[[18446744073709551615,1]],"elements":["a"]}"#, "beyond 2^64"),
        (r#"{"replica":"1","runs":[[0,18446744073709551615]],"elements":["a"]}"#, "differ in number"),
        (
            r#"{"replica":"2","runs":[[0,1]],"elements":["a"]},{"replica":"1","runs":[[0,1]],"elements":["a"]}"#,
            "out of order",
        ),
        (
            r#"{"replica":"1","runs":[[0,1]],"elements":["a"]},{"replica":"1","runs":[[1,1]],"elements":["b"]}"#,
            "out of order",
        ),
        (r#"{"replica":"1","runs":[[0,1]],"elements":["a"],"more":1}"#, "unknown field"),
    ] {
        let error = refused_set(live);
        assert!(error.contains(why), "{live}: {error}");
    }
}

#[test]
fn malformed_deltas_are_refused() {
    let delta = |slice: &str, floor: &str| {
        let json =
            format!(r#"{{"since":{{"1":3}},"until":{{"1":9,"2":9}},"slice":{slice},"floor":{floor}}}"#);
        serde_json::from_str::<OrSetDelta<String>>(&json).map_err(|error| error.to_string())
    };
    let slice = |replicas: &str, births: &str, deaths: &str, survivors: &str| {
        format!(
            r#"{{"replicas":[{replicas}],"births":[{births}],"deaths":[{deaths}],"survivors":{survivors}}}"#
        )
    };
    let one = r#"[0,[[3,1]],["a"]]"#;
    let ids = r#""1","2""#;
    assert!(delta(&slice(r#""1""#, one, "", "null"), "{}").is_ok());
    assert!(delta(&slice(ids, one, "[1,[[1,0,2],[0,0,3]]]", "[[0,[[0,3]]]]"), r#"{"2":1}"#).is_ok());
    for (slice, floor, why) in [
        (slice(ids, one, "", "null"), "{}", "not used"),
        (slice("", one, "", "null"), "{}", "lacks one"),
        (slice(r#""2","1""#, one, "", "null"), "{}", "out of order"),
        (slice(r#""1""#, r#"[0,[[2,1]],["a"]]"#, "", "null"), "{}", "outside the version"),
        (slice(r#""1""#, r#"[0,[[9,1]],["a"]]"#, "", "null"), "{}", "outside the version"),
        (slice(r#""1""#, r#"[0,[[3,1]],["a"]],[0,[[4,1]],["b"]]"#, "", "null"), "{}", "out of order"),
        (slice(r#""1""#, "", "[0,[]]", "null"), "{}", "without entries"),
        (slice(r#""1""#, "", "[0,[[0,0,1]]]", "null"), "{}", "a counter is 0"),
        (slice(r#""1""#, "", "[0,[[4,0,0]]]", "null"), "{}", "a counter is 0"),
        (slice(r#""1""#, "", "[0,[[4,0,2],[0,0,1]]]", "null"), "{}", "out of order"),
        (slice(r#""1""#, "", "[0,[[4,0,2],[0,0,2]]]", "null"), "{}", "out of order"),
        (slice(r#""1""#, "", "[0,[[4,0,2]]],[0,[[5,0,1]]]", "null"), "{}", "out of order"),
        (slice(r#""1""#, "", "[0,[[4,0,2],[18446744073709551615,0,1]]]", "null"), "{}", "beyond 2^64"),
        (slice(r#""1""#, "", "[0,[[3,0,2]]]", "null"), "{}", "outside the version"),
        (slice(r#""1""#, "", "[0,[[4,0,10]]]", "null"), "{}", "outside the version"),
        (slice("", "", "", "[]"), "{}", "exactly when"),
        (slice("", "", "", "null"), r#"{"2":1}"#, "exactly when"),
        (slice("", "", "", "[]"), r#"{"3":1}"#, "outside the version"),
        (slice(r#""1""#, "", "", "[[0,[[3,1]]]]"), r#"{"2":1}"#, "outside the version"),
    ] {
        let error = delta(&slice, floor).unwrap_err();
        assert!(error.contains(why), "{slice}: {error}");
    }
}

/// Every truncation of real encodings is refused, and every changed byte is, or gives a state that holds its
/// invariants.
#[test]
fn damaged_bytes_do_no_harm() {
    fn holds(set: &OrSet<String>) {
        let bytes = postcard::to_allocvec(set).unwrap();
        assert_eq!(&postcard::from_bytes::<OrSet<String>>(&bytes).unwrap(), set);
        assert_eq!(set.iter().count(), set.len());
    }
    fn damaged(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
        (0..bytes.len()).flat_map(move |at| {
            (0..=255).map(move |value| {
                let mut damaged = bytes.to_vec();
                damaged[at] = value;
                damaged
            })
        })
    }

    let ann = example();
    let bytes = postcard::to_allocvec(ann.state()).unwrap();
    assert!((0..bytes.len()).all(|at| postcard::from_bytes::<OrSet<String>>(&bytes[..at]).is_err()));
    damaged(&bytes).filter_map(|bytes| postcard::from_bytes(&bytes).ok()).for_each(|set| holds(&set));

    let mut target = ann.state().clone();
    target.forget_deaths(ann.version());
    for sender in [ann.state(), &target] {
        let bytes = postcard::to_allocvec(&sender.delta_since(&[(1, 3)].into_iter().collect())).unwrap();
        assert!((0..bytes.len()).all(|at| postcard::from_bytes::<OrSetDelta<String>>(&bytes[..at]).is_err()));
        for delta in damaged(&bytes).filter_map(|bytes| postcard::from_bytes(&bytes).ok()) {
            let mut receiver = ann.state().clone();
            if receiver.apply(&delta).is_ok() {
                holds(&receiver);
            }
        }
    }
}

/// A peer that lies: one replica adds an element twice and never says that the first dot died. The newer one
/// supersedes it.
#[test]
fn an_element_has_one_dot_of_each_replica_whatever_a_delta_says() {
    let lie = r#"{"since":{},"until":{"1":2},"floor":{},"slice":
        {"replicas":["1"],"births":[[0,[[0,2]],["a","a"]]],"deaths":[],"survivors":null}}"#;
    let lie: OrSetDelta<String> = serde_json::from_str(lie).unwrap();
    let mut set = OrSet::new();
    set.apply(&lie).unwrap();
    assert_eq!((set.len(), set.live().count()), (1, 1));
    let bytes = postcard::to_allocvec(&set).unwrap();
    assert_eq!(postcard::from_bytes::<OrSet<String>>(&bytes).unwrap(), set);
}

/// A few bytes that claim 2⁶³ of something are refused at once, also of a type that takes no bytes.
#[test]
fn claimed_lengths_reserve_nothing() {
    const MANY: [u8; 9] = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40];
    let elements = [&[1, 1, 0xff, 0xff, 3, 1, 1, 1, 0][..], &MANY, &MANY].concat();
    assert!(postcard::from_bytes::<OrSet<u8>>(&elements).is_err());
    assert!(postcard::from_bytes::<OrSet<()>>(&elements).is_err());
    // Survivors stay ranges: these are 2^62, and applying them is done when they are read.
    let mut huge = vec![1, 1];
    huge.extend(MANY); // since 1 at 2^62
    huge.extend([2, 1]);
    huge.extend(MANY);
    huge.extend([2, 1]); // until: 2 at 1 besides
    huge.extend([1, 1, 0, 0, 1, 1, 0, 1, 0]); // one replica, no births, no deaths, survivors: one row, one run
    huge.extend(MANY);
    huge.extend([1, 2, 1]); // floor
    let delta: OrSetDelta<u8> = postcard::from_bytes(&huge).unwrap();
    assert!(OrSet::new().apply(&delta).is_err());
}
