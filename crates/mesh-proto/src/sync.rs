//! The conversation with peers: who has what, and what to send them.

use crate::{
    Engine, Event, HandleError, Hello, HelloError, MAGIC, Message, Now, PeerStatus, SessionId, WIRE_VERSION,
    codec::{decode_whole, encode},
    keyspace::{Lineages, SpaceDelta},
    message::MAX_PART,
    peer::{Peer, Sending, Session, Staged},
};
use crdt_core::{Merge, ReplicaId};
use twox_hash::XxHash3_64;
use version_vector::VersionVector;

/// How many peers are remembered; beyond, the one that was not heard of for longest is forgotten, which costs nothing but
/// its line in a report.
const MAX_PEERS: usize = 1 << 10;

/// How many replicas a vector from outside may name: more than any mesh has, little enough to hold.
const MAX_REPLICAS: usize = 1 << 14;

impl Engine {
    /// How this leader opens a connection.
    pub fn hello(&self) -> Hello {
        Hello {
            magic: MAGIC,
            version: WIRE_VERSION,
            cluster: self.identity.cluster.clone(),
            name: self.identity.name.clone(),
            replica: self.identity.replica,
            vector: self.durable.clone(),
            lineages: self.known_lineages(),
        }
    }

    /// In a mesh of thousands only one's own: a greeting must stay small.
    fn known_lineages(&self) -> Lineages {
        let (all, me) = (self.space.lineages(), self.identity.replica);
        if all.len() <= MAX_PEERS {
            all.clone()
        } else {
            all.get(&me).map(|own| (me, own.clone())).into_iter().collect()
        }
    }

