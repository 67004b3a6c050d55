//! The crate `or-set` itself: dot-addressed chunks with live bitmaps.

use crate::representation::{Element, Representation};
use crdt_core::Dot;
use or_set::{Change, Kernel};
use version_vector::VersionVector;

#[derive(Clone)]
pub(crate) struct Chunks<E>(Kernel<E>);

fn ignore<E>(_: Change<'_, E>) {}

impl<E: Element> Representation<E> for Chunks<E> {
    const NAME: &'static str = "chunks";

    fn add(&mut self, dot: Dot, element: E) {
        self.0.add(dot, element, &mut ignore);
    }

    fn remove(&mut self, dot: Dot, element: &E) -> bool {
        self.0.remove(dot, element, &mut ignore)
    }

    fn contains(&self, element: &E) -> bool {
        self.0.contains(element)
    }

    fn iter<'a>(&'a self) -> impl Iterator<Item = &'a E>
    where
        E: 'a,
    {
        self.0.iter()
    }

    fn merge(&mut self, other: &Self, seen: &VersionVector, theirs: &VersionVector) -> bool {
        let floor = VersionVector::new();
        self.0.merge(&other.0, seen, theirs, &floor, &mut ignore)
    }

    fn forget_deaths(&mut self, seen: &VersionVector) {
        self.0.forget_deaths(seen);
    }
}

impl<E> Default for Chunks<E> {
    fn default() -> Self {
        Chunks(Kernel::new())
    }
}
