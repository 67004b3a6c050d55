//! One direction of a connection: what was said on it, and what of that has arrived.

use crate::{
    frame::Received,
    planted::{self, Bug},
    said::{Names, Said},
};
use crdt_core::{Dot, Merge, ReplicaId};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, VecDeque},
};
use version_vector::VersionVector;

/// What this side says.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) names: Names,
    pub(crate) said: Said,
    /// How many names the other side is known to know.
    names_known: usize,
    /// How many frames were numbered.
    pub(crate) last: u64,
    /// By the places of the names.
    rows: Vec<Row>,
    /// Of which origins this side wants batches or only to hear, where the other side has still to be told.
    pub(crate) modes: BTreeMap<ReplicaId, bool>,
    /// Frames that are under way, or whose contents are not durable at the other side.
    frames: VecDeque<Sent>,
    /// Something arrived that is to be acknowledged.
    pub(crate) acknowledge: bool,
    /// When what is not urgent is to be said, if there is anything.
    pub(crate) tell_at: Option<u64>,
    /// How many frames have come that were not acknowledged.
    pub(crate) heard: usize,
    /// Places of origins of which there may be something that was not sent yet, in the order in which it came.
    stale: VecDeque<usize>,
    /// Places of origins of which the other side may have to be told how far this side is.
    untold: Vec<usize>,
    /// The flush in which the last news was sent.
    pub(crate) flush: u64,
    /// What is to be said is not to wait for the next flush.
    pub(crate) is_urgent: bool,
}

/// What is said of one replica's updates. Each number is that of the last of those that it is about.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Row {
    /// The other side was told that they are here, in frames that may be under way.
    pub(crate) told: u64,
    /// Batches of them were sent, or they are fetched otherwise.
    pub(crate) sent: u64,
    /// The other side has asked for them: it gets batches up to here, whatever else it wants.
    pub(crate) asked: u64,
    /// It only wants to hear of them.
    pub(crate) is_lazy: bool,
    is_stale: bool,
    is_untold: bool,
}

/// A numbered frame.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) number: u64,
    pub(crate) at: u64,
    pub(crate) has_arrived: bool,
    pub(crate) names: usize,
    /// What the other side was told, with what it had been told before.
    pub(crate) told: Vec<(usize, u64, u64)>,
    /// Where batches began and ended.
    pub(crate) batches: Vec<(usize, u64, u64)>,
    pub(crate) modes: Vec<(ReplicaId, bool)>,
}

/// So many frames may be under way; then news gathers. No more could be acknowledged one by one.
const WINDOW: usize = 64;

/// After so many frames an acknowledgement does not wait any longer.
const MANY: usize = 16;

/// So many frames are remembered one by one until their contents are durable at the other side.
const MAX_FRAMES: usize = 256;

impl Outbound {
    /// On a connection on which `greeting` was said: that is its frame 1.
    pub(crate) fn new(greeting: &VersionVector) -> Self {
        // Who lacks what the greeting mentions asks for it.
        let row = |(_, counter)| Row { told: counter, sent: counter, ..Row::default() };
        let told = greeting.iter().enumerate().map(|(place, row)| (place, row.1, 0)).collect();
        let first = Sent { number: 1, has_arrived: true, names: greeting.len(), told, ..Sent::default() };
        Outbound {
            names: Names::new(greeting.iter().map(|row| row.0)),
            said: Said::new(greeting),
            names_known: greeting.len(),
            last: 1,
            rows: greeting.iter().map(row).collect(),
            modes: BTreeMap::new(),
            frames: [first].into(),
            acknowledge: false,
            tell_at: None,
            heard: 0,
            stale: VecDeque::new(),
            untold: Vec::new(),
            flush: 0,
            is_urgent: false,
        }
    }

    /// What is said of the replica at a place.
    pub(crate) fn row(&mut self, place: usize) -> &mut Row {
        if self.rows.len() <= place {
            self.rows.resize(place + 1, Row::default());
        }
        &mut self.rows[place]
    }

    /// What is said of a replica, which has a place from now on.
    pub(crate) fn row_of(&mut self, id: ReplicaId) -> &mut Row {
        let place = self.names.place_or_add(id);
        self.row(place)
    }

    /// There may be updates of this origin that were not sent.
    pub(crate) fn note_stale(&mut self, origin: ReplicaId) {
        let place = self.names.place_or_add(origin);
        self.note_stale_at(place);
    }

    pub(crate) fn note_stale_at(&mut self, place: usize) {
        if !std::mem::replace(&mut self.row(place).is_stale, true) {
            self.stale.push_back(place);
        }
    }

    /// The other side may have to be told how far this one is.
    pub(crate) fn note_untold_at(&mut self, place: usize) {
        if !std::mem::replace(&mut self.row(place).is_untold, true) {
            self.untold.push(place);
        }
    }

