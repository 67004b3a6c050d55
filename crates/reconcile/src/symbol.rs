use crate::{
    id::{ID_BITS, Id},
    walk::Walk,
};
use alloc::{vec, vec::Vec};
use core::{fmt, ops::Range};

/// The most coded symbols of one sketch (8 MiB); enough for about 650,000 differences.
pub const MAX_SYMBOLS: u32 = 1 << 20;

/// The bits of the check.
const CHECK_BITS: u32 = 10;

/// One in the count, which is kept modulo 4.
const ONE: u64 = 1 << (ID_BITS + CHECK_BITS);

/// All but the count.
const SUM: u64 = ONE - 1;

/// A coded symbol: in one word the exclusive or of the ids in it, that of their checks, and their number modulo 4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Symbol(u64);

/// Which of the two sets has an id that the other lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    Remote,
    Local,
}

impl Symbol {
    pub(crate) const EMPTY: Symbol = Symbol(0);

    #[inline]
    pub(crate) const fn from_word(word: u64) -> Self {
        Symbol(word)
    }

    #[inline]
    pub(crate) const fn word(self) -> u64 {
        self.0
    }

    /// What an id adds to a sum: itself, and its check above it.
    #[inline]
    pub(crate) const fn summand(id: Id, hash: u64) -> u64 {
        id.get() | hash >> (u64::BITS - CHECK_BITS) << ID_BITS
    }

    #[inline]
    pub(crate) fn insert(&mut self, summand: u64) {
        self.0 = (self.0 ^ summand).wrapping_add(ONE);
    }

    #[inline]
    pub(crate) fn remove(&mut self, summand: u64) {
        self.0 = (self.0 ^ summand).wrapping_sub(ONE);
    }

    /// What `self` has more than `other`.
    #[inline]
    pub(crate) fn minus(self, other: Symbol) -> Symbol {
        Symbol(self.0.wrapping_sub(other.0 & !SUM) ^ (other.0 & SUM))
    }

    /// The one id that is in here, as far as this word can tell.
    #[inline]
    pub(crate) fn only(self) -> Option<(Id, Holder)> {
        let holder = match self.0 / ONE {
            1 => Holder::Remote,
            3 => Holder::Local,
            _ => return None,
        };
        let id = Id::low_bits_of(self.0);
        (Symbol::summand(id, id.hash()) == self.0 & SUM).then_some((id, holder))
    }
}

/// The coded symbols of a set of [`Id`]s, in a range of the endless sequence of them.
///
/// # Laws
///
/// - Linear: the symbols of a set are the sum of those of its elements, in whatever order they came; removing undoes
///   inserting.
/// - The symbols of `a..b` and those of `b..c` are together those of `a..c`: one can always go on.
///
/// It cannot tell what is in it: inserting an id twice, or removing one that is not there, gives symbols of no set.
#[derive(Clone, PartialEq, Eq)]
pub struct Sketch {
    from: u32,
    symbols: Vec<Symbol>,
}

impl Sketch {
    /// Of the empty set. Takes 8 bytes a symbol.
    ///
    /// # Panics
    ///
    /// If the range is reversed or ends beyond [`MAX_SYMBOLS`].
    pub fn new(range: Range<u32>) -> Self {
        assert!(range.start <= range.end && range.end <= MAX_SYMBOLS, "{range:?} is no range of symbols");
        Sketch { from: range.start, symbols: vec![Symbol::EMPTY; range.len()] }
    }

    pub(crate) fn from_symbols(from: u32, symbols: Vec<Symbol>) -> Self {
        Sketch { from, symbols }
    }

    /// Which symbols these are.
    pub fn range(&self) -> Range<u32> {
        self.from..self.end()
    }

    pub(crate) fn symbols(&self) -> &[Symbol] {
        &self.symbols
    }

    #[expect(clippy::cast_possible_truncation, reason = "at most MAX_SYMBOLS")]
    fn end(&self) -> u32 {
        self.from + self.symbols.len() as u32
    }

    /// Adds an id that is not in the set. **O(log m)** for symbols up to m.
    #[inline]
    pub fn insert(&mut self, id: Id) {
        self.each(id, Symbol::insert);
    }

    /// Takes out an id that is in the set. **O(log m)** for symbols up to m.
    #[inline]
    pub fn remove(&mut self, id: Id) {
        self.each(id, Symbol::remove);
    }

    #[inline]
    fn each(&mut self, id: Id, change: impl Fn(&mut Symbol, u64)) {
        let mut walk = Walk::of(id);
        let end = self.end();
        while walk.at < end {
            if let Some(at) = walk.at.checked_sub(self.from) {
                change(&mut self.symbols[at as usize], walk.summand);
            }
            walk.advance();
        }
    }
}

/// Inserts each of the ids.
impl Extend<Id> for Sketch {
    fn extend<I: IntoIterator<Item = Id>>(&mut self, ids: I) {
        for id in ids {
            self.insert(id);
        }
    }
}

impl fmt::Debug for Sketch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sketch({:?})", self.range())
    }
}
