//! Random histories of several kernels that share one numbering and one vector, as a leader of a mesh keeps them: each
//! kernel's counters are sparse. Against the definition; with the watcher's fingerprint, and replay of what was stored.

mod common;

use common::{Element, Events, Kind, Model, Rng, id};
use or_set::{Change, Dot, Kernel, Merge, ReplicaId, Slice, VersionVector};
use std::collections::{BTreeMap, BTreeSet};

const HISTORIES: u64 = 10_000;
const STEPS: usize = 40;
const KEYS: u8 = 3;

/// What an update did, or what was received: a slice for each kernel, and the version that they reach.
#[derive(Clone)]
struct Piece {
    since: VersionVector,
    until: VersionVector,
    floor: VersionVector,
    slices: Vec<Slice<u8>>,
}

#[derive(Clone)]
struct Leader {
    id: ReplicaId,
    kernels: Vec<Kernel<u8>>,
    version: VersionVector,
    floor: VersionVector,
    /// Of the live dots, kept by watching.
    fingerprint: u64,
    /// Everything since the beginning, as a disk would have it.
    stored: Vec<Piece>,
    events: Events,
}

fn hash(key: usize, dot: Dot, element: u8) -> u64 {
    let mut rng = Rng(dot.replica.get() << 40 ^ dot.counter << 20 ^ (key as u64) << 8 ^ u64::from(element));
    rng.next()
}

/// Exclusive or does not notice something that is told twice; this does.
fn watcher(key: usize, fingerprint: &mut u64) -> impl FnMut(Change<'_, u8>) {
    move |change| match change {
        Change::Born(dot, element) => *fingerprint = fingerprint.wrapping_add(hash(key, dot, *element)),
        Change::Died(dot, element) => *fingerprint = fingerprint.wrapping_sub(hash(key, dot, *element)),
    }
}

impl Leader {
    fn new(n: u64) -> Self {
        Leader {
            id: id(n),
            kernels: vec![Kernel::new(); KEYS.into()],
            version: VersionVector::new(),
            floor: VersionVector::new(),
            fingerprint: 0,
            stored: Vec::new(),
            events: 0,
        }
    }

    fn update(&mut self, model: &mut Model, kind: Kind) {
        let dot = Dot::new(self.id, self.version.get(self.id) + 1);
        let key = match kind {
            Kind::Add((key, _)) | Kind::Remove((key, _)) | Kind::Clear(key) => usize::from(key),
        };
        let kernel = &mut self.kernels[key];
        let before = kernel.dots_of_all();
        let changed = {
            let watch = &mut watcher(key, &mut self.fingerprint);
            match kind {
                Kind::Add((_, element)) => {
                    kernel.add(dot, element, watch);
                    true
                }
                Kind::Remove((_, element)) => kernel.remove(dot, &element, watch),
                Kind::Clear(_) => kernel.clear(dot, watch),
            }
        };
        if !changed {
            assert_eq!(kernel.dots_of_all(), before);
            return;
        }
        let since = self.version.clone();
        self.version.advance(dot);
        self.events = model.push(self.events, dot, kind);
        let piece = self.cut(&since);
        self.stored.push(piece);
    }

    /// What has happened here since `since`.
    fn cut(&self, since: &VersionVector) -> Piece {
        let both = self.version.zip(since);
        let since: VersionVector = both.map(|(id, ours, theirs)| (id, ours.min(theirs))).collect();
        let survivors = since.covers(&self.floor).is_err();
        Piece {
            slices: self.kernels.iter().map(|kernel| kernel.slice_since(&since, survivors)).collect(),
            since,
            until: self.version.clone(),
            floor: if survivors { self.floor.clone() } else { VersionVector::new() },
        }
    }

    fn apply(&mut self, piece: &Piece) -> bool {
        if self.version.covers(&piece.since).is_err() {
            return false;
        }
        for (key, slice) in piece.slices.iter().enumerate() {
            let before = (self.kernels[key].clone(), self.kernels[key].deaths());
            let watch = &mut watcher(key, &mut self.fingerprint);
            let grew = self.kernels[key].apply(slice.clone(), &self.version, &piece.until, watch);
            if !grew {
                assert_eq!((&self.kernels[key], self.kernels[key].deaths()), (&before.0, before.1));
            }
        }
        self.join(&piece.until, &piece.floor);
        true
    }

    fn join(&mut self, theirs: &VersionVector, their_floor: &VersionVector) {
        let raised: Vec<Dot> = their_floor
            .iter()
            .map(|(id, floor)| Dot::new(id, floor))
            .filter(|dot| !self.version.contains(*dot))
            .collect();
        self.floor.extend(raised);
        self.version.merge(theirs);
    }

    fn forget(&mut self, stable: &VersionVector) {
        let common = self.version.zip(stable);
        let common: VersionVector = common.map(|(id, ours, theirs)| (id, ours.min(theirs))).collect();
        for kernel in &mut self.kernels {
            kernel.forget_deaths(&common);
        }
        self.floor.merge(&common);
    }

