//! What a keyspace does when it and another one must agree and do not.
//!
//! Under equal vectors that is damage, on either side. Other values than sets are joined both ways, which loses nothing.
//! Of a dot that only one side has, the other has lost the birth, or the first its death. What decides is whether anybody
//! has a record of a death:
//!
//! > live' = (live of one ∪ live of the other) \ (ended by a death that one or the other remembers)
//!
//! Whoever has such a record sends it, and it is kept on both sides. So an acknowledged add is lost only where somebody
//! has a record of what ended it; and a removal may be undone where the record is forgotten and its effect was lost. The
//! outcome depends on what both sides have, not on who asks, and it ends with any number of leaders: towards death only
//! with a record, towards life only where there is none.

use super::{Entry, KeyId, KeyPiece, Keyspace, deaths_of};
use crate::{
    BadPiece, Blob, Key,
    key::MAX_NAME,
    value::{Interval, Piece, Value, hash_change},
};
use crdt_core::{Dot, ReplicaId, Rows, wire::Wire};
use g_counter::GCounter;
use or_set::{Change, Slice};
use pn_counter::PnCounter;
use std::collections::{BTreeMap, BTreeSet};
use version_vector::VersionVector;

/// Keys, and of sets the dots in question.
pub(crate) type Places = BTreeMap<KeyId, Vec<Dot>>;

/// Deaths of which somebody is to be told, each as `(event, killed)`.
pub(crate) type Deaths = BTreeMap<KeyId, Vec<(Dot, Dot)>>;

/// What was done to a key in which two leaders with equal vectors differed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The key.
    pub key: Key,
    /// How many elements came to life here because the peer has them and neither side knows of a removal; 1 if another
    /// value took in what the peer has. That undoes a removal if its record was forgotten and the peer has lost its effect.
    pub taken: usize,
    /// How many elements ended here because the peer remembers what ended them.
    pub ended: usize,
    /// How many elements the peer lacked and was told of; 1 for another value.
    pub given: usize,
    /// The peer has more of this counter under this leader's own id than this leader. Nobody but a leader itself counts
    /// under its id, so that was not taken: if it is not a lie, the leader has lost it, and needs a new id.
    pub refused: bool,
}

impl Repair {
    pub(crate) fn of(key: Key) -> Self {
        Repair { key, taken: 0, ended: 0, given: 0, refused: false }
    }
}

/// A record of a peer that can be taken.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) key: Key,
    pub(crate) newest: VersionVector,
    pub(crate) piece: Piece,
    refused: bool,
}

impl Entry {
    /// The summands of the fingerprint: of a set one for each live dot, of any other value one.
    fn items(&self) -> impl Iterator<Item = (u64, Option<Dot>)> + '_ {
        let (live, whole) = match &self.value {
            Value::Set(kernel) => (Some(kernel.live()), None),
            _ => (None, Some((self.hash, None)).filter(|item| item.0 != 0)),
        };
        let dots = live.into_iter().flatten().map(|(dot, element)| {
            let mut item = 0;
            hash_change(&mut item, self.seed, &Change::Born(dot, element));
            (item, Some(dot))
        });
        dots.chain(whole)
    }
}

