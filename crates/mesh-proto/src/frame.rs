//! The bytes in which news travels on a connection.
//!
//! A frame is two columns: bits for the small numbers that say how things lie (in Elias' gamma code), and bytes for
//! values, names and large numbers. Replicas are named by their places in a list that both sides of a connection keep:
//! at first it has those of the sender's greeting in ascending order.

use crate::{
    Key, Kind,
    batch::{Batch, BatchPiece, Body, Written},
    bits::{BitReader, BitWriter},
    codec::{decode_whole, encode},
    key::MAX_NAME,
    link::Names,
};
use crdt_core::{
    Dot, ReplicaId,
    wire::{DecodeError, Reader, Wire},
};
use lww_register::HybridTime;
use std::{collections::BTreeMap, sync::Arc};

/// What one side of a connection tells the other at a time.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Frames with anything but acknowledgements are numbered from 1; 0 for the others.
    pub(crate) number: u64,
    /// Whether the receiver is known to have all frames before this one. Then counters are told as differences.
    pub(crate) relative: bool,
    /// Asks for all that the sender, as far as it has told in this frame and before, does not have.
    pub(crate) pull: bool,
    pub(crate) received: Received,
    /// From which place on the list of replicas is told, and what stands there.
    pub(crate) names_from: u64,
    pub(crate) names: Vec<ReplicaId>,
    /// Of which origins the sender wants batches on this connection, and of which only to hear, by place.
    pub(crate) modes: Vec<(usize, bool)>,
    /// How far the sender has the updates of some replicas, durably, by place.
    pub(crate) told: Vec<(usize, u64)>,
    /// Ascending by the places of their origins.
    pub(crate) batches: Vec<Arc<Batch>>,
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

#[derive(Debug, Default)]
struct Writer<'a> {
    bits: BitWriter,
    bytes: Vec<u8>,
    keys: BTreeMap<&'a Key, u64>,
    /// How many of the bytes are values.
    payload: usize,
}

impl Frame {
    /// The bytes, and how many of them are values. `before` is what the sender told before this frame, by place.
    pub(crate) fn encode(&self, names: &Names, before: impl Fn(usize) -> u64) -> (Vec<u8>, usize) {
        let mut out = Writer::default();
        out.bits.bit(self.relative);
        out.bits.bit(self.pull);
        let Received { last, missing, durable } = self.received;
        self.number.encode(&mut out.bytes);
        last.encode(&mut out.bytes);
        out.bits.number(last - durable);
        out.optional(missing > 0, |bytes| missing.encode(bytes));
        out.optional(!self.names.is_empty(), |bytes| {
            self.names_from.encode(bytes);
            self.names.encode(bytes);
        });
        out.bits.number(self.modes.len() as u64);
        for (place, eager) in &self.modes {
            out.bits.number(*place as u64);
            out.bits.bit(*eager);
        }
        out.bits.number(self.told.len() as u64);
        let mut next = 0;
        for (place, counter) in &self.told {
            out.bits.number((place - next) as u64);
            next = place + 1;
            if self.relative {
                out.bits.number(counter - before(*place) - 1);
            } else {
                counter.encode(&mut out.bytes);
            }
        }
        out.bits.number(self.batches.len() as u64);
        let (mut last, mut expected) = (0, None);
        for batch in &self.batches {
            let place = names.place(batch.origin).expect("the origins of batches are named");
            if place != last || expected.is_none() {
                expected = self.relative.then(|| before(place));
            }
            out.bits.number((place - last) as u64);
            out.batch(batch, expected, names);
            (last, expected) = (place, Some(batch.until));
        }
        let bits = out.bits.into_bytes();
        let mut all = Vec::with_capacity(bits.len() + out.bytes.len() + 2);
        (bits.len() as u64).encode(&mut all);
        all.extend(bits);
        all.extend(out.bytes);
        (all, out.payload)
    }
}

