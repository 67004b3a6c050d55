//! The engine of this workspace, `mesh_proto::Engine`, as one of the protocols that are compared.

use super::{
    Overlay,
    node::{Frame, Node, Outbox, SENT_BY_A_NODE},
    object::{Change, Keyspace, Object, What},
    scuttlebutt::Ids,
};
use crate::Link;
use mesh_proto::{
    Config, Engine, Event, Identity, Message, Now, Op, Recovery, Registry, ReplicaId, SessionId,
    VersionVector,
};
use std::{
    collections::BTreeMap,
    fmt::Write,
    rc::Rc,
    time::{Duration, Instant},
};

/// A leader of a mesh: every change is one write.
///
/// Sets and counters are what they are. A key of a map is a register of its own; where a map's keys are written once only,
/// as in Retwis, the map is a set of pairs.
#[derive(Debug)]
pub struct Leader {
    engine: Engine,
    sessions: Vec<(usize, SessionId)>,
    numbers: Rc<BTreeMap<ReplicaId, usize>>,
    /// What has been reported as visible.
    reported: VersionVector,
    write_once: bool,
    /// The time of commits.
    durability: Duration,
}

/// The time of an engine, whose wall clock starts in 2023.
pub fn engine_time(micros: u64) -> Now {
    Now { wall: 1_700_000_000_000 + micros / 1_000, mono: micros / 1_000 }
}

/// An engine that has nothing yet.
///
/// # Panics
///
/// Never: there is nothing to recover.
pub fn fresh_engine(id: ReplicaId, config: Config) -> Engine {
    let identity = Identity { cluster: "economy".into(), name: format!("leader-{id}"), replica: id };
    Engine::recover(config, identity, Recovery::new(Registry::new(), id.get()))
        .expect("an empty store is sound")
}

/// The engine of a leader that has these rows, without relying on its causal metadata; it goes on under the id `id`.
///
/// # Panics
///
/// If anything else is missing, or somebody has written under that id.
pub fn recover_without_metadata(
    identity: Identity,
    id: ReplicaId,
    rows: &BTreeMap<Vec<u8>, Vec<u8>>,
) -> Engine {
    let mut recovery = Recovery::new(Registry::new(), id.get()).without_metadata(id);
    for (key, value) in rows {
        recovery.row(key, value);
    }
    Engine::recover(Config::default(), identity, recovery).expect("all else is sound")
}

/// Says that what the engine did is durable.
pub fn commit(engine: &mut Engine, now: Now) {
    if engine.take_commit().is_some() {
        engine.committed(now);
    }
}

/// The configuration for news at most every `gather` ms on a link; the rest is what the link asks for.
pub fn gathering(gather: u64, link: &Link) -> Config {
    let default = Config::default();
    let config = Config { gather, ..default };
    if link.ordered && link.loss == 0 && link.duplication == 0 {
        return config;
    }
    // Acknowledgements do not gather: a few round trips.
    let round_trip = 2 * (link.latency + link.spread + 3 * link.jitter) / 1_000;
    Config { ordered: false, resend: 2 * round_trip + 50, ..config }
}

impl Leader {
    /// The leaders with these ids, connected along the links of `overlay`.
    ///
    /// # Panics
    ///
    /// If two ids are equal.
    pub fn mesh(ids: &Ids, overlay: &Overlay, config: &Config, write_once: bool) -> Vec<Self> {
        let numbers: Rc<BTreeMap<ReplicaId, usize>> =
            Rc::new(ids.iter().enumerate().map(|(number, id)| (*id, number)).collect());
        let now = engine_time(0);
        let mut engines: Vec<Engine> = ids.iter().map(|id| fresh_engine(*id, config.clone())).collect();
        for engine in &mut engines {
            commit(engine, now);
        }
        let hellos: Vec<_> = engines.iter().map(Engine::hello).collect();
        let connect = |(me, mut engine): (usize, Engine)| {
            let to = overlay.neighbours(me).iter();
            let sessions: Vec<_> = to.map(|to| (*to, SessionId(*to as u64))).collect();
            for (to, session) in &sessions {
                let opened = engine.connect(*session, &hellos[me], hellos[*to].clone(), now);
                opened.expect("leaders of one mesh accept each other");
            }
            let numbers = Rc::clone(&numbers);
            Leader {
                engine,
                sessions,
                numbers,
                reported: VersionVector::new(),
                write_once,
                durability: Duration::ZERO,
            }
        };
        engines.into_iter().enumerate().map(connect).collect()
    }

