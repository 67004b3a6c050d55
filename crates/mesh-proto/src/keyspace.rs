//! All values of a leader as one state: it merges, it is cut into deltas, and it has one version vector.

use crate::{
    BadPiece, Key, Kind, Registry,
    batch::Batch,
    key::Interned,
    lineage::{Kept, Lineages},
    planted::{self, Bug},
    staging::StagedPiece,
    stream::End,
    value::{Blob, Interval, Piece, Value, hash_change},
};
use crdt_core::{Dot, Gap, Merge, ReplicaId};
use entries::Entries;
use ids::Ids;
use or_set::Kernel;
use own::Uncut;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Bound, Range},
    sync::Arc,
};
use version_vector::VersionVector;

pub(crate) mod copy;
#[cfg(test)]
pub(crate) mod damage;
mod entries;
mod ids;
mod own;
pub(crate) mod repair;

/// The place of a key in memory; never sent or stored.
pub(crate) type KeyId = usize;

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: Interned,
    pub(crate) value: Value,
    /// The newest dot of each leader in this value.
    pub(crate) newest: VersionVector,
    /// How the value lies in the store.
    pub(crate) stored: Stored,
    seed: u64,
    hash: u64,
}

impl Entry {
    /// What happened to this key since `since`; of a set also which older elements live, if asked for.
    ///
    /// Who has nothing gets no removals either: it costs the same bytes whatever was ever removed.
    pub(crate) fn cut(&self, since: &VersionVector, survivors: bool) -> KeyPiece {
        KeyPiece {
            key: Key::clone(&self.key),
            newest: self.newest.difference(since).map(|(id, range)| (id, *range.end())).collect(),
            bytes: self.value.cut(since, &self.newest, survivors),
        }
    }
}

/// The rows of a value in the store: a base, and pieces to join with it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stored {
    pub(crate) base_bytes: usize,
    pub(crate) pieces: u64,
    pub(crate) piece_bytes: usize,
}

/// One key's part of a delta.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct KeyPiece {
    pub(crate) key: Key,
    /// The newest dots of the leaders that wrote the key in the interval.
    pub(crate) newest: VersionVector,
    #[serde(with = "crate::codec::bytes")]
    pub(crate) bytes: Vec<u8>,
}

#[derive(Debug, Default)]
pub(crate) struct Keyspace {
    registry: Registry,
    ids: Ids,
    entries: Entries,
    /// For each leader its newest dot in each key; older ones coalesce away.
    index: Index,
    version: VersionVector,
    /// Which runs made the updates of each replica.
    pub(crate) lineages: Kept,
    /// Removals of events above the floor are all remembered.
    floor: VersionVector,
    fingerprint: u64,
    /// Keys that changed since the last commit, and whether they must be stored whole.
    dirty: BTreeMap<KeyId, bool>,
    /// Keys that are no more, with their stored rows.
    gone: Vec<(Interned, Stored)>,
    /// Sets that remember removals.
    mortal: BTreeSet<KeyId>,
    deaths: usize,
    compared: u64,
    uncut: Uncut,
}

impl Keyspace {
    pub(crate) fn new(registry: Registry) -> Self {
        Keyspace { registry, ..Keyspace::default() }
    }

    pub(crate) fn version(&self) -> &VersionVector {
        &self.version
    }

    pub(crate) fn floor(&self) -> &VersionVector {
        &self.floor
    }

    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    pub(crate) fn deaths(&self) -> usize {
        self.deaths
    }

    /// Whether values of this type can be held here.
    pub(crate) fn knows(&self, kind: &Kind) -> bool {
        Value::bottom(kind, &self.registry).is_ok()
    }

