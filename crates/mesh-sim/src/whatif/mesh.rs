//! Leaders in virtual time: engines that commit in their own time, connections as the crate `mesh` keeps them, and
//! whoever uses it in between.
//!
//! This is the driver for measuring. It believes the engines; the one that doubts them, with disks that fail and clocks
//! that step, is that of the fault suite.

use crate::{Fate, Link, Queue};
use mesh_proto::{
    Config, Engine, Event, HandleError, Hello, Identity, Message, Now, Op, Recovery, Registry, ReplicaId,
    SessionId, VersionVector,
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{DefaultHasher, Hasher},
};

/// How often a leader looks whether there is something to say, in microseconds: as often as the crate `mesh` does.
const WAKE: u64 = 25_000;
/// A connection is given up after the silence of so many heartbeats, and dialled again after pauses that double from the
/// first of these to the second, in microseconds: the defaults of the crate `mesh`.
const SILENT_HEARTBEATS: u64 = 4;
const RECONNECT_MIN: u64 = 100_000;
const RECONNECT_MAX: u64 = 5_000_000;
/// After which time TCP sends again what was not acknowledged, at least: `TCP_RTO_MIN` of Linux. It doubles each time.
const RETRANSMIT: u64 = 200_000;
/// The wall clock at the start, in milliseconds since 1970.
const WALL: u64 = 1_700_000_000_000;

/// For a while some leaders are cut off from all others, in both directions; among themselves they are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) from: u64,
    pub(crate) until: u64,
    pub(crate) side: BTreeSet<usize>,
}

/// What a mesh consists of. Times are in microseconds.
pub(crate) struct Setup {
    pub(crate) leaders: usize,
    /// Pairs that are connected at the start.
    pub(crate) links: Vec<(usize, usize)>,
    /// How messages from one to another travel. An `ordered` one is TCP: what is lost comes later, and all that follows it
    /// waits for it.
    pub(crate) link: Box<dyn Fn(usize, usize) -> Link>,
    pub(crate) cuts: Vec<Cut>,
    /// How long a commit takes.
    pub(crate) commit: u64,
    pub(crate) config: Config,
    pub(crate) seed: u64,
}

impl Setup {
    /// Whether nothing passes between two leaders at a time.
    pub(crate) fn is_cut(&self, a: usize, b: usize, at: u64) -> bool {
        let apart = |cut: &Cut| cut.side.contains(&a) != cut.side.contains(&b);
        self.cuts.iter().any(|cut| (cut.from..cut.until).contains(&at) && apart(cut))
    }
}

/// What the user of a mesh is told.
#[derive(Debug)]
pub(crate) enum Turn<T> {
    /// What it scheduled is due.
    Due(T),
    /// A leader's commit is durable, with the writes of these tickets; what others wrote may have become visible, too.
    Committed { leader: usize, tickets: Vec<u64> },
}

enum Happening<T> {
    User(T),
    Arrive { to: usize, connection: usize, bytes: Vec<u8> },
    Committed(usize),
    Wake(usize),
    Dial(usize, usize),
    Established(usize, Box<[Hello; 2]>),
}

enum Input {
    Write { name: String, op: Op, ticket: u64 },
    Message { connection: usize, bytes: Vec<u8> },
    Connect { connection: usize, greetings: Box<[Hello; 2]> },
    Disconnect { connection: usize },
}

struct Leader {
    engine: Engine,
    /// The tickets of the commit under way.
    committing: Option<Vec<u64>>,
    /// The tickets of writes that wait for the next one.
    pending: Vec<u64>,
    /// What came while a commit was under way.
    inbox: VecDeque<Input>,
    /// Connections with the peers at their other ends.
    sessions: BTreeMap<usize, usize>,
    wakes: u64,
}

struct Connection {
    ends: (usize, usize),
    is_open: bool,
    /// When each end last heard of the other.
    heard: [u64; 2],
    /// When the latest message in each direction arrives.
    last: [u64; 2],
}

/// What was sent between two leaders, in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) frames: u64,
    pub(crate) payload: u64,
    pub(crate) metadata: u64,
}

/// A mesh, and what its user has scheduled.
pub(crate) struct Mesh<T> {
    pub(crate) setup: Setup,
    queue: Queue<Happening<T>>,
    leaders: Vec<Leader>,
    /// Who is to be connected, how often it was tried in vain, and the connection.
    pairs: BTreeMap<(usize, usize), (u32, Option<usize>)>,
    connections: Vec<Connection>,
    traffic: BTreeMap<(usize, usize), Traffic>,
    rng: SmallRng,
    /// What an engine found wrong.
    pub(crate) trouble: Vec<String>,
    /// How many inputs the engines had.
    pub(crate) inputs: u64,
    /// Of all messages, in the order in which they were sent.
    trace: DefaultHasher,
}

