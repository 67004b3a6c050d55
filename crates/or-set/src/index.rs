use crate::row::{Handle, Logs};
use core::{
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, Hash},
};
use hashbrown::{DefaultHashBuilder, HashTable};

/// Finds live elements by hash: one handle for each live dot.
///
/// The element itself stays in its birth log and is hashed and compared there, so it is stored once. Nothing is ever
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

    pub(crate) fn hash<Q: Hash + ?Sized>(&self, element: &Q) -> u64 {
        self.hasher.hash_one(element)
    }

    /// The live dots of `element`, in no useful order.
    pub(crate) fn equal<'a, E, Q>(
        &'a self,
        hash: u64,
        logs: &'a Logs<E>,
        element: &'a Q,
    ) -> impl Iterator<Item = Handle> + 'a
    where
        E: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.table.iter_hash(hash).copied().filter(move |handle| logs.element(*handle).borrow() == element)
    }

    /// Adds the handle of an element that is in `logs` already.
    pub(crate) fn insert<E: Hash>(&mut self, hash: u64, logs: &Logs<E>, handle: Handle) {
        let Index { table, hasher } = self;
        table.insert_unique(hash, handle, |other| hasher.hash_one(logs.element(*other)));
    }

    pub(crate) fn remove(&mut self, hash: u64, handle: Handle) {
        if let Ok(found) = self.table.find_entry(hash, |other| *other == handle) {
            found.remove();
        }
    }

    /// The element of `from` now stands at `to`.
    pub(crate) fn moved(&mut self, hash: u64, from: Handle, to: Handle) {
        if let Some(handle) = self.table.find_mut(hash, |other| *other == from) {
            *handle = to;
        }
    }

    /// Gives memory back once three quarters of it are unused: O(1) amortised over the removals that led here.
    pub(crate) fn shrink<E: Hash>(&mut self, logs: &Logs<E>) {
        let Index { table, hasher } = self;
        if table.capacity() / 4 > table.len() {
            table.shrink_to(table.len() * 2, |other| hasher.hash_one(logs.element(*other)));
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
