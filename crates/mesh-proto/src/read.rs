//! Reading a leader: always what is durable.

use crate::{Blob, Custom, Engine, Key, Kind, keyspace::Entry, value::Value};
use lww_register::Stamp;
use std::ops::RangeBounds;
use version_vector::VersionVector;

/// The value of one key as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Snapshot {
    /// A grow-only counter.
    GCounter(u128),
    /// A counter.
    PnCounter(i128),
    /// A register and the stamp of its write.
    Register(Blob, Stamp),
    /// A set, its elements in ascending order.
    Set(Vec<Blob>),
    /// A value of the user's own type, encoded.
    Custom(Vec<u8>),
}

/// A key that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedKey {
    /// Which.
    pub key: Key,
    /// What it is now.
    pub value: Snapshot,
}

impl Engine {
    /// The keys of a range with the hashes that make up the fingerprint, which is the wrapping sum of all. Their order, in
    /// which a range lies too, is one by hashes of the keys, the same at all leaders. **O(keys in the range)**.
    pub fn key_hashes(&self, range: impl RangeBounds<Key>) -> impl Iterator<Item = (&Key, u64)> {
        self.space.hashes(range)
    }

    /// What this leader has, durably.
    pub fn version(&self) -> &VersionVector {
        &self.durable
    }

    /// A hash of the whole keyspace: equal vectors imply equal fingerprints. **O(1)**.
    pub fn fingerprint(&self) -> u64 {
        self.space.fingerprint()
    }

    /// How many keys there are.
    pub fn key_count(&self) -> usize {
        self.space.len()
    }

    /// How many replies of idempotent writes are being kept.
    pub fn kept_replies(&self) -> usize {
        self.replies.len()
    }

    /// The keys whose names begin with `prefix`, by type and name. **O(n + k log k)** for k of n keys.
    pub fn keys<'a>(&'a self, prefix: &str) -> impl Iterator<Item = &'a Key> {
        let mut keys: Vec<&Key> = self.space.keys().filter(|key| key.name.starts_with(prefix)).collect();
        keys.sort_unstable();
        keys.into_iter()
    }

    /// The type under which `name` is in use here, if it is in use but not as a `wanted`.
    pub fn other_kind(&self, name: &str, wanted: &Kind) -> Option<Kind> {
        self.space.other_kind(wanted, name)
    }

    /// The value of a counter; `None` if it was never written.
    pub fn counter(&self, name: &str) -> Option<i128> {
        match self.value(&Kind::PnCounter, name)? {
            Value::PnCounter(counter) => Some(counter.value()),
            _ => None,
        }
    }

    /// The value of a grow-only counter; `None` if it was never written.
    pub fn g_counter(&self, name: &str) -> Option<u128> {
        match self.value(&Kind::GCounter, name)? {
            Value::GCounter(counter) => Some(counter.value()),
            _ => None,
        }
    }

    /// The value of a register and the stamp of its write; `None` if it was never written.
    pub fn register(&self, name: &str) -> Option<(&[u8], Stamp)> {
        match self.value(&Kind::Register, name)? {
            Value::Register(register) => Some((register.get()?.as_slice(), register.stamp()?)),
            _ => None,
        }
    }

    /// The elements of a set in ascending order; empty if it was never written. **O(n log n)**.
    pub fn members(&self, name: &str) -> Vec<&[u8]> {
        let Some(Value::Set(set)) = self.value(&Kind::Set, name) else { return Vec::new() };
        let mut members: Vec<&[u8]> = set.iter().map(Vec::as_slice).collect();
        members.sort_unstable();
        members
    }

    /// Whether a set has an element. **O(1)**.
    pub fn contains(&self, name: &str, element: &[u8]) -> bool {
        matches!(self.value(&Kind::Set, name), Some(Value::Set(set)) if set.contains(element))
    }

    /// How many elements a set has. **O(1)**.
    pub fn set_len(&self, name: &str) -> usize {
        match self.value(&Kind::Set, name) {
            Some(Value::Set(set)) => set.len(),
            _ => 0,
        }
    }

    /// A value of the user's own type; `None` if it was never written.
    pub fn get<T: Custom>(&self, name: &str) -> Option<&T> {
        match self.value(&Kind::from(T::TYPE), name)? {
            Value::Custom(value) => value.as_any().downcast_ref(),
            _ => None,
        }
    }

    /// The value of any key; `None` if there is no such key. **O(n log n)** for a set.
    pub fn snapshot(&self, key: &Key) -> Option<Snapshot> {
        self.space.get(key).and_then(snapshot)
    }

    /// The keys with events that `since` lacks and names that begin with `prefix`, each once with its value of now:
    /// the change stream. Resume it with the vector at which it was read; what happened in between coalesces.
    ///
    /// A set that was emptied long ago may be missing here, if nothing of it is remembered.
    pub fn changes_since(&self, since: &VersionVector, prefix: &str) -> Vec<ChangedKey> {
        let changed =
            self.space.changed_since(since).into_iter().filter(|entry| entry.key.name.starts_with(prefix));
        changed
            .filter_map(|entry| Some(ChangedKey { key: Key::clone(&entry.key), value: snapshot(entry)? }))
            .collect()
    }

    fn value(&self, kind: &Kind, name: &str) -> Option<&Value> {
        self.space.id_of(kind, name).map(|id| &self.space.entry(id).value)
    }
}

fn snapshot(entry: &Entry) -> Option<Snapshot> {
    Some(match &entry.value {
        Value::GCounter(counter) => Snapshot::GCounter(counter.value()),
        Value::PnCounter(counter) => Snapshot::PnCounter(counter.value()),
        Value::Register(register) => Snapshot::Register(register.get()?.clone(), register.stamp()?),
        Value::Set(set) => {
            let mut elements: Vec<Blob> = set.iter().cloned().collect();
            elements.sort_unstable();
            Snapshot::Set(elements)
        }
        Value::Custom(value) => Snapshot::Custom(value.encode()),
    })
}
