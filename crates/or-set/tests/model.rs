//! Random histories of sets against the definition: forks, merges, deltas that are stale, duplicated, reordered and
//! relayed, death memory forgotten at any point, and round-trips through bytes, which forget it.

mod common;

use common::{Events, Kind, Model, Rng, id};
use or_set::{Delta, Dot, Merge, OrSet, OrSetDelta, Replica, VersionVector};
use std::{cmp::Ordering, collections::BTreeSet};

const HISTORIES: u64 = 10_000;
const STEPS: usize = 40;

struct Slot {
    set: Replica<OrSet<u8>>,
    events: Events,
}

#[derive(Default)]
struct History {
    model: Model,
    slots: Vec<Slot>,
    /// States as they once were, to merge again later.
    old: Vec<(OrSet<u8>, Events)>,
    /// Deltas on their way, each with what its sender had.
    mail: Vec<(OrSetDelta<u8>, Events)>,
}

fn through_bytes(set: &OrSet<u8>) -> OrSet<u8> {
    #[cfg(feature = "serde")]
    {
        let bytes = postcard::to_allocvec(set).unwrap();
        let back: OrSet<u8> = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(postcard::to_allocvec(&back).unwrap(), bytes);
        assert_eq!((back.deaths(), back.floor()), (0, back.version()));
        back
    }
    #[cfg(not(feature = "serde"))]
    {
        let mut back = set.clone();
        back.forget_deaths(set.version());
        back
    }
}

fn delta_through_bytes(delta: OrSetDelta<u8>) -> OrSetDelta<u8> {
    #[cfg(feature = "serde")]
    {
        let bytes = postcard::to_allocvec(&delta).unwrap();
        let back: OrSetDelta<u8> = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(back, delta);
        let json = serde_json::to_string(&delta).unwrap();
        assert_eq!(serde_json::from_str::<OrSetDelta<u8>>(&json).unwrap(), delta);
    }
    delta
}