/// The id that a leader writes under.
pub(crate) fn replica(leader: usize) -> ReplicaId {
    // As long as random ones, because bytes are counted.
    ReplicaId::new((leader as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
}

/// A leader with nothing, which has made its identity durable.
pub(crate) fn fresh_engine(leader: usize, config: &Config, now: Now) -> Engine {
    let identity =
        Identity { cluster: "what-if".into(), name: format!("leader-{leader}"), replica: replica(leader) };
    let recovery = Recovery::new(Registry::new(), leader as u64 + 1);
    let mut engine = Engine::recover(config.clone(), identity, recovery).expect("an empty store is sound");
    if engine.take_commit().is_some() {
        engine.committed(now);
    }
    engine
}

/// The time of an engine.
pub(crate) fn engine_time(micros: u64) -> Now {
    Now { wall: WALL + micros / 1_000, mono: micros / 1_000 }
}

impl<T> Mesh<T> {
    pub(crate) fn new(setup: Setup) -> Self {
        let leader = |n: usize| Leader {
            engine: fresh_engine(n, &setup.config, engine_time(0)),
            committing: None,
            pending: Vec::new(),
            inbox: VecDeque::new(),
            sessions: BTreeMap::new(),
            wakes: 0,
        };
        let mut mesh = Mesh {
            leaders: (0..setup.leaders).map(leader).collect(),
            queue: Queue::new(),
            pairs: BTreeMap::new(),
            connections: Vec::new(),
            traffic: BTreeMap::new(),
            rng: SmallRng::seed_from_u64(setup.seed),
            trouble: Vec::new(),
            inputs: 0,
            trace: DefaultHasher::new(),
            setup,
        };
        for leader in 0..mesh.leaders.len() {
            // Not all in the same moment.
            let phase = mesh.rng.random_range(0..WAKE);
            mesh.queue.schedule(phase, Happening::Wake(leader));
        }
        let links = mesh.setup.links.clone();
        mesh.rewire(&links);
        mesh
    }

    pub(crate) fn now(&self) -> u64 {
        self.queue.now()
    }

    pub(crate) fn schedule(&mut self, at: u64, what: T) {
        self.queue.schedule(at, Happening::User(what));
    }

    /// What a leader has, durably.
    pub(crate) fn version(&self, leader: usize) -> &VersionVector {
        self.leaders[leader].engine.version()
    }

    /// Whether a leader shows an element of a set.
    pub(crate) fn contains(&self, leader: usize, set: &str, element: &[u8]) -> bool {
        self.leaders[leader].engine.contains(set, element)
    }

    /// Whether all leaders have the same.
    pub(crate) fn agrees(&self) -> bool {
        let shown = |leader: &Leader| (leader.engine.version().clone(), leader.engine.fingerprint());
        let first = self.leaders.first().map(shown);
        self.leaders.iter().all(|leader| leader.engine.is_durable() && Some(shown(leader)) == first)
    }

    /// What was sent so far, by pairs of leaders.
    pub(crate) fn traffic(&self) -> impl Iterator<Item = ((usize, usize), Traffic)> + '_ {
        self.traffic.iter().map(|(ends, traffic)| (*ends, *traffic))
    }

    /// Equal for equal runs.
    pub(crate) fn trace(&self) -> u64 {
        self.trace.finish()
    }

    /// How long a message takes that is sent now, and does not get lost.
    pub(crate) fn draw_delay(&mut self, link: &Link) -> u64 {
        let Fate { first, .. } = Link { loss: 0, ..*link }.fate(&mut self.rng);
        first.unwrap_or(link.latency)
    }

    /// These pairs and no others are to be connected.
    pub(crate) fn rewire(&mut self, links: &[(usize, usize)]) {
        let wanted: BTreeSet<_> = links.iter().map(|(a, b)| (*a.min(b), *a.max(b))).collect();
        let unwanted: Vec<_> = self.pairs.keys().filter(|pair| !wanted.contains(pair)).copied().collect();
        for pair in unwanted {
            if let Some((_, Some(connection))) = self.pairs.remove(&pair) {
                self.close(connection);
            }
        }
        for (a, b) in wanted {
            if let std::collections::btree_map::Entry::Vacant(pair) = self.pairs.entry((a, b)) {
                pair.insert((0, None));
                self.queue.schedule(self.queue.now(), Happening::Dial(a, b));
            }
        }
    }

    /// A client's write reaches a leader. [`Turn::Committed`] will have the ticket.
    pub(crate) fn write(&mut self, leader: usize, name: impl Into<String>, op: Op, ticket: u64) {
        self.input(leader, Input::Write { name: name.into(), op, ticket });
    }

    /// Goes on to the next thing that the user is told, at the latest until `end`.
    pub(crate) fn turn(&mut self, end: u64) -> Option<Turn<T>> {
        while self.queue.next_at().is_some_and(|at| at <= end) {
            match self.queue.take()? {
                Happening::User(what) => return Some(Turn::Due(what)),
                Happening::Committed(leader) => {
                    let tickets = self.committed(leader);
                    return Some(Turn::Committed { leader, tickets });
                }
                Happening::Arrive { to, connection, bytes } => self.arrive(to, connection, bytes),
                Happening::Wake(leader) => self.wake(leader),
                Happening::Dial(a, b) => self.dial(a, b),
                Happening::Established(connection, greetings) => self.established(connection, &greetings),
            }
        }
        None
    }

    // ---- leaders ----

    fn input(&mut self, n: usize, input: Input) {
        let leader = &mut self.leaders[n];
        if leader.committing.is_some() {
            leader.inbox.push_back(input);
        } else {
            self.feed(n, input);
            self.settle(n);
        }
    }

    fn feed(&mut self, n: usize, input: Input) {
        self.inputs += 1;
        let now = engine_time(self.queue.now());
        let leader = &mut self.leaders[n];
        match input {
            Input::Write { name, op, ticket } => match leader.engine.write(&name, &op, None, now) {
                Ok(_) => leader.pending.push(ticket),
                Err(error) => self.trouble.push(format!("leader {n} refuses a write: {error}")),
            },
            Input::Message { connection, bytes } => {
                let handled = Message::decode(&bytes)
                    .map_err(|error| HandleError::Encoding(error.to_string()))
                    .and_then(|message| leader.engine.handle(SessionId(connection as u64), message, now));
                match handled {
                    Ok(()) | Err(HandleError::NoSession) => {}
                    Err(error) => {
                        self.trouble.push(format!("leader {n} refuses a message: {error}"));
                        self.close(connection);
                    }
                }
            }
            Input::Connect { connection, greetings } => {
                let Connection { ends, is_open, .. } = self.connections[connection];
                if !is_open {
                    return;
                }
                let [sent, heard] = *greetings;
                match leader.engine.connect(SessionId(connection as u64), &sent, heard, now) {
                    Ok(()) => drop(leader.sessions.insert(connection, ends.0 + ends.1 - n)),
                    Err(error) => self.trouble.push(format!("leader {n} refuses a peer: {error}")),
                }
            }
            Input::Disconnect { connection } => {
                leader.sessions.remove(&connection);
                leader.engine.disconnect(SessionId(connection as u64));
            }
        }
    }

    /// All inputs are in: commits what changed, or, if nothing did, says what there is to say.
    fn settle(&mut self, n: usize) {
        let at = self.queue.now();
        let now = engine_time(at);
        let leader = &mut self.leaders[n];
        while let Some(event) = leader.engine.poll_event() {
            match event {
                Event::Merged { .. } | Event::Close(_) => {}
                event => self.trouble.push(format!("leader {n}: {event:?}")),
            }
        }
        if leader.engine.take_commit().is_some() {
            leader.committing = Some(std::mem::take(&mut leader.pending));
            self.queue.schedule(at + self.setup.commit, Happening::Committed(n));
            return;
        }
        let sessions: Vec<_> =
            leader.sessions.iter().map(|(connection, peer)| (*connection, *peer)).collect();
        for (connection, peer) in sessions {
            while let Some(message) = self.leaders[n].engine.poll(SessionId(connection as u64), now) {
                self.send(n, peer, connection, &message);
            }
        }
    }

    fn committed(&mut self, n: usize) -> Vec<u64> {
        let now = engine_time(self.queue.now());
        let leader = &mut self.leaders[n];
        leader.engine.committed(now);
        let tickets = leader.committing.take().unwrap_or_default();
        while let Some(input) = self.leaders[n].inbox.pop_front() {
            self.feed(n, input);
        }
        self.settle(n);
        tickets
    }

    fn wake(&mut self, n: usize) {
        let at = self.queue.now();
        self.queue.schedule(at + WAKE, Happening::Wake(n));
        let silence = 1_000 * self.setup.config.heartbeat * SILENT_HEARTBEATS;
        let sessions: Vec<_> = self.leaders[n].sessions.keys().copied().collect();
        for connection in sessions {
            let Connection { ends, heard, is_open, .. } = self.connections[connection];
            if is_open && heard[usize::from(n == ends.1)] + silence < at {
                self.close(connection);
            }
        }
        let leader = &mut self.leaders[n];
        if leader.committing.is_some() {
            return;
        }
        leader.wakes += 1;
        if leader.wakes.is_multiple_of(1_000_000 / WAKE) {
            leader.engine.tick(engine_time(at));
        }
        self.settle(n);
    }

    // ---- connections ----

    fn dial(&mut self, a: usize, b: usize) {
        let at = self.queue.now();
        let is_cut = self.setup.is_cut(a, b, at);
        let Some((failed, current @ None)) = self.pairs.get_mut(&(a, b)) else { return };
        if is_cut {
            let pause = (RECONNECT_MIN << (*failed).min(16)).min(RECONNECT_MAX);
            *failed += 1;
            self.queue.schedule(at + pause, Happening::Dial(a, b));
            return;
        }
        let connection = self.connections.len();
        (*failed, *current) = (0, Some(connection));
        let trip = (self.setup.link)(a, b).latency + (self.setup.link)(b, a).latency;
        let until = at + trip;
        let (heard, last) = ([until; 2], [until; 2]);
        self.connections.push(Connection { ends: (a, b), is_open: true, heard, last });
        let greetings = [a, b].map(|n| self.leaders[n].engine.hello());
        self.queue.schedule(until, Happening::Established(connection, Box::new(greetings)));
    }

    fn established(&mut self, connection: usize, greetings: &[Hello; 2]) {
        let Connection { ends: (a, b), is_open, .. } = self.connections[connection];
        if is_open {
            let [of_a, of_b] = greetings;
            let greet = |sent: &Hello, heard: &Hello| Box::new([sent.clone(), heard.clone()]);
            self.input(a, Input::Connect { connection, greetings: greet(of_a, of_b) });
            self.input(b, Input::Connect { connection, greetings: greet(of_b, of_a) });
        }
    }

    /// Both ends know at once.
    fn close(&mut self, connection: usize) {
        let Connection { ends: (a, b), ref mut is_open, .. } = self.connections[connection];
        if !std::mem::replace(is_open, false) {
            return;
        }
        if let Some((_, current)) = self.pairs.get_mut(&(a, b)) {
            *current = None;
            self.queue.schedule(self.queue.now() + RECONNECT_MIN, Happening::Dial(a, b));
        }
        for end in [a, b] {
            // Not as an input of its own: this may be in the middle of one.
            let leader = &mut self.leaders[end];
            leader.inbox.push_back(Input::Disconnect { connection });
            if leader.committing.is_none() {
                while let Some(input) = self.leaders[end].inbox.pop_front() {
                    self.feed(end, input);
                }
            }
        }
    }

    fn arrive(&mut self, to: usize, connection: usize, bytes: Vec<u8>) {
        let at = self.queue.now();
        let Connection { ends, is_open, ref mut heard, .. } = self.connections[connection];
        if is_open {
            heard[usize::from(to == ends.1)] = at;
            self.input(to, Input::Message { connection, bytes });
        }
    }

    fn send(&mut self, from: usize, to: usize, connection: usize, message: &Message) {
        let (bytes, payload) = (message.encode(), message.payload() as u64);
        let metadata = bytes.len() as u64 - payload;
        let link = (self.setup.link)(from, to);
        let now = self.queue.now();
        let on_time = !self.setup.is_cut(from, to, now);
        let mut copies = 1;
        let arrivals = if link.ordered {
            let mut sent = now;
            let mut pause = RETRANSMIT.max(4 * link.latency);
            loop {
                let is_cut = self.setup.is_cut(from, to, sent);
                let is_lost = !is_cut && self.rng.random_range(0..1_000) < link.loss;
                copies += u64::from(is_lost);
                if !is_cut && !is_lost || sent > now + 16 * RECONNECT_MAX {
                    break;
                }
                (sent, pause) = (sent + pause, 2 * pause);
            }
            let at = sent + self.draw_delay(&link);
            let on = &mut self.connections[connection];
            let last = &mut on.last[usize::from(from == on.ends.1)];
            *last = at.max(*last);
            [Some(*last), None]
        } else {
            let Fate { first, second } = link.fate(&mut self.rng);
            [first, second].map(|delay| delay.filter(|_| on_time).map(|delay| now + delay))
        };
        self.trace.write_u64(now);
        self.trace.write_u64((from << 32 | to) as u64);
        self.trace.write(&bytes);
        let traffic = self.traffic.entry((from.min(to), from.max(to))).or_default();
        traffic.frames += copies;
        traffic.payload += copies * payload;
        traffic.metadata += copies * metadata;
        for at in arrivals.into_iter().flatten() {
            self.queue.schedule(at, Happening::Arrive { to, connection, bytes: bytes.clone() });
        }
    }
}
