//! Bugs that other observed-remove sets shipped. Each test says in one line which kind of bug it is.

use or_set::{Delta, Gap, Merge, OrSet, Replica, ReplicaId, UpdateError, VersionVector};

type Set<E> = Replica<OrSet<E>>;

fn replica<E>(id: u64) -> Set<E> {
    Replica::new(ReplicaId::new(id), OrSet::new())
}

fn add<E: Eq + std::hash::Hash>(set: &mut Set<E>, element: E) {
    set.update(|set, tick| set.add(tick, element)).unwrap();
}

fn remove(set: &mut Set<u32>, element: u32) {
    assert!(set.update(|set, tick| set.remove(tick, &element)).unwrap().is_some());
}

/// Bug: part of a state, sent with the whole causal context, makes the receiver take all the rest for removed.
#[test]
fn a_delta_does_not_delete_what_it_does_not_mention() {
    let (mut ann, mut bob) = (replica(1), replica(2));
    ann.update(|set, tick| set.extend(tick, 0..100)).unwrap();
    bob.merge(&ann);
    let before = ann.version().clone();
    add(&mut ann, 100);
    let delta = ann.delta_since(&before);
    assert_eq!(delta.slice().births().len(), 1);
    assert_eq!(bob.apply(&delta), Ok(true));
    assert_eq!(bob.len(), 101);
    // Nor does it claim, to one who lacks the rest, that the rest is known.
    let mut new = OrSet::new();
    let gap = Gap { replica: ann.id(), have: 0, since: 100 };
    assert_eq!(new.apply(&delta), Err(gap));
    assert_eq!(new, OrSet::new());
}

/// Bug: a full context with a partial delta; here for a receiver that is ahead in one part and behind in another.
#[test]
fn a_delta_claims_only_the_interval_that_it_holds() {
    let (mut ann, mut bob, mut cat) = (replica(1), replica(2), replica(3));
    add(&mut ann, 1);
    add(&mut bob, 2);
    cat.merge(&bob);
    add(&mut bob, 3);
    // Cut by Ann for Cat, who has of Bob's what Ann has never seen.
    let delta = ann.delta_since(cat.version());
    assert!(delta.since().is_empty());
    assert_eq!(delta.until(), ann.version());
    cat.apply(&delta).unwrap();
    assert_eq!(cat.version().get(bob.id()), 1);
    assert_eq!(cat.apply(&bob.delta_since(cat.version())), Ok(true));
    assert_eq!(cat.len(), 3);
}

/// Bug: a replica that restarts numbers its updates from 1 again, and they vanish as already seen.
#[test]
fn a_restarted_replica_goes_on_numbering() {
    let (mut ann, mut bob) = (replica(1), replica(2));
    add(&mut ann, 1);
    remove(&mut ann, 1);
    bob.merge(&ann);
    let id = ann.id();
    // The set is empty, and still says how far its numbers went.
    let mut restarted = Replica::new(id, ann.into_state());
    add(&mut restarted, 2);
    assert!(bob.merge(&restarted));
    assert!(bob.contains(&2));
}

/// Bug: as above, from a copy that lacks the last updates; then they come back from a peer.
#[test]
fn a_replica_restored_from_an_old_copy_is_found_out() {
    let (mut ann, mut bob) = (replica(1), replica(2));
    add(&mut ann, 1);
    let backup = ann.state().clone();
    add(&mut ann, 2);
    bob.merge(&ann);
    let mut restored = Replica::new(ann.id(), backup);
    restored.merge(&bob);
    let before = restored.state().clone();
    let refused = restored.update(|set, tick| set.add(tick, 3));
    assert_eq!(refused, Err(UpdateError::Stale { replica: ann.id(), issued: 1, last: 2 }));
    assert_eq!(restored.update(|set, tick| set.remove(tick, &1)), refused.map(Some));
    assert_eq!(restored.update(OrSet::clear), refused.map(Some));
    assert_eq!(restored.update(|set, tick| set.extend(tick, [3])), refused.map(Some));
    assert_eq!(restored.state(), &before);
}

/// Bug: compaction that is called safe at any time, after which removed elements come back from those who were away.
#[test]
fn forgetting_deaths_resurrects_nothing() {
    let (mut ann, mut bob) = (replica(1), replica(2));
    ann.update(|set, tick| set.extend(tick, 0..10)).unwrap();
    bob.merge(&ann);
    let mut away = bob.state().clone();
    for element in 0..5 {
        remove(&mut ann, element);
    }
    let all = ann.version().clone();
    assert_eq!(ann.update(|set, _| set.forget_deaths(&all)), 5);
    assert_eq!(ann.floor(), &all);

    let mut merged = away.clone();
    assert!(!ann.merge(&away), "an old state brings nothing");
    assert!(merged.merge(&ann));
    assert_eq!(&merged, ann.state());
    let delta = ann.delta_since(away.version());
    assert!(delta.slice().has_survivors());
    assert_eq!(away.apply(&delta), Ok(true));
    assert_eq!(&away, ann.state());
    // Who learned of the removals without their names must not hand on a delta that lacks them.
    assert_eq!(away.floor(), &all);
    assert_eq!(bob.apply(&away.delta_since(bob.version())), Ok(true));
    assert_eq!(bob.state(), ann.state());
}

