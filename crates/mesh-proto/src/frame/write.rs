//! Frames to bytes.

use super::{CUSTOM, Frame, KINDS, Passed, Received, TURN, or_one};
use crate::{
    batch::{Batch, BatchPiece, Body, Written},
    codec::encode,
    entropy::Encoder,
    key::Interned,
    said::{Dep, FrameOdds, Keys, Names, Rows, Said},
};
use crdt_core::{Dot, wire::Wire};

/// So many bytes of names and large numbers are in most frames.
const USUAL: usize = 128;

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
        let pieces = self.batches.iter().flat_map(|passed| &passed.batch.pieces);
        let bytes = Vec::with_capacity(USUAL + pieces.map(|piece| piece.body.bytes()).sum::<usize>());
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
        // A few are remembered, so there is nothing to sort for.
        for Dep { place, counter, idle, odds } in &mut *remembered {
            let again = others.iter().position(|dep| dep.0 == *place).filter(|at| others[*at].1 > *counter);
            self.bits.bit(odds, again.is_some());
            if let Some(at) = again {
                let step = others.swap_remove(at).1 - *counter - 1;
                self.bits.number(&mut self.odds.dep_step[(*idle).min(3)], step);
                (*counter, *idle) = (*counter + step + 1, 0);
            } else {
                *idle += 1;
            }
        }
        others.sort_unstable();
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

    fn key(&mut self, key: &Interned) {
        if let Some(built_in) = KINDS.iter().position(|kind| *kind == key.kind) {
            self.bytes.push(u8::try_from(built_in).expect("there are four"));
        } else {
            self.bytes.push(CUSTOM);
            key.kind.as_str().to_owned().encode(&mut self.bytes);
        }
        (key.name.len() as u64).encode(&mut self.bytes);
        self.bytes.extend(key.name.as_bytes());
        self.keys.say(key.clone());
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
