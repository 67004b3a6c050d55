//! Bringing up to date who is far behind: merged state of all origins, in parts.
//!
//! How a delta is cut while it travels is said in [`stream`](crate::stream), how it is put together in
//! [`staging`](crate::staging). A leader stages one delta at a time, that of the peer that it asked last.

use crate::{
    BadPiece, Engine, Event, HandleError, Key, Message, Now, Part, SessionId,
    message::MAX_PART,
    peer::Session,
    staging::{Progress, Staged, Taken, Unfit},
    stream::{End, Pace, Sending},
    sync::MAX_REPLICAS,
};
use crdt_core::{Dot, Merge, ReplicaId};

/// Who lacks no more bytes of batches than this gets them as they are.
const FEW_BYTES: usize = 128 << 10;

impl Engine {
    /// Gives a peer what it asks for, updates after these: the batches, if they are few, or a delta of all that it has not
    /// said it has.
    pub(crate) fn serve(&mut self, at: SessionId, pulled: &[(ReplicaId, u64)], now: Now) {
        self.cut_own();
        let Some(session) = self.sessions.get(&at) else { return };
        let peer = session.peer;
        self.settle_delta(at, peer);
        let Engine { sessions, durable, relay, config, .. } = self;
        let Some(session) = sessions.get_mut(&at) else { return };
        if session.sending.is_some() {
            // What was asked for again is on its way.
            return;
        }
        let mut bytes = 0;
        let is_in_log = pulled.iter().all(|(origin, since)| {
            let mut reached = *since;
            for batch in relay.log.after(*origin, *since) {
                (bytes, reached) = (bytes + batch.bytes(), batch.until);
            }
            reached >= durable.get(*origin) && bytes <= FEW_BYTES
        });
        if is_in_log {
            let out = &mut session.out;
            for (origin, since) in pulled.iter().filter(|(origin, since)| durable.get(*origin) > *since) {
                let row = out.row_of(*origin);
                row.asked = row.asked.max(durable.get(*origin));
                row.sent = *since;
                out.note_stale(*origin);
            }
            out.is_urgent = true;
            return;
        }
        session.owes_delta = true;
        if now.mono < session.wait_until {
            return;
        }
        // Cutting can be dear: who asks again at once has to wait.
        if session.asked_at.is_some_and(|asked| now.mono < asked + config.heartbeat) {
            session.wait_until = now.mono + config.heartbeat;
        }
        session.asked_at = Some(now.mono);
    }

    /// What there is to say of deltas on a connection: how much of the peer's has come, or the next part of one that the
    /// peer is owed.
    ///
    /// At most one delta is under way on a connection. It covers all origins up to what is durable when the last of it is
    /// cut; what comes later is sent in batches, and waits for it.
    pub(crate) fn next_part(&mut self, at: SessionId, now: Now) -> Option<Message> {
        let ordered = self.config.ordered;
        let session = self.sessions.get_mut(&at)?;
        let staged = session.staged.as_mut();
        if let Some(taken) = session.tells.take().or_else(|| staged.and_then(|staged| staged.tells(ordered)))
        {
            return Some(Message::Taken(taken));
        }
        if session.sending.as_ref().is_some_and(|sending| sending.is_void(&self.space)) {
            (session.sending, session.owes_delta) = (None, true);
        }
        if session.owes_delta && session.sending.is_none() && now.mono >= session.wait_until {
            session.owes_delta = false;
            let known = &self.peers.get(&session.peer)?.known;
            if known.covers(&self.durable).is_err() {
                self.next_delta += 1;
                session.sending = Some(Sending::new(self.next_delta, &self.space, known));
            }
        }
        let has_end =
            |session: &Session| session.sending.as_ref().is_some_and(|sending| sending.until().is_some());
        let had_end = has_end(session);
        let pace = Pace {
            now: now.mono,
            part: self.config.part.clamp(1, MAX_PART),
            resend: (!ordered).then_some(self.config.resend),
        };
        let part = session.sending.as_mut()?.next_part(&self.space, pace)?;
        if !had_end && has_end(session) {
            // What a delta brings is not to be sent again in a batch.
            for (origin, counter) in self.durable.iter() {
                session.out.row_of(origin).sent = counter;
            }
            self.cut_own();
        }
        Some(Message::Part(part))
    }

    /// The peer says how much of a delta it has.
    pub(crate) fn take_taken(&mut self, at: SessionId, taken: Taken) {
        let session = self.session(at);
        if session.sending.as_mut().is_some_and(|sending| sending.arrived(taken)) {
            session.sending = None;
        }
    }

    /// A peer is known to have more than before.
    pub(crate) fn settle_delta(&mut self, at: SessionId, peer: ReplicaId) {
        let Some(known) = self.peers.get(&peer).map(|peer| &peer.known) else { return };
        let Some(session) = self.sessions.get_mut(&at) else { return };
        let until = session.sending.as_ref().and_then(Sending::until);
        if until.is_some_and(|until| known.covers(until).is_ok()) {
            session.sending = None;
        }
    }

