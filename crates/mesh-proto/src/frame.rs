//! The bytes in which news travels on a connection.
//!
//! A frame is two columns: small numbers that say how things lie, by their odds (see [`entropy`](crate::entropy)), and
//! bytes for values, names and large numbers. Replicas are named by their places in a list that both sides of a
//! connection keep: at first it has those of the sender's greeting in ascending order. Where no frame can be lost or
//! overtaken, each builds on those before it: see [`Said`].

use crate::{
    Key, Kind,
    batch::{Batch, BatchPiece, Body, Written},
    codec::{decode_whole, encode},
    entropy::{Decoder, Encoder},
    key::MAX_NAME,
    said::{Dep, FrameOdds, Keys, Names, Rows, Said},
};
use crdt_core::{
    Dot, ReplicaId,
    wire::{DecodeError, Reader, Wire},
};
use lww_register::HybridTime;
use std::sync::Arc;

/// What one side of a connection tells the other at a time.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Frames with anything but acknowledgements are numbered from 1; 0 for the others.
    pub(crate) number: u64,
    /// Whether the receiver is known to have all frames before this one.
    pub(crate) relative: bool,
    pub(crate) received: Received,
    /// From which place on the list of replicas is told, and what stands there.
    pub(crate) names_from: u64,
    pub(crate) names: Vec<ReplicaId>,
    /// Of which origins the sender wants batches on this connection, and of which only to hear, by place.
    pub(crate) modes: Vec<(usize, bool)>,
    /// Asks for updates of these replicas, by place, with up to where they have come. If they cannot be sent as they are,
    /// it asks for all that the sender, as far as it has told in this frame and before, does not have.
    pub(crate) pulls: Vec<(usize, u64)>,
    /// How far the sender has the updates of some replicas, durably, by place.
    pub(crate) told: Vec<(usize, u64)>,
    /// Ascending by the places of their origins.
    pub(crate) batches: Vec<Passed>,
}

/// A batch on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    /// The place of its origin.
    pub(crate) place: usize,
    pub(crate) batch: Arc<Batch>,
    /// The sender lacks something that the batch depends on. If not, the batch also tells that the sender has it.
    pub(crate) early: bool,
    /// How many connections lie between the origin and the sender, on the way by which the sender gets its batches.
    pub(crate) hops: u64,
}

/// What one side has received of the other's frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// The greatest number.
    pub(crate) last: u64,
    /// Which of the 64 numbers before it are missing, the next one in the lowest bit.
    pub(crate) missing: u64,
    /// Up to this frame everything that was told, or was in a batch, is durable here.
    pub(crate) durable: u64,
}

const KINDS: [Kind; 4] = [Kind::GCounter, Kind::PnCounter, Kind::Register, Kind::Set];
/// A type of the user's own, by its name.
const CUSTOM: u8 = 4;

/// A frame is full when the batches in it take so much memory, and a batch that takes more than twice that is not passed
/// on as one: a frame with both is below [`MAX_MESSAGE`](crate::MAX_MESSAGE), and what takes more memory is none.
pub(crate) const FULL: usize = 128 << 10;

/// So many bytes of values, names and large numbers are in most frames.
const USUAL: usize = 128;

/// Room is made for so many at once, whatever a frame claims.
const MOST: usize = 16;

/// Writes one as none and none as one, and reads them so: one is what is expected.
fn or_one(count: u64) -> u64 {
    if count < 2 { 1 - count } else { count }
}

/// So much of its number does a frame carry that builds on those before it.
const TURN: u64 = 64;

struct Writer<'a> {
    odds: &'a mut FrameOdds,
    keys: &'a mut Keys,
    bits: Encoder,
    bytes: Vec<u8>,
    /// How many of the bytes are values.
    payload: usize,
}