    /// Makes durable what happened, reports it, and says what there is to say.
    fn settle(&mut self, now: Now, out: &mut Outbox) {
        if !self.engine.is_durable() {
            let begin = Instant::now();
            commit(&mut self.engine, now);
            self.durability += begin.elapsed();
        }
        while let Some(event) = self.engine.poll_event() {
            assert!(matches!(event, Event::Merged { .. }), "{event:?} although nothing failed");
        }
        if *self.engine.version() != self.reported {
            for (id, dots) in self.engine.version().difference(&self.reported) {
                let (first, last) = (dots.start() - 1, *dots.end());
                let range = usize::try_from(first).expect("few")..usize::try_from(last).expect("few");
                out.ranges.push((self.numbers[&id], range));
            }
            self.reported.clone_from(self.engine.version());
        }
        for (to, session) in &self.sessions {
            while let Some(message) = self.engine.poll(*session, now) {
                let (bytes, payload) = (message.encode(), message.payload());
                out.frames.push(Frame { to: *to, bytes, payload, elements: 0, entries: 0 });
            }
        }
    }

    fn write(&mut self, change: &Change, now: Now) {
        let op = match &change.what {
            What::Add(element) => Op::Add(vec![element.to_vec()]),
            What::Count(..) => Op::Grow(1),
            What::Put(key, stamped) if self.write_once => Op::Add(vec![pair(key, &stamped.value)]),
            What::Put(_, stamped) => Op::Assign(stamped.value.to_vec()),
        };
        let receipt = match &change.what {
            What::Put(key, _) if !self.write_once => {
                self.engine.write(&register_of(&change.object, key), &op, None, now)
            }
            _ => self.engine.write(&change.object, &op, None, now),
        };
        assert_eq!(receipt.map(|receipt| receipt.events), Ok(1), "a change is one event");
    }
}

fn pair(key: &[u8], value: &[u8]) -> Vec<u8> {
    [key, value].concat()
}

fn register_of(object: &str, key: &[u8]) -> String {
    let mut name = format!("{object}/");
    for byte in key {
        write!(name, "{byte:02x}").expect("a string takes everything");
    }
    name
}

impl Node for Leader {
    fn update(&mut self, changes: &[Change], now: u64, out: &mut Outbox) {
        let now = engine_time(now);
        for change in changes {
            self.write(change, now);
        }
        self.settle(now, out);
    }

    fn tick(&mut self, now: u64, out: &mut Outbox) {
        let now = engine_time(now);
        self.engine.tick(now);
        self.settle(now, out);
    }

    fn wake_at(&self) -> Option<u64> {
        let millis = self.engine.wake_at();
        (millis < u64::MAX).then(|| millis.saturating_mul(1_000))
    }

    fn durability(&self) -> Duration {
        self.durability
    }

    fn receive(&mut self, from: usize, frame: &[u8], now: u64, out: &mut Outbox) {
        let now = engine_time(now);
        let message = Message::decode(frame).expect(SENT_BY_A_NODE);
        if let Err(error) = self.engine.handle(SessionId(from as u64), message, now) {
            panic!("{from} is refused: {error}");
        }
        self.settle(now, out);
    }

    fn shows(&self, expected: &Keyspace) -> bool {
        expected.iter().all(|(name, object)| match object {
            Object::Nothing => true,
            Object::Set(set) => {
                self.engine.set_len(name) == set.len()
                    && set.iter().all(|(element, _)| self.engine.contains(name, element))
            }
            Object::Counter(counter) => {
                let sum = counter.iter().map(|(_, count)| u128::from(count.0)).sum();
                self.engine.g_counter(name) == Some(sum)
            }
            Object::Map(map) if self.write_once => {
                self.engine.set_len(name) == map.len()
                    && map.iter().all(|(key, stamped)| self.engine.contains(name, &pair(key, &stamped.value)))
            }
            Object::Map(map) => map.iter().all(|(key, stamped)| {
                let held = self.engine.register(&register_of(name, key));
                held.is_some_and(|(value, _)| *value == *stamped.value)
            }),
        })
    }
}