    /// Runs an update of one key of a known type. `update` returns the dot of the (last) event, or `None` if nothing
    /// happened; then, and if it fails, nothing is changed.
    pub(crate) fn update<E>(
        &mut self,
        key: &Key,
        update: impl FnOnce(&mut Value, &mut dyn FnMut(or_set::Change<'_, Blob>)) -> Result<Option<Dot>, E>,
    ) -> Result<Option<Dot>, E> {
        let next = self.entries.next_id();
        let id = self.entry_id(key).expect("the caller knows the type");
        let entry = self.entries.get_mut(id).expect("the id was just looked up");
        let (before, deaths) = (entry.hash, deaths_of(&entry.value));
        let (seed, mut hash) = (entry.seed, entry.hash);
        let done = update(&mut entry.value, &mut |change| hash_change(&mut hash, seed, &change));
        if !matches!(done, Ok(Some(_))) {
            if id == next {
                self.forget_key(id);
                self.gone.pop();
                self.entries.give_back(id);
            }
            return done;
        }
        if !matches!(entry.value, Value::Set(_)) {
            hash = entry.value.hash(seed);
        }
        entry.hash = hash;
        self.after_change(id, before, deaths);
        let dot = done.as_ref().ok().copied().flatten().expect("checked above");
        self.record(id, dot);
        self.version.advance(dot);
        self.dirty.entry(id).or_insert(false);
        done
    }

    /// Notes that `dot` is the newest of its leader in this key.
    fn record(&mut self, id: KeyId, dot: Dot) {
        let entry = self.entries.get_mut(id).expect("recorded for an existing key");
        record(&mut self.index, &mut entry.newest, id, dot);
    }

    fn after_change(&mut self, id: KeyId, hash_before: u64, deaths_before: usize) {
        let entry = &self.entries[id];
        self.fingerprint = self.fingerprint.wrapping_sub(hash_before).wrapping_add(entry.hash);
        let deaths = deaths_of(&entry.value);
        self.deaths = self.deaths + deaths - deaths_before;
        if deaths > 0 {
            self.mortal.insert(id);
        }
    }

    /// The keys with events that `since` lacks, each once, in the order of the events.
    pub(crate) fn changed_since<'a>(&'a self, since: &'a VersionVector) -> Vec<&'a Entry> {
        let mut seen = BTreeSet::new();
        let mut changed = Vec::new();
        for (origin, index) in &self.index {
            let after = (Bound::Excluded(since.get(*origin)), Bound::Unbounded);
            for id in index.range(after).map(|(_, id)| *id) {
                if seen.insert(id) {
                    changed.push(&self.entries[id]);
                }
            }
        }
        changed
    }

    /// The keys with ids in `range`, ascending.
    pub(crate) fn entries(&self, range: Range<KeyId>) -> impl Iterator<Item = (KeyId, &Entry)> {
        self.entries.range(range)
    }

    /// The id of the next new key.
    pub(crate) fn next_id(&self) -> KeyId {
        self.entries.next_id()
    }

    /// The keys whose newest event of some origin lies in `(since, until]`, with that event, origin by origin; from an
    /// event on. A key may come once for each origin. **O(log n)** for each origin, and what it yields.
    pub(crate) fn changed<'a>(
        &'a self,
        since: &'a VersionVector,
        until: &'a VersionVector,
        from: Option<(ReplicaId, u64)>,
    ) -> impl Iterator<Item = (ReplicaId, u64, &'a Entry)> {
        let rows = self
            .index
            .range((from.map_or(Bound::Unbounded, |(id, _)| Bound::Included(id)), Bound::Unbounded));
        rows.flat_map(move |(origin, row)| {
            let since = since.get(*origin);
            let since = from.filter(|(id, _)| id == origin).map_or(since, |(_, at)| since.max(at - 1));
            let until = until.get(*origin);
            let range = (Bound::Excluded(since), Bound::Included(until));
            let range = (since < until).then(|| row.range(range)).into_iter().flatten();
            range.map(|(counter, id)| (*origin, *counter, &self.entries[*id]))
        })
    }

    /// How often elements have died by comparison with the survivors of a delta, which is no event.
    pub(crate) fn compared(&self) -> u64 {
        self.compared
    }

    /// The keys that have vanished since the last commit.
    pub(crate) fn gone(&self) -> impl Iterator<Item = &Key> {
        self.gone.iter().map(|(key, _)| &**key)
    }

    /// Joins batches in one step, if every one is good; otherwise nothing is changed.
    ///
    /// The caller vouches that all that they depend on is here or among them.
    pub(crate) fn apply_batches(
        &mut self,
        batches: &[Arc<Batch>],
        me: ReplicaId,
    ) -> Result<(), (Key, BadPiece)> {
        let mut until = self.version.clone();
        for batch in batches {
            until.advance(Dot::new(batch.origin, batch.until));
        }
        let mut pieces = Vec::with_capacity(batches.iter().map(|batch| batch.pieces.len()).sum());
        let mut lineages = Lineages::new();
        for batch in batches {
            let origin = batch.origin;
            lineages.extend(batch.lineage.iter().map(|lineage| (origin, lineage.clone())));
            let at = Interval { seen: &self.version, until: &until };
            let index = self.index.get(&origin);
            for piece in &batch.pieces {
                let (key, newest) = (&piece.key, piece.newest(origin));
                let bad = |why| (Key::clone(key), why);
                let id = self.interned_id(key);
                // What is new is no other key's.
                let index = index.filter(|_| self.version.contains(newest));
                let holder = index.and_then(|index| index.get(&newest.counter));
                if holder.is_some_and(|holder| id != Some(*holder)) {
                    return Err(bad(BadPiece::Taken(newest)));
                }
                let mine = id.filter(|_| key.kind != Kind::Set).map(|id| &self.entries[id].value);
                let checked = piece.check(origin, &at, me, mine, &self.registry).map_err(bad)?;
                pieces.push((id, newest, checked));
            }
        }
        // Each batch comes after those that it depends on, so what it ended is there to be ended.
        let seen = self.version.clone();
        let at = Interval { seen: &seen, until: &until };
        self.keep_own(|_| pieces.iter().filter_map(|(id, ..)| *id).collect());
        for (id, newest, checked) in pieces {
            let id = id.map_or_else(|| self.open_entry(&checked.piece.key), Ok);
            let id = id.expect("the piece was decoded, so its type is known");
            self.join(id, [newest], false, |value, seed, hash| checked.apply(value, &at, seed, hash));
        }
        self.advance(&seen, &until, lineages);
        Ok(())
    }

    /// Decodes a piece of a delta that is not complete yet: whether it fits is [checked](Keyspace::check) later.
    pub(crate) fn decode(&self, piece: KeyPiece) -> Result<StagedPiece, BadPiece> {
        let KeyPiece { key, newest, bytes } = piece;
        if key.name.is_empty() || key.name.len() > crate::key::MAX_NAME {
            return Err(BadPiece::Encoding(format!("a name of {} bytes", key.name.len())));
        }
        Ok((newest, Piece::decode(&key.kind, &bytes, &self.registry)?))
    }

    /// Checks every piece of a delta without changing anything.
    pub(crate) fn check(
        &self,
        pieces: BTreeMap<Key, StagedPiece>,
        end: End,
        me: ReplicaId,
    ) -> Result<Decoded, (Key, BadPiece)> {
        let End { until, floor, lineages } = end;
        let at = Interval { seen: &self.version, until: &until };
        let mut dots = BTreeSet::new();
        for (key, (newest, piece)) in &pieces {
            let mut check = || {
                if let Some((id, range)) = newest.difference(&until).next() {
                    return Err(BadPiece::OutsideInterval(Dot::new(id, *range.end())));
                }
                for (replica, counter) in newest.iter() {
                    let dot = Dot::new(replica, counter);
                    let holder = self.index.get(&replica).and_then(|index| index.get(&counter));
                    if holder.is_some_and(|id| *self.entries[*id].key != *key) || !dots.insert(dot) {
                        return Err(BadPiece::Taken(dot));
                    }
                }
                if matches!(piece, Piece::Set(slice) if slice.has_survivors() != floor.is_some()) {
                    return Err(BadPiece::Survivors);
                }
                let newest: Vec<_> = newest.iter().collect();
                piece.check(&at, &newest, me, self.get(key).map(|entry| &entry.value))
            };
            check().map_err(|why| (key.clone(), why))?;
        }
        let pieces = pieces.into_iter().map(|(key, (newest, piece))| (key, newest, piece)).collect();
        Ok(Decoded { until, floor, lineages, pieces })
    }

    /// Joins a decoded delta in one step; returns whether anything was new.
    ///
    /// The caller has checked that this keyspace covers what the delta was cut since.
    pub(crate) fn apply(&mut self, delta: Decoded) -> bool {
        let Decoded { until, floor, lineages, pieces } = delta;
        let seen = self.version.clone();
        let at = Interval { seen: &seen, until: &until };
        let whole = floor.is_some();
        let mut mentioned = BTreeSet::new();
        self.keep_own(|space| pieces.iter().filter_map(|(key, ..)| space.id(key)).collect());
        for (key, newest, piece) in pieces {
            let id = self.entry_id(&key).expect("the piece was decoded, so its type is known");
            if whole && key.kind == Kind::Set {
                mentioned.insert(id);
            }
            let join = |value: &mut Value, seed, hash: &mut u64| value.apply(piece, &at, seed, hash);
            self.join(id, dots(&newest), whole, join);
        }
        if let Some(floor) = floor {
            self.compared += 1;
            let sets =
                self.entries.iter().filter(|(id, e)| e.key.kind == Kind::Set && !mentioned.contains(id));
            let sets: Vec<KeyId> = sets.map(|(id, _)| id).collect();
            self.keep_own(|_| sets.clone());
            for id in sets {
                let join = |value: &mut Value, seed, hash: &mut u64| {
                    value.apply(Piece::no_survivors(), &at, seed, hash)
                };
                self.join(id, [], true, join);
            }
            // Removals that the sender has forgotten and that were new here are unknown here too.
            for (id, have, forgotten) in seen.zip(&floor) {
                if have < forgotten {
                    self.floor.advance(Dot::new(id, forgotten));
                }
            }
        }
        self.advance(&seen, &until, lineages)
    }

    fn advance(&mut self, seen: &VersionVector, until: &VersionVector, lineages: Lineages) -> bool {
        for (origin, lineage) in lineages {
            if seen.get(origin) < until.get(origin) {
                self.lineages.change(origin, |mine| mine.adopt(&lineage));
            }
        }
        self.version.merge(until)
    }

    /// The run `tag` of replica `id` makes its updates from `first` on.
    pub(crate) fn begin_run(&mut self, id: ReplicaId, first: u64, tag: u64) {
        self.lineages.change(id, |mine| mine.begin(first, tag));
    }

    pub(crate) fn lineages(&self) -> &Lineages {
        self.lineages.all()
    }

    /// The first update of `id` that others, who have it up to `last`, owe to another run than this keyspace does.
    pub(crate) fn fork(&self, id: ReplicaId, theirs: &Lineages, last: u64) -> Option<u64> {
        self.lineages().get(&id)?.fork(theirs.get(&id)?, last.min(self.version.get(id)))
    }

    /// Joins something to a value by `join`, which is given the value, its seed and its hash.
    fn join(
        &mut self,
        id: KeyId,
        newest: impl IntoIterator<Item = Dot>,
        whole: bool,
        join: impl FnOnce(&mut Value, u64, &mut u64) -> bool,
    ) {
        let Keyspace { entries, index, fingerprint, deaths, mortal, dirty, .. } = self;
        let entry = entries.get_mut(id).expect("joined into an existing key");
        let (hash, deaths_before) = (entry.hash, deaths_of(&entry.value));
        let mut changed = join(&mut entry.value, entry.seed, &mut entry.hash);
        *fingerprint = fingerprint.wrapping_sub(hash).wrapping_add(entry.hash);
        let deaths_after = deaths_of(&entry.value);
        *deaths = *deaths + deaths_after - deaths_before;
        if deaths_after > 0 {
            mortal.insert(id);
        }
        for dot in newest {
            record(index, &mut entry.newest, id, dot);
            changed = true;
        }
        if changed {
            // What died by comparison is in no slice, so such a set is stored whole.
            *dirty.entry(id).or_insert(false) |= whole;
        }
    }

    /// Joins a stored piece while recovering, or the base, which is number 0; pieces of a key come in the order in which they
    /// were stored.
    pub(crate) fn restore(
        &mut self,
        piece: KeyPiece,
        bytes_stored: usize,
        sequence: u64,
    ) -> Result<(), BadPiece> {
        let KeyPiece { key, newest, bytes } = piece;
        let piece = Piece::decode(&key.kind, &bytes, &self.registry)?;
        let id = self.entry_id(&key)?;
        let nothing = VersionVector::new();
        let at = Interval { seen: &nothing, until: &nothing };
        self.join(id, dots(&newest), false, |value, seed, hash| value.apply(piece, &at, seed, hash));
        let stored = &mut self.entries.get_mut(id).expect("just joined").stored;
        if sequence == 0 {
            stored.base_bytes = bytes_stored;
        } else {
            stored.pieces = sequence;
            stored.piece_bytes += bytes_stored;
        }
        self.dirty.clear();
        Ok(())
    }

    /// Checks that no value has a dot beyond `version`.
    pub(crate) fn check_covered(&self, version: &VersionVector) -> Result<(), (Key, Gap)> {
        let uncovered =
            |entry: &Entry| version.covers(&entry.newest).err().map(|gap| (Key::clone(&entry.key), gap));
        self.entries.values().find_map(uncovered).map_or(Ok(()), Err)
    }

    /// Ends recovery: what the restored pieces cover, and what is remembered of removals.
    pub(crate) fn restored(&mut self, version: VersionVector, floor: VersionVector, lineages: Kept) {
        (self.version, self.floor, self.lineages) = (version, floor, lineages);
    }

    /// Drops the memory of removals up to `up_to` and raises the floor; empty sets without memory go altogether.
    ///
    /// Never changes what any set contains, here or, after any exchange, elsewhere: it costs bytes later. `up_to` is
    /// causally closed. What the store remembers below the floor does no harm, so nothing is written for it.
    pub(crate) fn forget_deaths(&mut self, up_to: &VersionVector) {
        for id in self.mortal.clone() {
            let entry = self.entries.get_mut(id).expect("mortal keys exist");
            let Value::Set(kernel) = &mut entry.value else { continue };
            self.deaths -= kernel.forget_deaths(up_to);
            if kernel.deaths() == 0 {
                self.mortal.remove(&id);
                if kernel.is_empty() {
                    self.forget_key(id);
                }
            }
        }
        if !planted::is(Bug::RemovalsForgotten) {
            self.floor.merge(up_to);
        }
    }

    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || !self.gone.is_empty()
    }

