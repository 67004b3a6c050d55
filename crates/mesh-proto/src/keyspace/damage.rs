//! What a broken disk or a mistake in the program may do to values in memory.

use super::{KeyId, Keyspace, deaths_of};
use crate::{Blob, value::Value};
use crdt_core::{Dot, ReplicaId, Rows};
use g_counter::GCounter;
use lww_register::{LwwRegister, Stamp};
use or_set::{Change, Kernel};
use std::collections::BTreeSet;
use version_vector::VersionVector;

/// A set as the rule sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) live: BTreeSet<(Dot, Blob)>,
    pub(crate) killed: BTreeSet<Dot>,
}

impl Keyspace {
    pub(crate) fn ids(&self) -> Vec<KeyId> {
        self.entries.iter().map(|(id, _)| id).collect()
    }

    pub(crate) fn seen(&self, id: KeyId) -> Option<Seen> {
        let Value::Set(kernel) = &self.entries[id].value else { return None };
        let slice = kernel.slice_since(&VersionVector::new(), false);
        let live = slice.births().iter().cloned().collect();
        Some(Seen { live, killed: slice.deaths().iter().map(|death| death.1).collect() })
    }

    /// Puts another set in the place of one.
    pub(crate) fn damage_set(&mut self, id: KeyId, live: BTreeSet<(Dot, Blob)>, deaths: Vec<(Dot, Dot)>) {
        let entry = self.entries.get_mut(id).expect("the key is there");
        let (hash, before) = (entry.hash, deaths_of(&entry.value));
        let mut kernel = Kernel::new();
        kernel.revive(live, &mut |_: Change<'_, Blob>| ());
        kernel.kill_by(deaths, &mut |_: Change<'_, Blob>| ());
        entry.value = Value::Set(kernel);
        entry.hash = entry.value.hash(entry.seed);
        self.after_change(id, hash, before);
        self.dirty.insert(id, true);
    }

    /// Whether anything is known of this event.
    pub(crate) fn uses(&self, dot: Dot) -> bool {
        let is_newest = self.entries.values().any(|entry| entry.newest.get(dot.replica) == dot.counter);
        let named = |id: KeyId| {
            self.seen(id).is_some_and(|seen| {
                seen.live.iter().any(|birth| birth.0 == dot) || seen.killed.contains(&dot)
            }) || self.deaths_in(id).iter().any(|death| death.0 == dot)
        };
        is_newest || self.entries.iter().any(|(id, _)| named(id))
    }

    pub(crate) fn deaths_in(&self, id: KeyId) -> Vec<(Dot, Dot)> {
        let Value::Set(kernel) = &self.entries[id].value else { return Vec::new() };
        kernel.slice_since(&VersionVector::new(), false).deaths().to_vec()
    }

    /// Writes another value under a register's stamp; false if the key is no register with a value.
    pub(crate) fn damage_register(
        &mut self,
        id: KeyId,
        value: Blob,
        change: impl Fn(Stamp) -> Stamp,
    ) -> bool {
        let entry = self.entries.get_mut(id).expect("the key is there");
        let Value::Register(register) = &entry.value else { return false };
        let Some(stamp) = register.stamp() else { return false };
        let mut other = LwwRegister::new();
        other.set_at(change(stamp), value);
        let hash = entry.hash;
        entry.value = Value::Register(other);
        entry.hash = entry.value.hash(entry.seed);
        self.after_change(id, hash, 0);
        self.dirty.insert(id, true);
        true
    }

    /// Gives a counter that only grows other rows; false if the key is none.
    pub(crate) fn damage_counter(&mut self, id: KeyId, change: impl Fn(ReplicaId, u64) -> u64) -> bool {
        let entry = self.entries.get_mut(id).expect("the key is there");
        let Value::GCounter(counter) = &entry.value else { return false };
        let rows: Rows = counter.rows().iter().map(|(id, total)| (id, change(id, total))).collect();
        let hash = entry.hash;
        entry.value = Value::GCounter(GCounter::from(rows));
        entry.hash = entry.value.hash(entry.seed);
        self.after_change(id, hash, 0);
        self.dirty.insert(id, true);
        true
    }
}
