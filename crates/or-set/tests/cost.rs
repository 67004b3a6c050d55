//! Costs, counted and not timed: what is hashed and compared depends on what changed, not on what is there; and
//! memory of removals is bounded.

use or_set::{DecodeError, Delta, Merge, OrSet, Replica, ReplicaId, VersionVector, Wire};
use std::{
    cell::Cell,
    collections::VecDeque,
    hash::{Hash, Hasher},
};

thread_local! {
    static PROBES: Cell<usize> = const { Cell::new(0) };
    static CLONES: Cell<usize> = const { Cell::new(0) };
}

/// A number that counts how often any is hashed, compared or cloned.
#[derive(Debug, Eq)]
struct Counted(u32);

fn count(counter: &'static std::thread::LocalKey<Cell<usize>>) {
    counter.set(counter.get() + 1);
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        count(&PROBES);
        self.0 == other.0
    }
}

impl Hash for Counted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        count(&PROBES);
        self.0.hash(state);
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        count(&CLONES);
        Counted(self.0)
    }
}

impl Wire for Counted {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(reader: &mut crdt_core::wire::Reader<'_>) -> Result<Self, DecodeError> {
        u32::decode(reader).map(Counted)
    }
}

#[cfg(feature = "serde")]
mod serde_impls {
    use super::Counted;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    impl Serialize for Counted {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.serialize(serializer)
        }
    }

    impl<'de> Deserialize<'de> for Counted {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            u32::deserialize(deserializer).map(Counted)
        }
    }
}

/// What `run` does, and how many probes and clones it takes.
fn counted<T>(run: impl FnOnce() -> T) -> (T, usize, usize) {
    PROBES.set(0);
    CLONES.set(0);
    let result = run();
    (result, PROBES.get(), CLONES.get())
}

/// Two sets of `n` elements that have since changed apart: five adds and five removes on each side.
fn diverged(n: u32) -> [Replica<OrSet<Counted>>; 2] {
    let mut ann = Replica::new(ReplicaId::new(1), OrSet::new());
    let mut bob = Replica::new(ReplicaId::new(2), OrSet::new());
    ann.update(|set, tick| set.extend(tick, (0..n).map(Counted))).unwrap();
    bob.merge(&ann);
    for i in 0..5 {
        for (replica, base) in [(&mut ann, 0), (&mut bob, 10)] {
            replica.update(|set, tick| set.add(tick, Counted(n + base + i))).unwrap();
            let removed = Counted(n / 2 + base + i);
            replica.update(|set, tick| set.remove(tick, &removed)).unwrap().unwrap();
        }
    }
    [ann, bob]
}

#[test]
fn a_merge_costs_what_changed() {
    let [mut small, small_other] = diverged(1_000);
    let [mut large, large_other] = diverged(100_000);
    let (_, probes_small, clones_small) = counted(|| small.merge(&small_other));
    let (grew, probes, clones) = counted(|| large.merge(&large_other));
    assert!(grew);
    assert_eq!((clones_small, clones), (5, 5));
    // Two for an add (its hash, and a chance neighbour), two for a removal; nothing for the 100,000 others.
    assert!(probes_small <= 40 && probes <= 40, "{probes_small}, {probes}");
    let (grew, probes, clones) = counted(|| large.merge(&large_other));
    assert_eq!((grew, probes, clones), (false, 0, 0));
}

/// Who has missed more than there is takes a copy, and probes for what is new here.
#[test]
fn a_set_that_is_far_behind_is_copied() {
    let [ann, mut bob] = diverged(100);
    let mut late = bob.state().clone();
    for n in 0..1_000 {
        bob.update(|set, tick| set.add(tick, Counted(n % 90))).unwrap();
    }
    let (grew, probes, clones) = counted(|| late.merge(&bob));
    assert_eq!((grew, probes, clones), (true, 0, bob.len()));
    assert_eq!(&late, bob.state());

    let mut merged = ann.state().clone();
    let (grew, probes, clones) = counted(|| merged.merge(&bob));
    assert!(grew && probes <= 40 && clones == bob.len() + 5, "{probes}, {clones}");
    bob.merge(&ann);
    assert_eq!(&merged, bob.state());
}

