use crate::{
    births::{Births, Handle},
    table::{Position, Table},
};
use core::{
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, Hash},
};
use hashbrown::DefaultHashBuilder;

/// Finds live elements by hash: one handle for each live dot.
///
/// The element itself stays in its chunk and is hashed and compared there, so it is stored once. Nothing is ever
/// iterated in the order of this table.
#[derive(Clone, Default)]
pub(crate) struct Index {
    table: Table,
    hasher: DefaultHashBuilder,
}

impl Index {
    /// How many live dots there are.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    #[inline]
    pub(crate) fn hash<Q: Hash + ?Sized>(&self, element: &Q) -> u64 {
        self.hasher.hash_one(element)
    }

    /// Whether `element` has a live dot. `hash` is its own. To be called when the table has exactly the births.
    #[inline]
    pub(crate) fn has<E, Q>(&self, hash: u64, births: &Births<E>, element: &Q) -> bool
    where
        E: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let is_here = |handle| births.is_at_slot(handle, element);
        self.table.glance(hash, is_here).unwrap_or_else(|| self.has_elsewhere(hash, births, element))
    }

    /// Apart: counting bits takes registers that a first look does not need.
    #[cold]
    #[inline(never)]
    fn has_elsewhere<E, Q>(&self, hash: u64, births: &Births<E>, element: &Q) -> bool
    where
        E: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.table.find(hash, |handle| births.element(handle).borrow() == element).is_some()
    }

    /// Whether a live dot of `element` is such; they come in no useful order.
    #[inline]
    pub(crate) fn any<E, Q>(
        &self,
        births: &Births<E>,
        element: &Q,
        mut is_such: impl FnMut(Handle) -> bool,
    ) -> bool
    where
        E: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let is_wanted = |handle| births.element(handle).borrow() == element && is_such(handle);
        self.table.find(self.hash(element), is_wanted).is_some()
    }

    /// Adds the handle of a birth, for which room was made; true if an equal element was there.
    #[inline]
    pub(crate) fn insert<E: Eq + Hash>(&mut self, births: &Births<E>, element: &E, handle: Handle) -> bool {
        let hash = self.hash(element);
        // Births that are yet to be added, this one too, stand in their chunk already: it is not enough to find the
        // element there.
        let is_equal = |other| births.element(other) == element;
        let was_there =
            self.table.glance(hash, is_equal).unwrap_or_else(|| self.has_elsewhere(hash, births, element));
        self.table.insert(hash, handle);
        was_there
    }

    /// As [`insert`](Index::insert), of one birth that is yet to be made: it need not be looked up.
    #[inline]
    pub(crate) fn insert_new<E: Eq + Hash>(
        &mut self,
        births: &mut Births<E>,
        element: E,
        birth: impl FnOnce(&mut Births<E>, E) -> Handle,
    ) -> bool {
        let hash = self.hash(&element);
        let was_there = self.has(hash, births, &element);
        self.table.insert(hash, birth(births, element));
        was_there
    }

    /// Makes room for `more` handles. To be called when the table has exactly the births.
    #[inline]
    pub(crate) fn reserve<E: Hash>(&mut self, births: &Births<E>, more: usize) {
        if self.spare() < more {
            self.rebuild(births, self.len() + more.max(self.len() / 2));
        }
    }

    /// For how many more handles there is room.
    #[inline]
    fn spare(&self) -> usize {
        self.table.capacity() - self.table.len()
    }

    /// Whether three quarters of the table are unused.
    pub(crate) fn is_oversized(&self) -> bool {
        self.table.capacity() / 4 > self.table.len()
    }

    /// Makes a table of another size.
    #[cold]
    pub(crate) fn rebuild<E: Hash>(&mut self, births: &Births<E>, room: usize) {
        // The old one is freed before the new one is made.
        self.table = Table::default();
        self.table = Table::with_capacity(room);
        self.fill(births);
    }

    /// Names all births anew.
    #[cold]
    pub(crate) fn refill<E: Hash>(&mut self, births: &Births<E>) {
        self.table.clear();
        self.fill(births);
    }

    /// In the order of the chunks: in the order of the table, memory would be visited at random.
    fn fill<E: Hash>(&mut self, births: &Births<E>) {
        let Index { table, hasher } = self;
        births.for_each(|handle, element| table.insert(hasher.hash_one(element), handle));
    }

    /// Where the handle stands: valid until the table is rebuilt.
    pub(crate) fn position(&self, hash: u64, handle: Handle) -> Option<Position> {
        self.table.find(hash, |other| other == handle)
    }

    pub(crate) fn remove(&mut self, hash: u64, position: Position) {
        self.table.remove(hash, position);
    }

    /// The birth `from` is now named `to`.
    pub(crate) fn moved(&mut self, hash: u64, from: Handle, to: Handle) {
        if let Some(position) = self.position(hash, from) {
            self.table.replace(position, to);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.table = Table::default();
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} handles", self.len())
    }
}