impl Keyspace {
    /// The items by which two keyspaces are compared; their sum is the fingerprint. **O(n)** in all.
    pub(crate) fn items(&self) -> impl Iterator<Item = u64> + '_ {
        self.entries.values().flat_map(Entry::items).map(|item| item.0)
    }

    /// Where the items are that are meant. **O(n)**.
    pub(crate) fn find(&self, is_meant: impl Fn(u64) -> bool) -> Places {
        let mut places = Places::new();
        for (id, entry) in self.entries.iter() {
            for (_, dot) in entry.items().filter(|item| is_meant(item.0)) {
                places.entry(id).or_default().extend(dot);
            }
        }
        places
    }

    /// What is at `places` now, and the deaths, as far as `within` covers it: ascending by key, a record for each.
    ///
    /// Of a set the dots say themselves which events they are of, and so does a register's stamp.
    pub(crate) fn records(&self, places: &Places, deaths: &Deaths, within: &VersionVector) -> Vec<KeyPiece> {
        let ids: BTreeSet<KeyId> = places.keys().chain(deaths.keys()).copied().collect();
        let mut records: Vec<KeyPiece> = ids
            .into_iter()
            .filter_map(|id| {
                let entry = self.entries.get(id)?;
                let nothing = VersionVector::new();
                Some(match &entry.value {
                    Value::Set(kernel) => {
                        let dots: BTreeSet<Dot> = places.get(&id).into_iter().flatten().copied().collect();
                        let dots = dots.into_iter().filter(|dot| within.contains(*dot));
                        let births = dots.filter_map(|dot| Some((dot, kernel.element(dot)?.clone())));
                        let ended: BTreeSet<(Dot, Dot)> =
                            deaths.get(&id).into_iter().flatten().copied().collect();
                        let is_within =
                            |death: &(Dot, Dot)| within.contains(death.0) && within.contains(death.1);
                        let ended = ended.into_iter().filter(is_within).collect();
                        let slice = Slice::from_parts(births.collect(), ended).filter(|s| !s.is_empty())?;
                        KeyPiece { key: Key::clone(&entry.key), newest: nothing, bytes: slice.to_bytes() }
                    }
                    _ if within.covers(&entry.newest).is_err() => return None,
                    Value::Register(_) => KeyPiece { newest: nothing.clone(), ..entry.cut(&nothing, false) },
                    _ => entry.cut(&nothing, false),
                })
            })
            .collect();
        records.sort_by(|one, other| one.key.cmp(&other.key));
        records
    }

    /// Decodes and checks what a peer says it has, all of it before `until`. What joins values that are here (rather
    /// than replacing them) is checked against them too, and loses what the peer cannot know of `me`.
    pub(crate) fn check_records(
        &self,
        records: Vec<KeyPiece>,
        until: &VersionVector,
        me: ReplicaId,
        joins: bool,
    ) -> Result<Vec<Checked>, (Key, BadPiece)> {
        let mut checked: Vec<Checked> = Vec::with_capacity(records.len());
        let mut dots = BTreeSet::new();
        for record in records {
            let is_next = checked.last().is_none_or(|last| last.key < record.key);
            let key = record.key.clone();
            let one =
                if is_next { self.check_record(record, until, me, joins) } else { Err(BadPiece::Repeated) };
            let one = one.and_then(|one| {
                let twice = one.newest.iter().find(|dot| !dots.insert(*dot));
                twice.map_or(Ok(one), |(replica, counter)| Err(BadPiece::Taken(Dot::new(replica, counter))))
            });
            checked.push(one.map_err(|why| (key, why))?);
        }
        Ok(checked)
    }

    fn check_record(
        &self,
        record: KeyPiece,
        until: &VersionVector,
        me: ReplicaId,
        joins: bool,
    ) -> Result<Checked, BadPiece> {
        let KeyPiece { key, newest, bytes } = record;
        if key.name.is_empty() || key.name.len() > MAX_NAME {
            return Err(BadPiece::Encoding(format!("a name of {} bytes", key.name.len())));
        }
        let mut piece = Piece::decode(&key.kind, &bytes, &self.registry)?;
        let newest = match &piece {
            Piece::Register(register) => {
                register.stamp().into_iter().map(|stamp| (stamp.replica, stamp.counter)).collect()
            }
            Piece::Set(slice) if slice.has_survivors() => return Err(BadPiece::Survivors),
            Piece::Set(slice) => {
                let mut newest = VersionVector::new();
                newest.extend(slice.births().iter().map(|birth| birth.0));
                newest.extend(slice.deaths().iter().map(|death| death.0));
                newest
            }
            _ => newest,
        };
        if let Some((id, range)) = newest.difference(until).next() {
            return Err(BadPiece::OutsideInterval(Dot::new(id, *range.end())));
        }
        for (replica, counter) in newest.iter() {
            let holder = self.index.get(&replica).and_then(|index| index.get(&counter));
            if holder.is_some_and(|id| *self.entries[*id].key != key) {
                return Err(BadPiece::Taken(Dot::new(replica, counter)));
            }
        }
        let mine = self.get(&key).map(|entry| &entry.value).filter(|_| joins);
        let refused = joins && piece.leave_own(me, mine);
        let rows: Vec<_> = newest.iter().collect();
        piece.check(&Interval { seen: until, until }, &rows, me, mine)?;
        Ok(Checked { key, newest, piece, refused })
    }

    /// Joins what a peer with an equal vector has and this keyspace lacks, and ends what it knows to have ended. Returns
    /// what was done, and the deaths of what the peer takes for living.
    pub(crate) fn repair(&mut self, records: Vec<Checked>) -> (Vec<Repair>, Deaths) {
        let (mut repairs, mut to_tell) = (Vec::new(), Deaths::new());
        for Checked { key, newest, piece, refused } in records {
            if newest.is_empty() {
                continue;
            }
            let id = self.entry_id(&key).expect("the piece was decoded, so its type is known");
            let entry = self.entries.get_mut(id).expect("just looked up");
            let (before, deaths) = (entry.hash, deaths_of(&entry.value));
            let mut repair = Repair { refused, ..Repair::of(key) };
            match (&mut entry.value, piece) {
                (Value::Set(kernel), Piece::Set(slice)) => {
                    let (seed, hash) = (entry.seed, &mut entry.hash);
                    let mut watch = |change: Change<'_, Blob>| {
                        match change {
                            Change::Born(..) => repair.taken += 1,
                            Change::Died(..) => repair.ended += 1,
                        }
                        hash_change(hash, seed, &change);
                    };
                    let ended = mend(kernel, &slice, &mut watch);
                    if !ended.is_empty() {
                        to_tell.insert(id, ended);
                    }
                }
                (value, piece) => {
                    let at = Interval { seen: &self.version, until: &self.version };
                    repair.taken = usize::from(value.apply(piece, &at, entry.seed, &mut entry.hash));
                }
            }
            let is_changed = repair.taken + repair.ended > 0 || deaths_of(&entry.value) != deaths;
            self.after_change(id, before, deaths);
            for (replica, counter) in newest.iter() {
                self.record(id, Dot::new(replica, counter));
            }
            if is_changed {
                // The vector does not move, so a piece cut by it would lack what was just taken.
                self.dirty.insert(id, true);
            }
            repairs.push(repair);
        }
        (repairs, to_tell)
    }

    pub(crate) fn key(&self, id: KeyId) -> Option<&Key> {
        self.entries.get(id).map(|entry| &*entry.key)
    }
}

