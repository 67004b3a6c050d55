//! Which value is that of a key: by a hash, so that finding one does not compare names on the way.

use super::{Entry, KeyId, Keyspace, Stored};
use crate::{BadPiece, Key, Kind, value::Value};
use std::ops::{Bound, RangeBounds};
use twox_hash::XxHash3_64;
use version_vector::VersionVector;

/// What tells the hash of a key's value from that of others: a hash of the key, the same on every machine.
pub(super) fn seed_of(kind: &Kind, name: &str) -> u64 {
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(kind.as_str().as_bytes()), name.as_bytes())
}

impl Keyspace {
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// All keys, in no order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.entries.values().map(|entry| &entry.key)
    }

    /// The keys of a range and the hashes of their values, ordered by the hashes of the keys, and then by the keys.
    pub(crate) fn hashes(&self, range: impl RangeBounds<Key>) -> impl Iterator<Item = (&Key, u64)> {
        fn place(key: &Key) -> (u64, &Key) {
            (seed_of(&key.kind, &key.name), key)
        }
        let (from, to) = (range.start_bound().map(place), range.end_bound().map(place));
        let first = if let Bound::Included(place) | Bound::Excluded(place) = from { place.0 } else { 0 };
        let last = if let Bound::Included(place) | Bound::Excluded(place) = to { place.0 } else { u64::MAX };
        let ids = (first <= last).then(|| self.ids.range((first, 0)..=(last, KeyId::MAX)));
        let entries = ids.into_iter().flatten().map(|(_, id)| &self.entries[id]);
        let mut found: Vec<_> = entries
            .map(|entry| ((entry.seed, &entry.key), entry.hash))
            .filter(|(place, _)| (from, to).contains(place))
            .collect();
        // It is, but for keys with the same hash.
        found.sort_by_key(|(place, _)| *place);
        found.into_iter().map(|(place, hash)| (place.1, hash))
    }

    /// **O(log n)**.
    pub(crate) fn id_of(&self, kind: &Kind, name: &str) -> Option<KeyId> {
        self.id_by(seed_of(kind, name), kind, name)
    }

    pub(crate) fn id(&self, key: &Key) -> Option<KeyId> {
        self.id_of(&key.kind, &key.name)
    }

    fn id_by(&self, seed: u64, kind: &Kind, name: &str) -> Option<KeyId> {
        let is_it = |id: &KeyId| {
            let key = &self.entries[id].key;
            *key.name == *name && key.kind == *kind
        };
        self.ids.range((seed, 0)..=(seed, KeyId::MAX)).map(|place| place.1).find(is_it)
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Entry> {
        self.id(key).map(|id| &self.entries[&id])
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
        let seed = seed_of(&key.kind, &key.name);
        if let Some(id) = self.id_by(seed, &key.kind, &key.name) {
            return Ok(id);
        }
        let value = Value::bottom(&key.kind, &self.registry)?;
        let id = self.next_id;
        self.next_id += 1;
        let hash = value.hash(seed);
        self.fingerprint = self.fingerprint.wrapping_add(hash);
        let (newest, stored) = (VersionVector::new(), Stored::default());
        let entry = Entry { key: key.clone(), value, newest, stored, seed, hash };
        self.ids.insert((seed, id));
        self.entries.insert(id, entry);
        Ok(id)
    }

    pub(super) fn forget_key(&mut self, id: KeyId) {
        let Some(entry) = self.entries.remove(&id) else { return };
        self.fingerprint = self.fingerprint.wrapping_sub(entry.hash);
        for (origin, counter) in entry.newest.iter() {
            if let Some(index) = self.index.get_mut(&origin) {
                index.remove(&counter);
            }
        }
        self.ids.remove(&(entry.seed, id));
        self.dirty.remove(&id);
        self.mortal.remove(&id);
        self.gone.push((entry.key, entry.stored));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Registry;
    use std::collections::BTreeSet;

    /// Keys that all have the same hash: nobody finds such, so they are made so here.
    fn alike(names: &[&str]) -> Keyspace {
        let mut space = Keyspace::new(Registry::new());
        for name in names {
            let key = Key::new(Kind::GCounter, *name);
            let id = space.entry_id(&key).unwrap();
            let entry = space.entries.get_mut(&id).unwrap();
            space.ids.remove(&(entry.seed, id));
            entry.seed = 7;
            space.ids.insert((7, id));
        }
        space
    }

    #[test]
    fn keys_with_the_same_hash_are_told_apart() {
        let names = ["b", "a", "c"];
        let mut space = alike(&names);
        for (id, name) in names.iter().enumerate() {
            assert_eq!(space.id_by(7, &Kind::GCounter, name), Some(id));
        }
        assert_eq!(space.id_by(7, &Kind::PnCounter, "a"), None);
        assert_eq!(space.id_by(7, &Kind::GCounter, "d"), None);
        let all: Vec<&str> = space.hashes(..).map(|(key, _)| &*key.name).collect();
        assert_eq!(all, ["a", "b", "c"], "whatever the order in which they came");
        space.forget_key(0);
        assert_eq!(space.id_by(7, &Kind::GCounter, "b"), None);
        assert_eq!(space.id_by(7, &Kind::GCounter, "c"), Some(2));
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
