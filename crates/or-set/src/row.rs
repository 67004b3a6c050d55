use alloc::collections::VecDeque;
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
    /// Its chunks of births, each with its first counter: a search must not visit the chunks themselves.
    pub(crate) chunks: VecDeque<(u64, u32)>,
    /// The last of them, or [`NONE`].
    pub(crate) tail: u32,
    /// How many of its births live.
    pub(crate) live: usize,
    /// How many have died since the chunks were last rebuilt.
    pub(crate) died: usize,
    /// The counter of its last birth, dead or alive; 0 for none.
    pub(crate) last_birth: u64,
    /// The events that ended a dot, each with the dot it ended; a clear ends many with one event.
    pub(crate) deaths: VecDeque<(u64, Dot)>,
}

impl Row {
    pub(crate) const fn new(id: ReplicaId) -> Self {
        Row {
            id,
            chunks: VecDeque::new(),
            tail: NONE,
            live: 0,
            died: 0,
            last_birth: 0,
            deaths: VecDeque::new(),
        }
    }

    /// The tail, which is empty, will begin with this counter.
    #[cold]
    pub(crate) fn restart_tail(&mut self, counter: u64) {
        if let Some(tail) = self.chunks.back_mut() {
            tail.0 = counter;
        }
    }

    /// The greatest counter in here; 0 for none.
    pub(crate) fn last(&self) -> u64 {
        self.last_birth.max(self.last_death())
    }

    pub(crate) fn last_death(&self) -> u64 {
        self.deaths.back().map_or(0, |death| death.0)
    }

    /// The place in `chunks` of the chunk that would have `counter`. **O(log n)**, O(1) while there are no gaps.
    pub(crate) fn place(&self, counter: u64) -> Option<usize> {
        let covers = |at: usize| {
            let next = self.chunks.get(at + 1);
            self.chunks[at].0 <= counter && next.is_none_or(|next| counter < next.0)
        };
        let dense = counter.checked_sub(self.chunks.front()?.0)? / u64::from(crate::chunk::SLOTS);
        let guess = usize::try_from(dense).ok().filter(|at| *at < self.chunks.len() && covers(*at));
        Some(guess.unwrap_or_else(|| self.chunks.partition_point(|chunk| chunk.0 <= counter) - 1))
    }

    /// The chunks that may have births with a counter above `known`.
    pub(crate) fn chunks_after(&self, known: u64) -> impl Iterator<Item = u32> + Clone {
        let from = if known < self.last_birth { self.place(known).unwrap_or(0) } else { self.chunks.len() };
        self.chunks.range(from..).map(|(_, chunk)| *chunk)
    }

    /// The deaths by events with a counter above `known`.
    pub(crate) fn deaths_after(&self, known: u64) -> impl Iterator<Item = (u64, Dot)> {
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