    fn live(&self) -> BTreeMap<Dot, Element> {
        let keys = (0..KEYS).zip(&self.kernels);
        keys.flat_map(|(key, kernel)| kernel.live().map(move |(dot, element)| (dot, (key, *element))))
            .collect()
    }

    fn check(&self, model: &Model) {
        let live = model.live(self.events);
        assert_eq!(self.live(), live);
        assert_eq!(self.version, model.version(self.events));
        for (key, kernel) in self.kernels.iter().enumerate() {
            let of_key = live.values().filter(|element| usize::from(element.0) == key);
            let elements: BTreeSet<u8> = of_key.map(|element| element.1).collect();
            assert_eq!(kernel.len(), elements.len());
            assert!(kernel.iter().all(|element| elements.contains(element)));
        }
        let fingerprint = live
            .iter()
            .fold(0_u64, |sum, (dot, (key, element))| sum.wrapping_add(hash((*key).into(), *dot, *element)));
        assert_eq!(self.fingerprint, fingerprint);
        let deaths = model.deaths(self.events);
        let kept = self.kernels.iter().map(|kernel| kernel.slice_since(&VersionVector::new(), false));
        let kept: BTreeSet<(Dot, Dot)> = kept.flat_map(|slice| slice.deaths().to_vec()).collect();
        assert!(kept.is_subset(&deaths));
        assert!(deaths.difference(&kept).all(|(event, _)| self.floor.contains(*event)));
    }
}

/// For comparing before and after.
trait DotsOfAll {
    fn dots_of_all(&self) -> (Vec<Dot>, usize);
}

impl DotsOfAll for Kernel<u8> {
    fn dots_of_all(&self) -> (Vec<Dot>, usize) {
        (self.live().map(|(dot, _)| dot).collect(), self.deaths())
    }
}

#[test]
fn random_histories_of_kernels_with_one_vector() {
    for seed in 0..HISTORIES {
        let mut rng = Rng(seed ^ 0xb0b);
        let mut model = Model::default();
        let mut leaders: Vec<Leader> = (1..=3).map(Leader::new).collect();
        let mut mail: Vec<(Piece, Events)> = Vec::new();
        let mut versions = vec![VersionVector::new()];
        for _ in 0..STEPS {
            let (at, from): (usize, usize) = (rng.below(3), rng.below(3));
            let (key, element): (u8, u8) = (rng.below(KEYS.into()), rng.below(2));
            match rng.below::<u8>(12) {
                0..=3 => leaders[at].update(&mut model, Kind::Add((key, element))),
                4..=5 => leaders[at].update(&mut model, Kind::Remove((key, element))),
                6 => leaders[at].update(&mut model, Kind::Clear(key)),
                7 => {
                    // Whole kernels, by value or by reference, and stored as what was new.
                    let other = leaders[from].clone();
                    let piece = other.cut(&leaders[at].version);
                    let leader = &mut leaders[at];
                    for (key, kernel) in other.kernels.into_iter().enumerate() {
                        let (seen, mine) = (&leader.version, &mut leader.kernels[key]);
                        let watch = &mut watcher(key, &mut leader.fingerprint);
                        let before = mine.dots_of_all();
                        let grew = match rng.below::<u8>(2) {
                            0 => mine.merge(&kernel, seen, &other.version, &other.floor, watch),
                            _ => mine.merge_owned(kernel, seen, &other.version, &other.floor, watch),
                        };
                        assert_eq!(grew, mine.dots_of_all() != before);
                    }
                    leader.join(&other.version, &other.floor);
                    leader.events |= other.events;
                    leader.stored.push(piece);
                }
                8 => {
                    let piece = leaders[from].cut(&leaders[at].version);
                    let sent = leaders[from].events;
                    assert!(leaders[at].apply(&piece));
                    leaders[at].events |= sent;
                    leaders[at].stored.push(piece);
                }
                9 => {
                    let since = rng.pick(&versions).unwrap();
                    mail.push((leaders[from].cut(since), leaders[from].events));
                    versions.push(leaders[at].version.clone());
                }
                10 => {
                    if let Some((piece, sent)) = rng.pick(&mail).cloned() {
                        // Stored as what is new here, which is not the piece: so through a copy that takes it.
                        let leader = &mut leaders[at];
                        let mut copy = leader.clone();
                        if copy.apply(&piece) {
                            copy.events |= sent;
                            copy.check(&model);
                            let news = copy.cut(&leader.version);
                            assert!(leader.apply(&news));
                            leader.events = copy.events;
                            leader.stored.push(news);
                        }
                    }
                }
                _ => {
                    let stable = leaders[from].version.clone();
                    leaders[at].forget(&stable);
                }
            }
            leaders[at].check(&model);
        }
        for leader in &leaders {
            let mut replayed = Leader::new(9);
            for piece in &leader.stored {
                for (key, slice) in piece.slices.iter().enumerate() {
                    let watch = &mut watcher(key, &mut replayed.fingerprint);
                    replayed.kernels[key].apply(slice.clone(), &VersionVector::new(), &piece.until, watch);
                }
            }
            assert_eq!(replayed.kernels, leader.kernels, "seed {seed}");
            assert_eq!(replayed.fingerprint, leader.fingerprint);
        }
    }
}
