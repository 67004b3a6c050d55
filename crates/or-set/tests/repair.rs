//! Repairing a kernel, against a naive set of live dots and a naive list of deaths.

mod common;

use common::{Rng, id};
use or_set::{Change, Dot, Kernel, VersionVector};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
struct Naive {
    live: BTreeMap<Dot, u8>,
    deaths: BTreeSet<(Dot, Dot)>,
}

impl Naive {
    fn kill(&mut self, event: Dot, killed: Dot) {
        self.live.remove(&killed);
        self.deaths.insert((event, killed));
    }

    fn end(&mut self, event: Dot, element: u8) {
        let ended: Vec<Dot> = self.live.iter().filter(|(_, e)| **e == element).map(|(dot, _)| *dot).collect();
        for dot in ended {
            self.kill(event, dot);
        }
    }

    fn revive(&mut self, births: &[(Dot, u8)]) {
        self.live.extend(births.iter().copied());
        let all = self.live.clone();
        self.live.retain(|dot, element| {
            let newer = |other: &Dot, e: &u8| other.replica == dot.replica && other > dot && e == element;
            !all.iter().any(|(other, e)| newer(other, e))
        });
    }
}

/// A dot that was given, and others that may have been.
fn seen(rng: &mut Rng, last: &[u64; 3]) -> Option<Dot> {
    let replica: usize = rng.below(3);
    (last[replica] > 0)
        .then(|| Dot::new(id(replica as u64 + 1), last[replica] - rng.below::<u64>(last[replica].min(12))))
}

/// What a watcher has heard is what lives.
fn watch(heard: &mut BTreeMap<Dot, u8>) -> impl FnMut(Change<'_, u8>) {
    |change| match change {
        Change::Born(dot, element) => assert_eq!(heard.insert(dot, *element), None, "{dot} was born twice"),
        Change::Died(dot, element) => assert_eq!(heard.remove(&dot), Some(*element)),
    }
}

#[test]
fn a_repaired_kernel_has_what_lives_and_remembers_what_died() {
    let mut revived_old = 0;
    for seed in 0..3_000 {
        let mut rng = Rng(seed);
        let (mut kernel, mut naive, mut heard) = (Kernel::new(), Naive::default(), BTreeMap::new());
        let mut last = [0_u64; 3];
        for _ in 0..rng.below::<u64>(60) {
            let (element, replica): (u8, usize) = (rng.below(5), rng.below(3));
            match rng.below::<u8>(9) {
                0..=5 => {
                    last[replica] += 1 + rng.below::<u64>(2) * 100;
                    let dot = Dot::new(id(replica as u64 + 1), last[replica]);
                    naive.end(dot, element);
                    if rng.below::<u8>(3) > 0 {
                        naive.live.insert(dot, element);
                        kernel.add(dot, element, &mut watch(&mut heard));
                    } else {
                        kernel.remove(dot, &element, &mut watch(&mut heard));
                    }
                }
                6 | 7 => {
                    let births: BTreeMap<Dot, u8> =
                        (0..3).filter_map(|_| Some((seen(&mut rng, &last)?, element))).collect();
                    let births: Vec<(Dot, u8)> = births.into_iter().collect();
                    revived_old += usize::from(births.iter().any(|(dot, _)| !naive.live.contains_key(dot)));
                    naive.revive(&births);
                    kernel.revive(births.into_iter().rev(), &mut watch(&mut heard));
                }
                _ => {
                    let deaths: Vec<(Dot, Dot)> = (0..3)
                        .filter_map(|_| Some((seen(&mut rng, &last)?, seen(&mut rng, &last)?)))
                        .collect();
                    let before = (naive.live.len(), naive.deaths.len());
                    for (event, killed) in &deaths {
                        naive.kill(*event, *killed);
                    }
                    let grew = kernel.kill_by(deaths, &mut watch(&mut heard));
                    assert_eq!(grew, before != (naive.live.len(), naive.deaths.len()));
                }
            }
            assert_eq!(heard, naive.live);
            assert!(kernel.live().eq(naive.live.iter().map(|(dot, element)| (*dot, element))));
            let elements: BTreeSet<u8> = naive.live.values().copied().collect();
            assert_eq!(kernel.len(), elements.len());
            for element in 0..5 {
                let dots = naive.live.iter().filter(|(_, e)| **e == element).map(|(dot, _)| *dot);
                assert!(kernel.dots(&element).into_iter().eq(dots), "{element} of {kernel:?}");
            }
            let slice = kernel.slice_since(&VersionVector::new(), false);
            assert!(slice.deaths().iter().eq(&naive.deaths));
            assert_eq!(kernel.deaths(), naive.deaths.len());
            let asked: BTreeSet<Dot> = (0..5).filter_map(|_| seen(&mut rng, &last)).collect();
            let asked: Vec<Dot> = asked.into_iter().collect();
            let expected = naive.deaths.iter().filter(|(_, killed)| asked.contains(killed));
            assert!(kernel.deaths_of(&asked).iter().eq(expected));
            for dot in asked {
                assert_eq!(kernel.element(dot), naive.live.get(&dot));
            }
        }
    }
    assert!(revived_old > 1_000, "{revived_old}");
}

/// What a repair brings takes part in everything that follows.
#[test]
fn a_revived_dot_travels_and_dies_like_any_other() {
    let dot = |counter| Dot::new(id(1), counter);
    let ignore = &mut |_: Change<'_, &str>| ();
    let mut one = Kernel::new();
    for (counter, element) in [(1, "a"), (2, "b"), (3, "c")] {
        one.add(dot(counter), element, ignore);
    }
    let seen: VersionVector = [(id(1), 3)].into_iter().collect();
    let mut two = one.clone();
    two.kill_by([(dot(3), dot(2))], ignore);
    assert_eq!(two.live().map(|birth| *birth.1).collect::<Vec<_>>(), ["a", "c"]);
    two.revive([(dot(2), "b")], ignore);
    assert_eq!(one, two);
    let mut three = Kernel::new();
    three.apply(two.slice_since(&VersionVector::new(), true), &VersionVector::new(), &seen, ignore);
    assert_eq!(one, three);
    assert!(two.remove(dot(4), "b", ignore));
    assert!(!two.contains("b"));
}
