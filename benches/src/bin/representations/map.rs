//! A hash map from elements to their dots, as in the literature: a merge compares what lives on both sides.

use crate::representation::{Element, Representation};
use crdt_core::Dot;
use hashbrown::{HashMap, hash_map::Entry};
use version_vector::VersionVector;

/// The live dots of one element; two and more only after concurrent adds.
#[derive(Clone)]
pub(crate) enum Dots {
    One(Dot),
    /// Behind a thin pointer, so that the other case needs no room beside its dot: 16 bytes.
    #[expect(clippy::box_collection, reason = "a boxed slice is a wide pointer")]
    Many(Box<Vec<Dot>>),
}

impl Dots {
    pub(crate) fn as_slice(&self) -> &[Dot] {
        match self {
            Dots::One(dot) => std::slice::from_ref(dot),
            Dots::Many(dots) => dots,
        }
    }

    pub(crate) fn push(&mut self, dot: Dot) {
        match self {
            Dots::One(first) => *self = Dots::Many(Box::new(vec![*first, dot])),
            Dots::Many(dots) => dots.push(dot),
        }
    }

    /// Keeps what is wanted; false if that is nothing, and then they are no longer of use.
    pub(crate) fn retain(&mut self, mut wanted: impl FnMut(&Dot) -> bool) -> bool {
        match self {
            Dots::One(dot) => wanted(dot),
            Dots::Many(dots) => {
                dots.retain(wanted);
                match dots[..] {
                    [] => false,
                    [dot] => {
                        *self = Dots::One(dot);
                        true
                    }
                    _ => true,
                }
            }
        }
    }
}

#[derive(Clone)]
pub(crate) struct Map<E>(HashMap<E, Dots>);

impl<E: Element> Representation<E> for Map<E> {
    const NAME: &'static str = "map";

    fn add(&mut self, dot: Dot, element: E) {
        self.0.insert(element, Dots::One(dot));
    }

    fn remove(&mut self, _: Dot, element: &E) -> bool {
        self.0.remove(element).is_some()
    }

    fn contains(&self, element: &E) -> bool {
        self.0.contains_key(element)
    }

    fn iter<'a>(&'a self) -> impl Iterator<Item = &'a E>
    where
        E: 'a,
    {
        self.0.keys()
    }

    fn merge(&mut self, other: &Self, seen: &VersionVector, theirs: &VersionVector) -> bool {
        let mut grew = false;
        // What they have seen and no longer hold has died.
        self.0.retain(|element, dots| {
            let alive = other.0.get(element).map_or(&[][..], Dots::as_slice);
            let before = dots.as_slice().len();
            let any = dots.retain(|dot| alive.contains(dot) || !theirs.contains(*dot));
            grew |= !any || dots.as_slice().len() < before;
            any
        });
        let born: Vec<(&E, Dot)> = other
            .0
            .iter()
            .flat_map(|(element, dots)| dots.as_slice().iter().map(move |dot| (element, *dot)))
            .filter(|(_, dot)| !seen.contains(*dot))
            .collect();
        self.0.reserve(born.len());
        grew |= !born.is_empty();
        for (element, dot) in born {
            match self.0.entry(element.clone()) {
                Entry::Occupied(mut dots) => dots.get_mut().push(dot),
                Entry::Vacant(place) => _ = place.insert(Dots::One(dot)),
            }
        }
        grew
    }

    fn forget_deaths(&mut self, _: &VersionVector) {}
}

impl<E> Default for Map<E> {
    fn default() -> Self {
        Map(HashMap::new())
    }
}
