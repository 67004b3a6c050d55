//! Which value is that of a key.

use super::{Entry, KeyId, Keyspace, Stored};
use crate::{BadPiece, Key, Kind, key::Interned, value::Value};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::{hash::BuildHasher, ops::RangeBounds};
use twox_hash::XxHash3_64;
use version_vector::VersionVector;

/// What tells the hash of a key's value from that of others: a hash of the key, the same on every machine.
pub(super) fn seed_of(kind: &Kind, name: &str) -> u64 {
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(kind.as_str().as_bytes()), name.as_bytes())
}

/// The ids of keys by hashes that nobody can foresee.
#[derive(Debug, Default)]
pub(super) struct Ids {
    hasher: DefaultHashBuilder,
    table: HashTable<(u64, KeyId)>,
}

impl Ids {
    fn hash(&self, kind: &Kind, name: &str) -> u64 {
        self.hasher.hash_one((kind, name))
    }

    fn insert(&mut self, hash: u64, id: KeyId) {
        self.table.insert_unique(hash, (hash, id), |entry| entry.0);
    }

    fn remove(&mut self, hash: u64, id: KeyId) {
        if let Ok(entry) = self.table.find_entry(hash, |entry| entry.1 == id) {
            entry.remove();
        }
    }
}

impl Keyspace {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// All keys, in no order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.entries.values().map(|entry| &*entry.key)
    }

    /// The keys of a range and the hashes of their values, ordered by the hashes of the keys that are the same on every
    /// machine, and then by the keys. **O(n + k log k)** for k of n keys.
    pub(crate) fn hashes(&self, range: impl RangeBounds<Key>) -> impl Iterator<Item = (&Key, u64)> {
        fn place(key: &Key) -> (u64, &Key) {
            (seed_of(&key.kind, &key.name), key)
        }
        let range = (range.start_bound().map(place), range.end_bound().map(place));
        let all = self.entries.values().map(|entry| ((entry.seed, &*entry.key), entry.hash));
        let mut found: Vec<_> = all.filter(|(place, _)| range.contains(place)).collect();
        found.sort_unstable_by_key(|(place, _)| *place);
        found.into_iter().map(|(place, hash)| (place.1, hash))
    }

    /// **O(1)**.
    pub(crate) fn id_of(&self, kind: &Kind, name: &str) -> Option<KeyId> {
        self.id_by(self.ids.hash(kind, name), kind, name)
    }

    fn id_by(&self, hash: u64, kind: &Kind, name: &str) -> Option<KeyId> {
        let is_it = |(other, id): &(u64, KeyId)| {
            *other == hash && {
                let key = &self.entries[*id].key;
                *key.name == *name && key.kind == *kind
            }
        };
        self.ids.table.find(hash, is_it).map(|entry| entry.1)
    }

    pub(crate) fn id(&self, key: &Key) -> Option<KeyId> {
        self.id_of(&key.kind, &key.name)
    }

    /// As [`id`](Keyspace::id), mostly without a look at the name.
    pub(super) fn interned_id(&self, key: &Interned) -> Option<KeyId> {
        let is_it = |id: &KeyId| self.entries.get(*id).is_some_and(|entry| entry.key.is(key));
        Some(key.id()).filter(is_it).or_else(|| self.id(key))
    }

    /// The key as it is held here, if it is and that is another one in memory.
    pub(crate) fn held_otherwise(&self, key: &Interned) -> Option<Interned> {
        let held = &self.entries[self.interned_id(key)?].key;
        (!held.is(key)).then(|| held.clone())
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Entry> {
        self.id(key).map(|id| &self.entries[id])
    }

    /// The type under which `name` is already in use, if it is not `kind`.
    pub(crate) fn other_kind(&self, kind: &Kind, name: &str) -> Option<Kind> {
        if self.id_of(kind, name).is_some() {
            return None;
        }
        let built_in = [Kind::GCounter, Kind::PnCounter, Kind::Register, Kind::Set];
        let custom = self.registry.names().map(Kind::from);
        built_in.into_iter().chain(custom).find(|kind| self.id_of(kind, name).is_some())
    }

    /// The id of a key, which is there from now on.
    pub(super) fn entry_id(&mut self, key: &Key) -> Result<KeyId, BadPiece> {
        self.id(key).map_or_else(|| self.open_entry(&key.clone().into()), Ok)
    }

    /// As [`entry_id`](Keyspace::entry_id).
    pub(super) fn open_entry(&mut self, key: &Interned) -> Result<KeyId, BadPiece> {
        let place = self.ids.hash(&key.kind, &key.name);
        if let Some(id) = self.id_by(place, &key.kind, &key.name) {
            return Ok(id);
        }
        let seed = seed_of(&key.kind, &key.name);
        let value = Value::bottom(&key.kind, &self.registry)?;
        let hash = value.hash(seed);
        self.fingerprint = self.fingerprint.wrapping_add(hash);
        let (newest, stored) = (VersionVector::new(), Stored::default());
        let entry = Entry { key: key.clone(), value, newest, stored, seed, hash };
        let id = self.entries.push(entry);
        key.note_id(id);
        self.ids.insert(place, id);
        Ok(id)
    }

    pub(super) fn forget_key(&mut self, id: KeyId) {
        let Some(entry) = self.entries.remove(id) else { return };
        self.fingerprint = self.fingerprint.wrapping_sub(entry.hash);
        for (origin, counter) in entry.newest.iter() {
            if let Some(index) = self.index.get_mut(&origin) {
                index.remove(&counter);
            }
        }
        self.ids.remove(self.ids.hash(&entry.key.kind, &entry.key.name), id);
        self.dirty.remove(&id);
        self.mortal.remove(&id);
        self.gone.push((entry.key, entry.stored));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Registry;
    use std::{collections::BTreeSet, ops::Bound};

    /// Keys that all have the same hashes: nobody finds such, so they are made so here.
    fn alike(names: &[&str]) -> Keyspace {
        let mut space = Keyspace::new(Registry::new());
        for name in names {
            let key = Key::new(Kind::GCounter, *name);
            let id = space.entry_id(&key).unwrap();
            space.ids.remove(space.ids.hash(&key.kind, &key.name), id);
            space.ids.insert(7, id);
        }
        space
    }

    #[test]
    fn keys_with_the_same_hash_are_told_apart() {
        let names = ["b", "a", "c"];
        let space = alike(&names);
        for (id, name) in names.iter().enumerate() {
            assert_eq!(space.id_by(7, &Kind::GCounter, name), Some(id));
        }
        assert_eq!(space.id_by(7, &Kind::PnCounter, "a"), None);
        assert_eq!(space.id_by(7, &Kind::GCounter, "d"), None);
    }

    #[test]
    fn keys_come_and_go() {
        let mut space = Keyspace::new(Registry::new());
        let keys: Vec<Key> = (0..100).map(|n| Key::new(Kind::Set, format!("{n}"))).collect();
        let ids: Vec<KeyId> = keys.iter().map(|key| space.entry_id(key).unwrap()).collect();
        keys.iter().zip(&ids).for_each(|(key, id)| assert_eq!(space.entry_id(key), Ok(*id)));
        ids.iter().step_by(2).for_each(|id| space.forget_key(*id));
        for (at, key) in keys.iter().enumerate() {
            assert_eq!(space.id(key), Some(ids[at]).filter(|_| at % 2 == 1));
        }
        assert_eq!((space.len(), space.entry_id(&keys[0])), (50, Ok(100)), "an id is never used again");
    }

    #[test]
    fn ranges_of_keys_are_parts_of_all_of_them() {
        let mut space = Keyspace::new(Registry::new());
        for n in 0..300_u64 {
            let kind = if n % 3 == 0 { Kind::Set } else { Kind::GCounter };
            space.entry_id(&Key::new(kind, format!("key {n}"))).unwrap();
        }
        let all: Vec<Key> = space.hashes(..).map(|(key, _)| key.clone()).collect();
        let places: BTreeSet<_> = all.iter().map(|key| (seed_of(&key.kind, &key.name), key)).collect();
        assert!(places.iter().map(|place| place.1).eq(&all), "by hash, and then by key");
        assert_eq!(all.len(), 300);
        for (from, to) in [(0, 299), (17, 17), (3, 150), (150, 3), (298, 299)] {
            let part = |range: (Bound<Key>, Bound<Key>)| -> Vec<Key> {
                space.hashes(range).map(|(key, _)| key.clone()).collect()
            };
            let (first, last) = (all[from].clone(), all[to].clone());
            let inner = if from < to { &all[from + 1..=to] } else { &[] };
            assert_eq!(part((Bound::Excluded(first.clone()), Bound::Included(last.clone()))), inner);
            let whole = if from <= to { &all[from..=to] } else { &[] };
            assert_eq!(part((Bound::Included(first), Bound::Included(last))), whole);
        }
    }
}
