//! Connections, and what goes over them.

use super::{
    Cargo, Found, Happening, World,
    leader::{ConnectionId, Input},
};
use crate::{Fate, Invariant, Sometimes, model::mix};
use mesh_proto::{Engine, Event, HandleError, Hello, MAX_MESSAGE, Message, SessionId};
use std::hash::Hasher;

/// How long it takes until a broken connection is dialled again, and a failed attempt repeated, in microseconds.
const REDIAL: u64 = 20_000;
const RETRY: u64 = 100_000;

/// How many messages a leader may have for one peer at once.
const MOST_MESSAGES: usize = 100_000;

impl World<'_> {
    /// The links are these from now on.
    pub(super) fn rewire(&mut self, graph: Vec<(usize, usize)>) {
        self.net.want(&graph);
        self.graph = graph;
        for (a, b) in self.net.all_pairs() {
            let pair = self.net.pair(a, b);
            let (wanted, current) = (pair.wanted, pair.current);
            match current {
                Some(connection) if !wanted => {
                    if self.net.connections[connection].under_way > 0 {
                        self.seen.note(Sometimes::GraphChanged);
                    }
                    self.close(connection);
                }
                None if wanted => self.dial_at(a, b, self.queue.now()),
                _ => {}
            }
        }
    }

    fn dial_at(&mut self, a: usize, b: usize, at: u64) {
        let pair = self.net.pair(a, b);
        if pair.wanted && pair.current.is_none() && !std::mem::replace(&mut pair.dialing, true) {
            self.queue.schedule(at, Happening::Dial(a, b));
        }
    }

    pub(super) fn dial(&mut self, a: usize, b: usize) {
        let cut = self.net.is_cut(a, b) || self.net.is_cut(b, a);
        let pair = self.net.pair(a, b);
        pair.dialing = false;
        if !pair.wanted || pair.current.is_some() {
            return;
        }
        let hello = |n: usize| {
            let leader = &self.leaders[n];
            // Nobody is greeted under a name that a crash could take back.
            let named = leader.engine.as_ref().filter(|_| !leader.renaming && leader.commits > 0);
            let bytes = named?.hello().encode();
            Hello::decode(&bytes).ok()
        };
        let greetings = (hello(a), hello(b));
        let (Some(of_a), Some(of_b), false) = (greetings.0, greetings.1, cut) else {
            return self.dial_at(a, b, self.queue.now() + RETRY);
        };
        let connection = self.net.connect(a, b);
        self.greetings.insert(connection, [of_a, of_b]);
        let trip = self.net.direction(a, b).link.latency + self.net.direction(b, a).link.latency;
        self.queue.schedule(self.queue.now() + trip, Happening::Established(connection));
    }

    pub(super) fn established(&mut self, connection: ConnectionId) {
        let Some([of_a, of_b]) = self.greetings.remove(&connection) else { return };
        let (a, b) = self.net.connections[connection].ends;
        self.input(a, Input::Connect(connection, b, Box::new([of_a.clone(), of_b.clone()])));
        self.input(b, Input::Connect(connection, a, Box::new([of_b, of_a])));
    }

    /// The connection breaks; each end notices in its own time, and they connect again.
    pub(super) fn close(&mut self, connection: ConnectionId) {
        if !self.net.is_current(connection) {
            return;
        }
        let (a, b) = self.net.connections[connection].ends;
        if self.net.connections[connection].under_way > 0 {
            self.seen.note(Sometimes::ClosedUnderWay);
        }
        if self.net.connections[connection].parts > 0 {
            self.seen.note(Sometimes::ClosedInDelta);
        }
        self.net.pair(a, b).current = None;
        self.greetings.remove(&connection);
        let now = self.queue.now();
        for (end, leader) in [a, b].into_iter().enumerate() {
            // Some notice only after the next connection is there.
            let noticed = now + 100 + mix(connection as u64, end as u64) % (2 * REDIAL);
            self.queue.schedule(noticed, Happening::Closed { leader, connection });
        }
        self.dial_at(a, b, now + REDIAL);
    }

    pub(super) fn close_all(&mut self, n: usize) {
        for peer in (0..self.leaders.len()).filter(|peer| *peer != n) {
            if let Some(connection) = self.net.pair(n, peer).current {
                self.close(connection);
            }
        }
    }

    pub(super) fn forget_session(&mut self, n: usize, connection: ConnectionId) {
        let leader = &mut self.leaders[n];
        leader.sessions.retain(|session| session.0 != connection);
        if let Some(engine) = &mut leader.engine {
            engine.disconnect(SessionId(connection as u64));
        }
    }

    /// The other end of a new connection has said who it is.
    pub(super) fn greeted(
        &mut self,
        n: usize,
        connection: ConnectionId,
        peer: usize,
        greetings: [Hello; 2],
    ) -> Found {
        if !self.net.is_current(connection) {
            return Ok(());
        }
        let now = self.now(n);
        let leader = &mut self.leaders[n];
        let Some(engine) = &mut leader.engine else { return Ok(()) };
        let [sent, hello] = greetings;
        let lost_updates = hello.vector.get(leader.id) > leader.issued;
        match engine.connect(SessionId(connection as u64), &sent, hello, now) {
            Ok(()) => {
                leader.sessions.push((connection, peer));
                Ok(())
            }
            // It may not want to talk before it has a new id.
            Err(_) if lost_updates => {
                self.close(connection);
                Ok(())
            }
            Err(error) => self.broken(n, Invariant::Acceptance, format!("it refuses leader {peer}: {error}")),
        }
    }

    pub(super) fn arrive(
        &mut self,
        to: usize,
        connection: ConnectionId,
        number: u32,
        cargo: Cargo,
        bytes: Box<[u8]>,
    ) {
        let on = &mut self.net.connections[connection];
        on.under_way -= 1;
        on.parts -= u32::from(cargo == Cargo::Part);
        let latest = &mut on.latest[1 - usize::from(to == on.ends.1)];
        match number.cmp(latest) {
            std::cmp::Ordering::Less => self.seen.note(Sometimes::Overtaken),
            std::cmp::Ordering::Equal => self.seen.note(Sometimes::Twice),
            std::cmp::Ordering::Greater => *latest = number,
        }
        self.input(to, Input::Message(connection, bytes, cargo == Cargo::News));
    }

    pub(super) fn receive(&mut self, n: usize, connection: ConnectionId, bytes: &[u8], news: bool) -> Found {
        let now = self.now(n);
        let Some(engine) = &mut self.leaders[n].engine else { return Ok(()) };
        let message = match Message::decode(bytes) {
            Ok(message) => message,
            Err(error) => {
                return self.broken(n, Invariant::Acceptance, format!("a message does not decode: {error}"));
            }
        };
        let (at_rest, early) = (engine.is_durable(), engine.early_bytes());
        match engine.handle(SessionId(connection as u64), message, now) {
            Ok(()) => {}
            Err(HandleError::NoSession) => {
                self.seen.note(Sometimes::Stray);
                return Ok(());
            }
            // A disk that was set back; the event that goes with it is looked at.
            Err(HandleError::LostUpdates) => {
                self.forget_session(n, connection);
                self.close(connection);
                return Ok(());
            }
            Err(error) => {
                return self.broken(n, Invariant::Acceptance, format!("it refuses a message: {error}"));
            }
        }
        let held = engine.early_bytes();
        if held > self.schedule.setup.config.max_early {
            return self.broken(n, Invariant::Bounds, format!("it holds {held} B that came early"));
        }
        if held > early {
            self.seen.note(Sometimes::EarlyHeld);
        }
        if news && at_rest && engine.is_durable() && held == early {
            self.seen.note(Sometimes::NothingNew);
        }
        Ok(())
    }

    /// What the engine has to report.
    pub(super) fn events(&mut self, n: usize) -> Found {
        while let Some(event) = self.leaders[n].engine.as_mut().and_then(Engine::poll_event) {
            match event {
                Event::Close(SessionId(session)) => {
                    self.seen.note(Sometimes::Replaced);
                    let connection = usize::try_from(session).unwrap_or(usize::MAX);
                    self.leaders[n].sessions.retain(|session| session.0 != connection);
                    self.close(connection);
                }
                Event::LostUpdates { have, peer_has } => {
                    let leader = &self.leaders[n];
                    if leader.suspect != Some(leader.id) {
                        let what = format!("it has {have} of its own updates, a peer has {peer_has}");
                        return self.broken(n, Invariant::Acknowledged, what);
                    }
                    self.rename(n);
                }
                Event::Forked { from } => {
                    let what =
                        format!("two histories under its id from update {from} on, though nobody copied it");
                    return self.broken(n, Invariant::OwnCounters, what);
                }
                Event::Diverged { peer } => {
                    let peer = self.history.leader(peer);
                    let what =
                        format!("it says that leader {peer:?} with an equal vector has another fingerprint");
                    return self.broken(n, Invariant::Fingerprint, what);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Sends what the engine has to say; whether it said anything.
    pub(super) fn talk(&mut self, n: usize) -> Result<bool, Box<crate::Violation>> {
        let now = self.now(n);
        let sessions = std::mem::take(&mut self.leaders[n].sessions);
        let mut said = false;
        for &(connection, peer) in &sessions {
            for count in 0.. {
                let Some(engine) = &mut self.leaders[n].engine else { break };
                let Some(message) = engine.poll(SessionId(connection as u64), now) else { break };
                let cargo = match message {
                    Message::Part(_) => Cargo::Part,
                    _ if message.payload() > 0 => Cargo::News,
                    _ => Cargo::Words,
                };
                let bytes = message.encode().into_boxed_slice();
                if bytes.len() > MAX_MESSAGE || count == MOST_MESSAGES {
                    let what = format!("message {count} at once for leader {peer}, of {} bytes", bytes.len());
                    return self.broken(n, Invariant::Bounds, what).map(|()| false);
                }
                said = true;
                self.send(n, peer, connection, cargo, bytes);
            }
        }
        self.leaders[n].sessions = sessions;
        Ok(said)
    }

    fn send(&mut self, from: usize, to: usize, connection: ConnectionId, cargo: Cargo, bytes: Box<[u8]>) {
        let now = self.queue.now();
        self.trace.write_u64(now);
        self.trace.write_u64((from << 8 | to) as u64);
        self.trace.write(&bytes);
        if cargo == Cargo::Part {
            self.seen.note(Sometimes::MergedState);
        }
        let current = self.net.is_current(connection);
        let on = &mut self.net.connections[connection];
        let end = on.end(from);
        on.sent[end] += 1;
        let (number, broken) = (on.sent[end], on.broken[end]);
        let one_way = !self.net.is_cut(to, from);
        let direction = self.net.direction(from, to);
        let (cut, ordered) = (direction.cut, direction.link.ordered);
        let fate = if cut { Fate { first: None, second: None } } else { direction.fate(now) };
        if fate.first.is_none() || broken {
            self.seen.note(if cut { Sometimes::Dropped } else { Sometimes::Lost });
            if cut && one_way {
                self.seen.note(Sometimes::DroppedOneWay);
            }
            if ordered && current && !broken {
                // Nothing that is sent later arrives before what was lost: the connection is at an end, and its ends find
                // out by the silence.
                self.net.connections[connection].broken[end] = true;
                let silence = 2_000 * self.schedule.setup.config.heartbeat;
                self.queue.schedule(now + silence, Happening::Silence(connection));
            }
            return;
        }
        let arrivals = [fate.first, fate.second].map(|delay| {
            let at = now + delay?;
            if ordered {
                direction.last = direction.last.max(at);
                Some(direction.last)
            } else {
                Some(at)
            }
        });
        if !current {
            return;
        }

        let mut arrive = |at: u64, bytes| {
            let on = &mut self.net.connections[connection];
            on.under_way += 1;
            on.parts += u32::from(cargo == Cargo::Part);
            self.queue.schedule(at, Happening::Arrive { to, connection, number, cargo, bytes });
        };
        if let Some(at) = arrivals[1] {
            arrive(at, bytes.clone());
        }
        if let Some(at) = arrivals[0] {
            arrive(at, bytes);
        }
    }
}
