//! The values of all keys, in the order in which the keys came.

use super::{Entry, KeyId};
use std::{
    collections::BTreeMap,
    ops::{Index, Range},
};

/// Entries by their ids, which are given out ascending, and none twice: whoever walks along them misses no new one.
///
/// In pages: the tree above them is small enough to stay in the caches where the entries do not, and a page whose
/// entries have all gone is let go of.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pages: BTreeMap<usize, Box<Page>>,
    next: KeyId,
    len: usize,
}

#[derive(Debug, Default)]
struct Page {
    slots: [Option<Entry>; PAGE],
    len: usize,
}

/// So many ids have a page in common.
const PAGE: usize = 16;

impl Entries {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The id of the next one.
    pub(super) fn next_id(&self) -> KeyId {
        self.next
    }

    /// **O(log n)**, as is all that finds one.
    pub(super) fn push(&mut self, entry: Entry) -> KeyId {
        let id = self.next;
        self.next += 1;
        self.len += 1;
        let page = self.pages.entry(id / PAGE).or_default();
        page.slots[id % PAGE] = Some(entry);
        page.len += 1;
        id
    }

    pub(super) fn remove(&mut self, id: KeyId) -> Option<Entry> {
        let page = self.pages.get_mut(&(id / PAGE))?;
        let entry = page.slots[id % PAGE].take()?;
        page.len -= 1;
        if page.len == 0 {
            self.pages.remove(&(id / PAGE));
        }
        self.len -= 1;
        Some(entry)
    }

    /// The id that was given out last and of which nobody has heard is as if it had not been.
    pub(super) fn give_back(&mut self, id: KeyId) {
        debug_assert!(id + 1 == self.next && self.get(id).is_none(), "{id} is in use");
        self.next = id;
    }

    #[inline]
    pub(super) fn get(&self, id: KeyId) -> Option<&Entry> {
        self.pages.get(&(id / PAGE))?.slots[id % PAGE].as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: KeyId) -> Option<&mut Entry> {
        self.pages.get_mut(&(id / PAGE))?.slots[id % PAGE].as_mut()
    }

    /// Those with ids in `range`, ascending. **O(log n)**, and what it yields.
    pub(super) fn range(&self, range: Range<KeyId>) -> impl Iterator<Item = (KeyId, &Entry)> {
        let end = range.end.min(self.next);
        let first = range.start.min(end);
        self.pages
            .range(first / PAGE..end.div_ceil(PAGE))
            .flat_map(|(at, page)| (at * PAGE..).zip(&page.slots))
            .filter(move |(id, _)| (first..end).contains(id))
            .filter_map(|(id, slot)| Some((id, slot.as_ref()?)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (KeyId, &Entry)> {
        self.range(0..self.next)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Entry> {
        self.pages.values().flat_map(|page| page.slots.iter().flatten())
    }
}

/// # Panics
///
/// If there is none.
impl Index<KeyId> for Entries {
    type Output = Entry;

    #[inline]
    fn index(&self, id: KeyId) -> &Entry {
        self.get(id).expect("ids are those of keys that are here")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Key, Kind, Registry, keyspace::Stored, value::Value};
    use rand::{RngExt, SeedableRng, rngs::StdRng};
    use version_vector::VersionVector;

    fn entry(n: usize) -> Entry {
        let value = Value::bottom(&Kind::Set, &Registry::new()).unwrap();
        let (key, stored) = (Key::new(Kind::Set, n.to_string()), Stored::default());
        Entry { key: key.into(), value, newest: VersionVector::new(), stored, seed: 0, hash: n as u64 }
    }

    /// As a sorted map does.
    #[test]
    fn entries_are_found_and_walked_along_while_others_come_and_go() {
        let (mut entries, mut model) = (Entries::default(), BTreeMap::new());
        let mut rng = StdRng::seed_from_u64(1);
        for step in 0..4_000 {
            if step < 500 || rng.random_range(0..5) == 0 {
                let id = entries.push(entry(step));
                assert_eq!((id + 1, model.insert(id, step as u64)), (entries.next_id(), None));
            } else {
                // The older ones go first, as a rule.
                let id = rng.random_range(0..entries.next_id()).min(rng.random_range(0..entries.next_id()));
                assert_eq!(entries.remove(id).map(|entry| entry.hash), model.remove(&id));
                assert!(entries.get(id).is_none() && entries.get_mut(id).is_none());
            }
            assert_eq!(entries.len(), model.len());
            if step % 50 == 0 {
                let from = rng.random_range(0..=entries.next_id() + 40);
                let range = from..from + rng.random_range(0..100);
                let found: Vec<_> = entries.range(range.clone()).map(|(id, one)| (id, one.hash)).collect();
                assert_eq!(found, model.range(range).map(|(id, n)| (*id, *n)).collect::<Vec<_>>());
                assert!(entries.iter().map(|(id, _)| id).eq(model.keys().copied()));
                assert!(entries.values().map(|one| one.hash).eq(model.values().copied()));
                assert!(model.iter().all(|(id, n)| entries[*id].hash == *n));
            }
        }
        assert!(entries.pages.len() < entries.next_id() / PAGE, "pages were let go of");
        let (next, id) = (entries.next_id(), entries.push(entry(0)));
        drop(entries.remove(id));
        entries.give_back(id);
        assert_eq!(entries.next_id(), next);
    }
}