    /// The next origin that is stale, by place, and it is no more.
    pub(crate) fn next_stale(&mut self) -> Option<usize> {
        let place = self.stale.pop_front()?;
        self.row(place).is_stale = false;
        Some(place)
    }

    /// All that are to be told of, by place, and they are no more.
    pub(crate) fn take_untold(&mut self) -> Vec<usize> {
        let places = std::mem::take(&mut self.untold);
        for place in &places {
            self.rows[*place].is_untold = false;
        }
        places
    }

    pub(crate) fn has_stale(&self) -> bool {
        !self.stale.is_empty()
    }

    pub(crate) fn has_untold(&self) -> bool {
        !self.untold.is_empty()
    }

    pub(crate) fn is_stale_at(&self, place: usize) -> bool {
        self.rows[place].is_stale
    }

    /// From which place on the names have to be told.
    pub(crate) fn names_from(&self) -> usize {
        self.names_known
    }

    /// Notes a frame that was sent; `arrives` if nothing that is sent on this connection is lost.
    pub(crate) fn push(&mut self, frame: Sent, arrives: bool) {
        if arrives {
            self.names_known = self.names_known.max(frame.names);
        }
        self.frames.push_back(frame);
        if self.frames.len() > MAX_FRAMES && self.frames[0].has_arrived && self.frames[1].has_arrived {
            // The other side has said that it has the frames, but not that they are durable there: two are one then.
            let first = self.frames.pop_front().unwrap_or_else(|| unreachable!("there are many"));
            let second = &mut self.frames[0];
            let batches = first.batches.into_iter().chain(std::mem::take(&mut second.batches));
            second.told.extend(first.told);
            second.told.extend(batches.map(|(place, since, until)| (place, until, since)));
            if second.told.len() > 2 * self.names.len() {
                // Of each replica only the latest counts.
                second.told.sort_unstable_by_key(|(place, counter, _)| (*place, Reverse(*counter)));
                second.told.dedup_by_key(|told| told.0);
            }
        }
    }

    /// The other side says what it has received. Returns what is durable there.
    pub(crate) fn acknowledged(&mut self, received: Received) -> Result<Vec<Dot>, &'static str> {
        if received.last > self.last {
            return Err("it acknowledges what was not sent");
        }
        for frame in self.frames.iter_mut().filter(|frame| !frame.has_arrived) {
            let is_missing = received.last.checked_sub(frame.number + 1).is_some_and(|back| {
                // What is too long ago to be told apart is taken for missing.
                received
                    .missing
                    .checked_shr(u32::try_from(back).unwrap_or(u32::MAX))
                    .is_none_or(|m| m & 1 == 1)
            });
            if frame.number <= received.last && !is_missing {
                frame.has_arrived = true;
                self.names_known = self.names_known.max(frame.names);
            }
        }
        let mut durable = Vec::new();
        while self.frames.front().is_some_and(|frame| frame.number <= received.durable && frame.has_arrived) {
            let Some(frame) = self.frames.pop_front() else { break };
            let told = frame.told.iter().map(|(place, counter, _)| (place, counter));
            for (place, counter) in told.chain(frame.batches.iter().map(|(place, _, until)| (place, until))) {
                durable.extend(self.names.get(*place).map(|id| Dot::new(id, *counter)));
            }
        }
        Ok(durable)
    }

    /// Something is to be acknowledged, if nothing else is said before then at `due`.
    pub(crate) fn acknowledge(&mut self, due: u64) {
        self.acknowledge = true;
        self.heard += 1;
        let due = if self.heard < MANY { due } else { 0 };
        self.tell_at = Some(self.tell_at.map_or(due, |at| at.min(due)));
    }

    /// How many frames are remembered, and how much they told.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> (usize, usize) {
        let rows = self.frames.iter().map(|frame| frame.told.len() + frame.batches.len());
        (self.frames.len(), rows.sum())
    }

    /// When a frame that is under way was sent first.
    pub(crate) fn under_way_since(&self) -> Option<u64> {
        self.frames.iter().filter(|frame| !frame.has_arrived).map(|frame| frame.at).min()
    }

    /// Whether another frame may be sent before one that is under way is acknowledged.
    pub(crate) fn has_room(&self) -> bool {
        self.frames.iter().filter(|frame| !frame.has_arrived).count() < WINDOW
    }

    /// Takes back the frames that were sent before `before` and of which nothing was heard, so that they are said again.
    pub(crate) fn give_up(&mut self, before: Option<u64>) {
        let Some(before) = before else { return };
        if self.frames.iter().all(|frame| frame.has_arrived || frame.at > before) {
            return;
        }
        let mut kept = VecDeque::with_capacity(self.frames.len());
        for frame in std::mem::take(&mut self.frames) {
            if frame.has_arrived || frame.at > before {
                kept.push_back(frame);
                continue;
            }
            if planted::is(Bug::BufferReset) {
                continue;
            }
            self.is_urgent = true;
            for (place, _, earlier) in frame.told {
                self.note_untold_at(place);
                let told = &mut self.row(place).told;
                *told = earlier.min(*told);
            }
            for (place, since, _) in frame.batches {
                self.note_stale_at(place);
                let sent = &mut self.row(place).sent;
                *sent = since.min(*sent);
            }
            for (origin, eager) in frame.modes {
                // What was said later counts.
                self.modes.entry(origin).or_insert(eager);
            }
        }
        self.frames = kept;
    }
}

