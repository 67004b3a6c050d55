//! Bringing up to date who is far behind: merged state of all origins, in parts.

use crate::{
    Engine, Event, HandleError, Message, Now, Part, SessionId,
    codec::{decode_whole, encode},
    keyspace::SpaceDelta,
    message::MAX_PART,
    peer::{Sending, Staged},
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
        let Engine { sessions, durable, relay, config, .. } = self;
        let Some(session) = sessions.get_mut(&at) else { return };
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
                out.asked.advance(Dot::new(*origin, durable.get(*origin)));
                let place = out.names.place_or_add(*origin);
                out.set_sent(place, *since);
                out.stale.insert(*origin);
            }
            out.is_urgent = true;
            return;
        }
        session.owes_delta = true;
        if config.ordered && session.sending.as_ref().is_some_and(|sending| !sending.bytes.is_empty()) {
            // What was asked for again is on its way.
            return;
        }
        session.sending = None;
        if now.mono < session.wait_until {
            return;
        }
        // Cutting can be dear: who asks again at once has to wait.
        if session.asked_at.is_some_and(|asked| now.mono < asked + config.heartbeat) {
            session.wait_until = now.mono + config.heartbeat;
        }
        session.asked_at = Some(now.mono);
    }

    /// The next part of a delta for a connection, if one is owed.
    ///
    /// At most one delta is under way on a connection. It covers all origins up to what is durable when it is cut; what
    /// comes later is sent in batches, and waits for it.
    pub(crate) fn next_part(&mut self, at: SessionId, now: Now) -> Option<Message> {
        let session = self.sessions.get(&at)?;
        let is_lost = |sending: &Sending| !self.config.ordered && now.mono >= sending.resend_at;
        let is_due = session.sending.as_ref().is_none_or(is_lost);
        if session.owes_delta && is_due && now.mono >= session.wait_until {
            // What a delta brings is not to be sent again in a batch.
            self.cut_own();
            let Engine { sessions, peers, space, durable, config, next_delta, .. } = self;
            let session = sessions.get_mut(&at)?;
            let known = &peers.get(&session.peer)?.known;
            if known.covers(durable).is_ok() {
                (session.owes_delta, session.sending) = (false, None);
                return None;
            }
            *next_delta += 1;
            let delta = space.cut(known);
            for (origin, counter) in durable.iter() {
                let place = session.out.names.place_or_add(origin);
                session.out.set_sent(place, counter);
            }
            session.sending = Some(Sending {
                delta: *next_delta,
                payload: delta.pieces.iter().map(|piece| piece.bytes.len()).sum(),
                until: delta.until.clone(),
                bytes: encode(&delta),
                offset: 0,
                resend_at: now.mono + config.resend,
            });
        }
        let (part, resend) = (self.config.part.clamp(1, MAX_PART), self.config.resend);
        let sending = self.sessions.get_mut(&at)?.sending.as_mut()?;
        let rest = &sending.bytes[sending.offset..];
        if rest.is_empty() {
            return None;
        }
        let (bytes, last) = (rest[..rest.len().min(part)].to_vec(), rest.len() <= part);
        let payload = if last { sending.payload } else { bytes.len().min(sending.payload) };
        sending.payload -= payload;
        let offset = sending.offset as u64;
        sending.offset += bytes.len();
        sending.resend_at = now.mono + resend;
        if last {
            // Only its length still matters.
            (sending.bytes, sending.offset) = (Vec::new(), 0);
        }
        Some(Message::Part(Part { delta: sending.delta, offset, last, bytes, payload }))
    }

    /// A peer is known to have more than before.
    pub(crate) fn settle_delta(&mut self, at: SessionId, peer: ReplicaId) {
        let Some(known) = self.peers.get(&peer).map(|peer| &peer.known) else { return };
        let Some(session) = self.sessions.get_mut(&at) else { return };
        if session.sending.as_ref().is_some_and(|sending| known.covers(&sending.until).is_ok()) {
            (session.sending, session.owes_delta) = (None, false);
        }
    }

    pub(crate) fn take_part(
        &mut self,
        at: SessionId,
        peer: ReplicaId,
        part: Part,
        now: Now,
    ) -> Result<(), HandleError> {
        // Whoever sends parts is answering.
        if let Some(pulling) = self.relay.pulling.as_mut().filter(|pulling| pulling.session == at) {
            pulling.until = now.mono + self.config.resend;
        }
        match self.stage(at, part)? {
            Some(bytes) => self.merge_delta(at, peer, &bytes, now),
            None => Ok(()),
        }
    }

    /// Joins the parts of a delta; gives the whole once it is complete.
    fn stage(&mut self, at: SessionId, part: Part) -> Result<Option<Vec<u8>>, HandleError> {
        let Part { delta, offset, last, bytes, .. } = part;
        let limit = self.config.max_staged;
        if offset == 0 {
            self.session(at).staged = Some(Staged { delta, bytes: Vec::new() });
        }
        let held: usize = self.sessions.values().filter_map(|s| Some(s.staged.as_ref()?.bytes.len())).sum();
        let session = self.session(at);
        let staged = session.staged.as_mut().filter(|staged| staged.delta == delta);
        let staged =
            staged.filter(|staged| staged.bytes.len() as u64 == offset).ok_or(HandleError::OutOfOrder)?;
        if held + bytes.len() > limit {
            session.staged = None;
            return Err(HandleError::TooLarge { limit });
        }
        staged.bytes.extend(bytes);
        Ok(if last { session.staged.take().map(|staged| staged.bytes) } else { None })
    }

    fn merge_delta(
        &mut self,
        at: SessionId,
        id: ReplicaId,
        bytes: &[u8],
        now: Now,
    ) -> Result<(), HandleError> {
        let delta: SpaceDelta = decode_whole(bytes).map_err(|why| HandleError::Encoding(why.to_string()))?;
        self.check_vector(&delta.until)?;
        if delta.until.covers(&delta.since).is_err()
            || delta.floor.as_ref().is_some_and(|f| delta.until.covers(f).is_err())
        {
            return Err(HandleError::Encoding("it ends before it begins".into()));
        }
        if self.space.version().covers(&delta.since).is_err() {
            return Err(HandleError::OutOfOrder);
        }
        if let Some(from) = self.space.fork(id, &delta.lineages, delta.until.get(id)) {
            return Err(HandleError::Forked { replica: id, from });
        }
        let until = delta.until.clone();
        let events = until.ahead_of(self.space.version());
        if events > 0 {
            let mut joined = self.space.version().clone();
            joined.merge(&until);
            if joined.len() > MAX_REPLICAS {
                return Err(HandleError::TooManyReplicas { limit: MAX_REPLICAS });
            }
            let decoded = self.space.decode(delta, self.identity.replica);
            let decoded = decoded.map_err(|(key, why)| HandleError::BadPiece { key, why })?;
            let news = until.difference(self.space.version()).map(|(id, new)| Dot::new(id, *new.end()));
            self.relay.merged(news);
            self.relay.early.look_at_all();
            self.space.apply(decoded);
            self.forget_deaths();
            self.events.push_back(Event::Merged { peer: id, events });
        }
        self.peer(id).known.merge(&until);
        self.settle_delta(at, id);
        // Batches may have waited for it.
        let progress = self.progress(id, now);
        if self.relay.pulling.as_ref().is_some_and(|pulling| pulling.session == at) {
            self.relay.pulling = None;
        }
        for (origin, _) in until.iter() {
            self.came_nearer(origin, now);
        }
        progress
    }
}
