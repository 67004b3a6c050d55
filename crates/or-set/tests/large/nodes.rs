//! Those who write: with a set of their own, and with several kernels under one numbering.

use crate::{
    common::Rng,
    model::{Deaths, Item, Model, check_set},
};
use or_set::{
    Change, Delta, Dot, Kernel, Merge, OrSet, OrSetDelta, Replica, ReplicaId, Slice, VersionVector, Wire,
};
use std::{collections::BTreeMap, fmt::Debug};

/// A writer with one or several sets.
pub(crate) trait Node {
    const KEYS: usize;
    type State: Clone + Debug + PartialEq;
    /// What has happened since some version.
    type Piece: Clone;

    /// `others`, if it can have them, are what it has seen of replicas that never write here.
    fn new(id: ReplicaId, others: &VersionVector) -> Self;
    fn state(&self) -> &Self::State;
    fn version(&self) -> &VersionVector;
    fn floor(&self) -> &VersionVector;
    /// Adds elements by consecutive events, of which the first is `gap` beyond the last of this node, if it can; the
    /// dot of the last.
    fn extend(&mut self, gap: u64, key: usize, elements: &[u16]) -> Dot;
    fn remove(&mut self, gap: u64, item: Item) -> Option<Dot>;
    fn clear(&mut self, gap: u64, key: usize) -> Option<Dot>;
    fn merge(&mut self, other: &Self::State, owned: bool);
    fn cut(&self, since: &VersionVector) -> Self::Piece;
    /// False, and nothing has happened, if it builds on what is not here.
    fn apply(&mut self, piece: &Self::Piece, owned: bool) -> bool;
    fn forget(&mut self, stable: &VersionVector);
    /// From bytes, as after a restart.
    fn reload(&mut self);
    fn check(&self, model: &Model, rng: &mut Rng);
    fn deaths(&self) -> Deaths;
}

#[cfg(feature = "serde")]
pub(crate) trait Bytes:
    Wire + Debug + PartialEq + serde::Serialize + serde::de::DeserializeOwned
{
}
#[cfg(feature = "serde")]
impl<T: Wire + Debug + PartialEq + serde::Serialize + serde::de::DeserializeOwned> Bytes for T {}
#[cfg(not(feature = "serde"))]
pub(crate) trait Bytes: Wire + Debug + PartialEq {}
#[cfg(not(feature = "serde"))]
impl<T: Wire + Debug + PartialEq> Bytes for T {}

pub(crate) fn through_bytes<T: Bytes>(value: &T) -> T {
    #[cfg(feature = "serde")]
    {
        let bytes = postcard::to_allocvec(value).unwrap();
        let back: T = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(&back, value);
        assert_eq!(postcard::to_allocvec(&back).unwrap(), bytes);
    }
    let bytes = value.to_bytes();
    let back = T::from_bytes(&bytes).unwrap();
    assert_eq!(&back, value);
    assert_eq!(back.to_bytes(), bytes);
    back
}

/// A set of its own, which has no gaps.
pub(crate) type Alone = Replica<OrSet<u16>>;

impl Node for Alone {
    const KEYS: usize = 1;
    type State = OrSet<u16>;
    type Piece = OrSetDelta<u16>;

    fn new(id: ReplicaId, _: &VersionVector) -> Self {
        Replica::new(id, OrSet::new())
    }

    fn state(&self) -> &OrSet<u16> {
        self.state()
    }

    fn version(&self) -> &VersionVector {
        self.state().version()
    }

    fn floor(&self) -> &VersionVector {
        self.state().floor()
    }

    fn extend(&mut self, _: u64, _: usize, elements: &[u16]) -> Dot {
        match elements {
            [element] => self.update(|set, tick| set.add(tick, *element)).unwrap(),
            _ => self.update(|set, tick| set.extend(tick, elements.iter().copied())).unwrap().unwrap(),
        }
    }

    fn remove(&mut self, _: u64, item: Item) -> Option<Dot> {
        self.update(|set, tick| set.remove(tick, &item.1)).unwrap()
    }

    fn clear(&mut self, _: u64, _: usize) -> Option<Dot> {
        self.update(OrSet::clear).unwrap()
    }