impl History {
    fn step(&mut self, rng: &mut Rng) {
        let slots = self.slots.len() as u64;
        let (at, from): (usize, usize) = (rng.below(slots), rng.below(slots));
        let element = rng.below(3);
        let (sender, sent) = (self.slots[from].set.state().clone(), self.slots[from].events);
        match rng.below::<u8>(16) {
            0..=3 if self.model.has_room() => self.update(at, Kind::Add((0, element))),
            4..=5 if self.model.has_room() => self.update(at, Kind::Remove((0, element))),
            6 if self.model.has_room() => match rng.below::<u8>(3) {
                0 => self.update(at, Kind::Clear(0)),
                _ => self.extend(at, &[element, rng.below(3)]),
            },
            7 => self.merge(at, &sender, sent),
            8 => self.sync(at, &sender, sent),
            9 => {
                // A delta for anyone's version, now or earlier.
                let old = rng.pick(&self.old).map(|(set, _)| set.version().clone());
                let since = old.unwrap_or_else(|| self.slots[at].set.version().clone());
                self.mail.push((delta_through_bytes(sender.delta_since(&since)), sent));
            }
            10..=11 => {
                if let Some((delta, sent)) = rng.pick(&self.mail).cloned() {
                    self.deliver(at, &delta, sent);
                }
            }
            12 => {
                if let Some((set, events)) = rng.pick(&self.old).cloned() {
                    self.merge(at, &set, events);
                }
            }
            13 => {
                let stable = if rng.below::<u8>(2) == 0 {
                    sender.version()
                } else {
                    &VersionVector::from_iter([(1, 3)])
                };
                self.slots[at].set.update(|set, _| set.forget_deaths(stable));
            }
            14 => {
                let set = through_bytes(self.slots[at].set.state());
                self.slots[at].set = Replica::new(self.slots[at].set.id(), set);
            }
            _ => {
                self.old.push((sender.clone(), sent));
                if self.slots.len() < 5 && rng.below::<u8>(3) == 0 {
                    let set = Replica::new(id(self.slots.len() as u64 + 1), sender);
                    self.slots.push(Slot { set, events: sent });
                }
            }
        }
        self.check(at);
        let (a, b) = (&self.slots[at], &self.slots[from]);
        let expected = match (a.events & b.events == a.events, a.events & b.events == b.events) {
            (true, true) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Less),
            (false, true) => Some(Ordering::Greater),
            (false, false) => None,
        };
        assert_eq!(a.set.partial_cmp(&*b.set), expected);
    }

    fn update(&mut self, at: usize, kind: Kind) {
        let slot = &mut self.slots[at];
        let dot = slot.set.update(|set, tick| match kind {
            Kind::Add((_, element)) => set.add(tick, element).map(Some),
            Kind::Remove((_, element)) => set.remove(tick, &element),
            Kind::Clear(_) => set.clear(tick),
        });
        if let Some(dot) = dot.unwrap() {
            slot.events = self.model.push(slot.events, dot, kind);
        }
    }

    fn extend(&mut self, at: usize, elements: &[u8]) {
        let slot = &mut self.slots[at];
        let added = slot.set.update(|set, tick| set.extend(tick, elements.iter().copied()));
        let last = added.unwrap().unwrap();
        let first = last.counter + 1 - elements.len() as u64;
        for (counter, element) in (first..).zip(elements) {
            let dot = Dot::new(last.replica, counter);
            slot.events = self.model.push(slot.events, dot, Kind::Add((0, *element)));
        }
    }

    fn merge(&mut self, at: usize, other: &OrSet<u8>, sent: Events) {
        let slot = &mut self.slots[at];
        let grew = slot.events | sent != slot.events;
        let mut owned = slot.set.state().clone();
        assert_eq!(owned.merge_owned(other.clone()), grew);
        assert_eq!(slot.set.merge(other), grew);
        assert_eq!(&owned, slot.set.state());
        // Its own death memory must hold, too.
        let reached = slot.events | sent;
        check_deaths(&self.model, &owned, reached);
        slot.events = reached;
    }

    fn sync(&mut self, at: usize, sender: &OrSet<u8>, sent: Events) {
        let slot = &mut self.slots[at];
        let mut merged = slot.set.state().clone();
        merged.merge(sender);
        let delta = sender.delta_since(slot.set.version());
        let grew = slot.events | sent != slot.events;
        assert_eq!(!delta.is_empty(), grew);
        assert!(grew || delta.slice().is_empty());
        let mut owned = slot.set.state().clone();
        assert_eq!(owned.apply_owned(delta.clone()), Ok(grew));
        assert_eq!(slot.set.apply(&delta), Ok(grew));
        assert_eq!(slot.set.apply(&delta), Ok(false));
        assert_eq!((slot.set.state(), &owned), (&merged, &merged));
        assert_eq!(slot.set.floor(), owned.floor());
        slot.events |= sent;
    }

    fn deliver(&mut self, at: usize, delta: &OrSetDelta<u8>, sent: Events) {
        let slot = &mut self.slots[at];
        let before = slot.set.state().clone();
        let covers = slot.set.version().covers(delta.since());
        match slot.set.apply(delta) {
            Ok(grew) => {
                assert_eq!(covers, Ok(()));
                assert_eq!(grew, slot.events | sent != slot.events);
                slot.events |= sent;
            }
            Err(gap) => {
                assert_eq!(covers, Err(gap));
                assert_eq!(slot.set.state(), &before);
                assert_eq!((slot.set.deaths(), slot.set.floor()), (before.deaths(), before.floor()));
            }
        }
    }

    fn check(&self, at: usize) {
        let Slot { set, events } = &self.slots[at];
        let live = self.model.live(*events);
        assert_eq!(set.version(), &self.model.version(*events));
        assert!(set.live().map(|(dot, e)| (dot, *e)).eq(live.iter().map(|(dot, e)| (*dot, e.1))));
        let elements: BTreeSet<u8> = live.values().map(|e| e.1).collect();
        assert_eq!(set.len(), elements.len());
        assert_eq!(set.iter().count(), elements.len());
        assert_eq!(set.iter().copied().collect::<BTreeSet<u8>>(), elements);
        for element in 0..3 {
            assert_eq!(set.contains(&element), elements.contains(&element));
            let dots = live.iter().filter(|(_, e)| e.1 == element).map(|(dot, _)| *dot);
            assert!(set.dots(&element).into_iter().eq(dots));
        }
        check_deaths(&self.model, set, *events);
    }
}

