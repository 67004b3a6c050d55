//! Frames: passing on batches, telling what is here, and asking for what is not.
//!
//! News of an origin goes along a tree. At first it is sent on every connection. Whoever gets it twice asks the
//! connection that was slower for announcements only, and asks for batches again where what was announced does not come.
//! So in calm times each update crosses each edge of a tree of the fastest links once, and the other links carry some
//! bits of it.
//!
//! A batch is passed on as soon as it has come, also where it has to wait for others before it is visible: so whoever
//! waits for something does not make others wait.
//!
//! Source: Leitão, Pereira, Rodrigues, "Epidemic broadcast trees" (SRDS 2007), sections 3.3 to 3.6, with a tree for each
//! origin.

use crate::{
    Config, Engine, HandleError, Message, Now, SessionId,
    batch::Batch,
    entropy,
    frame::{self, FULL, Frame, Passed},
    link::Sent,
    message,
    peer::Session,
    planted::{self, Bug},
    relay::Pulling,
    sync::MAX_REPLICAS,
};
use crdt_core::{Dot, Merge, ReplicaId};
use std::sync::Arc;
use version_vector::VersionVector;

/// Ways that differ by less than this part of the time for which updates are waited for are about the same.
const NEAR: u64 = 4;

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
        let due = self.acknowledge_at(now);
        let Engine { sessions, space, .. } = self;
        let session = sessions.get_mut(&at).ok_or(HandleError::NoSession)?;
        let (number, relative) =
            frame::number(&frame.bytes, session.inn.received.last).map_err(|why| malformed(&why))?;
        if number > 0 && session.inn.has(number) {
            session.out.acknowledge(due);
            return Ok(());
        }
        if relative && !session.inn.is_next(number) {
            return Err(HandleError::OutOfOrder);
        }
        let frame =
            frame::decode(&frame.bytes, number, &mut session.inn.names, &mut session.inn.said, &|key| {
                space.held_otherwise(key)
            })
            .map_err(|why| malformed(&why))?;
        if self.config.ordered && frame.received.missing > 0 {
            return Err(malformed(&"it misses what cannot be lost"));
        }
        let session = self.session(at);
        let durable = session.out.acknowledged(frame.received).map_err(|why| malformed(&why))?;
        for dot in durable {
            self.peer(peer).known.advance(dot);
        }
        if number == 0 {
            return Ok(());
        }
        let needs = self.take_told(at, peer, &frame)?;
        let session = self.session(at);
        session.out.acknowledge(due);
        // What a frame that was overtaken asks for may be out of date; it will be asked for again.
        let is_latest = number > session.inn.received.last;
        for (place, eager) in frame.modes.iter().filter(|_| is_latest) {
            let Some(origin) = session.inn.names.get(*place) else { continue };
            session.out.row_of(origin).is_lazy = !eager;
            if *eager {
                session.out.note_stale(origin);
            }
        }
        let mut batches: Vec<&Passed> =
            frame.batches.iter().filter(|passed| !self.is_impossible(&passed.batch)).collect();
        while !batches.is_empty() {
            let mut refused = Vec::new();
            for passed in batches {
                if !self.take_batch(at, peer, passed, now)? {
                    refused.push(passed);
                }
            }
            // What became visible has made room for others.
            batches = if self.progress(peer, &frame.batches, now)? { refused } else { Vec::new() };
        }
        for (origin, counter) in needs.iter() {
            if counter > self.space.version().get(origin) {
                let is_far = counter > self.reaches(origin);
                // Whoever brings an origin's batches has none of these: they would have been in the frame.
                let is_source = self.config.ordered
                    && is_far
                    && self.relay.parents.get(&origin).is_none_or(|parent| *parent == at);
                if is_far {
                    self.relay.told_first(origin, at, counter, now.mono);
                }
                let due = if is_source { now.mono } else { self.due(origin, counter, now) };
                self.relay.overdue.entry(origin).or_insert(due);
            }
        }
        self.session(at).inn.note(number, needs);
        if !frame.pulls.is_empty() {
            let names = &self.session(at).inn.names;
            let pulled = frame.pulls.iter().filter_map(|(place, reach)| Some((names.get(*place)?, *reach)));
            let pulled: Vec<_> = pulled.collect();
            self.serve(at, &pulled, now);
        }
        Ok(())
    }

    /// When what comes now is to be acknowledged. Whoever sends again what is lost should not wait for more than a part of
    /// the time after which it does.
    fn acknowledge_at(&self, now: Now) -> u64 {
        let Config { ordered, tell, gather, resend, .. } = self.config;
        now.mono + if ordered { tell.max(gather) } else { tell.min(resend / 4) }
    }

    /// What the peer says it has, in words or by sending it. Returns what has to be here before all of that is.
    fn take_told(
        &mut self,
        at: SessionId,
        peer: ReplicaId,
        frame: &Frame,
    ) -> Result<VersionVector, HandleError> {
        let names = &self.sessions[&at].inn.names;
        let told =
            frame.told.iter().filter_map(|(place, counter)| Some(Dot::new(names.get(*place)?, *counter)));
        let told: Vec<Dot> = told.collect();
        let me = self.identity.replica;
        let mut seen = frame.batches.iter().filter(|passed| !passed.early);
        if told.iter().any(|dot| dot.replica == me && self.lacks_own(dot.counter))
            || seen.any(|passed| self.is_impossible(&passed.batch))
        {
            return Err(HandleError::LostUpdates);
        }
        // Joined at once: rows one by one, in any order, would take the square of their number.
        let rows =
            |dots: &[Dot]| -> VersionVector { dots.iter().map(|dot| (dot.replica, dot.counter)).collect() };
        let mut needs = told;
        self.peer(peer).known.merge(&rows(&needs));
        for Passed { batch, early, .. } in &frame.batches {
            if self.is_impossible(batch) {
                continue;
            }
            let dot = Dot::new(batch.origin, batch.until);
            if !early {
                self.peer(peer).known.advance(dot);
            } else if self.has_sent(at, peer, batch.origin) >= batch.since {
                self.session(at).inn.early.advance(dot);
            }
            needs.push(dot);
        }
        if self.peer(peer).known.len().max(self.session(at).inn.early.len()) > MAX_REPLICAS {
            return Err(HandleError::TooManyReplicas { limit: MAX_REPLICAS });
        }
        Ok(rows(&needs))
    }

    /// Whether a batch is of this leader, or depends on updates of it, that it never made. Whoever has it early has it from
    /// somebody else and cannot tell; whoever shows it has these updates.
    fn is_impossible(&self, batch: &Batch) -> bool {
        let me = self.identity.replica;
        batch.origin == me && self.lacks_own(batch.until)
            || batch.deps.iter().any(|dep| dep.replica == me && self.lacks_own(dep.counter))
    }

    /// Up to where a peer has an origin's updates, visible or not.
    fn has_sent(&self, at: SessionId, peer: ReplicaId, origin: ReplicaId) -> u64 {
        self.peers[&peer].known.get(origin).max(self.sessions[&at].inn.early.get(origin))
    }

    /// Takes a batch, if it is new; false if there is no room for it.
    fn take_batch(
        &mut self,
        at: SessionId,
        peer: ReplicaId,
        passed: &Passed,
        now: Now,
    ) -> Result<bool, HandleError> {
        let batch = &passed.batch;
        let (origin, hops) = (batch.origin, passed.hops.saturating_add(1).min(entropy::MOST));
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
            // What can be shown at once takes no room, and is news as soon as it is durable.
            let (early, version) = (&mut self.relay.early, self.space.version());
            let is_ready = early.is_ready(batch, version);
            if !(is_ready && early.push_ready(batch)) {
                let limit = if is_ready { usize::MAX } else { self.config.max_early };
                if !early.push(batch, version.get(origin), limit) {
                    return Ok(false);
                }
            }
            self.relay.log.push(batch.clone(), self.config.retain);
            if !is_ready {
                self.note_news(&[origin], now);
            }
            // Whoever brings the first one had something of the origin before this leader had anything: so these make no
            // circle, as they could if another were taken each time that it happens to be first.
            if parent.is_none() {
                self.relay.parents.insert(origin, at);
            }
            let way = self.relay.ways.entry(origin).or_default();
            (way.until, way.at) = (batch.until, now.mono);
            if parent.is_none_or(|parent| parent == at) {
                way.hops = hops;
            }
            let lead = self.config.gather / 4;
            if lead > 0
                && let Some(faster) = self.relay.overtakes(origin, batch.until, now.mono, lead)
                && faster != at
            {
                self.take_parent(origin, faster);
            }
        } else if parent.is_none() && !is_lazy {
            self.take_parent(origin, at);
        } else if parent != Some(at) {
            // Of two ways that take about the same time now, the one with fewer steps will be the faster one more often.
            let way = self.relay.ways.entry(origin).or_default();
            let is_near = way.until == batch.until && now.mono <= way.at + self.config.patience / NEAR;
            if is_near && hops < way.hops && !is_lazy {
                way.hops = hops;
                self.take_parent(origin, at);
            } else {
                self.set_mode(at, origin, false);
            }
        }
        Ok(true)
    }

    /// From now on an origin's batches come by this connection, and not by the one before.
    fn take_parent(&mut self, origin: ReplicaId, at: SessionId) {
        if let Some(before) = self.relay.parents.insert(origin, at).filter(|before| *before != at) {
            self.set_mode(before, origin, false);
        }
        if self.session(at).inn.lazy.contains(&origin) {
            self.set_mode(at, origin, true);
        }
    }

    /// Says on a connection whether batches of an origin are wanted on it, or only word of them.
    fn set_mode(&mut self, at: SessionId, origin: ReplicaId, eager: bool) {
        let session = self.session(at);
        if eager {
            session.inn.lazy.remove(&origin);
        } else {
            session.inn.lazy.insert(origin);
        }
        session.out.modes.insert(origin, eager);
    }

    /// There is something to be passed on of these origins.
    pub(crate) fn note_news(&mut self, origins: &[ReplicaId], now: Now) {
        self.relay.note_news(self.identity.replica, now.mono, self.config.gather);
        for session in self.sessions.values_mut() {
            for origin in origins {
                session.out.note_stale(*origin);
            }
        }
    }

    /// Until when updates of `origin` up to `counter` are waited for. What they depend on may never come, if whoever had it
    /// has lost it: then what waits for it is fetched, with all that it depends on, as merged state.
    pub(crate) fn due(&self, origin: ReplicaId, counter: u64, now: Now) -> u64 {
        let times = if counter > self.reaches(origin) { 1 } else { EARLY };
        now.mono + self.patience() * times
    }

    /// What a peer tells of may gather here and there at those who will bring it.
    pub(crate) fn patience(&self) -> u64 {
        self.config.patience + 2 * self.config.gather
    }

    /// Up to where the updates of `origin` are here or wait for others.
    fn reaches(&self, origin: ReplicaId) -> u64 {
        self.relay.early.reaches(origin, self.space.version().get(origin))
    }

    /// Cuts a batch of the updates that were made since the last one.
    pub(crate) fn cut_own(&mut self) {
        let me = self.identity.replica;
        if self.durable.get(me) <= self.space.cut_until() {
            return;
        }
        let deps = self.relay.take_frontier(me, self.writer.last());
        let batch = self.space.cut_own(deps);
        // Frames that were made since these updates became durable were made without them.
        self.sessions.values_mut().for_each(|session| session.out.note_stale(me));
        if batch.bytes() <= 2 * FULL {
            self.relay.log.push(Arc::new(batch), self.config.retain);
        }
    }

    /// What is overdue and is to be asked for on this connection: origins, and up to where their updates have come.
    fn pulls(&mut self, at: SessionId, now: Now) -> Vec<(ReplicaId, u64)> {
        if self.relay.overdue.is_empty() {
            return Vec::new();
        }
        match &self.relay.pulling {
            Some(pulling) if now.mono < pulling.until => return Vec::new(),
            Some(late) => _ = self.relay.late.insert(late.session),
            None => {}
        }
        let known = &self.peers[&self.sessions[&at].peer].known;
        let due = self.relay.overdue.iter().filter(|(_, due)| **due <= now.mono).map(|(id, _)| *id);
        let due =
            due.filter(|id| !(planted::is(Bug::NeverGrafted) && self.sessions[&at].inn.lazy.contains(id)));
        let due: Vec<ReplicaId> = due.filter(|id| known.get(*id) > self.space.version().get(*id)).collect();
        if due.is_empty() {
            return Vec::new();
        }
        if self.relay.late.contains(&at) {
            let is_better = |(id, session): (&SessionId, &Session)| {
                let known = &self.peers[&session.peer].known;
                let has = |id: &ReplicaId| known.get(*id) > self.space.version().get(*id);
                !self.relay.late.contains(id) && session.out.has_room() && due.iter().any(has)
            };
            if self.sessions.iter().any(is_better) {
                return Vec::new();
            }
            self.relay.late.clear();
        }
        let reach =
            |id: ReplicaId| Some((id, self.reaches(id))).filter(|(id, reach)| known.get(*id) > *reach);
        // Of what has come and waits, what it waits for is missing: all that this peer could have sent.
        let waits = due.iter().any(|id| reach(*id).is_none());
        let missing: Vec<(ReplicaId, u64)> = if waits {
            known.iter().filter_map(|(id, _)| reach(id)).collect()
        } else {
            due.iter().filter_map(|id| reach(*id)).collect()
        };
        let until = now.mono + (self.config.patience * EARLY).min(self.config.resend);
        self.relay.overdue.extend(due.into_iter().map(|origin| (origin, until)));
        if !missing.is_empty() {
            let origins = missing.iter().map(|(origin, _)| *origin).collect();
            self.relay.pulling = Some(Pulling { session: at, until, origins, is_delta: false });
        }
        for (origin, _) in &missing {
            // Whatever brought it until now does not any more.
            self.relay.parents.remove(origin);
            self.set_mode(at, *origin, true);
        }
        missing
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
        let pulls = if has_room { self.pulls(at, now) } else { Vec::new() };
        let out = &self.sessions.get(&at)?.out;
        let is_time = out.is_urgent || out.flush < self.relay.flush;
        let news = is_time && has_room && (out.has_stale() || out.has_untold());
        let modes = has_room && !out.modes.is_empty();
        let tells = out.tell_at.is_some_and(|due| due <= now.mono);
        if !(news || !pulls.is_empty() || modes || tells) {
            return None;
        }
        let mut frame = Frame { relative: self.config.ordered, ..Frame::default() };
        let mut sent = Sent { at: now.mono, ..Sent::default() };
        let pull = !pulls.is_empty();
        // Who gathers sends batches at its moments only.
        let is_urgent =
            (news || pull || tells && has_room && gather == 0) && self.pass_on(at, &mut frame, &mut sent);
        let out = &mut self.session(at).out;
        if !is_urgent && !pull && !modes && !tells && gather == 0 {
            // Word of what travels by other connections can wait for something to go with.
            if out.has_untold() {
                out.tell_at.get_or_insert(now.mono + tell);
            }
            return None;
        }
        frame.pulls = pulls.into_iter().map(|(id, reach)| (out.names.place_or_add(id), reach)).collect();
        frame.pulls.sort_unstable();
        if has_room && (gather == 0 || news || pull) {
            self.tell(at, &mut frame, &mut sent);
        }
        let session = self.sessions.get_mut(&at)?;
        let out = &mut session.out;
        out.tell_at = None;
        out.heard = 0;
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
        let (bytes, payload) = frame.encode(&out.names, &mut out.said);
        if !is_empty {
            out.last += 1;
            sent.number = out.last;
            sent.names = out.names.len();
            sent.told.iter().for_each(|(place, counter, _)| out.row(*place).told = *counter);
            out.push(sent, self.config.ordered);
        }
        Some(Message::Frame(message::Frame { bytes, payload }))
    }

    /// Puts in the batches that the peer does not have, where it wants them. Says whether there is anything that the peer
    /// waits for.
    fn pass_on(&mut self, at: SessionId, frame: &mut Frame, sent: &mut Sent) -> bool {
        let Engine { sessions, peers, durable, relay, identity, space, .. } = self;
        let Some(session) = sessions.get_mut(&at) else { return false };
        let known = &peers[&session.peer].known;
        // A delta that is being cut will bring it.
        let is_cutting = session.sending.as_ref().is_some_and(|sending| sending.until().is_none());
        let (inn, out) = (&session.inn, &mut session.out);
        let (mut room, mut is_urgent) = (FULL, false);
        while let Some(place) = out.next_stale() {
            out.note_untold_at(place);
            let Some(origin) = out.names.get(place).filter(|origin| *origin != session.peer) else {
                continue;
            };
            // What is not cut yet is not news yet.
            let mine = if origin == identity.replica { space.cut_until() } else { durable.get(origin) };
            let row = out.row(place);
            if is_cutting || row.is_lazy && row.asked <= row.sent {
                row.sent = row.sent.max(mine);
                continue;
            }
            let from = row.sent.max(known.get(origin)).max(inn.early.get(origin));
            if row.is_lazy && row.asked <= from {
                row.sent = from.max(mine);
                continue;
            }
            let hops = relay.ways.get(&origin).map_or(0, |way| way.hops);
            // What is not in the log any more is fetched by whoever lacks it, and hears of it.
            is_urgent |= mine > from;
            let mut reached = from;
            for batch in relay.log.after(origin, from) {
                if room == 0 {
                    // The rest follows in the next frame.
                    out.row(place).sent = reached;
                    out.note_stale_at(place);
                    out.is_urgent = true;
                    return true;
                }
                let killed = batch.pieces.iter().flat_map(|piece| piece.body.replicas());
                let named = killed.chain(batch.deps.iter().map(|dep| dep.replica));
                // What waits may name replicas that nobody knows; those that there are must still have room.
                let most = if batch.until > mine { MAX_REPLICAS / 2 } else { MAX_REPLICAS };
                if !out.names.have_room(named.clone(), most) {
                    break;
                }
                room = room.saturating_sub(batch.bytes());
                named.for_each(|replica| _ = out.names.place_or_add(replica));
                sent.batches.push((place, batch.since, batch.until));
                frame.batches.push(Passed { place, batch: batch.clone(), early: batch.until > mine, hops });
                reached = batch.until;
                is_urgent = true;
            }
            out.row(place).sent = reached.max(mine);
        }
        out.is_urgent = false;
        out.flush = relay.flush;
        is_urgent
    }

    /// Puts in how far this leader has what the peer lacks, where the batches in the frame do not tell; if it asks for
    /// something, also where the peer has it.
    fn tell(&mut self, at: SessionId, frame: &mut Frame, sent: &mut Sent) {
        let Engine { sessions, peers, durable, identity, space, .. } = self;
        let Some(session) = sessions.get_mut(&at) else { return };
        let known = &peers[&session.peer].known;
        let out = &mut session.out;
        let asks = !frame.pulls.is_empty();
        if asks {
            for (origin, _) in durable.iter() {
                let place = out.names.place_or_add(origin);
                out.note_untold_at(place);
            }
        }
        frame.batches.sort_by_key(|passed| (passed.place, passed.batch.since));
        for place in out.take_untold() {
            let Some(origin) = out.names.get(place) else { continue };
            let mine = if origin == identity.replica { space.cut_until() } else { durable.get(origin) };
            let is_full = out.is_stale_at(place);
            let row = out.row(place);
            // Where not all that there is had room, only that can be told.
            let mine = if is_full { mine.min(row.sent) } else { mine };
            let told = row.told;
            if mine <= told || mine <= known.get(origin) && !asks {
                continue;
            }
            // The last of the origin's in the frame.
            let at = frame.batches.partition_point(|passed| passed.place <= place);
            let last = at.checked_sub(1).map(|at| &frame.batches[at]);
            if last.is_none_or(|last| last.place != place || last.batch.until != mine) {
                frame.told.push((place, mine));
            }
            sent.told.push((place, mine, told));
        }
        frame.told.sort_unstable();
    }
}