    fn merge(&mut self, other: &OrSet<u16>, owned: bool) {
        let news = self.version().covers(other.version()).is_err();
        let grew =
            if owned { self.update(|set, _| set.merge_owned(other.clone())) } else { self.merge(other) };
        assert_eq!(grew, news);
    }

    fn cut(&self, since: &VersionVector) -> OrSetDelta<u16> {
        through_bytes(&self.delta_since(since))
    }

    fn apply(&mut self, piece: &OrSetDelta<u16>, owned: bool) -> bool {
        let fits = self.version().covers(piece.since()).is_ok();
        let news = self.version().covers(piece.until()).is_err();
        let applied =
            if owned { self.update(|set, _| set.apply_owned(piece.clone())) } else { self.apply(piece) };
        assert_eq!(applied.ok(), fits.then_some(news));
        fits
    }

    fn forget(&mut self, stable: &VersionVector) {
        self.update(|set, _| set.forget_deaths(stable));
    }

    fn reload(&mut self) {
        *self = Replica::new(self.id(), through_bytes(self.state()));
    }

    fn check(&self, model: &Model, rng: &mut Rng) {
        let set = self.state();
        check_set(set, model, 0, rng);
        assert!(set.deaths() <= 384 + set.len() / 16);
    }

    fn deaths(&self) -> Deaths {
        let deaths = self.delta_since(&VersionVector::new()).slice().deaths().to_vec();
        assert_eq!(deaths.len(), self.state().deaths());
        deaths.into_iter().collect()
    }
}

/// Sets that share one numbering: counters lie apart.
#[derive(Clone, Debug)]
pub(crate) struct Bundle {
    kernels: Vec<Kernel<u16>>,
    version: VersionVector,
    floor: VersionVector,
}

impl PartialEq for Bundle {
    fn eq(&self, other: &Self) -> bool {
        self.kernels == other.kernels && self.version == other.version
    }
}

pub(crate) struct Leader {
    id: ReplicaId,
    bundle: Bundle,
    /// The live dots, kept by watching.
    watched: Vec<BTreeMap<Dot, u16>>,
}

#[derive(Clone)]
pub(crate) struct BundlePiece {
    since: VersionVector,
    until: VersionVector,
    floor: VersionVector,
    slices: Vec<Slice<u16>>,
}

/// Each dot begins and ends to live once.
pub(crate) fn watcher(live: &mut BTreeMap<Dot, u16>) -> impl FnMut(Change<'_, u16>) {
    |change| match change {
        Change::Born(dot, element) => assert_eq!(live.insert(dot, *element), None),
        Change::Died(dot, element) => assert_eq!(live.remove(&dot), Some(*element)),
    }
}

impl Leader {
    fn next(&self, gap: u64) -> Dot {
        Dot::new(self.id, self.bundle.version.get(self.id) + gap)
    }

    fn join(&mut self, theirs: &VersionVector, their_floor: &VersionVector) {
        let Bundle { version, floor, .. } = &mut self.bundle;
        let raised =
            their_floor.difference(version).map(|(replica, unseen)| Dot::new(replica, *unseen.end()));
        floor.extend(raised.collect::<Vec<_>>());
        version.merge(theirs);
    }
}

impl Node for Leader {
    const KEYS: usize = 3;
    type State = Bundle;
    type Piece = BundlePiece;

    fn new(id: ReplicaId, others: &VersionVector) -> Self {
        let kernels = vec![Kernel::new(); Self::KEYS];
        let bundle = Bundle { kernels, version: others.clone(), floor: VersionVector::new() };
        Leader { id, bundle, watched: vec![BTreeMap::new(); Self::KEYS] }
    }

    fn state(&self) -> &Bundle {
        &self.bundle
    }

    fn version(&self) -> &VersionVector {
        &self.bundle.version
    }

    fn floor(&self) -> &VersionVector {
        &self.bundle.floor
    }

    fn extend(&mut self, gap: u64, key: usize, elements: &[u16]) -> Dot {
        let mut dot = self.next(gap);
        for (counter, element) in (dot.counter..).zip(elements) {
            dot.counter = counter;
            self.bundle.kernels[key].add(dot, *element, &mut watcher(&mut self.watched[key]));
        }
        self.bundle.version.advance(dot);
        dot
    }

