//! The conversation with peers: greeting, hearing and speaking.

use crate::{
    Engine, Event, HandleError, Hello, HelloError, MAGIC, Message, Now, PeerStatus, SessionId, WIRE_VERSION,
    codec::encode,
    link::{Inbound, Outbound},
    peer::{Peer, Session},
    planted::{self, Bug},
    reconcile::{Dealings, Exchange},
    stream::Sending,
};
use crdt_core::{Merge, ReplicaId};
use twox_hash::XxHash3_64;
use version_vector::VersionVector;

/// How many peers are remembered; beyond, the one that was not heard of for longest is forgotten, which costs nothing but
/// its line in a report.
const MAX_PEERS: usize = 1 << 10;

/// How many replicas a vector from outside may name: more than any mesh has, little enough to hold.
pub(crate) const MAX_REPLICAS: usize = 1 << 14;

/// A connection on which there is always something to say carries a sign of life so many times more seldom: it needs none,
/// and its two sides hardly ever have the same to compare.
const BUSY: u64 = 10;

impl Engine {
    /// How this leader opens a connection.
    pub fn hello(&self) -> Hello {
        let own = self.space.lineages().get(&self.identity.replica);
        Hello {
            magic: MAGIC,
            version: WIRE_VERSION,
            cluster: self.identity.cluster.clone(),
            name: self.identity.name.clone(),
            replica: self.identity.replica,
            vector: self.durable.clone(),
            lineage: own.cloned().unwrap_or_default(),
        }
    }

