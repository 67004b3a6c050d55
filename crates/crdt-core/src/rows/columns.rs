use alloc::vec::Vec;
use core::iter::zip;

/// How many rows are compared or joined at a time: two SSE registers of each column.
pub(super) const LANES: usize = 4;

/// The ids and the values of a few rows.
///
/// Columns within a block, blocks one after the other: a pass over all rows compares several ids at once, and yet walks
/// one stretch of memory. Two long columns took a quarter more time for 16 rows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) ids: [u64; LANES],
    pub(super) values: [u64; LANES],
}

/// Ids and values in ascending order of the ids, in blocks: one block lies inline, more in one allocation.
///
/// There is always a block, and no more than needed. What lies in the last one past the last row is zero, which is
/// neither an id nor a value: so blocks are read whole, and are equal exactly when their rows are.
pub(super) struct Columns {
    len: usize,
    buffer: Buffer,
}

enum Buffer {
    Inline([Block; 1]),
    Heap(Vec<Block>),
}

impl Block {
    const EMPTY: Self = Block { ids: [0; LANES], values: [0; LANES] };

    /// Raises each value to the other's and says how many grew; `None`, and nothing raised, if the ids differ.
    ///
    /// No jumps: it writes all, also what stays, since not to write costs a mispredicted jump for each block where some
    /// of the values are newer; and it counts, which takes one instruction less than a flag does.
    #[inline]
    pub(super) fn raise(&mut self, other: &Self) -> Option<usize> {
        if self.ids != other.ids {
            return None;
        }
        let mut grown = 0;
        for (mine, theirs) in zip(&mut self.values, other.values) {
            grown += usize::from(*mine < theirs);
            *mine = theirs.max(*mine);
        }
        Some(grown)
    }

    /// Whether a value is less than the other's. The ids are the same.
    #[inline]
    pub(super) fn is_behind(&self, other: &Self) -> bool {
        // Not `any`: a jump for each value is mostly mispredicted.
        let mut behind = false;
        for (mine, theirs) in zip(self.values, other.values) {
            behind |= mine < theirs;
        }
        behind
    }
}

/// Raises values for as long as the ids are the same; says whether one grew, and in how many blocks they are.
#[inline]
pub(super) fn raise_while_common(mine: &mut [Block], theirs: &[Block]) -> (bool, usize) {
    let (mut grown, mut common) = (0, 0);
    for (mine, theirs) in zip(mine, theirs) {
        let Some(here) = mine.raise(theirs) else { break };
        grown += here;
        common += 1;
    }
    (grown > 0, common)
}

impl Columns {
    pub(super) const fn new() -> Self {
        Columns { len: 0, buffer: Buffer::Inline([Block::EMPTY]) }
    }

    pub(super) fn with_capacity(rows: usize) -> Self {
        let mut columns = Columns::new();
        if rows > LANES {
            let mut blocks = Vec::with_capacity(rows.div_ceil(LANES));
            blocks.push(Block::EMPTY);
            columns.buffer = Buffer::Heap(blocks);
        }
        columns
    }

    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn capacity(&self) -> usize {
        match &self.buffer {
            Buffer::Inline(_) => LANES,
            Buffer::Heap(blocks) => blocks.capacity() * LANES,
        }
    }

    #[inline]
    pub(super) fn blocks(&self) -> &[Block] {
        match &self.buffer {
            Buffer::Inline(blocks) => blocks,
            Buffer::Heap(blocks) => blocks,
        }
    }

    /// The blocks, in which values may be raised.
    #[inline]
    pub(super) fn blocks_mut(&mut self) -> &mut [Block] {
        match &mut self.buffer {
            Buffer::Inline(blocks) => blocks,
            Buffer::Heap(blocks) => blocks,
        }
    }