    /// The keys that changed or vanished since the last commit.
    pub(crate) fn unstored(&self) -> impl Iterator<Item = &Key> {
        self.dirty.keys().map(|id| &*self.entries[*id].key).chain(self.gone())
    }

    /// What changed since the last commit: keys to store (and whether whole), and keys to delete.
    pub(crate) fn take_dirty(&mut self) -> (BTreeMap<KeyId, bool>, Vec<(Interned, Stored)>) {
        (std::mem::take(&mut self.dirty), std::mem::take(&mut self.gone))
    }

    pub(crate) fn entry(&self, id: KeyId) -> &Entry {
        &self.entries[id]
    }

    pub(crate) fn set_stored(&mut self, id: KeyId, stored: Stored) {
        self.entries.get_mut(id).expect("stored an existing key").stored = stored;
    }
}

/// A delta whose every piece is known to be good.
#[derive(Debug)]
pub(crate) struct Decoded {
    until: VersionVector,
    floor: Option<VersionVector>,
    lineages: Lineages,
    pieces: Vec<(Key, VersionVector, Piece)>,
}

/// The index from dots to keys.
type Index = BTreeMap<ReplicaId, BTreeMap<u64, KeyId>>;

/// Notes that `dot` is the newest of its leader in a key.
fn record(index: &mut Index, newest: &mut VersionVector, id: KeyId, dot: Dot) {
    let before = newest.get(dot.replica);
    if newest.advance(dot) {
        let index = index.entry(dot.replica).or_default();
        if before > 0 {
            index.remove(&before);
        }
        index.insert(dot.counter, id);
    }
}

fn dots(vector: &VersionVector) -> impl Iterator<Item = Dot> {
    vector.iter().map(|(id, counter)| Dot::new(id, counter))
}

fn deaths_of(value: &Value) -> usize {
    if let Value::Set(kernel) = value { Kernel::deaths(kernel) } else { 0 }
}