/// Bug: a marker that something was pruned travels without the pruned state: whoever gets both skips the removals.
#[test]
fn a_forgotten_death_reaches_one_who_is_beyond_where_the_delta_starts() {
    let (mut ann, mut bob, mut cat) = (replica(1), replica(2), replica(3));
    add(&mut ann, 1);
    bob.merge(&ann);
    cat.merge(&ann);
    remove(&mut ann, 1);
    let all = ann.version().clone();
    ann.update(|set, _| set.forget_deaths(&all));
    // Cut from the very beginning: no dot that Bob holds is in `since`, none is named, and yet his must go.
    let delta = ann.delta_since(&VersionVector::new());
    assert_eq!(delta.slice().births(), []);
    bob.apply(&delta).unwrap();
    assert!(bob.is_empty());
    cat.apply(&bob.delta_since(cat.version())).unwrap();
    assert!(cat.is_empty());
    assert_eq!(cat.state(), ann.state());
}

/// Bug: an element re-added and then removed leaves its first dot alive where the second never came.
#[test]
fn a_superseded_dot_dies_with_the_add_that_superseded_it() {
    let (mut ann, mut bob) = (replica(1), replica(2));
    add(&mut ann, 1);
    bob.merge(&ann);
    add(&mut ann, 1);
    remove(&mut ann, 1);
    bob.apply(&ann.delta_since(bob.version())).unwrap();
    assert!(bob.is_empty());
}

/// Bug: identity inside the state, so that converged replicas are unequal.
#[test]
fn converged_replicas_are_equal_values() {
    let (mut ann, mut bob) = (replica(1), replica(2));
    add(&mut ann, 1);
    add(&mut bob, 1);
    bob.merge(&ann);
    ann.merge(&bob);
    assert_eq!(ann.state(), bob.state());
    assert_eq!(ann.dots(&1).len(), 2);
    assert_eq!(ann.len(), 1);
    assert_eq!(ann.iter().count(), 1);
}

/// Bug: a merge with n/2 removed elements in quadratic time. At this size it would not end.
#[test]
fn merging_many_removals_is_not_quadratic() {
    let (mut ann, mut bob) = (replica(1), replica(2));
    let n = 200_000;
    ann.update(|set, tick| set.extend(tick, 0..n)).unwrap();
    bob.merge(&ann);
    for element in 0..n / 2 {
        remove(&mut ann, 2 * element);
    }
    assert!(bob.merge(&ann));
    assert_eq!(bob.len(), n as usize / 2);
    assert_eq!(bob.state(), ann.state());
}

#[cfg(feature = "serde")]
mod encoded {
    use super::*;
    use or_set::OrSetDelta;

    /// Bug: JSON that fails because structs are keys of maps.
    #[test]
    fn json_works() {
        #[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        struct Tag {
            name: String,
            size: u8,
        }
        let mut ann = replica(1);
        let name = "a".into();
        add(&mut ann, Tag { name, size: 1 });
        let json = serde_json::to_string(ann.state()).unwrap();
        assert_eq!(&serde_json::from_str::<OrSet<Tag>>(&json).unwrap(), ann.state());
        let delta = ann.delta_since(&VersionVector::new());
        let json = serde_json::to_string(&delta).unwrap();
        assert_eq!(serde_json::from_str::<OrSetDelta<Tag>>(&json).unwrap(), delta);
    }

    /// Bug: validation refuses states that are reached legitimately: here one element with a dot of each of two
    /// replicas, gaps that removals left, and a replica of which only removals are known.
    #[test]
    fn validation_takes_every_state_that_is_reached() {
        let (mut ann, mut bob, mut cat) = (replica(1), replica(2), replica(3));
        add(&mut ann, 1);
        add(&mut ann, 2);
        add(&mut ann, 3);
        cat.merge(&ann);
        remove(&mut cat, 2);
        add(&mut bob, 1);
        bob.merge(&cat);
        let bytes = postcard::to_allocvec(bob.state()).unwrap();
        assert_eq!(&postcard::from_bytes::<OrSet<u32>>(&bytes).unwrap(), bob.state());
    }

    /// Bug: validation in quadratic time. At this size it would not end; `cost.rs` counts.
    #[test]
    fn validation_is_not_quadratic() {
        let mut ann = replica(1);
        ann.update(|set, tick| set.extend(tick, 0..500_000_u32)).unwrap();
        let bytes = postcard::to_allocvec(ann.state()).unwrap();
        assert_eq!(&postcard::from_bytes::<OrSet<u32>>(&bytes).unwrap(), ann.state());
    }
}