    fn remove(&mut self, gap: u64, (key, element): Item) -> Option<Dot> {
        let dot = self.next(gap);
        let watch = &mut watcher(&mut self.watched[key]);
        self.bundle.kernels[key].remove(dot, &element, watch).then(|| {
            self.bundle.version.advance(dot);
            dot
        })
    }

    fn clear(&mut self, gap: u64, key: usize) -> Option<Dot> {
        let dot = self.next(gap);
        self.bundle.kernels[key].clear(dot, &mut watcher(&mut self.watched[key])).then(|| {
            self.bundle.version.advance(dot);
            dot
        })
    }

    fn merge(&mut self, other: &Bundle, owned: bool) {
        let Bundle { kernels, version: seen, .. } = &mut self.bundle;
        for (key, (mine, theirs)) in kernels.iter_mut().zip(&other.kernels).enumerate() {
            let watch = &mut watcher(&mut self.watched[key]);
            let before = (mine.clone(), mine.deaths());
            let grew = if owned {
                mine.merge_owned(theirs.clone(), seen, &other.version, &other.floor, watch)
            } else {
                mine.merge(theirs, seen, &other.version, &other.floor, watch)
            };
            assert_eq!(grew, (&before.0, before.1) != (&*mine, mine.deaths()));
        }
        self.join(&other.version, &other.floor);
    }

    fn cut(&self, since: &VersionVector) -> BundlePiece {
        let Bundle { kernels, version, floor } = &self.bundle;
        let both = version.zip(since);
        let since: VersionVector = both.map(|(id, ours, theirs)| (id, ours.min(theirs))).collect();
        let survivors = since.covers(floor).is_err();
        let slices = kernels.iter().map(|kernel| through_bytes(&kernel.slice_since(&since, survivors)));
        BundlePiece {
            slices: slices.collect(),
            since,
            until: version.clone(),
            floor: if survivors { floor.clone() } else { VersionVector::new() },
        }
    }

    fn apply(&mut self, piece: &BundlePiece, _: bool) -> bool {
        let Bundle { kernels, version: seen, .. } = &mut self.bundle;
        if seen.covers(&piece.since).is_err() {
            return false;
        }
        for (key, (kernel, slice)) in kernels.iter_mut().zip(&piece.slices).enumerate() {
            let watch = &mut watcher(&mut self.watched[key]);
            let before = (kernel.clone(), kernel.deaths());
            let grew = kernel.apply(slice.clone(), seen, &piece.until, watch);
            assert_eq!(grew, (&before.0, before.1) != (&*kernel, kernel.deaths()));
        }
        self.join(&piece.until, &piece.floor);
        true
    }

    fn forget(&mut self, stable: &VersionVector) {
        let Bundle { kernels, version, floor } = &mut self.bundle;
        let both = version.zip(stable);
        let common: VersionVector = both.map(|(id, ours, theirs)| (id, ours.min(theirs))).collect();
        for kernel in kernels {
            kernel.forget_deaths(&common);
        }
        floor.merge(&common);
    }

    fn reload(&mut self) {
        let mut new = Leader::new(self.id, &VersionVector::new());
        assert!(new.apply(&self.cut(&VersionVector::new()), true));
        assert_eq!(new.bundle, self.bundle);
        *self = new;
    }

    fn check(&self, model: &Model, rng: &mut Rng) {
        for (key, kernel) in self.bundle.kernels.iter().enumerate() {
            check_set(kernel, model, key, rng);
            assert!(
                kernel.live().map(|(dot, e)| (dot, *e)).eq(self.watched[key].iter().map(|(d, e)| (*d, *e)))
            );
        }
    }

    fn deaths(&self) -> Deaths {
        let kernels = self.bundle.kernels.iter();
        let deaths = kernels.map(|kernel| {
            let deaths = kernel.slice_since(&VersionVector::new(), false).deaths().to_vec();
            assert_eq!(deaths.len(), kernel.deaths());
            deaths
        });
        deaths.flatten().collect()
    }
}