    /// A connection is open and the other side has said `hello`. It replaces an earlier one to the same peer.
    ///
    /// # Errors
    ///
    /// [`HelloError`]; close the connection, nothing is changed.
    pub fn connect(&mut self, session: SessionId, hello: Hello, now: Now) -> Result<(), HelloError> {
        let Hello { cluster, name, replica, vector, lineages, .. } = hello;
        if cluster != self.identity.cluster {
            return Err(HelloError::Cluster { ours: self.identity.cluster.clone(), theirs: cluster });
        }
        if replica == self.identity.replica {
            return Err(HelloError::SameReplica { replica, name });
        }
        if vector.len() > MAX_REPLICAS {
            return Err(HelloError::NotALeader);
        }
        let me = self.identity.replica;
        if let Some(from) = self.space.fork(me, &lineages, vector.get(me)) {
            if self.forked.replace(from).is_none() {
                self.events.push_back(Event::Forked { from });
            }
            return Err(HelloError::Forked { replica: me, from });
        }
        if let Some(from) = self.space.fork(replica, &lineages, vector.get(replica)) {
            return Err(HelloError::Forked { replica, from });
        }
        if self.has_lost_updates(&vector) {
            return Err(HelloError::LostUpdates { replica: me });
        }
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&replica) {
            let absent = self.peers.iter().filter(|(_, peer)| peer.session.is_none());
            match absent.min_by_key(|(_, peer)| peer.heard).map(|(id, _)| *id) {
                Some(longest) => drop(self.peers.remove(&longest)),
                None => return Err(HelloError::TooManyPeers { limit: MAX_PEERS }),
            }
        }
        let peer = self.peers.entry(replica).or_insert_with(|| Peer {
            name: String::new(),
            known: VersionVector::new(),
            session: None,
            heard: now.mono,
            diverged: false,
        });
        (peer.name, peer.known, peer.heard) = (name, vector, now.mono);
        if let Some(old) = peer.session.replace(session) {
            self.sessions.remove(&old);
            self.events.push_back(Event::Close(old));
        }
        self.sessions.insert(
            session,
            Session {
                peer: replica,
                // The greeting was cut a while ago: say all once more.
                said: VersionVector::new(),
                behind: false,
                sending: None,
                relay_at: None,
                asked_at: None,
                wait_until: 0,
                alive_at: now.mono,
                staged: None,
            },
        );
        Ok(())
    }

    /// A connection is closed.
    pub fn disconnect(&mut self, session: SessionId) {
        let Some(closed) = self.sessions.remove(&session) else { return };
        if let Some(peer) = self.peers.get_mut(&closed.peer)
            && peer.session == Some(session)
        {
            peer.session = None;
        }
    }

    /// A message came in. **O(what it brings)**.
    ///
    /// # Errors
    ///
    /// [`HandleError`]; close the connection, nothing is changed.
    pub fn handle(&mut self, session: SessionId, message: Message, now: Now) -> Result<(), HandleError> {
        let id = self.sessions.get(&session).ok_or(HandleError::NoSession)?.peer;
        self.peer(id).heard = now.mono;
        match message {
            Message::Have(vector) => {
                self.check_vector(&vector)?;
                let peer = self.peer(id);
                peer.known.merge(&vector);
                if peer.known.len() > MAX_REPLICAS {
                    return Err(HandleError::TooManyReplicas { limit: MAX_REPLICAS });
                }
                self.arrived(session, id);
            }
            Message::Behind(vector) => {
                self.check_vector(&vector)?;
                self.peer(id).known = vector;
                let heartbeat = self.config.heartbeat;
                let session = self.session(session);
                session.sending = None;
                // Cutting can be dear: who asks again at once has to wait.
                if session.asked_at.is_some_and(|asked| now.mono < asked + heartbeat) {
                    session.wait_until = now.mono + heartbeat;
                }
                session.asked_at = Some(now.mono);
            }
            Message::Alive { vector, fingerprint, .. } => {
                if self.is_durable() && vector == digest(&self.durable) {
                    let diverged = fingerprint != self.space.fingerprint();
                    let durable = self.durable.clone();
                    let peer = self.peer(id);
                    peer.known = durable;
                    let news = diverged && !peer.diverged;
                    peer.diverged = diverged;
                    if news {
                        self.events.push_back(Event::Diverged { peer: id });
                    }
                    self.arrived(session, id);
                }
            }
            Message::Part { delta, offset, last, bytes } => {
                if let Some(bytes) = self.stage(session, delta, offset, last, bytes)? {
                    self.merge_delta(session, id, &bytes)?;
                }
            }
        }
        Ok(())
    }

    /// Joins the parts of a delta; gives the whole once it is complete.
    fn stage(
        &mut self,
        session: SessionId,
        delta: u64,
        offset: u64,
        last: bool,
        bytes: Vec<u8>,
    ) -> Result<Option<Vec<u8>>, HandleError> {
        let limit = self.config.max_staged;
        if offset == 0 {
            self.session(session).staged = Some(Staged { delta, bytes: Vec::new() });
        }
        let held: usize = self.sessions.values().filter_map(|s| Some(s.staged.as_ref()?.bytes.len())).sum();
        let session = self.session(session);
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

    fn merge_delta(&mut self, session: SessionId, id: ReplicaId, bytes: &[u8]) -> Result<(), HandleError> {
        let delta: SpaceDelta = decode_whole(bytes).map_err(|why| HandleError::Encoding(why.to_string()))?;
        self.check_vector(&delta.until)?;
        if delta.until.covers(&delta.since).is_err()
            || delta.floor.as_ref().is_some_and(|f| delta.until.covers(f).is_err())
        {
            return Err(HandleError::Encoding("it ends before it begins".into()));
        }
        if self.space.version().covers(&delta.since).is_err() {
            self.session(session).behind = true;
            return Ok(());
        }
        if let Some(from) = self.space.fork(id, &delta.lineages, delta.until.get(id)) {
            return Err(HandleError::Forked { replica: id, from });
        }
        let until = delta.until.clone();
        let events = until.ahead_of(self.space.version());
        if events == 0 {
            // The peer did not know that this is here already: say all again.
            self.session(session).said = VersionVector::new();
        } else {
            let mut joined = self.space.version().clone();
            joined.merge(&until);
            if joined.len() > MAX_REPLICAS {
                return Err(HandleError::TooManyReplicas { limit: MAX_REPLICAS });
            }
            let decoded = self.space.decode(delta, self.identity.replica);
            let decoded = decoded.map_err(|(key, why)| HandleError::BadPiece { key, why })?;
            self.space.apply(decoded);
            self.forget_deaths();
            self.events.push_back(Event::Merged { peer: id, events });
        }
        self.peer(id).known.merge(&until);
        self.arrived(session, id);
        Ok(())
    }

    /// What a peer is known to have has grown.
    fn arrived(&mut self, session: SessionId, id: ReplicaId) {
        let Some(known) = self.peers.get(&id).map(|peer| &peer.known) else { return };
        let Some(session) = self.sessions.get_mut(&session) else { return };
        if session.sending.as_ref().is_some_and(|sending| known.covers(&sending.until).is_ok()) {
            session.sending = None;
        }
        if known.covers(&self.durable).is_ok() {
            session.relay_at = None;
        }
    }

    fn check_vector(&mut self, vector: &VersionVector) -> Result<(), HandleError> {
        if vector.len() > MAX_REPLICAS {
            return Err(HandleError::TooManyReplicas { limit: MAX_REPLICAS });
        }
        if self.has_lost_updates(vector) { Err(HandleError::LostUpdates) } else { Ok(()) }
    }

    fn has_lost_updates(&mut self, vector: &VersionVector) -> bool {
        let (have, peer_has) = (self.writer.last(), vector.get(self.identity.replica));
        let lost = peer_has > have;
        if lost && !self.lost_updates {
            self.lost_updates = true;
            self.events.push_back(Event::LostUpdates { have, peer_has });
        }
        lost
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next message for a connection that has room for one; `None` if there is nothing to say now, or if something
    /// is not durable yet. Poll again after every other call, and at least every 50 ms.
    ///
    /// At most one delta is under way on a connection. While it is, news gathers, and many updates of one key become one
    /// piece of the next: a slow peer costs the memory of one delta, whatever it misses.
    pub fn poll(&mut self, session: SessionId, now: Now) -> Option<Message> {
        if !self.is_durable() {
            return None;
        }
        let Engine { sessions, peers, space, durable, config, identity, next_delta, .. } = self;
        let session = sessions.get_mut(&session)?;
        let known = &peers.get(&session.peer)?.known;
        if std::mem::take(&mut session.behind) {
            session.said.clone_from(durable);
            return Some(Message::Behind(durable.clone()));
        }
        if session.said != *durable {
            let news: VersionVector =
                durable.difference(&session.said).map(|(id, range)| (id, *range.end())).collect();
            session.said.clone_from(durable);
            if !news.is_empty() {
                return Some(Message::Have(news));
            }
        }
        if now.mono >= session.alive_at {
            session.alive_at = now.mono + config.heartbeat;
            if known != durable {
                // Heals a lost word on either side; in step the beat costs O(1).
                session.said = VersionVector::new();
            }
            let (vector, fingerprint) = (digest(durable), space.fingerprint());
            return Some(Message::Alive { vector, fingerprint, wall: now.wall });
        }
        if session.sending.as_ref().is_some_and(|sending| now.mono >= sending.resend_at) {
            session.sending = None;
        }
        if session.sending.is_none() {
            if now.mono < session.wait_until {
                return None;
            }
            if known.covers(durable).is_ok() {
                session.relay_at = None;
                return None;
            }
            if durable.get(identity.replica) <= known.get(identity.replica) {
                let due = *session.relay_at.get_or_insert(now.mono + config.relay_delay);
                if now.mono < due {
                    return None;
                }
            }
            session.relay_at = None;
            *next_delta += 1;
            let delta = space.cut(known);
            let until = delta.until.clone();
            let bytes = encode(&delta);
            session.sending = Some(Sending {
                delta: *next_delta,
                bytes,
                offset: 0,
                until,
                resend_at: now.mono + config.resend,
            });
        }
        let sending = session.sending.as_mut()?;
        let rest = &sending.bytes[sending.offset..];
        if rest.is_empty() {
            return None;
        }
        let part = config.part.clamp(1, MAX_PART);
        let (bytes, last) = (rest[..rest.len().min(part)].to_vec(), rest.len() <= part);
        let offset = sending.offset as u64;
        sending.offset += bytes.len();
        sending.resend_at = now.mono + config.resend;
        if last {
            // Only its length still matters.
            sending.bytes = Vec::new();
            sending.offset = 0;
        }
        Some(Message::Part { delta: sending.delta, offset, last, bytes })
    }

    /// What is known of every peer met since the start, in the order of their ids.
    pub fn peers(&self, now: Now) -> Vec<PeerStatus> {
        let status = |(replica, peer): (&ReplicaId, &Peer)| PeerStatus {
            replica: *replica,
            name: peer.name.clone(),
            session: peer.session,
            vector: peer.known.clone(),
            events_behind: self.durable.ahead_of(&peer.known),
            events_ahead: peer.known.ahead_of(&self.durable),
            oldest_ms: self.timeline.age(now.mono, &peer.known),
            last_contact_ms: now.mono.saturating_sub(peer.heard),
            diverged: peer.diverged,
        };
        self.peers.iter().map(status).collect()
    }

    fn session(&mut self, id: SessionId) -> &mut Session {
        self.sessions.get_mut(&id).expect("the caller has looked the session up")
    }

    fn peer(&mut self, id: ReplicaId) -> &mut Peer {
        self.peers.get_mut(&id).expect("a session has a peer")
    }
}

fn digest(vector: &VersionVector) -> u64 {
    XxHash3_64::oneshot(&encode(vector))
}
