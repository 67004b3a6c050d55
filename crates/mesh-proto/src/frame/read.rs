//! Bytes to frames.

use super::{CUSTOM, FULL, Frame, KINDS, Passed, Received, or_one};
use crate::{
    Key, Kind,
    batch::{Batch, BatchPiece, Births, Body, Written, size},
    codec::decode_whole,
    entropy::Decoder,
    key::{Interned, MAX_NAME},
    said::{Dep, FrameOdds, Keys, Names, Rows, Said},
};
use crdt_core::{
    Dot, ReplicaId,
    wire::{DecodeError, Reader, Wire},
};
use lww_register::HybridTime;
use std::sync::Arc;

/// Room is made for so many at once, whatever a frame claims.
const MOST: usize = 16;

const UNFIT: &str = "the numbers of a frame do not fit together";

/// The columns of a frame that is being read.
struct Columns<'a> {
    /// How much memory batches may still take: what is said by its odds may take next to no bytes.
    room: usize,
    odds: &'a mut FrameOdds,
    keys: &'a mut Keys,
    /// A key as it is held by whoever hears it, if that is another one in memory.
    held: &'a dyn Fn(&Interned) -> Option<Interned>,
    bits: Decoder<'a>,
    bytes: Reader<'a>,
}

/// Reads a frame. `names` are those of the connection so far, which are extended by the frame's, and `said` is what the
/// sender said before, which advances by a frame that builds on it. `held` gives a key as it is held here, if that is another one in memory.
///
/// # Errors
///
/// [`DecodeError`] if the bytes are not a frame; nothing more can be read on the connection then.
pub(crate) fn decode(
    bytes: &[u8],
    number: u64,
    names: &mut Names,
    said: &mut Said,
    held: &dyn Fn(&Interned) -> Option<Interned>,
) -> Result<Frame, DecodeError> {
    let mut bytes = Reader::new(bytes);
    let relative = bytes.varint()? % 2 == 1;
    let count = bytes.count()?;
    let bits = Decoder::new(bytes.take(count)?);
    let mut nothing = None;
    let Said { rows, keys, odds } = if relative { said } else { nothing.insert(Said::default()) };
    let mut columns = Columns { room: 3 * FULL, odds, keys, held, bits, bytes };
    let mut frame = columns.frame(names, rows)?;
    columns.bytes.finish()?;
    if !columns.bits.is_finished() {
        return Err(columns.invalid());
    }
    (frame.number, frame.relative) = (number, relative);
    Ok(frame)
}