impl Frame {
    /// The bytes, and how many of them are values. `said` is what the sender said before this frame, if it builds on that.
    pub(crate) fn encode(&self, names: &Names, said: &mut Said) -> (Vec<u8>, usize) {
        let mut nothing = None;
        let Said { rows, keys, odds } = if self.relative { said } else { nothing.insert(Said::default()) };
        let bytes = Vec::with_capacity(USUAL);
        let mut out = Writer { odds, keys, bits: Encoder::default(), bytes, payload: 0 };
        out.frame(self, names, rows);
        let Writer { bits, bytes, payload, .. } = out;
        let bits = bits.into_bytes();
        let mut all = Vec::with_capacity(bits.len() + bytes.len() + 4);
        let header = if self.relative { self.number % TURN * 2 + 1 } else { self.number * 2 };
        header.encode(&mut all);
        (bits.len() as u64).encode(&mut all);
        all.extend(bits);
        all.extend(bytes);
        (all, payload)
    }
}

impl Writer<'_> {
    fn frame(&mut self, frame: &Frame, names: &Names, said: &mut Rows) {
        let Received { last, missing, durable } = frame.received;
        self.bits.number(&mut self.odds.acknowledged, last - said.acknowledged);
        said.acknowledged = last;
        self.bits.number(&mut self.odds.durable, last - durable);
        self.bits.bit(&mut self.odds.has_missing, missing > 0);
        if missing > 0 {
            missing.encode(&mut self.bytes);
        }
        self.bits.bit(&mut self.odds.has_names, !frame.names.is_empty());
        if !frame.names.is_empty() {
            frame.names_from.encode(&mut self.bytes);
            frame.names.encode(&mut self.bytes);
        }
        self.bits.number(&mut self.odds.modes, frame.modes.len() as u64);
        for (place, eager) in &frame.modes {
            self.bits.number(&mut self.odds.mode_place, *place as u64);
            self.bits.bit(&mut self.odds.mode, *eager);
        }
        self.bits.number(&mut self.odds.pulls, frame.pulls.len() as u64);
        let mut next = 0;
        for (place, reach) in &frame.pulls {
            self.bits.number(&mut self.odds.pull_place, (place - next) as u64);
            next = place + 1;
            reach.encode(&mut self.bytes);
        }
        self.bits.number(&mut self.odds.told, frame.told.len() as u64);
        let mut next = 0;
        for (place, counter) in &frame.told {
            self.bits.number(&mut self.odds.told_place, (place - next) as u64);
            next = place + 1;
            self.bits.number(&mut self.odds.told_step, counter - said.told(*place) - 1);
            said.tell(*place, *counter);
        }
        self.bits.number(&mut self.odds.batches, frame.batches.len() as u64);
        let mut last = 0;
        for Passed { place, batch, early, hops } in &frame.batches {
            let place = *place;
            self.bits.number(&mut self.odds.batch_place, (place - last) as u64);
            last = place;
            self.bits.bit(&mut self.odds.early, *early);
            let same = said.hops(place) == *hops;
            self.bits.bit(&mut self.odds.same_hops, same);
            if !same {
                self.bits.number(&mut self.odds.hops, *hops);
            }
            self.batch(batch, said.shown(place), names);
            let mut deps = said.take_deps(place);
            self.deps(batch, names, said, &mut deps);
            said.pass(place, batch.until, *early, *hops, deps);
        }
    }

    fn value(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.bytes.len();
        write(&mut self.bytes);
        self.payload += self.bytes.len() - before;
    }

    fn blob(&mut self, blob: &[u8]) {
        self.value(|bytes| {
            (blob.len() as u64).encode(bytes);
            bytes.extend(blob);
        });
    }

    /// What a batch depends on: first those that the origin's batches before depended on too, then others.
    fn deps(&mut self, batch: &Batch, names: &Names, said: &Rows, remembered: &mut Vec<Dep>) {
        let dep = |dep: &Dot| (names.place(dep.replica).expect("what is depended on is named"), dep.counter);
        let mut others: Vec<(usize, u64)> = batch.deps.iter().map(dep).collect();
        others.sort_unstable();
        for Dep { place, counter, idle, odds } in &mut *remembered {
            let again =
                others.binary_search_by_key(place, |dep| dep.0).ok().filter(|at| others[*at].1 > *counter);
            self.bits.bit(odds, again.is_some());
            if let Some(at) = again {
                let step = others.remove(at).1 - *counter - 1;
                self.bits.number(&mut self.odds.dep_step[(*idle).min(3)], step);
                (*counter, *idle) = (*counter + step + 1, 0);
            } else {
                *idle += 1;
            }
        }
        self.bits.number(&mut self.odds.deps, others.len() as u64);
        let mut next = 0;
        for (place, counter) in others {
            self.bits.number(&mut self.odds.dep_place, (place - next) as u64);
            next = place + 1;
            let shown = said.shown(place).max(1);
            self.bits.bit(&mut self.odds.dep_behind, counter < shown);
            let distance = if counter < shown { shown - counter - 1 } else { counter - shown };
            self.bits.number(&mut self.odds.dep_distance, distance);
            remembered.push(Dep { place, counter, ..Dep::default() });
        }
    }

    fn batch(&mut self, batch: &Batch, expected: u64, names: &Names) {
        self.bits.bit(&mut self.odds.has_since, batch.since != expected);
        if batch.since != expected {
            batch.since.encode(&mut self.bytes);
        }
        self.bits.number(&mut self.odds.len, batch.until - batch.since - 1);
        self.bits.bit(&mut self.odds.has_lineage, batch.lineage.is_some());
        if let Some(lineage) = &batch.lineage {
            let lineage = encode(lineage);
            (lineage.len() as u64).encode(&mut self.bytes);
            self.bytes.extend(lineage);
        }
        self.bits.number(&mut self.odds.pieces, batch.pieces.len() as u64);
        let mut last = batch.since;
        for BatchPiece { key, newest, body } in &batch.pieces {
            let before = self.bytes.len();
            let place = self.keys.place(key);
            self.bits.bit(&mut self.odds.key_known, place.is_some());
            match place {
                Some(place) => self.bits.one_of(self.keys.len(), place),
                None => self.key(key),
            }
            self.bits.number(&mut self.odds.newest, newest - last - 1);
            last = *newest;
            self.body(body, *newest, names);
            if self.bytes.len() == before {
                // What is counted takes at least a byte: then a count cannot claim more than there is.
                self.bytes.push(0);
            }
        }
    }

    fn key(&mut self, key: &Key) {
        if let Some(built_in) = KINDS.iter().position(|kind| *kind == key.kind) {
            self.bytes.push(u8::try_from(built_in).expect("there are four"));
        } else {
            self.bytes.push(CUSTOM);
            key.kind.as_str().to_owned().encode(&mut self.bytes);
        }
        (key.name.len() as u64).encode(&mut self.bytes);
        self.bytes.extend(key.name.as_bytes());
        self.keys.push(key.clone());
    }

    fn body(&mut self, body: &Body, newest: u64, names: &Names) {
        match body {
            Body::GCounter(total) => self.value(|bytes| total.encode(bytes)),
            Body::PnCounter(up, down) => self.value(|bytes| (*up, *down).encode(bytes)),
            Body::Register(written) => {
                self.bits.bit(&mut self.odds.written, written.is_some());
                if let Some(Written { time, counter, value }) = written {
                    self.bits.number(&mut self.odds.written_at, newest - counter);
                    self.value(|bytes| time.encode(bytes));
                    self.blob(value);
                }
            }
            Body::Set { births, deaths } => {
                self.bits.number(&mut self.odds.births, or_one(births.len() as u64));
                // From the last one back: as a rule that is the newest.
                let mut next = newest + 1;
                for (counter, element) in births.iter().rev() {
                    self.bits.number(&mut self.odds.birth_step, next - counter - 1);
                    next = *counter;
                    self.blob(element);
                }
                self.bits.number(&mut self.odds.deaths, deaths.len() as u64);
                // Several dots may have died by one event.
                let mut next = newest;
                for (event, killed) in deaths.iter().rev() {
                    self.bits.number(&mut self.odds.death_step, next - event);
                    next = *event;
                    let place = names.place(killed.replica).expect("the replicas of dots are named");
                    self.bits.number(&mut self.odds.death_place, place as u64);
                    self.value(|bytes| killed.counter.encode(bytes));
                }
            }
            Body::Custom(value) => self.blob(value),
        }
    }
}

