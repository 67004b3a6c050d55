use alloc::{boxed::Box, collections::VecDeque};
use core::ops::{Deref, DerefMut};
use crdt_core::{Dot, ReplicaId};

/// The number of no chunk.
pub(crate) const NONE: u32 = u32::MAX;

/// What one replica did, in the order of its counters.
///
/// Events of one replica arrive in order, locally and by merge, so births and deaths are only ever appended, and "what
/// has happened since counter c" is a search and the rest of each.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: ReplicaId,
    /// Its chunks of births but the last, each with its first counter: a search must not visit the chunks themselves.
    pub(crate) earlier: Seldom<(u64, u32)>,
    /// The last one, which takes the next birth: many rows have no other. Its number is [`NONE`] if there is none.
    pub(crate) tail: (u64, u32),
    /// How many of its births live.
    pub(crate) live: u32,
    /// How many have died since the chunks were last rebuilt, as far as it can count.
    pub(crate) died: u32,
    /// The counter of its last birth, dead or alive; 0 for none.
    pub(crate) last_birth: u64,
    /// The events that ended a dot, each with the dot it ended; a clear ends many with one event.
    pub(crate) deaths: Seldom<(u64, Dot)>,
}

/// A list that most rows do not need: while nothing was ever put in, it takes a word. Most sets of a mesh are small, and
/// have as many rows as elements.
#[allow(clippy::box_collection)] // The list itself takes four words.
#[derive(Clone, Debug)]
pub(crate) struct Seldom<T>(Option<Box<VecDeque<T>>>);

impl<T> Seldom<T> {
    const fn new() -> Self {
        Seldom(None)
    }

    /// The list itself, if there is one.
    pub(crate) fn get_mut(&mut self) -> Option<&mut VecDeque<T>> {
        self.0.as_deref_mut()
    }

    fn take(&mut self) -> VecDeque<T> {
        self.0.take().map_or_else(VecDeque::new, |list| *list)
    }
}

impl<T> Default for Seldom<T> {
    fn default() -> Self {
        Seldom::new()
    }
}

impl<T> Deref for Seldom<T> {
    type Target = VecDeque<T>;

    #[inline]
    fn deref(&self) -> &VecDeque<T> {
        self.0.as_deref().unwrap_or(const { &VecDeque::new() })
    }
}

/// To put something in.
impl<T> DerefMut for Seldom<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut VecDeque<T> {
        self.0.get_or_insert_default()
    }
}

impl Row {
    pub(crate) const fn new(id: ReplicaId) -> Self {
        Row {
            id,
            earlier: Seldom::new(),
            tail: (0, NONE),
            live: 0,
            died: 0,
            last_birth: 0,
            deaths: Seldom::new(),
        }
    }

    /// The greatest counter in here; 0 for none.
    #[inline]
    pub(crate) fn last(&self) -> u64 {
        self.last_birth.max(self.last_death())
    }

    #[inline]
    pub(crate) fn last_death(&self) -> u64 {
        self.deaths.back().map_or(0, |death| death.0)
    }

    /// All chunks, each with its first counter.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = (u64, u32)> + Clone {
        self.chunks_from(0)
    }

    fn chunks_from(&self, at: usize) -> impl Iterator<Item = (u64, u32)> + Clone {
        let tail = Some(self.tail).filter(|tail| tail.1 != NONE);
        self.earlier.range(at..).copied().chain(tail)
    }

    pub(crate) fn chunk_count(&self) -> usize {
        self.earlier.len() + usize::from(self.tail.1 != NONE)
    }

    /// Appends a chunk.
    pub(crate) fn push_chunk(&mut self, first: u64, chunk: u32) {
        if self.tail.1 != NONE {
            self.earlier.push_back(self.tail);
        }
        self.tail = (first, chunk);
    }

    /// Takes out all chunks.
    pub(crate) fn take_chunks(&mut self) -> impl Iterator<Item = u32> + use<> {
        let tail = core::mem::replace(&mut self.tail, (0, NONE)).1;
        let earlier = self.earlier.take().into_iter().map(|(_, chunk)| chunk);
        earlier.chain(Some(tail).filter(|tail| *tail != NONE))
    }

    /// The chunk that would have `counter`. **O(log n)**, O(1) while there are no gaps.
    pub(crate) fn chunk_of(&self, counter: u64) -> Option<u32> {
        if self.tail.1 == NONE || counter >= self.tail.0 {
            return Some(self.tail.1).filter(|tail| *tail != NONE);
        }
        self.place(counter).map(|at| self.earlier[at].1)
    }

    /// The place in `earlier` of the chunk that would have `counter`, which is below those of the tail.
    fn place(&self, counter: u64) -> Option<usize> {
        let covers = |at: usize| {
            let next = self.earlier.get(at + 1);
            self.earlier[at].0 <= counter && next.is_none_or(|next| counter < next.0)
        };
        let dense = counter.checked_sub(self.earlier.front()?.0)? / u64::from(crate::chunk::SLOTS);
        let guess = usize::try_from(dense).ok().filter(|at| *at < self.earlier.len() && covers(*at));
        Some(guess.unwrap_or_else(|| self.earlier.partition_point(|chunk| chunk.0 <= counter) - 1))
    }

    /// The chunks that may have births with a counter above `known`.
    pub(crate) fn chunks_after(&self, known: u64) -> impl Iterator<Item = u32> + Clone {
        let from = if known < self.tail.0 { self.place(known).unwrap_or(0) } else { self.earlier.len() };
        let any = known < self.last_birth;
        self.chunks_from(from).filter(move |_| any).map(|(_, chunk)| chunk)
    }

    /// The deaths by events with a counter above `known`.
    pub(crate) fn deaths_after(&self, known: u64) -> impl ExactSizeIterator<Item = (u64, Dot)> + Clone {
        self.deaths.range(self.deaths_known(known)..).copied()
    }

    /// How many deaths are by events with a counter up to `known`.
    pub(crate) fn deaths_known(&self, known: u64) -> usize {
        if self.last_death() <= known {
            return self.deaths.len();
        }
        self.deaths.partition_point(|death| death.0 <= known)
    }
}