impl<'a> Writer<'a> {
    fn optional(&mut self, is_there: bool, write: impl FnOnce(&mut Vec<u8>)) {
        self.bits.bit(is_there);
        if is_there {
            write(&mut self.bytes);
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

    fn batch(&mut self, batch: &'a Batch, expected: Option<u64>, names: &Names) {
        self.optional(expected != Some(batch.since), |bytes| batch.since.encode(bytes));
        self.bits.number(batch.until - batch.since - 1);
        self.bits.bit(batch.lineage.is_some());
        if let Some(lineage) = &batch.lineage {
            let lineage = encode(lineage);
            (lineage.len() as u64).encode(&mut self.bytes);
            self.bytes.extend(lineage);
        }
        self.bits.number(batch.pieces.len() as u64);
        for BatchPiece { key, newest, body } in &batch.pieces {
            let before = self.bytes.len();
            let known = self.keys.len() as u64;
            let place = *self.keys.entry(key).or_insert(known);
            self.bits.number(place);
            if place == known {
                self.key(key);
            }
            self.bits.number(batch.until - newest);
            self.body(body, batch.since, names);
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
    }

    fn body(&mut self, body: &Body, since: u64, names: &Names) {
        match body {
            Body::GCounter(total) => self.value(|bytes| total.encode(bytes)),
            Body::PnCounter(up, down) => self.value(|bytes| (*up, *down).encode(bytes)),
            Body::Register(written) => {
                self.bits.bit(written.is_some());
                if let Some(Written { time, counter, value }) = written {
                    self.bits.number(counter - since - 1);
                    self.value(|bytes| time.encode(bytes));
                    self.blob(value);
                }
            }
            Body::Set { births, deaths } => {
                self.bits.number(births.len() as u64);
                let mut last = since;
                for (counter, element) in births {
                    self.bits.number(counter - last - 1);
                    last = *counter;
                    self.blob(element);
                }
                self.bits.number(deaths.len() as u64);
                let mut last = since + 1;
                for (event, killed) in deaths {
                    self.bits.number(event - last);
                    last = *event;
                    let place = names.place(killed.replica).expect("the replicas of dots are named");
                    self.bits.number(place as u64);
                    self.value(|bytes| killed.counter.encode(bytes));
                }
            }
            Body::Custom(value) => self.blob(value),
        }
    }
}

/// The columns of a frame that is being read.
struct Columns<'a> {
    bits: BitReader<'a>,
    bytes: Reader<'a>,
    keys: Vec<Key>,
}

/// The number of a frame, read by itself: a frame that came before must not be read again.
pub(crate) fn number(bytes: &[u8]) -> Result<u64, DecodeError> {
    let mut bytes = Reader::new(bytes);
    let count = bytes.count()?;
    bytes.take(count)?;
    bytes.varint()
}

/// Reads a frame. `names` are those of the connection so far, which are extended by the frame's; `before` is what the
/// sender told before, by place.
///
/// # Errors
///
/// [`DecodeError`] if the bytes are not a frame; the names may be extended then.
pub(crate) fn decode(
    bytes: &[u8],
    names: &mut Names,
    before: impl Fn(usize) -> u64,
) -> Result<Frame, DecodeError> {
    let mut bytes = Reader::new(bytes);
    let count = bytes.count()?;
    let bits = BitReader::new(bytes.take(count)?);
    let mut columns = Columns { bits, bytes, keys: Vec::new() };
    let (relative, pull) = (columns.bit()?, columns.bit()?);
    let number = columns.bytes.varint()?;
    let last = columns.bytes.varint()?;
    let durable = columns.minus(last)?;
    let missing = if columns.bit()? { columns.bytes.varint()? } else { 0 };
    let received = Received { last, missing, durable };
    let (mut names_from, mut told_names) = (0, Vec::new());
    if columns.bit()? {
        names_from = columns.bytes.varint()?;
        told_names = Vec::<ReplicaId>::decode(&mut columns.bytes)?;
        names.extend(names_from, &told_names).map_err(|what| columns.bytes.invalid(what))?;
    }
    let mut modes = Vec::new();
    for _ in 0..columns.count_within(names.len())? {
        modes.push((columns.place(0, names)?, columns.bit()?));
    }
    let (mut told, mut next) = (Vec::new(), 0);
    for _ in 0..columns.count_within(names.len())? {
        let place = columns.place(next, names)?;
        next = place + 1;
        let counter = if relative {
            columns.plus(before(place))?.checked_add(1).ok_or_else(|| columns.invalid())?
        } else {
            columns.bytes.varint()?
        };
        told.push((place, counter));
    }
    let most = columns.bytes.rest().len();
    let (mut batches, mut last, mut expected) = (Vec::new(), 0, None);
    for _ in 0..columns.count_within(most)? {
        let place = columns.place(last, names)?;
        if place != last || expected.is_none() {
            expected = relative.then(|| before(place));
        }
        let batch = columns.batch(names.get(place).ok_or_else(|| columns.invalid())?, expected, names)?;
        (last, expected) = (place, Some(batch.until));
        batches.push(Arc::new(batch));
    }
    columns.bytes.finish()?;
    if !columns.bits.is_finished() {
        return Err(columns.invalid());
    }
    Ok(Frame { number, relative, pull, received, names_from, names: told_names, modes, told, batches })
}

impl Columns<'_> {
    fn invalid(&self) -> DecodeError {
        self.bytes.invalid("the numbers of a frame do not fit together")
    }

    fn bit(&mut self) -> Result<bool, DecodeError> {
        self.bits.bit().ok_or_else(|| self.invalid())
    }

    fn number(&mut self) -> Result<u64, DecodeError> {
        self.bits.number().ok_or_else(|| self.invalid())
    }

    fn count_within(&mut self, most: usize) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.number()?).ok().filter(|count| *count <= most);
        count.ok_or_else(|| self.invalid())
    }

    fn plus(&mut self, base: u64) -> Result<u64, DecodeError> {
        base.checked_add(self.number()?).ok_or_else(|| self.invalid())
    }

    fn minus(&mut self, base: u64) -> Result<u64, DecodeError> {
        base.checked_sub(self.number()?).ok_or_else(|| self.invalid())
    }

    fn place(&mut self, from: usize, names: &Names) -> Result<usize, DecodeError> {
        let place = usize::try_from(self.plus(from as u64)?).ok().filter(|place| *place < names.len());
        place.ok_or_else(|| self.invalid())
    }

    /// A counter in `(since, until]`, by its distance from the one after `last`.
    fn counter(&mut self, last: u64, until: u64) -> Result<u64, DecodeError> {
        let counter = last.checked_add(1).ok_or_else(|| self.invalid())?;
        Some(self.plus(counter)?).filter(|counter| *counter <= until).ok_or_else(|| self.invalid())
    }

    fn blob(&mut self) -> Result<Vec<u8>, DecodeError> {
        let len = self.bytes.count()?;
        Ok(self.bytes.take(len)?.to_vec())
    }

    fn text(&mut self, most: usize) -> Result<String, DecodeError> {
        let text = String::from_utf8(self.blob()?).ok().filter(|text| (1..=most).contains(&text.len()));
        text.ok_or_else(|| self.bytes.invalid("a name is empty, too long, or not UTF-8"))
    }

    fn batch(
        &mut self,
        origin: ReplicaId,
        expected: Option<u64>,
        names: &Names,
    ) -> Result<Batch, DecodeError> {
        let explicit = self.bit()?;
        let since = match expected {
            _ if explicit => self.bytes.varint()?,
            Some(since) => since,
            None => return Err(self.invalid()),
        };
        let until = self.plus(since)?.checked_add(1).ok_or_else(|| self.invalid())?;
        let lineage = if self.bit()? {
            let bytes = self.blob()?;
            let lineage = decode_whole(&bytes);
            Some(lineage.map_err(|_| self.bytes.invalid("a lineage is not one"))?)
        } else {
            None
        };
        let most = self.bytes.rest().len();
        let mut pieces = Vec::new();
        for _ in 0..self.count_within(most)? {
            let before = self.bytes.position();
            let place = self.count_within(self.keys.len())?;
            if place == self.keys.len() {
                let key = self.key()?;
                self.keys.push(key);
            }
            let key = self.keys[place].clone();
            let newest = self.minus(until)?;
            if newest <= since {
                return Err(self.invalid());
            }
            let body = self.body(&key.kind, since, until, names)?;
            if self.bytes.position() == before && self.bytes.byte()? != 0 {
                return Err(self.invalid());
            }
            pieces.push(BatchPiece { key, newest, body });
        }
        Ok(Batch { origin, since, until, lineage, pieces })
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
        Ok(Key::new(kind, self.text(MAX_NAME)?))
    }

    fn body(&mut self, kind: &Kind, since: u64, until: u64, names: &Names) -> Result<Body, DecodeError> {
        Ok(match kind {
            Kind::GCounter => Body::GCounter(self.bytes.varint()?),
            Kind::PnCounter => Body::PnCounter(self.bytes.varint()?, self.bytes.varint()?),
            Kind::Register => Body::Register(if self.bit()? {
                let counter = self.counter(since, until)?;
                let time = HybridTime::decode(&mut self.bytes)?;
                Some(Written { time, counter, value: self.blob()? })
            } else {
                None
            }),
            Kind::Set => {
                let most = self.bytes.rest().len();
                let (mut births, mut last) = (Vec::new(), since);
                for _ in 0..self.count_within(most)? {
                    last = self.counter(last, until)?;
                    births.push((last, self.blob()?));
                }
                let most = self.bytes.rest().len();
                let (mut deaths, mut last) = (Vec::new(), since);
                for at in 0..self.count_within(most)? {
                    // Several dots may have died by one event.
                    last = self.counter(if at == 0 { last } else { last - 1 }, until)?;
                    let place = self.place(0, names)?;
                    let replica = names.get(place).ok_or_else(|| self.invalid())?;
                    deaths.push((last, Dot::new(replica, self.bytes.varint()?)));
                }
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
