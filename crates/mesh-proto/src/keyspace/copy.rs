//! How a keyspace whose causal metadata is lost becomes a copy of another one.
//!
//! Its values are there, and the dots in them; what they are complete for is not known any more. So it takes over the
//! state of a peer whose metadata is intact, at the cost of the difference: what lives there, lives; what the peer has
//! not, or no more, goes. That the outcome is the peer's state is checked by its fingerprint.
//!
//! What the leader itself had written and the peer has not seen is cut from the old values first, and joined afterwards.
//! It issued these updates in order, so its values have the effect of all of them. What others wrote and the peer has not
//! seen comes again from whoever has it.

use super::{
    Entry, Keyspace,
    ids::seed_of,
    repair::{Checked, Deaths, Places},
};
use crate::{
    Blob, Key,
    batch::{Batch, Body},
    keyspace::KeyPiece,
    lineage::Lineage,
    value::{Piece, Value},
};
use crdt_core::{Dot, Merge, ReplicaId};
use or_set::{Kernel, Slice};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use version_vector::VersionVector;

/// What a copy is a copy of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Source {
    /// Its vector, as far as it is beyond what it greeted with.
    pub(crate) news: VersionVector,
    pub(crate) fingerprint: u64,
    /// For each row of its vector, in their order.
    pub(crate) lineages: Vec<Lineage>,
}

/// What becomes of a key.
struct Change {
    key: Key,
    newest: VersionVector,
    value: Becomes,
}

enum Becomes {
    /// What it is.
    Same,
    New(Box<Value>),
    Nothing,
}

impl Keyspace {
    /// With the same types and nothing else.
    pub(crate) fn without_values(&self) -> Self {
        Keyspace::new(self.registry.clone())
    }

    /// As a [`Source`], at this moment, for somebody whom this leader has greeted with the vector `greeted`.
    pub(crate) fn source(&self, greeted: &VersionVector) -> Source {
        let news = self.version.difference(greeted).map(|(id, news)| (id, *news.end())).collect();
        let lineage = |(id, _)| self.lineages().get(&id).cloned().unwrap_or_default();
        let lineages = self.version.iter().map(lineage).collect();
        Source { news, fingerprint: self.fingerprint, lineages }
    }

    /// For somebody who has compared items with this keyspace when its version was `since`: what is wanted, and what has
    /// changed since. `None` if it is no longer known what has died since. **O(n)**.
    pub(crate) fn records_to_copy(
        &self,
        since: &VersionVector,
        is_wanted: impl Fn(u64) -> bool,
    ) -> Option<Vec<KeyPiece>> {
        since.covers(&self.floor).ok()?;
        let (mut places, mut deaths) = (self.find(is_wanted), Deaths::new());
        for entry in self.changed_since(since) {
            let id = self.id(&entry.key).expect("it is here");
            let dots = places.entry(id).or_default();
            if let Value::Set(kernel) = &entry.value {
                let slice = kernel.slice_since(since, false);
                dots.extend(slice.births().iter().map(|birth| birth.0));
                deaths.insert(id, slice.deaths().to_vec());
            }
        }
        Some(self.records(&places, &deaths, &self.version))
    }

    /// The newest update of each leader of which there is a trace. **O(keys)**.
    pub(crate) fn traces(&self) -> VersionVector {
        let mut traces = VersionVector::new();
        for (id, counter) in self.entries.values().flat_map(|entry| entry.newest.iter()) {
            traces.advance(Dot::new(id, counter));
        }
        traces
    }

    /// What was written under `ids` and `have` does not cover, up to the last of which there is a trace. What it removed is
    /// told as far as it is remembered, and as far as `have` and these updates cover what was removed.
    pub(crate) fn cut_traces(&mut self, ids: &BTreeSet<ReplicaId>, have: &VersionVector) -> Vec<Batch> {
        self.version = self.traces();
        let mut until = have.clone();
        let own = self.version.iter().filter(|(id, last)| ids.contains(id) && *last > have.get(*id));
        let own: Vec<ReplicaId> = own.map(|row| row.0).collect();
        until.extend(own.iter().map(|id| Dot::new(*id, self.version.get(*id))));
        let mut batches: Vec<Batch> =
            own.iter().map(|id| self.cut_batch(*id, have.get(*id), Vec::new(), BTreeMap::new())).collect();
        for piece in batches.iter_mut().flat_map(|batch| &mut batch.pieces) {
            if let Body::Set { deaths, .. } = &mut piece.body {
                deaths.retain(|(_, killed)| until.contains(*killed));
            }
        }
        batches
    }

