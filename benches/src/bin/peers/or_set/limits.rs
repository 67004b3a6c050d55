//! What is no OR-Set: plain hash sets, which lose removals, and a set whose removals are final.

use super::{Element, Set, digest, sum};
use crate::contest::Contestant;
use lattices::{Merge as _, set_union_with_tombstones::SetUnionWithTombstonesRoaring};

macro_rules! plain {
    ($name:ident, $set:ty, $side:literal) => {
        #[derive(Clone)]
        pub(crate) struct $name<E>($set);

        impl<E: Element> Contestant for $name<E> {
            const SIDE: &'static str = $side;

            fn join(&mut self, other: &Self) {
                self.0.extend(other.0.iter().cloned());
            }

            fn absorb(&mut self, other: Self) {
                self.0.extend(other.0);
            }

            fn digest(&self) -> u128 {
                digest(self.sum())
            }
        }

        impl<E: Element> Set<E> for $name<E> {
            type Delta = ();

            fn empty(_: u64) -> Self {
                $name(<$set>::new())
            }

            fn fork(&self, _: u64) -> Self {
                self.clone()
            }

            fn add(&mut self, element: E) {
                self.0.insert(element);
            }

            fn add_all(&mut self, elements: impl ExactSizeIterator<Item = E>) {
                self.0.extend(elements);
            }

            fn remove_all(&mut self, elements: &[E]) {
                for element in elements {
                    self.0.remove(element);
                }
            }

            fn has(&self, element: &E) -> bool {
                self.0.contains(element)
            }

            fn sum(&self) -> (u64, u64) {
                sum(self.0.iter())
            }

            fn encode(&self) -> Option<Vec<u8>> {
                // As the sequence that it is.
                postcard::to_allocvec(&self.0.iter().collect::<Vec<_>>()).ok()
            }

            fn decode(bytes: &[u8]) -> Option<Self> {
                let elements: Vec<E> = postcard::from_bytes(bytes).ok()?;
                Some($name(elements.into_iter().collect()))
            }

            fn base(_: u64, _: u64, elements: &[E]) -> Self {
                $name(elements.iter().cloned().collect())
            }
        }
    };
}

plain!(Hashbrown, hashbrown::HashSet<E>, "hashbrown");
plain!(Std, std::collections::HashSet<E>, "std");

/// What was removed can not be added again.
#[derive(Clone)]
pub(crate) struct TwoPhase(SetUnionWithTombstonesRoaring);

impl Contestant for TwoPhase {
    const SIDE: &'static str = "lattices 2P";

    fn join(&mut self, other: &Self) {
        self.0.merge(other.0.clone());
    }

    fn absorb(&mut self, other: Self) {
        self.0.merge(other.0);
    }

    fn digest(&self) -> u128 {
        digest(self.sum())
    }
}

impl Set<u64> for TwoPhase {
    type Delta = ();

    fn empty(_: u64) -> Self {
        TwoPhase(SetUnionWithTombstonesRoaring::default())
    }

    fn fork(&self, _: u64) -> Self {
        self.clone()
    }

    fn add(&mut self, element: u64) {
        let (set, tombstones) = self.0.as_reveal_mut();
        if !tombstones.contains(&element) {
            set.insert(element);
        }
    }

    fn remove_all(&mut self, elements: &[u64]) {
        let (set, tombstones) = self.0.as_reveal_mut();
        for element in elements {
            set.remove(element);
        }
        tombstones.extend(elements.iter().copied());
    }

    fn has(&self, element: &u64) -> bool {
        self.0.as_reveal_ref().0.contains(element)
    }

    fn sum(&self) -> (u64, u64) {
        sum(self.0.as_reveal_ref().0.iter())
    }
}