    pub(crate) fn take_part(
        &mut self,
        at: SessionId,
        peer: ReplicaId,
        part: Part,
        now: Now,
    ) -> Result<(), HandleError> {
        let Some((pieces, end)) = self.stage(at, part, now)? else { return Ok(()) };
        self.merge_delta(at, peer, pieces, end, now)
    }

    /// Takes a part of a delta; gives the whole once it is complete.
    fn stage(&mut self, at: SessionId, part: Part, now: Now) -> Result<Option<(Staged, End)>, HandleError> {
        let (delta, limit, ordered) = (part.delta, self.config.max_staged, self.config.ordered);
        let session = self.session(at);
        let latest = session.staged.as_ref().map_or(session.finished, |staged| staged.delta);
        if delta <= session.finished || delta < latest {
            session.tells = Some(Taken::all(delta));
            return Ok(None);
        }
        if delta > latest {
            session.finished = latest;
            session.staged = None;
            let is_asked = self.relay.pulling.as_ref().is_some_and(|pulling| pulling.session == at);
            let others = self.sessions.values_mut().filter(|other| other.staged.is_some());
            for other in others {
                if !is_asked {
                    let session = self.session(at);
                    (session.finished, session.tells) = (delta, Some(Taken::all(delta)));
                    return Ok(None);
                }
                let staged = other.staged.take().map_or(0, |staged| staged.delta);
                (other.finished, other.tells) = (staged, Some(Taken::all(staged)));
            }
            self.session(at).staged = Some(Staged::new(delta));
        }
        // Whoever sends parts is answering.
        self.relay.note_part(at, now.mono + self.config.resend);
        let undecoded = |session: &Session| session.staged.as_ref().map_or(0, Staged::undecoded);
        let held: usize = self.sessions.values().map(undecoded).sum();
        let Engine { sessions, space, .. } = self;
        let session = sessions.get_mut(&at).ok_or(HandleError::NoSession)?;
        let Some(staged) = &mut session.staged else { return Ok(None) };
        let taken = if held + part.bytes.len() > limit {
            Err(HandleError::TooLarge { limit })
        } else if ordered && staged.is_early(&part) {
            Err(HandleError::OutOfOrder)
        } else {
            staged.take(part, space).map_err(|why| match why {
                Unfit::Malformed(why) => HandleError::Encoding(why),
                Unfit::Piece(key, why) => HandleError::BadPiece { key, why },
            })
        };
        if let Ok(Progress::Going) = taken {
            return Ok(None);
        }
        let staged = session.staged.take();
        session.finished = delta;
        self.relay.end_delta(at);
        match taken? {
            Progress::Complete(end) => {
                let session = self.session(at);
                session.tells = Some(Taken::all(delta)).filter(|_| !ordered);
                Ok(staged.map(|staged| (staged, end)))
            }
            Progress::Going => Ok(None),
        }
    }

    fn merge_delta(
        &mut self,
        at: SessionId,
        id: ReplicaId,
        staged: Staged,
        end: End,
        now: Now,
    ) -> Result<(), HandleError> {
        let Staged { since, pieces, .. } = staged;
        let since = since.unwrap_or_default();
        self.check_vector(&end.until)?;
        if end.until.covers(&since).is_err()
            || end.floor.as_ref().is_some_and(|floor| end.until.covers(floor).is_err())
        {
            return Err(HandleError::Encoding("it ends before it begins".into()));
        }
        if self.space.version().covers(&since).is_err() {
            return Err(HandleError::OutOfOrder);
        }
        if let Some(from) = self.space.fork(id, &end.lineages, end.until.get(id)) {
            return Err(HandleError::Forked { replica: id, from });
        }
        let until = end.until.clone();
        let events = until.ahead_of(self.space.version());
        if events > 0 {
            let mut joined = self.space.version().clone();
            joined.merge(&until);
            if joined.len() > MAX_REPLICAS {
                return Err(HandleError::TooManyReplicas { limit: MAX_REPLICAS });
            }
            let bad = |(key, why): (Key, BadPiece)| HandleError::BadPiece { key, why };
            let checked = self.space.check(pieces, end, self.identity.replica).map_err(bad)?;
            let news = until.difference(self.space.version()).map(|(id, new)| Dot::new(id, *new.end()));
            self.relay.merged(news, self.writer.last());
            self.relay.early.look_at_all();
            self.space.apply(checked);
            self.forget_deaths();
            self.events.push_back(Event::Merged { peer: id, events });
        }
        self.peer(id).known.merge(&until);
        self.settle_delta(at, id);
        // Batches may have waited for it.
        let progress = self.progress(id, &[], now);
        for (origin, _) in until.iter() {
            self.came_nearer(origin, now);
        }
        progress.map(drop)
    }
}
