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
    Engine, Event, HandleError, Message, Now, SessionId,
    batch::Batch,
    frame::{self, Frame},
    link::Sent,
    message,
    sync::MAX_REPLICAS,
};
use crdt_core::{Dot, ReplicaId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A frame is full when the batches in it take so much memory, and a batch that takes more than twice that is not passed
/// on as one: a frame with both is below [`MAX_MESSAGE`](crate::MAX_MESSAGE).
const FULL: usize = 128 << 10;

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
        let session = self.session(at);
        if number > 0 && session.inn.has(number) {
            session.out.acknowledge = true;
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
        session.out.acknowledge = true;
        for (place, eager) in &frame.modes {
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
            if counter > self.reaches(origin) {
                self.relay.overdue.entry(origin).or_insert(now.mono + self.config.patience);
            }
        }
        if pull {
            self.serve(at, now);
        }
        Ok(())
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
        if let Some(own) = dots.iter().filter(|(_, dot)| dot.replica == me).map(|(_, dot)| dot.counter).max()
            && self.lacks_own(own)
        {
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
        needs: &Arc<version_vector::VersionVector>,
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
        if batch.until > self.reaches(origin) {
            self.relay.early.push(batch, needs, self.config.max_early);
            self.relay.parents.insert(origin, at);
        } else if parent.is_none() {
            self.relay.parents.insert(origin, at);
        } else if parent != Some(at) {
            let session = self.session(at);
            session.inn.lazy.insert(origin);
            session.out.modes.insert(origin, false);
        }
        Ok(())
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
        let have = self.reaches(origin);
        if self.peers.values().any(|peer| peer.session.is_some() && peer.known.get(origin) > have) {
            self.relay.overdue.insert(origin, now.mono + self.config.patience);
        } else {
            self.relay.overdue.remove(&origin);
            if self.relay.overdue.is_empty() {
                self.relay.pulling = None;
            }
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
        if batch.bytes() <= 2 * FULL {
            self.relay.log.push(Arc::new(batch), self.config.retain);
        }
    }

    /// Whether this connection is the one on which to ask for what is overdue.
    fn pulls(&mut self, at: SessionId, now: Now) -> bool {
        if self.relay.overdue.is_empty() || self.relay.pulling.is_some_and(|(_, until)| now.mono < until) {
            return false;
        }
        let due: Vec<ReplicaId> =
            self.relay.overdue.iter().filter(|(_, due)| **due <= now.mono).map(|(id, _)| *id).collect();
        let known = &self.peers[&self.sessions[&at].peer].known;
        let missing: Vec<ReplicaId> =
            due.into_iter().filter(|id| known.get(*id) > self.reaches(*id)).collect();
        if missing.is_empty() {
            return false;
        }
        let until = now.mono + self.config.resend;
        self.relay.pulling = Some((at, until));
        for origin in missing {
            // Whatever brought it until now does not any more.
            self.relay.parents.remove(&origin);
            self.relay.overdue.insert(origin, until);
            let session = self.session(at);
            if session.inn.lazy.remove(&origin) {
                session.out.modes.insert(origin, true);
            }
        }
        true
    }

    /// The next frame for a connection, if there is reason for one.
    pub(crate) fn next_frame(&mut self, at: SessionId, now: Now) -> Option<Message> {
        if self.relay.has_news && self.relay.flush_at <= now.mono {
            self.cut_own();
            self.relay.has_news = false;
            self.relay.flush += 1;
            self.relay.flush_at = now.mono + self.config.gather;
        }
        let lost_before = now.mono.checked_sub(self.config.resend).filter(|_| !self.config.ordered);
        let session = self.sessions.get_mut(&at)?;
        session.out.give_up(lost_before);
        session.out.acknowledge |= session.inn.settle(&self.durable);
        let has_room = session.out.has_room();
        let pull = has_room && self.pulls(at, now);
        let out = &self.sessions.get(&at)?.out;
        let is_time = out.is_urgent || out.flush < self.relay.flush;
        let news = out.is_stale && is_time && has_room;
        if !(news || pull || out.acknowledge || has_room && !out.modes.is_empty()) {
            return None;
        }
        let mut frame = Frame { pull, relative: self.config.ordered || out.is_exact(), ..Frame::default() };
        let mut sent = Sent { at: now.mono, ..Sent::default() };
        if news || pull {
            self.fill(at, &mut frame, &mut sent);
        }
        let session = self.sessions.get_mut(&at)?;
        let out = &mut session.out;
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

    /// Puts in what the peer does not have: batches where it wants them, and how far this leader has the rest.
    fn fill(&mut self, at: SessionId, frame: &mut Frame, sent: &mut Sent) {
        let Engine { sessions, peers, durable, relay, config, .. } = self;
        let Some(session) = sessions.get_mut(&at) else { return };
        let known = &peers[&session.peer].known;
        let out = &mut session.out;
        // A batch depends on all that its sender has, so a frame must not rely on one that may be lost.
        let unsure = if config.ordered { BTreeMap::new() } else { out.unsure() };
        let (mut room, mut is_full) = (FULL, false);
        for (origin, mine) in durable.iter() {
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
                continue;
            }
            // What is not in the log any more is fetched by whoever lacks it.
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
    }
}