/// What the other side says.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) names: Names,
    pub(crate) said: Said,
    /// Up to where the other side has sent batches without a gap that it may lack something for.
    pub(crate) early: VersionVector,
    pub(crate) received: Received,
    /// Origins of which this side only wants to hear.
    pub(crate) lazy: BTreeSet<ReplicaId>,
    /// Frames that tell of what is not durable here.
    waiting: VecDeque<(u64, VersionVector)>,
    /// Those among them that were overtaken by one all of which is durable. They pass for missing until they are too.
    overtaken: Vec<(u64, VersionVector)>,
    /// Something may have become durable since the last look.
    pub(crate) is_unsettled: bool,
}

impl Inbound {
    /// On a connection on which the other side said `greeting`.
    pub(crate) fn new(greeting: &VersionVector) -> Self {
        Inbound {
            names: Names::new(greeting.iter().map(|row| row.0)),
            said: Said::new(greeting),
            early: VersionVector::new(),
            received: Received { last: 1, ..Received::default() },
            lazy: BTreeSet::new(),
            waiting: [(1, greeting.clone())].into(),
            overtaken: Vec::new(),
            is_unsettled: true,
        }
    }

    /// Whether a frame came before.
    pub(crate) fn has(&self, number: u64) -> bool {
        let Received { last, missing, .. } = self.received;
        match last.checked_sub(number) {
            None => false,
            Some(0) => true,
            // What is too long ago to be told apart is taken for known: it was sent again under another number.
            Some(back) => {
                let back = u32::try_from(back - 1).unwrap_or(u32::MAX);
                missing.checked_shr(back).is_none_or(|missing| missing & 1 == 0)
            }
        }
    }

    /// Whether `number` is the next one, and all before it have come.
    pub(crate) fn is_next(&self, number: u64) -> bool {
        self.received.missing == 0 && number == self.received.last + 1
    }

    /// Notes that a frame came that had not come before, and what has to be durable before it is done with.
    pub(crate) fn note(&mut self, number: u64, needs: VersionVector) {
        self.is_unsettled = true;
        let Received { last, missing, durable } = &mut self.received;
        if number <= *durable {
            if self.overtaken.len() < MAX_FRAMES {
                self.overtaken.push((number, needs));
            }
            return;
        }
        if number > *last {
            let step = number - *last;
            // The former last one has arrived; those in between have not.
            let shifted = missing.checked_shl(u32::try_from(step).unwrap_or(u32::MAX)).unwrap_or(0);
            let between = if step > 64 { u64::MAX } else { (1_u64 << (step - 1)) - 1 };
            *missing = shifted | between;
            *last = number;
        } else {
            self.arrived(number);
        }
        let is_full = self.waiting.len() >= MAX_FRAMES;
        match self.waiting.back_mut() {
            Some(waiting) if is_full => drop(waiting.1.merge_owned(needs)),
            _ => {
                let at = self.waiting.partition_point(|waiting| waiting.0 < number);
                self.waiting.insert(at, (number, needs));
            }
        }
    }

    fn arrived(&mut self, number: u64) {
        let Received { last, missing, .. } = &mut self.received;
        if let Some(back) = (*last - number).checked_sub(1).filter(|back| *back < 64) {
            *missing &= !(1 << back);
        }
    }

    /// Finds up to which frame everything is durable; true if that has changed.
    pub(crate) fn settle(&mut self, durable: &VersionVector) -> bool {
        if !std::mem::take(&mut self.is_unsettled) {
            return false;
        }
        let early = planted::is(Bug::AcknowledgedEarly);
        while self.waiting.front().is_some_and(|(_, needs)| early || durable.covers(needs).is_ok()) {
            self.waiting.pop_front();
        }
        let settled = self.waiting.front().map_or(self.received.last, |(number, _)| number - 1);
        let settled = settled.max(self.received.durable);
        let mut changed = settled > self.received.durable;
        self.received.durable = settled;
        for (number, needs) in std::mem::take(&mut self.overtaken) {
            if durable.covers(&needs).is_ok() {
                self.arrived(number);
                changed = true;
            } else {
                self.overtaken.push((number, needs));
            }
        }
        changed
    }
}