/// One element that `n` replicas have added concurrently, and another of each.
fn crowded(n: u32) -> OrSet<Counted> {
    let alone = |n: u32| {
        let mut replica = Replica::new(ReplicaId::new(u64::from(n.reverse_bits()) + 1), OrSet::new());
        replica.update(|set, tick| set.extend(tick, [Counted(u32::MAX), Counted(n)])).unwrap();
        replica.into_state()
    };
    let mut sets: VecDeque<OrSet<Counted>> = (0..n).map(alone).collect();
    loop {
        let mut one = sets.pop_front().unwrap();
        let Some(other) = sets.pop_front() else { return one };
        one.merge_owned(other);
        sets.push_back(one);
    }
}

/// Whatever is done with an element that many replicas have added concurrently, no dot is compared with all others.
#[test]
fn an_element_that_many_have_added_is_not_quadratic() {
    const EACH: usize = 60;
    for n in [100, 4_000_u32] {
        let replicas = n as usize;
        let (mut set, _, _) = counted(|| crowded(n));
        assert_eq!((set.len(), set.live().count()), (replicas + 1, 2 * replicas));
        let probed =
            |what: &str, probes: usize| assert!(probes <= EACH * replicas, "{what}: {probes} for {n}");

        let bytes = set.to_bytes();
        let (decoded, probes, _) = counted(|| OrSet::<Counted>::from_bytes(&bytes).unwrap());
        probed("decode", probes);
        let (count, probes, _) = counted(|| decoded.iter().count());
        probed("iterate", probes);
        assert_eq!(count, replicas + 1);
        let (applied, probes, _) = counted(|| {
            let mut empty = OrSet::new();
            empty.apply(&set.delta_since(&VersionVector::new())).unwrap();
            empty
        });
        probed("apply", probes);
        assert!(decoded == set && applied == set);
        let (dots, probes, _) = counted(|| set.dots(&Counted(u32::MAX)));
        probed("dots", probes);
        assert!(dots.len() == replicas && dots.is_sorted());

        let mut other = Replica::new(ReplicaId::new(u64::MAX), decoded);
        let (removed, probes, _) =
            counted(|| other.update(|set, tick| set.remove(tick, &Counted(u32::MAX))).unwrap());
        probed("remove", probes);
        assert!(removed.is_some() && other.live().count() == replicas);
        let (grew, probes, _) = counted(|| set.merge(&other));
        probed("merge", probes);
        assert!(grew && &set == other.state());
    }
}

#[test]
fn a_delta_costs_what_changed() {
    let [mut ann, bob] = diverged(100_000);
    let (delta, probes, clones) = counted(|| bob.delta_since(ann.version()));
    assert_eq!((delta.slice().births().len(), delta.slice().deaths().len()), (5, 5));
    assert_eq!((probes, clones), (0, 5));
    let (grew, probes, clones) = counted(|| ann.update(|set, _| set.apply_owned(delta)));
    assert_eq!((grew, clones), (Ok(true), 0));
    assert!(probes <= 40, "{probes}");
}

#[test]
fn an_update_probes_a_few_places() {
    let [mut ann, _] = diverged(100_000);
    let (_, probes, clones) = counted(|| ann.update(|set, tick| set.add(tick, Counted(7))));
    assert!(probes <= 10 && clones == 0, "{probes}, {clones}");
    let (_, probes, _) = counted(|| ann.contains(&Counted(8)));
    assert!(probes <= 5, "{probes}");
}