    /// Becomes a copy of `source`, whose vector is `vector`: `dropped` is what it has not, `records` is what it has that is not here. If that would
    /// not give its fingerprint, nothing is changed, and the result is false. **O(n)**.
    pub(crate) fn become_copy(
        &mut self,
        dropped: &Places,
        records: Vec<Checked>,
        vector: &VersionVector,
        source: Source,
    ) -> bool {
        let mut records: BTreeMap<Key, Checked> =
            records.into_iter().map(|record| (record.key.clone(), record)).collect();
        let mut changes = Vec::new();
        for (id, entry) in self.entries.iter() {
            let (dropped, record) = (dropped.get(&id), records.remove(&*entry.key));
            changes.extend(change(entry, dropped, record, vector));
        }
        for (key, Checked { newest, piece, .. }) in records {
            let value = value_of(piece, Vec::new());
            if matches!(value, Becomes::New(_)) {
                changes.push(Change { key, newest, value });
            }
        }
        let mut fingerprint = self.fingerprint;
        for Change { key, value, .. } in &changes {
            let seed = seed_of(&key.kind, &key.name);
            let before = self.get(key).map_or(0, |entry| entry.hash);
            let after = match value {
                Becomes::Same => before,
                Becomes::New(value) => value.hash(seed),
                Becomes::Nothing => 0,
            };
            fingerprint = fingerprint.wrapping_sub(before).wrapping_add(after);
        }
        if fingerprint != source.fingerprint {
            return false;
        }
        for Change { key, newest, value } in changes {
            let id = match &value {
                Becomes::New(_) => self.entry_id(&key).expect("the value is of its type"),
                _ => self.id(&key).expect("only what is here changes so"),
            };
            if matches!(value, Becomes::Nothing) {
                self.forget_key(id);
                continue;
            }
            let entry = self.entries.get_mut(id).expect("just looked up");
            for (replica, counter) in entry.newest.iter() {
                if let Some(index) = self.index.get_mut(&replica) {
                    index.remove(&counter);
                }
            }
            for (replica, counter) in newest.iter() {
                self.index.entry(replica).or_default().insert(counter, id);
            }
            if let Becomes::New(value) = value {
                let before = std::mem::replace(&mut entry.hash, value.hash(entry.seed));
                self.fingerprint = self.fingerprint.wrapping_sub(before).wrapping_add(entry.hash);
                entry.value = *value;
            }
            entry.newest = newest;
            self.dirty.insert(id, true);
        }
        self.mortal.clear();
        self.deaths = 0;
        (self.floor, self.version) = (vector.clone(), vector.clone());
        let lineages = vector.iter().map(|row| row.0).zip(source.lineages);
        self.lineages.replace(lineages.filter(|(_, lineage)| *lineage != Lineage::default()).collect());
        true
    }
}

/// What becomes of a key; `None` if nothing does.
fn change(
    entry: &Entry,
    dropped: Option<&Vec<Dot>>,
    record: Option<Checked>,
    vector: &VersionVector,
) -> Option<Change> {
    let is_within = vector.covers(&entry.newest).is_ok();
    let (key, mut newest) = (Key::clone(&entry.key), VersionVector::new());
    newest.extend(entry.newest.zip(vector).map(|(id, here, there)| Dot::new(id, here.min(there))));
    let has_deaths = matches!(&entry.value, Value::Set(kernel) if kernel.deaths() > 0);
    if dropped.is_none() && record.is_none() && is_within && !has_deaths {
        return None;
    }
    let Value::Set(kernel) = &entry.value else {
        let (newest, value) = match record {
            Some(Checked { newest, piece, .. }) => (newest, value_of(piece, Vec::new())),
            // Its updates beyond the vector have left no trace in it, or it would be another value.
            None if dropped.is_none() => (newest, Becomes::Same),
            None => (newest, Becomes::Nothing),
        };
        return Some(Change { key, newest, value });
    };
    let mut gone = dropped.cloned().unwrap_or_default();
    gone.sort_unstable();
    let stays = |birth: &(Dot, &Blob)| gone.binary_search(&birth.0).is_err();
    let stay = kernel.live().filter(stays).map(|(dot, element)| (dot, element.clone())).collect();
    let piece = record.map_or_else(
        || Piece::Set(Slice::default()),
        |record| {
            newest.merge(&record.newest);
            record.piece
        },
    );
    Some(Change { key, newest, value: value_of(piece, stay) })
}

/// The value of a piece; of a set, together with `births` of older elements, those that the piece does not end.
fn value_of(piece: Piece, mut births: Vec<(Dot, Blob)>) -> Becomes {
    Becomes::New(Box::new(match piece {
        Piece::GCounter(counter) => Value::GCounter(counter),
        Piece::PnCounter(counter) => Value::PnCounter(counter),
        Piece::Register(register) => Value::Register(register),
        Piece::Custom(value) => Value::Custom(value),
        Piece::Set(slice) => {
            let mut ended: Vec<Dot> = slice.deaths().iter().map(|death| death.1).collect();
            ended.sort_unstable();
            births.extend(slice.births().iter().cloned());
            births.retain(|birth| ended.binary_search(&birth.0).is_err());
            if births.is_empty() {
                return Becomes::Nothing;
            }
            let mut kernel = Kernel::new();
            kernel.revive(births, &mut |_| ());
            Value::Set(kernel)
        }
    }))
}
