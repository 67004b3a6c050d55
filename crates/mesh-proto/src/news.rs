//! Frames: passing on batches, telling what is here, and asking for what is not.
//!
//! News of an origin goes along a tree. At first it is sent on every connection. Whoever gets it twice asks the
//! connection that was slower for announcements only, and asks for batches again where what was announced does not come.
//! So in calm times each update crosses each edge of a tree of the fastest links once, and the other links carry some
//! bits of it.
//!
//! Source: Leitão, Pereira, Rodrigues, "Epidemic broadcast trees" (SRDS 2007), sections 3.3 to 3.6, with a tree for each
//! origin. That whoever has told of all it has, in order, needs no vector of dependencies in each message is due to
//! Nédelec, Molli, Mostéfaoui, "Breaking the scalability barrier of causal broadcast for large and dynamic systems"
//! (SRDS 2018); here it holds without order too, because messages wait for whatever their sender had told of.

use crate::{
    Config, Engine, Event, HandleError, Message, Now, SessionId,
    batch::Batch,
    frame::{self, Frame},
    link::Sent,
    message,
    relay::Pulling,
    sync::MAX_REPLICAS,
};
use crdt_core::{Dot, ReplicaId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use version_vector::VersionVector;

/// A frame is full when the batches in it take so much memory, and a batch that takes more than twice that is not passed
/// on as one: a frame with both is below [`MAX_MESSAGE`](crate::MAX_MESSAGE).
const FULL: usize = 128 << 10;

/// Batches that are here and cannot be shown are waited with for so many times longer than for those that are not here.
const EARLY: u64 = 4;

impl Engine {
    pub(crate) fn take_frame(
        &mut self,
        at: SessionId,
        peer: ReplicaId,
        frame: &message::Frame,
        now: Now,
    ) -> Result<(), HandleError> {
        let malformed = |why: &dyn ToString| HandleError::Encoding(why.to_string());
        let number = frame::number(&frame.bytes).map_err(|why| malformed(&why))?;
        let due = self.acknowledge_at(now);
        let session = self.session(at);
        if number > 0 && session.inn.has(number) {
            session.out.acknowledge(due);
            return Ok(());
        }
        let told = &session.inn.told;
        let before = |place: usize| told.get(place).copied().unwrap_or(0);
        let frame =
            frame::decode(&frame.bytes, &mut session.inn.names, before).map_err(|why| malformed(&why))?;
        if frame.relative && !session.inn.is_next(number) {
            return Err(HandleError::OutOfOrder);
        }
        let durable = session.out.acknowledged(frame.received).map_err(|why| malformed(&why))?;
        for dot in durable {
            self.peer(peer).known.advance(dot);
        }
        if number == 0 {
            return Ok(());
        }
        self.take_told(at, peer, &frame)?;
        let session = self.session(at);
        session.out.acknowledge(due);
        // What a frame that was overtaken asks for may be out of date; it will be asked for again.
        let is_latest = number > session.inn.received.last;
        for (place, eager) in frame.modes.iter().filter(|_| is_latest) {
            let Some(origin) = session.inn.names.get(*place) else { continue };
            if *eager {
                session.out.lazy.remove(&origin);
                session.out.is_stale = true;
            } else {
                session.out.lazy.insert(origin);
            }
        }
        let needs = Arc::new(self.peer(peer).known.clone());
        self.session(at).inn.note(number, needs.clone());
        for batch in &frame.batches {
            self.take_batch(at, peer, batch, &needs)?;
        }
        self.progress(peer, now)?;
        let Frame { told, batches, pull, .. } = frame;
        let names = &self.sessions[&at].inn.names;
        let told = told.into_iter().filter_map(|(place, counter)| Some((names.get(place)?, counter)));
        let told: Vec<_> = told.chain(batches.iter().map(|batch| (batch.origin, batch.until))).collect();
        for (origin, counter) in told {
            if counter > self.space.version().get(origin) {
                // Whoever brings an origin's batches has none of these: they would have been in the frame.
                let is_source = self.config.ordered
                    && counter > self.reaches(origin)
                    && self.relay.parents.get(&origin).is_none_or(|parent| *parent == at);
                let due = if is_source { now.mono } else { self.due(origin, counter, now) };
                self.relay.overdue.entry(origin).or_insert(due);
            }
        }
        if pull {
            self.serve(at, now);
        }
        Ok(())
    }

    /// When what comes now is to be acknowledged. Whoever sends again what is lost should not wait for more than a part of
    /// the time after which it does.
    fn acknowledge_at(&self, now: Now) -> u64 {
        let Config { ordered, tell, gather, resend, .. } = self.config;
        now.mono + if ordered { tell.max(gather) } else { tell.min(resend / 4) }
    }

    /// What the peer says it has, in words or by sending it.
    fn take_told(&mut self, at: SessionId, peer: ReplicaId, frame: &Frame) -> Result<(), HandleError> {
        let names = &self.sessions[&at].inn.names;
        let mut dots = Vec::with_capacity(frame.told.len() + frame.batches.len());
        for (place, counter) in &frame.told {
            dots.extend(names.get(*place).map(|id| (*place, Dot::new(id, *counter))));
        }
        for batch in &frame.batches {
            dots.extend(names.place(batch.origin).map(|place| (place, Dot::new(batch.origin, batch.until))));
        }
        let me = self.identity.replica;
        if dots.iter().any(|(_, dot)| dot.replica == me && self.lacks_own(dot.counter)) {
            return Err(HandleError::LostUpdates);
        }
        for (place, dot) in dots {
            self.session(at).inn.tell(place, dot.counter);
            self.peer(peer).known.advance(dot);
        }
        if self.peer(peer).known.len() > MAX_REPLICAS {
            return Err(HandleError::TooManyReplicas { limit: MAX_REPLICAS });
        }
        Ok(())
    }

    fn take_batch(
        &mut self,
        at: SessionId,
        peer: ReplicaId,
        batch: &Arc<Batch>,
        needs: &Arc<VersionVector>,
    ) -> Result<(), HandleError> {
        let origin = batch.origin;
        if let Some(lineage) = &batch.lineage
            && origin == peer
        {
            let theirs = [(origin, lineage.clone())].into();
            if let Some(from) = self.space.fork(origin, &theirs, batch.until) {
                return Err(HandleError::Forked { replica: origin, from });
            }
        }
        let parent = self.relay.parents.get(&origin).copied();
        let is_lazy = self.session(at).inn.lazy.contains(&origin);
        if batch.until > self.reaches(origin) {
            self.relay.answered(origin);
            // What can be shown at once takes no room.
            let version = self.space.version();
            let is_ready = batch.since <= version.get(origin)
                && needs.iter().all(|(id, n)| n <= version.get(id) || id == origin && n <= batch.until);
            let limit = if is_ready { usize::MAX } else { self.config.max_early };
            self.relay.early.push(batch, needs, limit);
            // What comes by a connection that was just asked to stop was under way then.
            if parent.is_none() || !is_lazy {
                self.relay.parents.insert(origin, at);
            }
        } else if parent.is_none() && !is_lazy {
            self.relay.parents.insert(origin, at);
        } else if parent != Some(at) {
            let session = self.session(at);
            session.inn.lazy.insert(origin);
            session.out.modes.insert(origin, false);
        }
        Ok(())
    }

    /// Until when updates of `origin` up to `counter` are waited for. What they depend on may never come, if whoever had it
    /// has lost it: then what waits for it is fetched, with all that it depends on, as merged state.
    fn due(&self, origin: ReplicaId, counter: u64, now: Now) -> u64 {
        let times = if counter > self.reaches(origin) { 1 } else { EARLY };
        now.mono + self.config.patience * times
    }

    /// Up to where the updates of `origin` are here or wait for others.
    fn reaches(&self, origin: ReplicaId) -> u64 {
        self.relay.early.reaches(origin, self.space.version().get(origin))
    }

    /// Makes visible, in one step, what has all that it depends on.
    pub(crate) fn progress(&mut self, peer: ReplicaId, now: Now) -> Result<(), HandleError> {
        if self.relay.early.is_empty() {
            return Ok(());
        }
        let batches = self.relay.early.take(self.space.version());
        if batches.is_empty() {
            return Ok(());
        }
        let version = self.space.version();
        let events = batches.iter().fold((0, version.clone()), |(events, mut have), batch| {
            let new = batch.until - have.get(batch.origin);
            have.advance(Dot::new(batch.origin, batch.until));
            (events + u128::from(new), have)
        });
        let applied = if events.1.len() > MAX_REPLICAS {
            Err((None, HandleError::TooManyReplicas { limit: MAX_REPLICAS }))
        } else {
            self.space
                .apply_batches(&batches, self.identity.replica)
                .map_err(|(origin, key, why)| (Some(origin), HandleError::BadPiece { key, why }))
        };
        if let Err((origin, why)) = applied {
            if let Some(origin) = origin {
                self.relay.early.clear(origin);
            }
            for batch in &batches {
                self.relay.overdue.insert(batch.origin, now.mono + self.config.patience);
            }
            return Err(why);
        }
        self.forget_deaths();
        self.events.push_back(Event::Merged { peer, events: events.0 });
        let origins: BTreeSet<ReplicaId> = batches.iter().map(|batch| batch.origin).collect();
        for batch in batches {
            self.relay.log.push(batch, self.config.retain);
        }
        for origin in origins {
            self.came_nearer(origin, now);
        }
        Ok(())
    }

    /// More of an origin's updates are here: if some are still missing, they are waited for anew.
    pub(crate) fn came_nearer(&mut self, origin: ReplicaId, now: Now) {
        self.relay.answered(origin);
        let have = self.space.version().get(origin);
        let connected = self.peers.values().filter(|peer| peer.session.is_some());
        let told = connected.map(|peer| peer.known.get(origin)).max().unwrap_or(0);
        if told > have {
            let due = self.due(origin, told, now);
            self.relay.overdue.insert(origin, due);
        } else {
            self.relay.overdue.remove(&origin);
        }
    }

    /// Cuts a batch of the updates that were made since the last one.
    pub(crate) fn cut_own(&mut self) {
        let me = self.identity.replica;
        if self.durable.get(me) <= self.relay.cut {
            return;
        }
        let batch = self.space.cut_own(me, self.relay.cut);
        self.relay.cut = batch.until;
        // Frames that were made since these updates became durable were made without them.
        self.sessions.values_mut().for_each(|session| session.out.is_stale = true);
        if batch.bytes() <= 2 * FULL {
            self.relay.log.push(Arc::new(batch), self.config.retain);
        }
    }

    /// Whether this connection is the one on which to ask for what is overdue.
    fn pulls(&mut self, at: SessionId, now: Now) -> bool {
        if self.relay.overdue.is_empty()
            || self.relay.pulling.as_ref().is_some_and(|pulling| now.mono < pulling.until)
        {
            return false;
        }
        let due: Vec<ReplicaId> =
            self.relay.overdue.iter().filter(|(_, due)| **due <= now.mono).map(|(id, _)| *id).collect();
        let known = &self.peers[&self.sessions[&at].peer].known;
        let missing: Vec<ReplicaId> =
            due.into_iter().filter(|id| known.get(*id) > self.space.version().get(*id)).collect();
        if missing.is_empty() {
            return false;
        }
        let until = now.mono + (self.config.patience * EARLY).min(self.config.resend);
        self.relay.pulling = Some(Pulling { session: at, until, origins: missing.iter().copied().collect() });
        for origin in missing {
            // Whatever brought it until now does not any more.
            self.relay.parents.remove(&origin);
            self.relay.overdue.insert(origin, until);
            let session = self.session(at);
            session.inn.lazy.remove(&origin);
            session.out.modes.insert(origin, true);
        }
        true
    }

    /// The next frame for a connection, if there is reason for one.
    pub(crate) fn next_frame(&mut self, at: SessionId, now: Now) -> Option<Message> {
        let Config { gather, tell, .. } = self.config;
        if self.relay.begins_flush(now.mono) {
            self.cut_own();
        }
        let due = self.acknowledge_at(now);
        let lost_before = now.mono.checked_sub(self.config.resend).filter(|_| !self.config.ordered);
        let session = self.sessions.get_mut(&at)?;
        session.out.give_up(lost_before);
        if session.inn.settle(&self.durable) {
            session.out.acknowledge(due);
        }
        let has_room = session.out.has_room();
        let pull = has_room && self.pulls(at, now);
        let out = &self.sessions.get(&at)?.out;
        let is_time = out.is_urgent || out.flush < self.relay.flush;
        let news = out.is_stale && is_time && has_room;
        let modes = has_room && !out.modes.is_empty();
        let tells = out.tell_at.is_some_and(|due| due <= now.mono);
        if !(news || pull || modes || tells) {
            return None;
        }
        let mut frame = Frame { pull, relative: self.config.ordered, ..Frame::default() };
        let mut sent = Sent { at: now.mono, ..Sent::default() };
        let mut is_urgent = false;
        // Who gathers sends batches at its moments only.
        if news || pull || tells && has_room && gather == 0 {
            is_urgent = self.fill(at, &mut frame, &mut sent);
        }
        let session = self.sessions.get_mut(&at)?;
        let out = &mut session.out;
        if !is_urgent && !pull && !modes && !tells && gather == 0 {
            // Word of what travels by other connections can wait for something to go with.
            if !frame.told.is_empty() {
                out.tell_at.get_or_insert(now.mono + tell);
            }
            return None;
        }
        out.tell_at = None;
        out.heard = 0;
        // What there was no room to tell is looked at again.
        out.is_stale |= !has_room;
        if has_room {
            sent.modes = std::mem::take(&mut out.modes).into_iter().collect();
        }
        for (origin, eager) in &sent.modes {
            frame.modes.push((out.names.place_or_add(*origin), *eager));
        }
        frame.received = session.inn.received;
        let acknowledges = std::mem::take(&mut out.acknowledge);
        let is_empty = frame.told.is_empty() && frame.batches.is_empty() && frame.modes.is_empty() && !pull;
        if is_empty && !acknowledges {
            return None;
        }
        frame.names_from = out.names_from() as u64;
        frame.names = out.names.from(out.names_from()).to_vec();
        if is_empty {
            frame.relative = false;
        } else {
            frame.number = out.last + 1;
        }
        let (bytes, payload) = frame.encode(&out.names, |place| out.told(place));
        if !is_empty {
            out.last += 1;
            sent.number = out.last;
            sent.names = out.names.len();
            sent.told.iter().for_each(|(place, counter, _)| out.set_told(*place, *counter));
            out.push(sent);
        }
        Some(Message::Frame(message::Frame { bytes, payload }))
    }

    /// Puts in what the peer does not have: batches where it wants them, and how far this leader has the rest. Says whether
    /// there is anything that the peer waits for.
    fn fill(&mut self, at: SessionId, frame: &mut Frame, sent: &mut Sent) -> bool {
        let Engine { sessions, peers, durable, relay, config, identity, .. } = self;
        let Some(session) = sessions.get_mut(&at) else { return false };
        let mut is_urgent = false;
        let known = &peers[&session.peer].known;
        let out = &mut session.out;
        // A batch depends on all that its sender has, so a frame must not rely on one that may be lost.
        let unsure = if config.ordered { BTreeMap::new() } else { out.unsure() };
        let (mut room, mut is_full) = (FULL, false);
        for (origin, mine) in durable.iter() {
            // What is not cut yet is not news yet.
            let mine = if origin == identity.replica { relay.cut } else { mine };
            let theirs = known.get(origin);
            let place = out.names.place(origin);
            let told = place.map_or(0, |place| unsure.get(&place).copied().unwrap_or(out.told(place)));
            let from = place.map_or(0, |place| out.sent(place)).max(theirs);
            if mine <= from && (mine <= told || mine <= theirs && !frame.pull) {
                continue;
            }
            let place = out.names.place_or_add(origin);
            let is_wanted = !out.lazy.contains(&origin) || out.asked.get(origin) > from;
            let mut reached = from;
            if mine > from && is_wanted && origin != session.peer {
                for batch in relay.log.after(origin, from) {
                    if room == 0 {
                        is_full = true;
                        break;
                    }
                    room = room.saturating_sub(batch.bytes());
                    for piece in &batch.pieces {
                        for replica in piece.body.replicas() {
                            out.names.place_or_add(replica);
                        }
                    }
                    sent.batches.push((place, batch.since));
                    frame.batches.push(batch.clone());
                    reached = batch.until;
                }
            }
            if is_full && reached < mine {
                // The rest follows in the next frame.
                out.set_sent(place, reached);
                if reached > from {
                    sent.told.push((place, reached.max(told), told));
                }
                is_urgent = true;
                continue;
            }
            // What is not in the log any more is fetched by whoever lacks it.
            is_urgent |= is_wanted && mine > from && origin != session.peer;
            out.set_sent(place, mine);
            if mine > told && (mine > theirs || frame.pull) {
                if reached < mine || reached == from {
                    frame.told.push((place, mine));
                }
                sent.told.push((place, mine, told));
            }
        }
        frame.told.sort_unstable();
        frame.batches.sort_by_key(|batch| (out.names.place(batch.origin), batch.since));
        if !is_full {
            out.is_stale = false;
            out.is_urgent = false;
            out.flush = relay.flush;
        }
        is_urgent
    }
}