/// Applies the rule to one set: takes what lives there and nobody remembers as ended, and ends what is remembered there.
/// Returns what is remembered here of what lives there.
fn mend(
    kernel: &mut or_set::Kernel<Blob>,
    theirs: &Slice<Blob>,
    watch: &mut impl FnMut(Change<'_, Blob>),
) -> Vec<(Dot, Dot)> {
    // Two elements of one dot are settled like a register's two values of one stamp.
    let is_absent = |(dot, element): &&(Dot, Blob)| kernel.element(*dot).is_none_or(|mine| mine < element);
    let mut absent: Vec<(Dot, Blob)> = theirs.births().iter().filter(is_absent).cloned().collect();
    let dots: Vec<Dot> = absent.iter().map(|birth| birth.0).collect();
    let mut ended = kernel.deaths_of(&dots);
    let mut superseded = Vec::new();
    for (dot, element) in &absent {
        // An add ends its author's older dot of the same element, whether or not it is remembered.
        for other in kernel.dots(element).into_iter().filter(|other| other.replica == dot.replica) {
            if other > *dot {
                ended.push((other, *dot));
            } else if other < *dot {
                superseded.push((*dot, other));
            }
        }
    }
    let dead: BTreeSet<Dot> = ended.iter().map(|death| death.1).collect();
    absent.retain(|birth| !dead.contains(&birth.0));
    superseded.retain(|death| !dead.contains(&death.0));
    kernel.kill_by(superseded, watch);
    kernel.revive(absent, watch);
    kernel.kill_by(theirs.deaths().iter().copied(), watch);
    ended
}

impl Piece {
    /// Takes out what the piece has of a counter under the id `me` beyond what is here; true if there was something.
    fn leave_own(&mut self, me: ReplicaId, mine: Option<&Value>) -> bool {
        let cut = |theirs: &Rows, known: u64| -> Rows {
            let rows = theirs.iter().map(|(id, total)| (id, if id == me { total.min(known) } else { total }));
            rows.filter(|row| row.1 > 0).collect()
        };
        match self {
            Piece::GCounter(theirs) => {
                let known = if let Some(Value::GCounter(mine)) = mine { mine.get(me) } else { 0 };
                let more = theirs.get(me) > known;
                if more {
                    *theirs = GCounter::from(cut(theirs.rows(), known));
                }
                more
            }
            Piece::PnCounter(theirs) => {
                let known = match mine {
                    Some(Value::PnCounter(mine)) => (mine.increments().get(me), mine.decrements().get(me)),
                    _ => (0, 0),
                };
                let (up, down) = (theirs.increments(), theirs.decrements());
                let more = up.get(me) > known.0 || down.get(me) > known.1;
                if more {
                    let cut = PnCounter::from_rows(cut(up, known.0), cut(down, known.1));
                    *theirs = cut.expect("rows that got smaller do not overflow");
                }
                more
            }
            _ => false,
        }
    }
}
