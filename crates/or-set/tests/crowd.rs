//! Few elements, each added concurrently by many replicas: more dots of one than stand in the table.

mod common;

use common::{Rng, id};
use or_set::{Dot, Kernel, Slice, VersionVector};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    hash::{Hash, Hasher},
};

const REPLICAS: u64 = 30;
/// Many have these; of the greater ones each has its own.
const ELEMENTS: u16 = 3;

/// Elements of which all have one hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Alike(u16);

impl Hash for Alike {
    fn hash<H: Hasher>(&self, state: &mut H) {
        0_u8.hash(state);
    }
}

impl From<u16> for Alike {
    fn from(number: u16) -> Self {
        Alike(number)
    }
}

struct Player<E> {
    kernel: Kernel<E>,
    version: VersionVector,
    /// What should live.
    live: BTreeMap<Dot, E>,
}

impl<E: Copy + Ord + Hash + Debug + From<u16>> Player<E> {
    fn next(&mut self, rng: &mut Rng) -> Dot {
        let replica = id(1 + rng.below::<u64>(REPLICAS));
        let gap = 1 + rng.below::<u64>(3);
        Dot::new(replica, self.version.get(replica) + gap)
    }

    fn dots(&self, element: E) -> Vec<Dot> {
        self.live.iter().filter(|(_, other)| **other == element).map(|(dot, _)| *dot).collect()
    }

    /// An update here, or one of somebody else, who had seen what lives here in part. The more `dies`, the less is born.
    fn step(&mut self, rng: &mut Rng, dies: u64) {
        let (dot, element) = (self.next(rng), E::from(rng.below::<u16>(ELEMENTS.into())));
        if rng.below::<u64>(60) == 0 {
            let seen = self.dots(element);
            self.live.retain(|_, other| *other != element);
            if rng.below::<u8>(2) == 0 {
                assert_eq!(self.kernel.remove(dot, &element, &mut |_| ()), !seen.is_empty());
            } else {
                self.kernel.add(dot, element, &mut |_| ());
                self.live.insert(dot, element);
            }
        } else {
            let births = if rng.below::<u64>(10) < dies { vec![] } else { vec![(dot, element)] };
            let killed = |_| rng.pick(&self.live.keys().copied().collect::<Vec<_>>()).copied();
            let killed: BTreeSet<Dot> = (0..dies / 2).filter_map(killed).collect();
            for (dot, element) in &births {
                self.live.retain(|old, other| old.replica != dot.replica || other != element);
                self.live.insert(*dot, *element);
            }
            self.live.retain(|dot, _| !killed.contains(dot));
            let deaths = killed.into_iter().map(|killed| (dot, killed)).collect();
            let slice = Slice::from_parts(births, deaths).unwrap();
            self.kernel.apply(slice, &self.version, &VersionVector::new(), &mut |_| ());
        }
        self.version.advance(dot);
    }

    /// One replica fills some chunks.
    fn fill(&mut self, rng: &mut Rng) {
        let first = self.next(rng);
        let own = ELEMENTS + u16::try_from(first.replica.get()).unwrap() * 256;
        for (counter, element) in (first.counter..).zip((own..own + 250).map(E::from)) {
            let dot = Dot::new(first.replica, counter);
            self.kernel.add(dot, element, &mut |_| ());
            self.live.retain(|_, other| *other != element);
            self.live.insert(dot, element);
            self.version.advance(dot);
        }
    }

    /// The chunks of all are nearly emptied: what is left in them moves together.
    fn empty(&mut self, rng: &mut Rng) {
        let event = self.next(rng);
        let killed = self.live.extract_if(.., |_, element| *element >= E::from(ELEMENTS + 3));
        let deaths = killed.map(|(killed, _)| (event, killed)).collect();
        let slice = Slice::from_parts(Vec::new(), deaths).unwrap();
        self.kernel.apply(slice, &self.version, &VersionVector::new(), &mut |_| ());
        self.version.advance(event);
    }

    fn check(&self) {
        assert!(self.kernel.live().eq(self.live.iter().map(|(dot, element)| (*dot, element))));
        for element in (0..ELEMENTS).map(E::from) {
            let dots = self.dots(element);
            assert_eq!(self.kernel.contains(&element), !dots.is_empty());
            assert_eq!(self.kernel.dots(&element), dots);
        }
        let mut met = BTreeSet::new();
        let least: Vec<&E> = self.live.values().filter(|element| met.insert(**element)).collect();
        assert!(self.kernel.len() == least.len() && self.kernel.iter().eq(least));
        let deaths = self.kernel.slice_since(&VersionVector::new(), false);
        assert!(deaths.deaths().is_sorted_by(|a, b| a < b));
    }
}

/// How many dots an element had at most.
fn play<E: Copy + Ord + Hash + Debug + From<u16>>(seed: u64, is_filled: bool) -> usize {
    let mut rng = Rng(seed);
    let mut player =
        Player { kernel: Kernel::<E>::new(), version: VersionVector::new(), live: BTreeMap::new() };
    let mut most = 0;
    for step in 0..900 {
        // Forgetting keeps the lists of deaths short.
        player.kernel.forget_deaths(&player.version);
        player.step(&mut rng, if step % 300 < 200 { 0 } else { 6 });
        if is_filled && step % 2 == 0 {
            player.fill(&mut rng);
        }
        if step % 100 == 95 {
            player.empty(&mut rng);
        }
        player.check();
        most = most.max(player.dots(E::from(0)).len());
        if step % 97 == 0 {
            // Whoever has nothing takes it all at once.
            let (mut whole, empty) = (Kernel::new(), VersionVector::new());
            whole.merge(&player.kernel, &empty, &player.version, &empty, &mut |_| ());
            assert_eq!(whole, player.kernel);
            player.kernel = whole;
            player.check();
        }
    }
    most
}

#[test]
fn crowded_elements_agree_with_a_list_of_dots() {
    for seed in 0..2 {
        let most = play::<u16>(seed, true).min(play::<Alike>(seed, false));
        assert!(most > 12, "a crowd of {most}");
    }
}