#[test]
fn merging_owned_clones_nothing() {
    let [ann, bob] = diverged(1_000);
    let (mut left, right) = (ann.into_state(), bob.into_state());
    let mut expected = left.clone();
    expected.merge(&right);
    let (grew, _, clones) = counted(|| left.merge_owned(right));
    assert_eq!((grew, clones), (true, 0));
    assert_eq!(left, expected);
}

#[cfg(feature = "serde")]
#[test]
fn deserialising_is_linear() {
    let probes_of = |n: u32| {
        let [ann, _] = diverged(n);
        let bytes = postcard::to_allocvec(ann.state()).unwrap();
        let (set, probes, clones) = counted(|| postcard::from_bytes::<OrSet<Counted>>(&bytes).unwrap());
        assert_eq!((&set, clones), (ann.state(), 0));
        probes
    };
    // Hashes when the table grows, and chance neighbours, are a few for each element, however many there are.
    let (small, large) = (probes_of(1_000), probes_of(100_000));
    assert!(small <= 5_000 && large <= 500_000, "{small}, {large}");
}

/// The same element again and again under one replica is refused, after comparing each with a chunk at most.
#[cfg(feature = "serde")]
#[test]
fn refusing_repeated_elements_is_linear() {
    for n in [1_000_u64, 100_000] {
        let id = ReplicaId::new(1);
        let version: or_set::VersionVector = [(id, n)].into_iter().collect();
        let row = (id, [(0_u64, n)].to_vec(), vec![7_u32; usize::try_from(n).unwrap()]);
        let bytes = postcard::to_allocvec(&(version, vec![row])).unwrap();
        let (refused, probes, _) = counted(|| postcard::from_bytes::<OrSet<Counted>>(&bytes).is_err());
        assert!(refused && probes as u64 <= 300 * n, "{probes} for {n}");
    }
}

/// 200,000 additions and removals over 1,000 live elements, followed by a peer that asks at times.
#[test]
fn memory_of_removals_is_bounded() {
    let mut ann = Replica::new(ReplicaId::new(1), OrSet::new());
    let mut bob = Replica::new(ReplicaId::new(2), OrSet::new());
    let mut with_survivors = 0;
    for n in 0..200_000_u32 {
        ann.update(|set, tick| set.add(tick, n)).unwrap();
        if let Some(old) = n.checked_sub(1_000) {
            ann.update(|set, tick| set.remove(tick, &old)).unwrap().unwrap();
        }
        assert!(ann.deaths() <= 384 + ann.len() / 16);
        // Mostly within what is remembered, at times long after.
        if n % 300 == 0 && (n / 10_000) % 2 == 0 {
            let delta = ann.delta_since(bob.version());
            with_survivors += usize::from(delta.slice().has_survivors());
            assert!(delta.slice().births().len() <= 1_000);
            bob.apply(&delta).unwrap();
            assert!(bob.deaths() <= 384 + bob.len() / 16);
            assert_eq!(bob.state(), ann.state());
        }
    }
    // Only the first time after each long silence.
    assert_eq!(with_survivors, 9);
}

/// A clear ends many dots by one event, which is remembered whole or not at all.
#[test]
fn a_large_clear_is_forgotten_whole() {
    let mut ann = Replica::new(ReplicaId::new(1), OrSet::new());
    let mut bob = Replica::new(ReplicaId::new(2), OrSet::new());
    ann.update(|set, tick| set.extend(tick, 0..10_000)).unwrap();
    bob.merge(&ann);
    bob.update(|set, tick| set.add(tick, 5)).unwrap();
    ann.update(OrSet::clear).unwrap().unwrap();
    assert_eq!((ann.deaths(), ann.floor()), (0, ann.version()));
    bob.apply(&ann.delta_since(bob.version())).unwrap();
    assert_eq!(bob.iter().collect::<Vec<_>>(), [&5], "the add that the clear had not seen stays");
    ann.merge(&bob);
    assert_eq!(ann.state(), bob.state());
}