impl Columns<'_> {
    fn frame(&mut self, names: &mut Names, said: &mut Rows) -> Result<Frame, DecodeError> {
        let more = self.bits.number(&mut self.odds.acknowledged);
        let acknowledged = self.plus(said.acknowledged, more)?;
        said.acknowledged = acknowledged;
        let behind = self.bits.number(&mut self.odds.durable);
        let durable = self.minus(acknowledged, behind)?;
        let has_missing = self.bits.bit(&mut self.odds.has_missing);
        let missing = if has_missing { self.bytes.varint()? } else { 0 };
        let (mut names_from, mut told_names) = (0, Vec::new());
        if self.bits.bit(&mut self.odds.has_names) {
            names_from = self.bytes.varint()?;
            told_names = Vec::<ReplicaId>::decode(&mut self.bytes)?;
            names.extend(names_from, &told_names).map_err(|what| self.bytes.invalid(what))?;
        }
        let mut modes = Vec::new();
        let count = self.bits.number(&mut self.odds.modes);
        for _ in 0..self.within(count, names.len())? {
            let place = self.bits.number(&mut self.odds.mode_place);
            modes.push((self.place(0, place, names)?, self.bits.bit(&mut self.odds.mode)));
        }
        let (mut pulls, mut next) = (Vec::new(), 0);
        let count = self.bits.number(&mut self.odds.pulls);
        for _ in 0..self.within(count, names.len())? {
            let gap = self.bits.number(&mut self.odds.pull_place);
            let place = self.place(next, gap, names)?;
            next = place + 1;
            pulls.push((place, self.bytes.varint()?));
        }
        let (mut told, mut next) = (Vec::new(), 0);
        let count = self.bits.number(&mut self.odds.told);
        for _ in 0..self.within(count, names.len())? {
            let gap = self.bits.number(&mut self.odds.told_place);
            let place = self.place(next, gap, names)?;
            next = place + 1;
            let step = self.bits.number(&mut self.odds.told_step);
            let counter = self.plus(said.told(place), step)?.checked_add(1).ok_or_else(|| self.invalid())?;
            said.tell(place, counter);
            told.push((place, counter));
        }
        let count = self.bits.number(&mut self.odds.batches);
        let count = self.within(count, self.bytes.rest().len())?;
        let (mut batches, mut last) = (Vec::with_capacity(count.min(MOST)), 0);
        for _ in 0..count {
            let gap = self.bits.number(&mut self.odds.batch_place);
            last = self.place(last, gap, names)?;
            let origin = names.get(last).ok_or_else(|| self.invalid())?;
            let early = self.bits.bit(&mut self.odds.early);
            let hops = if self.bits.bit(&mut self.odds.same_hops) {
                said.hops(last)
            } else {
                self.bits.number(&mut self.odds.hops).ok_or_else(|| self.invalid())?
            };
            let mut batch = self.batch(origin, said.shown(last), names)?;
            let mut deps = said.take_deps(last);
            batch.deps = self.deps(origin, names, said, &mut deps)?;
            if batch.bytes() > 2 * FULL {
                return Err(self.bytes.invalid("a batch is larger than any that is passed on"));
            }
            said.pass(last, batch.until, early, hops, deps);
            batches.push(Passed { place: last, batch: Arc::new(batch), early, hops });
        }
        let received = Received { last: acknowledged, missing, durable };
        Ok(Frame { received, names_from, names: told_names, modes, pulls, told, batches, ..Frame::default() })
    }

    fn invalid(&self) -> DecodeError {
        self.bytes.invalid(UNFIT)
    }

    /// Counts as [`Batch::bytes`] does.
    fn spend(&mut self, bytes: usize) -> Result<(), DecodeError> {
        let room = self.room.checked_sub(bytes);
        self.room = room.ok_or_else(|| self.bytes.invalid("there is more in a frame than fits in one"))?;
        Ok(())
    }

    fn within(&self, count: Option<u64>, most: usize) -> Result<usize, DecodeError> {
        let count = count.and_then(|count| usize::try_from(count).ok()).filter(|count| *count <= most);
        count.ok_or_else(|| self.invalid())
    }

    fn plus(&self, base: u64, more: Option<u64>) -> Result<u64, DecodeError> {
        more.and_then(|more| base.checked_add(more)).ok_or_else(|| self.invalid())
    }

    fn minus(&self, base: u64, less: Option<u64>) -> Result<u64, DecodeError> {
        less.and_then(|less| base.checked_sub(less)).ok_or_else(|| self.invalid())
    }

    fn place(&self, from: usize, gap: Option<u64>, names: &Names) -> Result<usize, DecodeError> {
        let place = self.plus(from as u64, gap)?;
        usize::try_from(place).ok().filter(|place| *place < names.len()).ok_or_else(|| self.invalid())
    }

    /// A counter in `(since, until]`, by its distance from the one after `last`.
    fn counter(&self, last: u64, step: Option<u64>, until: u64) -> Result<u64, DecodeError> {
        let counter = last.checked_add(1).ok_or_else(|| self.invalid())?;
        Some(self.plus(counter, step)?).filter(|counter| *counter <= until).ok_or_else(|| self.invalid())
    }

    /// A counter above `since`, by how far it is behind `last`.
    fn counter_before(&self, last: u64, behind: Option<u64>, since: u64) -> Result<u64, DecodeError> {
        Some(self.minus(last, behind)?).filter(|counter| *counter > since).ok_or_else(|| self.invalid())
    }

    fn deps(
        &mut self,
        origin: ReplicaId,
        names: &Names,
        said: &Rows,
        remembered: &mut Vec<Dep>,
    ) -> Result<Vec<Dot>, DecodeError> {
        for Dep { counter, idle, odds, .. } in &mut *remembered {
            if self.bits.bit(odds) {
                let step = self.bits.number(&mut self.odds.dep_step[(*idle).min(3)]);
                (*counter, *idle) = (self.counter(*counter, step, u64::MAX)?, 0);
            } else {
                *idle += 1;
            }
        }
        let mut next = 0;
        let count = self.bits.number(&mut self.odds.deps);
        let count = self.within(count, names.len())?;
        let again = remembered.iter().filter(|dep| dep.idle == 0).count();
        self.spend(size::DEP * (count + again))?;
        for _ in 0..count {
            let gap = self.bits.number(&mut self.odds.dep_place);
            let place = self.place(next, gap, names)?;
            next = place + 1;
            let shown = said.shown(place).max(1);
            let is_behind = self.bits.bit(&mut self.odds.dep_behind);
            let distance = self.bits.number(&mut self.odds.dep_distance);
            let counter =
                if is_behind { self.minus(shown - 1, distance)? } else { self.plus(shown, distance)? };
            remembered.push(Dep { place, counter, ..Dep::default() });
        }
        let now = remembered.iter().filter(|dep| dep.idle == 0);
        let mut deps = Vec::with_capacity(again + count);
        deps.extend(now.filter_map(|dep| Some(Dot::new(names.get(dep.place)?, dep.counter))));
        deps.sort_unstable();
        let is_sound = deps.windows(2).all(|two| two[0].replica < two[1].replica)
            && deps.iter().all(|dep| dep.replica != origin && dep.counter > 0);
        if is_sound { Ok(deps) } else { Err(self.invalid()) }
    }

    fn blob(&mut self) -> Result<Vec<u8>, DecodeError> {
        let len = self.bytes.count()?;
        Ok(self.bytes.take(len)?.to_vec())
    }

    fn text(&mut self, most: usize) -> Result<String, DecodeError> {
        let text = String::from_utf8(self.blob()?).ok().filter(|text| (1..=most).contains(&text.len()));
        text.ok_or_else(|| self.bytes.invalid("a name is empty, too long, or not UTF-8"))
    }

    /// A batch, but for what it depends on.
    fn batch(&mut self, origin: ReplicaId, expected: u64, names: &Names) -> Result<Batch, DecodeError> {
        self.spend(size::BATCH)?;
        let since = if self.bits.bit(&mut self.odds.has_since) { self.bytes.varint()? } else { expected };
        let len = self.bits.number(&mut self.odds.len);
        let until = self.counter(since, len, u64::MAX)?;
        let lineage = if self.bits.bit(&mut self.odds.has_lineage) {
            let bytes = self.blob()?;
            let lineage = decode_whole(&bytes);
            Some(lineage.map_err(|_| self.bytes.invalid("a lineage is not one"))?)
        } else {
            None
        };
        let count = self.bits.number(&mut self.odds.pieces);
        let count = self.within(count, self.bytes.rest().len())?;
        let (mut pieces, mut last) = (Vec::with_capacity(count.min(MOST)), since);
        for _ in 0..count {
            let before = self.bytes.position();
            let key = if self.bits.bit(&mut self.odds.key_known) {
                let known = self.keys.len();
                let place = (known > 0).then(|| self.bits.one_of(known)).flatten();
                let held = self.held;
                let key = place
                    .and_then(|place| self.keys.get_mut(place))
                    .ok_or_else(|| self.bytes.invalid(UNFIT))?;
                // It was not there yet, maybe, when it was heard of.
                if let Some(held) = held(key) {
                    *key = held;
                }
                key.clone()
            } else {
                self.key()?
            };
            // An update is one key's, and each piece has one of its own.
            let step = self.bits.number(&mut self.odds.newest);
            let newest = self.counter(last, step, until)?;
            last = newest;
            self.spend(size::PIECE + key.name.len())?;
            let body = self.body(&key.kind, since, newest, names)?;
            if self.bytes.position() == before && self.bytes.byte()? != 0 {
                return Err(self.invalid());
            }
            pieces.push(BatchPiece { key, newest, body });
        }
        Ok(Batch { origin, since, until, deps: Vec::new(), lineage, pieces })
    }

    fn key(&mut self) -> Result<Interned, DecodeError> {
        let kind = self.bytes.byte()?;
        let kind = match KINDS.get(usize::from(kind)) {
            Some(built_in) => built_in.clone(),
            None if kind == CUSTOM => match Kind::from(self.text(64)?.as_str()) {
                custom @ Kind::Custom(_) => custom,
                _ => return Err(self.bytes.invalid("the name of a built-in type stands for another one")),
            },
            None => return Err(self.bytes.invalid("there is no such type")),
        };
        let key = Interned::from(Key::new(kind, self.text(MAX_NAME)?));
        let key = (self.held)(&key).unwrap_or(key);
        self.keys.hear(key.clone());
        Ok(key)
    }

    fn body(&mut self, kind: &Kind, since: u64, newest: u64, names: &Names) -> Result<Body, DecodeError> {
        Ok(match kind {
            Kind::GCounter => Body::GCounter(self.bytes.varint()?),
            Kind::PnCounter => Body::PnCounter(self.bytes.varint()?, self.bytes.varint()?),
            Kind::Register => Body::Register(if self.bits.bit(&mut self.odds.written) {
                let behind = self.bits.number(&mut self.odds.written_at);
                let counter = self.counter_before(newest, behind, since)?;
                let time = HybridTime::decode(&mut self.bytes)?;
                Some(Written { time, counter, value: self.blob()? })
            } else {
                None
            }),
            Kind::Set => {
                let count = self.bits.number(&mut self.odds.births).map(or_one);
                let count = self.within(count, self.bytes.rest().len())?;
                let (mut births, mut next) = (Births::with_capacity(count.min(MOST)), newest);
                for _ in 0..count {
                    let behind = self.bits.number(&mut self.odds.birth_step);
                    let counter = self.counter_before(next, behind, since)?;
                    next = counter - 1;
                    let element = self.blob()?;
                    self.spend(size::BIRTH + element.len())?;
                    births.push((counter, element));
                }
                births.reverse();
                let (mut deaths, mut next) = (Vec::new(), newest);
                let count = self.bits.number(&mut self.odds.deaths);
                for _ in 0..self.within(count, self.bytes.rest().len())? {
                    self.spend(size::DEATH)?;
                    let behind = self.bits.number(&mut self.odds.death_step);
                    next = self.counter_before(next, behind, since)?;
                    let place = self.bits.number(&mut self.odds.death_place);
                    let place = self.place(0, place, names)?;
                    let replica = names.get(place).ok_or_else(|| self.invalid())?;
                    deaths.push((next, Dot::new(replica, self.bytes.varint()?)));
                }
                deaths.reverse();
                let is_sorted = deaths.is_sorted_by(|a, b| a < b);
                if !is_sorted || deaths.iter().any(|(_, killed)| killed.counter == 0) {
                    return Err(self.invalid());
                }
                Body::Set { births, deaths }
            }
            Kind::Custom(_) => Body::Custom(self.blob()?),
        })
    }
}