    /// The only blocks, if neither side has more.
    #[inline]
    pub(super) fn both_inline<'a>(&'a mut self, other: &'a Self) -> Option<(&'a mut Block, &'a Block)> {
        match (&mut self.buffer, &other.buffer) {
            (Buffer::Inline([mine]), Buffer::Inline([theirs])) => Some((mine, theirs)),
            _ => None,
        }
    }

    /// Id and value of each row.
    #[inline]
    pub(super) fn rows(
        &self,
    ) -> impl ExactSizeIterator<Item = (u64, u64)> + DoubleEndedIterator + Clone + '_ {
        let blocks = self.blocks();
        (0..self.len).map(move |at| blocks.row(at))
    }

    pub(super) fn push(&mut self, id: u64, value: u64) {
        let at = self.len;
        self.lengthen(1);
        self.blocks_mut().set(at, (id, value));
    }

    /// Inserts a row, the later ones moving up by one place.
    #[inline(never)]
    pub(super) fn insert(&mut self, at: usize, mut id: u64, mut value: u64) {
        self.lengthen(1);
        let mut lane = at % LANES;
        for block in &mut self.blocks_mut()[at / LANES..] {
            let next = (block.ids[LANES - 1], block.values[LANES - 1]);
            block.ids.copy_within(lane..LANES - 1, lane + 1);
            block.values.copy_within(lane..LANES - 1, lane + 1);
            (block.ids[lane], block.values[lane]) = (id, value);
            ((id, value), lane) = (next, 0);
        }
    }

    /// Inserts the rows of `other` that are not here, of which there are `missing`: from the back, in place, so that
    /// each row moves once and the buffer grows at most once.
    pub(super) fn insert_missing(&mut self, other: &Self, mut missing: usize) {
        let mut at = self.len;
        self.lengthen(missing);
        let (mine, theirs) = (self.blocks_mut(), other.blocks());
        for row in (0..other.len).rev().map(|there| theirs.row(there)) {
            if missing == 0 {
                return;
            }
            while at > 0 && mine.row(at - 1).0 > row.0 {
                at -= 1;
                mine.set(at + missing, mine.row(at));
            }
            if at > 0 && mine.row(at - 1).0 == row.0 {
                at -= 1;
                mine.set(at + missing, mine.row(at));
            } else {
                missing -= 1;
                mine.set(at + missing, row);
            }
        }
    }

    /// Adds `more` rows of zeros, to be filled by the caller. Allocates at most once.
    fn lengthen(&mut self, more: usize) {
        self.len += more;
        let needed = self.len.div_ceil(LANES);
        if needed * LANES > self.capacity() {
            let mut blocks = Vec::with_capacity(self.room_for(needed));
            blocks.extend_from_slice(self.blocks());
            self.buffer = Buffer::Heap(blocks);
        }
        if let Buffer::Heap(blocks) = &mut self.buffer {
            blocks.resize(needed, Block::EMPTY);
        }
    }

    /// A copy for which there is no room in `replaced`, with the room that a growing `replaced` would get.
    pub(super) fn copied_to_replace(&self, replaced: &Self) -> Self {
        let mut blocks = Vec::with_capacity(replaced.room_for(self.blocks().len()));
        blocks.extend_from_slice(self.blocks());
        Columns { len: self.len, buffer: Buffer::Heap(blocks) }
    }

    /// How many blocks to allocate where `needed` are more than there are: at least half as many again, so that adding
    /// rows one by one allocates O(log n) times.
    fn room_for(&self, needed: usize) -> usize {
        let room = self.capacity() / LANES;
        needed.max(room + room / 2)
    }
}

/// Blocks as rows, by number.
pub(super) trait ByRow {
    /// Id and value of row `at`.
    fn row(&self, at: usize) -> (u64, u64);
    fn value_mut(&mut self, at: usize) -> &mut u64;
    fn set(&mut self, at: usize, row: (u64, u64));
    /// The first row in `from..len` whose id is not below `id`, or `len`. **O(log d)** where it is d rows away.
    fn seek(&self, from: usize, len: usize, id: u64) -> usize;
}

impl ByRow for [Block] {
    #[inline]
    fn row(&self, at: usize) -> (u64, u64) {
        let block = &self[at / LANES];
        (block.ids[at % LANES], block.values[at % LANES])
    }

    #[inline]
    fn value_mut(&mut self, at: usize) -> &mut u64 {
        &mut self[at / LANES].values[at % LANES]
    }

    #[inline]
    fn set(&mut self, at: usize, (id, value): (u64, u64)) {
        let block = &mut self[at / LANES];
        (block.ids[at % LANES], block.values[at % LANES]) = (id, value);
    }

    fn seek(&self, from: usize, len: usize, id: u64) -> usize {
        let (mut low, mut step) = (from, 1);
        while low + step <= len && self.row(low + step - 1).0 < id {
            low += step;
            step *= 2;
        }
        let mut high = len.min(low + step - 1);
        while low < high {
            let middle = low.midpoint(high);
            if self.row(middle).0 < id { low = middle + 1 } else { high = middle }
        }
        low
    }
}

impl Clone for Columns {
    #[inline]
    fn clone(&self) -> Self {
        let buffer = match &self.buffer {
            Buffer::Inline(blocks) => Buffer::Inline(*blocks),
            Buffer::Heap(blocks) => Buffer::Heap(blocks.clone()),
        };
        Columns { len: self.len, buffer }
    }

    fn clone_from(&mut self, source: &Self) {
        let theirs = source.blocks();
        match &mut self.buffer {
            Buffer::Heap(blocks) if blocks.capacity() >= theirs.len() => {
                blocks.clear();
                blocks.extend_from_slice(theirs);
                self.len = source.len;
            }
            _ => *self = source.clone(),
        }
    }
}
