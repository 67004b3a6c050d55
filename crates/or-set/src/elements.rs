use crate::{
    births::{Births, Handle},
    index::Index,
};
use core::{hash::Hash, slice};

/// The distinct elements, each at its least live dot, ascending.
///
/// Where no element has two dots these are the chunks' elements one after the other, and reading them all is as fast as
/// reading slices.
#[derive(Clone)]
pub(crate) struct Elements<'a, E, C: Iterator<Item = &'a [E]>, H> {
    births: &'a Births<E>,
    index: &'a Index,
    /// How many are still to come.
    left: usize,
    /// Whether some element has several live dots: then it is found through the handles.
    several: bool,
    /// The rest of a chunk, and the chunks after it: unused if there are several.
    current: slice::Iter<'a, E>,
    chunks: C,
    handles: H,
}

impl<'a, E: Eq + Hash, C: Iterator<Item = &'a [E]>, H: Iterator<Item = Handle>> Elements<'a, E, C, H> {
    pub(crate) fn new(births: &'a Births<E>, index: &'a Index, chunks: C, handles: H) -> Self {
        let (left, several) = (index.distinct(), index.len() > index.distinct());
        Elements { births, index, left, several, current: [].iter(), chunks, handles }
    }

    /// The next element that is not in the current chunk.
    fn find_next(&mut self) -> Option<&'a E> {
        if self.several {
            let (births, index) = (self.births, self.index);
            let least = self.handles.find(|handle| index.is_least(births, *handle));
            return least.map(|handle| births.element(handle));
        }
        loop {
            self.current = self.chunks.next()?.iter();
            if let Some(element) = self.current.next() {
                return Some(element);
            }
        }
    }
}

impl<'a, E: Eq + Hash, C: Iterator<Item = &'a [E]>, H: Iterator<Item = Handle>> Iterator
    for Elements<'a, E, C, H>
{
    type Item = &'a E;

    #[inline]
    fn next(&mut self) -> Option<&'a E> {
        let next = self.current.next().or_else(|| self.find_next());
        self.left -= usize::from(next.is_some());
        next
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }

    #[inline]
    fn fold<B, F: FnMut(B, &'a E) -> B>(mut self, init: B, mut f: F) -> B {
        let all = self.current.by_ref().fold(init, &mut f);
        if !self.several {
            return self.chunks.flatten().fold(all, f);
        }
        core::iter::from_fn(|| self.find_next()).fold(all, f)
    }
}

impl<'a, E: Eq + Hash, C: Iterator<Item = &'a [E]>, H: Iterator<Item = Handle>> ExactSizeIterator
    for Elements<'a, E, C, H>
{
}
