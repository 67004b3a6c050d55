use crate::births::{Births, Handle};
use core::{
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, Hash},
};
use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};

/// Finds live elements by hash: one handle for each live dot.
///
/// The element itself stays in its chunk and is hashed and compared there, so it is stored once. Nothing is ever
/// iterated in the order of this table.
#[derive(Clone, Default)]
pub(crate) struct Index {
    table: HashTable<Handle>,
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

    /// Whether `element` has a live dot, if a glance tells. Counting bits takes registers that the search needs, so that
    /// is left to [`find`](Index::find).
    #[inline]
    pub(crate) fn glance<E, Q>(&self, births: &Births<E>, element: &Q) -> Option<bool>
    where
        E: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let mut is_doubtful = false;
        let is_here = |handle: &Handle| {
            births.is_at_slot(*handle, element) || {
                is_doubtful |= births.is_shifted(*handle);
                false
            }
        };
        let is_found = self.table.find(self.hash(element), is_here).is_some();
        (is_found || !is_doubtful).then_some(is_found)
    }

    /// One of the live dots of `element`.
    pub(crate) fn find<E, Q>(&self, hash: u64, births: &Births<E>, element: &Q) -> Option<Handle>
    where
        E: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.table.find(hash, |handle| births.element(*handle).borrow() == element).copied()
    }

    /// Another live dot of the same row and an equal element. **O(1)** for each live dot of the element.
    pub(crate) fn find_other<E: Eq + Hash>(
        &self,
        births: &Births<E>,
        row: u32,
        handle: Handle,
    ) -> Option<Handle> {
        let element = births.element(handle);
        let is_other = |other: &Handle| {
            births.row_of(*other) == row && *other != handle && births.element(*other) == element
        };
        self.table.find(self.hash(element), is_other).copied()
    }

    /// The live dots of `element`, in no useful order.
    pub(crate) fn equal<'a, E, Q>(
        &'a self,
        hash: u64,
        births: &'a Births<E>,
        element: &'a Q,
    ) -> impl Iterator<Item = Handle> + 'a
    where
        E: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.table.iter_hash(hash).copied().filter(move |handle| births.element(*handle).borrow() == element)
    }

    /// Adds the handle of a birth, for which room was made; true if an equal element was there.
    #[inline]
    pub(crate) fn insert<E: Eq + Hash>(&mut self, births: &Births<E>, element: &E, handle: Handle) -> bool {
        let Index { table, hasher } = self;
        let hash = hasher.hash_one(element);
        let is_equal = |other: &Handle| births.element(*other) == element;
        let rehash = |other: &Handle| hasher.hash_one(births.element(*other));
        match table.entry(hash, is_equal, rehash) {
            Entry::Vacant(place) => {
                place.insert(handle);
                false
            }
            Entry::Occupied(_) => {
                table.insert_unique(hash, handle, rehash);
                true
            }
        }
    }

    /// As [`insert`](Index::insert), of one birth that is yet to be made: it need not be looked up.
    #[inline]
    pub(crate) fn insert_new<E: Eq + Hash>(
        &mut self,
        births: &mut Births<E>,
        element: E,
        birth: impl FnOnce(&mut Births<E>, E) -> Handle,
    ) -> bool {
        let Index { table, hasher } = self;
        let hash = hasher.hash_one(&element);
        let is_equal = |other: &Handle| *births.element(*other) == element;
        let rehash = |other: &Handle| hasher.hash_one(births.element(*other));
        match table.entry(hash, is_equal, rehash) {
            Entry::Vacant(place) => {
                let handle = birth(births, element);
                place.insert(handle);
                false
            }
            Entry::Occupied(_) => {
                let handle = birth(births, element);
                table.insert_unique(hash, handle, |other| hasher.hash_one(births.element(*other)));
                true
            }
        }
    }

    /// Makes room for `more` handles. To be called when the table has exactly the births.
    #[inline]
    pub(crate) fn reserve<E: Hash>(&mut self, births: &Births<E>, more: usize) {
        if self.spare() < more {
            // The table doubles if it is full, and stays as it is if it is full of what was removed.
            self.rebuild(births, more.max(self.table.len() / 4));
        }
    }

    /// For how many more handles there is room.
    #[inline]
    pub(crate) fn spare(&self) -> usize {
        self.table.capacity() - self.table.len()
    }

    /// Whether three quarters of the table are unused.
    pub(crate) fn is_oversized(&self) -> bool {
        self.table.capacity() / 4 > self.table.len()
    }

    /// A table with room for `more`, filled in the order of the chunks. Growing by itself, the table would visit them
    /// in the order of its own, and thereby memory at random.
    #[cold]
    pub(crate) fn rebuild<E: Hash>(&mut self, births: &Births<E>, more: usize) {
        let Index { table, hasher } = self;
        let room = table.len() + more;
        // The old one is freed before the new one is made.
        *table = HashTable::new();
        *table = HashTable::with_capacity(room);
        births.for_each(|handle, element| {
            table.insert_unique(hasher.hash_one(element), handle, |_| unreachable!("there is room for all"));
        });
    }

    /// Where the handle stands: valid until one is added, or the table rebuilt.
    pub(crate) fn bucket(&self, hash: u64, handle: Handle) -> Option<usize> {
        self.table.find_bucket_index(hash, |other| *other == handle)
    }

    pub(crate) fn remove(&mut self, bucket: usize) {
        if let Ok(found) = self.table.get_bucket_entry(bucket) {
            found.remove();
        }
    }

    /// The birth `from` is now named `to`.
    pub(crate) fn moved(&mut self, hash: u64, from: Handle, to: Handle) {
        if let Some(handle) = self.table.find_mut(hash, |other| *other == from) {
            *handle = to;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.table = HashTable::new();
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} handles", self.len())
    }
}