/// What is remembered is true, and complete above the floor; the floor is not beyond the version.
fn check_deaths(model: &Model, set: &OrSet<u8>, events: Events) {
    let all = model.deaths(events);
    let kept: BTreeSet<(Dot, Dot)> =
        set.delta_since(&VersionVector::new()).slice().deaths().iter().copied().collect();
    assert_eq!(kept.len(), set.deaths());
    assert!(kept.is_subset(&all));
    assert!(set.version().covers(set.floor()).is_ok());
    let above = all.iter().filter(|(event, _)| !set.floor().contains(*event));
    assert_eq!(kept, above.copied().collect());
}

#[test]
fn random_histories_agree_with_the_definition() {
    for seed in 0..HISTORIES {
        let mut rng = Rng(seed);
        let slot = |n| Slot { set: Replica::new(id(n), OrSet::new()), events: 0 };
        let mut history = History { slots: vec![slot(1), slot(2), slot(3)], ..History::default() };
        for _ in 0..STEPS {
            history.step(&mut rng);
        }
        // Everyone to everyone, once around and back: all are equal.
        let last = history.slots.len() - 1;
        for (at, from) in (1..=last).map(|n| (n, n - 1)).chain((0..last).rev().map(|n| (n, n + 1))) {
            let (sender, sent) = (history.slots[from].set.state().clone(), history.slots[from].events);
            history.sync(at, &sender, sent);
            history.check(at);
        }
        assert!(history.slots.iter().all(|slot| slot.set.state() == history.slots[0].set.state()));
    }
}

/// Every history of two replicas and one element up to a length, rather than some.
#[test]
fn all_short_histories_agree_with_the_definition() {
    fn go(model: &Model, slots: &[(OrSet<u8>, Events); 2], left: usize) -> usize {
        if left == 0 {
            return 1;
        }
        let mut count = 1;
        for op in 0..5 {
            for at in 0..2 {
                let mut model = model.clone();
                let mut slots = slots.clone();
                let (other, sent) = slots[1 - at].clone();
                let (set, events) = &mut slots[at];
                let mut replica = Replica::new(id(at as u64 + 1), core::mem::take(set));
                match op {
                    0 => {
                        let dot = replica.update(|set, tick| set.add(tick, 7)).unwrap();
                        *events = model.push(*events, dot, Kind::Add((0, 7)));
                    }
                    1 => match replica.update(|set, tick| set.remove(tick, &7)).unwrap() {
                        Some(dot) => *events = model.push(*events, dot, Kind::Remove((0, 7))),
                        None => continue,
                    },
                    2 | 3 if *events | sent == *events => continue,
                    2 => {
                        replica.merge(&other);
                        *events |= sent;
                    }
                    // For someone who may lack anything: from the very beginning.
                    3 => {
                        replica.apply(&other.delta_since(&VersionVector::new())).unwrap();
                        *events |= sent;
                    }
                    _ if replica.deaths() == 0 => continue,
                    _ => {
                        let all = replica.version().clone();
                        replica.update(|set, _| set.forget_deaths(&all));
                    }
                }
                *set = replica.into_state();
                assert_eq!(set.version(), &model.version(*events));
                assert!(set.live().map(|(dot, _)| dot).eq(model.live(*events).into_keys()));
                check_deaths(&model, set, *events);
                count += go(&model, &slots, left - 1);
            }
        }
        count
    }

    let bottom = [(OrSet::new(), 0), (OrSet::new(), 0)];
    assert!(go(&Model::default(), &bottom, 7) > 20_000);
}