/// The columns of a frame that is being read.
struct Columns<'a> {
    /// How much memory batches may still take: what is said by its odds may take next to no bytes.
    room: usize,
    odds: &'a mut FrameOdds,
    keys: &'a mut Keys,
    bits: Decoder<'a>,
    bytes: Reader<'a>,
}

/// The number of a frame, if the latest that came has the number `last`: read by itself, for a frame that came before must
/// not be read again. Says also whether it builds on those before it.
pub(crate) fn number(bytes: &[u8], last: u64) -> Result<(u64, bool), DecodeError> {
    let header = Reader::new(bytes).varint()?;
    if header % 2 == 0 {
        return Ok((header / 2, false));
    }
    // The nearest one.
    let ahead = (header / 2).wrapping_sub(last + 1) % TURN;
    let number =
        if ahead < TURN / 2 || last + 1 + ahead <= TURN { last + 1 + ahead } else { last + 1 + ahead - TURN };
    Ok((number, true))
}

/// Reads a frame. `names` are those of the connection so far, which are extended by the frame's, and `said` is what the
/// sender said before, which advances by a frame that builds on it.
///
/// # Errors
///
/// [`DecodeError`] if the bytes are not a frame; nothing more can be read on the connection then.
pub(crate) fn decode(
    bytes: &[u8],
    number: u64,
    names: &mut Names,
    said: &mut Said,
) -> Result<Frame, DecodeError> {
    let mut bytes = Reader::new(bytes);
    let relative = bytes.varint()? % 2 == 1;
    let count = bytes.count()?;
    let bits = Decoder::new(bytes.take(count)?);
    let mut nothing = None;
    let Said { rows, keys, odds } = if relative { said } else { nothing.insert(Said::default()) };
    let mut columns = Columns { room: 3 * FULL, odds, keys, bits, bytes };
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
        let (mut batches, mut last) = (Vec::new(), 0);
        for _ in 0..self.within(count, self.bytes.rest().len())? {
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
        self.bytes.invalid("the numbers of a frame do not fit together")
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
        self.spend(16 * (count + remembered.iter().filter(|dep| dep.idle == 0).count()))?;
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
        let mut deps: Vec<Dot> =
            now.filter_map(|dep| Some(Dot::new(names.get(dep.place)?, dep.counter))).collect();
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
        self.spend(128)?;
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
                place.and_then(|place| self.keys.get(place)).cloned().ok_or_else(|| self.invalid())?
            } else {
                self.key()?
            };
            // An update is one key's, and each piece has one of its own.
            let step = self.bits.number(&mut self.odds.newest);
            let newest = self.counter(last, step, until)?;
            last = newest;
            self.spend(128 + key.name.len())?;
            let body = self.body(&key.kind, since, newest, names)?;
            if self.bytes.position() == before && self.bytes.byte()? != 0 {
                return Err(self.invalid());
            }
            pieces.push(BatchPiece { key, newest, body });
        }
        Ok(Batch { origin, since, until, deps: Vec::new(), lineage, pieces })
    }

    fn key(&mut self) -> Result<Key, DecodeError> {
        let kind = self.bytes.byte()?;
        let kind = match KINDS.get(usize::from(kind)) {
            Some(built_in) => built_in.clone(),
            None if kind == CUSTOM => match Kind::from(self.text(64)?.as_str()) {
                custom @ Kind::Custom(_) => custom,
                _ => return Err(self.bytes.invalid("the name of a built-in type stands for another one")),
            },
            None => return Err(self.bytes.invalid("there is no such type")),
        };
        let key = Key::new(kind, self.text(MAX_NAME)?);
        self.keys.push(key.clone());
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
                let (mut births, mut next) = (Vec::with_capacity(count.min(MOST)), newest);
                for _ in 0..count {
                    let behind = self.bits.number(&mut self.odds.birth_step);
                    let counter = self.counter_before(next, behind, since)?;
                    next = counter - 1;
                    let element = self.blob()?;
                    self.spend(32 + element.len())?;
                    births.push((counter, element));
                }
                births.reverse();
                let (mut deaths, mut next) = (Vec::new(), newest);
                let count = self.bits.number(&mut self.odds.deaths);
                for _ in 0..self.within(count, self.bytes.rest().len())? {
                    self.spend(24)?;
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