    /// A connection is open: this side has said `sent`, its [`hello`](Engine::hello) of that moment, and the other side
    /// `hello`. It replaces an earlier one to the same peer.
    ///
    /// # Errors
    ///
    /// [`HelloError`]; close the connection, nothing is changed.
    pub fn connect(
        &mut self,
        session: SessionId,
        sent: &Hello,
        hello: Hello,
        now: Now,
    ) -> Result<(), HelloError> {
        let Hello { cluster, name, replica, vector, lineage, .. } = hello;
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
        if let Some(from) = self.space.fork(replica, &[(replica, lineage)].into(), vector.get(replica)) {
            return Err(HelloError::Forked { replica, from });
        }
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&replica) {
            let absent = self.peers.iter().filter(|(_, peer)| peer.session.is_none());
            match absent.min_by_key(|(_, peer)| peer.heard).map(|(id, _)| *id) {
                Some(longest) => drop(self.peers.remove(&longest)),
                None => return Err(HelloError::TooManyPeers { limit: MAX_PEERS }),
            }
        }
        let (last, owes_lineage) = (self.durable.get(replica), self.lacks_own(vector.get(me)));
        let peer = self.peers.entry(replica).or_insert_with(|| Peer {
            name: String::new(),
            known: VersionVector::new(),
            session: None,
            heard: now.mono,
            diverged: false,
            dealings: Dealings::default(),
        });
        let lineage = self.space.lineages().get(&replica).map(|lineage| (lineage.clone(), last));
        let (mut out, inn) = (Outbound::new(&sent.vector), Inbound::new(&vector));
        let origins = self.durable.iter().map(|row| row.0).chain(self.relay.early.origins());
        origins.for_each(|origin| out.note_stale(origin));
        // What it has and this leader lacks is asked for at once.
        for (origin, _) in vector.difference(self.space.version()) {
            self.relay.overdue.entry(origin).or_insert(now.mono);
        }
        (peer.name, peer.known, peer.heard) = (name, vector, now.mono);
        if let Some(old) = peer.session.replace(session) {
            self.sessions.remove(&old);
            self.relay.disconnect(old);
            self.events.push_back(Event::Close(old));
            self.drop_overdue();
        }
        self.sessions.insert(
            session,
            Session {
                peer: replica,
                out,
                inn,
                lineage,
                owes_lineage,
                owes_delta: false,
                sending: None,
                asked_at: None,
                wait_until: 0,
                alive_at: now.mono,
                digest_at: now.mono,
                staged: None,
                finished: 0,
                tells: None,
                exchange: Exchange::new(sent.vector.clone()),
            },
        );
        Ok(())
    }

    /// What to say, as the only message, to a peer that [`connect`](Engine::connect) has refused as
    /// [`Forked`](HelloError::Forked), before closing: it hears from it that it must write no more.
    pub fn farewell(&self, replica: ReplicaId) -> Option<Message> {
        let lineage = self.space.lineages().get(&replica)?.clone();
        Some(Message::Lineage { lineage, last: self.durable.get(replica) })
    }

    /// A connection is closed.
    pub fn disconnect(&mut self, session: SessionId) {
        self.relay.disconnect(session);
        let Some(closed) = self.sessions.remove(&session) else { return };
        if let Some(peer) = self.peers.get_mut(&closed.peer)
            && peer.session == Some(session)
        {
            peer.session = None;
        }
        self.drop_overdue();
    }

    /// What no connected peer has told of cannot be asked for. Whoever connects and has it says so.
    pub(crate) fn drop_overdue(&mut self) {
        let Engine { relay, peers, space, .. } = self;
        let connected: Vec<_> = peers.values().filter(|peer| peer.session.is_some()).collect();
        relay.overdue.retain(|origin, _| {
            let here = space.version().get(*origin);
            connected.iter().any(|peer| peer.known.get(*origin) > here)
        });
    }

    /// A message came in. **O(what it brings)**, and a comparison of vectors.
    ///
    /// # Errors
    ///
    /// [`HandleError`]; close the connection. What the message brought is not taken.
    pub fn handle(&mut self, session: SessionId, message: Message, now: Now) -> Result<(), HandleError> {
        let id = self.sessions.get(&session).ok_or(HandleError::NoSession)?.peer;
        self.peer(id).heard = now.mono;
        if self.session(session).owes_lineage && !matches!(message, Message::Lineage { .. }) {
            return Err(HandleError::LostUpdates);
        }
        if self.has_lost_metadata() && !matches!(message, Message::Reconcile(_)) {
            // Without a vector there is nothing to join it to.
            return Ok(());
        }
        match message {
            Message::Frame(frame) => {
                self.take_frame(session, id, &frame, now)?;
                self.settle_delta(session, id);
            }
            Message::Alive { vector, fingerprint, .. } => {
                if self.is_durable() && vector == digest(&self.durable) {
                    let diverged = fingerprint != self.space.fingerprint();
                    let durable = self.durable.clone();
                    let peer = self.peer(id);
                    // It may be old, and the peer known to have more: what was told must not be forgotten.
                    peer.known.merge(&durable);
                    match (std::mem::replace(&mut peer.diverged, diverged), diverged) {
                        (_, false) => peer.dealings.agree(),
                        (false, true) => self.events.push_back(Event::Diverged { peer: id }),
                        (true, true) => self.note_diverged(session, id, now),
                    }
                    self.settle_delta(session, id);
                }
            }
            Message::Part(part) => self.take_part(session, id, part, now)?,
            Message::Taken(taken) => self.take_taken(session, taken),
            Message::Reconcile(part) => self.take_step(session, id, part, now)?,
            Message::Lineage { lineage, last } => {
                let me = self.identity.replica;
                if let Some(from) = self.space.fork(me, &[(me, lineage)].into(), last) {
                    if self.forked.replace(from).is_none() {
                        self.events.push_back(Event::Forked { from });
                    }
                    return Err(HandleError::Forked { replica: me, from });
                }
                if self.lacks_own(last) {
                    if !planted::is(Bug::AmnesiaIgnored) && !std::mem::replace(&mut self.lost_updates, true) {
                        let have = self.writer.last();
                        self.events.push_back(Event::LostUpdates { have, peer_has: last });
                    }
                    return Err(HandleError::LostUpdates);
                }
                self.session(session).owes_lineage = false;
            }
        }
        Ok(())
    }

    pub(crate) fn check_vector(&self, vector: &VersionVector) -> Result<(), HandleError> {
        if vector.len() > MAX_REPLICAS {
            return Err(HandleError::TooManyReplicas { limit: MAX_REPLICAS });
        }
        if self.lacks_own(vector.get(self.identity.replica)) { Err(HandleError::LostUpdates) } else { Ok(()) }
    }

    /// Whether someone has more of this leader's updates than it has itself: they are lost here, or another run made them.
    /// Which of the two it is shows when the other side says whose they are.
    pub(crate) fn lacks_own(&self, last: u64) -> bool {
        last > self.writer.last()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to [`poll`](Engine::poll) next if nothing comes in before, in the time of [`Now::mono`]. **O(s + r)** for s
    /// connections and r replicas.
    pub fn wake_at(&self) -> u64 {
        let mut at = u64::MAX;
        for session in self.sessions.values() {
            let resend = session.out.under_way_since().filter(|_| !self.config.ordered);
            let part = session.sending.as_ref().and_then(Sending::waits_since);
            let waits = [resend, part.filter(|_| !self.config.ordered)].into_iter().flatten().min();
            let times = [waits.map(|since| since + self.config.resend), session.out.tell_at];
            at = times.into_iter().flatten().fold(at.min(session.alive_at), u64::min);
        }
        if self.relay.has_news && !self.sessions.is_empty() {
            at = at.min(self.relay.flush_at);
        }
        let asked = self.relay.pulling.as_ref().map_or(0, |pulling| pulling.until);
        let overdue = self.relay.overdue.values().min().map(|due| (*due).max(asked));
        at.min(overdue.unwrap_or(u64::MAX))
    }

    /// The next message for a connection that has room for one; `None` if there is nothing to say now, or if something
    /// is not durable yet. Poll again after every other call, and at the time that [`wake_at`](Engine::wake_at) gives.
    ///
    /// News gathers while nobody polls, and while many frames are not acknowledged; it is passed on from a memory of
    /// bounded size that all connections share, and what is no longer in it as one delta of merged state. So a slow
    /// peer costs the memory of that delta, whatever it misses.
    pub fn poll(&mut self, session: SessionId, now: Now) -> Option<Message> {
        if !self.is_durable() && !planted::is(Bug::TalksBeforeDurable) {
            return None;
        }
        if let Some((lineage, last)) = self.sessions.get_mut(&session)?.lineage.take() {
            return Some(Message::Lineage { lineage, last });
        }
        let (heartbeat, is_lost) = (self.config.heartbeat, self.has_lost_metadata());
        if let Some(frame) = (!is_lost).then(|| self.next_frame(session, now)).flatten() {
            let session = self.session(session);
            session.alive_at = (now.mono + heartbeat).min(session.digest_at);
            return Some(frame);
        }
        let Session { alive_at, digest_at, .. } = self.sessions.get_mut(&session)?;
        if now.mono >= *alive_at {
            *alive_at = now.mono + heartbeat;
            *digest_at = now.mono + heartbeat * BUSY;
            let (vector, fingerprint) = (digest(&self.durable), self.space.fingerprint());
            return Some(Message::Alive { vector, fingerprint, wall: now.wall });
        }
        self.next_step(session, now).or_else(|| (!is_lost).then(|| self.next_part(session, now)).flatten())
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

    pub(crate) fn session(&mut self, id: SessionId) -> &mut Session {
        self.sessions.get_mut(&id).expect("the caller has looked the session up")
    }

    pub(crate) fn peer(&mut self, id: ReplicaId) -> &mut Peer {
        self.peers.get_mut(&id).expect("a session has a peer")
    }
}

pub(crate) fn digest(vector: &VersionVector) -> u64 {
    XxHash3_64::oneshot(&encode(vector))
}
