//! A mesh in memory: engines, their stores, connections that lose messages, and a naive model of what must be visible.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

use mesh_proto::{
    Commit, Config, Dot, Engine, Event, Identity, Key, Message, Now, Op, Receipt, Recovery, Registry,
    ReplicaId, SessionId, Snapshot, VersionVector,
};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

pub fn identity(n: u64) -> Identity {
    Identity { cluster: "test".into(), name: format!("leader-{n}"), replica: ReplicaId::new(n) }
}

/// Rows as a store keeps them.
#[derive(Clone, Default)]
pub struct Disk(pub BTreeMap<Vec<u8>, Vec<u8>>);

impl Disk {
    pub fn commit(&mut self, commit: Commit) {
        for key in commit.deletes {
            self.0.remove(&key);
        }
        self.0.extend(commit.puts);
    }

    pub fn recovery(&self, registry: Registry) -> Recovery {
        // A run is told from others by what it found, which makes histories repeatable.
        let mut found = DefaultHasher::new();
        self.0.hash(&mut found);
        self.recovery_as(found.finish(), registry)
    }

    pub fn recovery_as(&self, run: u64, registry: Registry) -> Recovery {
        self.read_into(Recovery::new(registry, run))
    }

    pub fn read_into(&self, mut recovery: Recovery) -> Recovery {
        for (key, value) in &self.0 {
            recovery.row(key, value);
        }
        recovery
    }

    pub fn open(&self, n: u64, config: &Config) -> Engine {
        Engine::recover(config.clone(), identity(n), self.recovery(Registry::new()))
            .expect("the store is sound")
    }
}

/// One event as its reply described it.
struct Fact {
    name: String,
    dot: Dot,
    token: VersionVector,
    what: What,
}

enum What {
    Count(i128),
    Assign(mesh_proto::Stamp, Vec<u8>),
    Add(Vec<u8>),
    Remove(BTreeSet<Vec<u8>>),
    Clear,
}

/// What must be visible to whoever has a given vector, from the replies alone.
#[derive(Default)]
pub struct Model(Vec<Fact>);

impl Model {
    pub fn note(&mut self, name: &str, op: &Op, receipt: &Receipt) {
        if receipt.events == 0 {
            return;
        }
        let mut fact = |counter, what| {
            let dot = Dot::new(receipt.replica, counter);
            self.0.push(Fact { name: name.into(), dot, token: receipt.token.clone(), what });
        };
        match op {
            Op::Grow(by) | Op::Increment(by) => fact(receipt.last, What::Count(i128::from(*by))),
            Op::Decrement(by) => fact(receipt.last, What::Count(-i128::from(*by))),
            Op::Assign(value) => fact(receipt.last, What::Assign(receipt.stamp.unwrap(), value.clone())),
            Op::Add(elements) => {
                assert_eq!(receipt.events, elements.len() as u64);
                for (element, counter) in elements.iter().zip(receipt.last - receipt.events + 1..) {
                    fact(counter, What::Add(element.clone()));
                }
            }
            Op::Remove(elements) => fact(receipt.last, What::Remove(elements.iter().cloned().collect())),
            Op::Clear => fact(receipt.last, What::Clear),
        }
    }

    fn seen<'a>(&'a self, vector: &'a VersionVector, name: &'a str) -> impl Iterator<Item = &'a Fact> {
        self.0.iter().filter(move |fact| fact.name == name && vector.contains(fact.dot))
    }

    pub fn sum(&self, vector: &VersionVector, name: &str) -> i128 {
        self.seen(vector, name).map(|fact| if let What::Count(by) = fact.what { by } else { 0 }).sum()
    }

    pub fn register<'a>(&'a self, vector: &'a VersionVector, name: &'a str) -> Option<&'a [u8]> {
        let writes = self.seen(vector, name).filter_map(|fact| match &fact.what {
            What::Assign(stamp, value) => Some((stamp, value.as_slice())),
            _ => None,
        });
        writes.max_by_key(|write| write.0).map(|write| write.1)
    }

    /// An add lives unless a remove, a clear or another add of its element has seen it.
    pub fn members<'a>(&'a self, vector: &'a VersionVector, name: &'a str) -> BTreeSet<&'a [u8]> {
        self.members_without(vector, name, &BTreeSet::new())
    }

    /// As [`members`](Self::members), without what was ended by any event of these replicas, also one beyond the vector: the
    /// event may be lost while what it has ended is gone.
    pub fn members_without<'a>(
        &'a self,
        vector: &'a VersionVector,
        name: &'a str,
        lossy: &BTreeSet<ReplicaId>,
    ) -> BTreeSet<&'a [u8]> {
        let facts: Vec<&Fact> = self.seen(vector, name).collect();
        let is_lost = |fact: &&Fact| {
            fact.name == name && lossy.contains(&fact.dot.replica) && !vector.contains(fact.dot)
        };
        let lost: Vec<&Fact> = self.0.iter().filter(is_lost).collect();
        let mut members = BTreeSet::new();
        for add in &facts {
            let What::Add(element) = &add.what else { continue };
            let ended = facts.iter().chain(&lost).any(|other| {
                let same = match &other.what {
                    What::Add(e) => e == element,
                    What::Remove(elements) => elements.contains(element),
                    What::Clear => true,
                    _ => false,
                };
                let (theirs, ours) = (other.dot, add.dot);
                let later = if theirs.replica == ours.replica {
                    theirs.counter > ours.counter
                } else {
                    other.token.contains(ours)
                };
                same && later
            });
            if !ended {
                members.insert(element.as_slice());
            }
        }
        members
    }
}

/// One leader with its disk.
pub struct Leader {
    pub engine: Engine,
    pub disk: Disk,
    /// Replies that wait for the commit.
    pending: Vec<(String, Op, Receipt)>,
    /// What the engine showed when everything was durable last.
    shown: BTreeMap<Key, Option<Snapshot>>,
}

impl Leader {
    fn new(engine: Engine, disk: Disk) -> Self {
        Leader { shown: shown(&engine), engine, disk, pending: Vec::new() }
    }
}

fn shown(engine: &Engine) -> BTreeMap<Key, Option<Snapshot>> {
    engine.keys("").map(|key| (key.clone(), engine.snapshot(key))).collect()
}

pub struct Mesh {
    pub rng: StdRng,
    pub now: Now,
    pub config: Config,
    pub leaders: Vec<Leader>,
    pub model: Model,
    /// The links that exist, and those that are up.
    pub links: Vec<(usize, usize)>,
    pub up: BTreeMap<(usize, usize), SessionId>,
    wires: BTreeMap<(usize, usize), VecDeque<Message>>,
    next_session: u64,
    /// Of 100 messages so many are lost.
    pub loss: u32,
    /// Whether messages were ever lost, repeated or reordered.
    pub lossy: bool,
    /// Whether data was damaged: then leaders repair what they differ in, and removals may be undone.
    pub damaged: bool,
    /// The ids of leaders that have lost their metadata.
    pub lost_ids: BTreeSet<ReplicaId>,
    pub seen: BTreeMap<&'static str, u64>,
    /// Over all bytes that were sent, in their order.
    pub said: DefaultHasher,
}

impl Mesh {
    pub fn new(seed: u64, leaders: usize, links: Vec<(usize, usize)>, config: Config) -> Self {
        let open = |n: usize| {
            let disk = Disk::default();
            Leader::new(disk.open(n as u64 + 1, &config), disk)
        };
        Mesh {
            rng: StdRng::seed_from_u64(seed),
            now: Now { wall: 1_700_000_000_000, mono: 0 },
            leaders: (0..leaders).map(open).collect(),
            config,
            model: Model::default(),
            links,
            up: BTreeMap::new(),
            wires: BTreeMap::new(),
            next_session: 0,
            loss: 0,
            lossy: false,
            damaged: false,
            lost_ids: BTreeSet::new(),
            seen: BTreeMap::new(),
            said: DefaultHasher::new(),
        }
    }

    /// Two to five leaders on one of three topologies, some with hardly any memory of removals, some on links that lose.
    pub fn of_seed(seed: u64) -> Self {
        let leaders = 2 + (seed % 4) as usize;
        let links = match seed % 3 {
            0 => all_to_all(leaders),
            1 => ring(leaders),
            _ => star(leaders),
        };
        let links = links.into_iter().filter(|(a, b)| a != b).collect();
        // Few removals are remembered, so that forgotten ones are met all the time.
        let min_deaths = [0, 5, 100_000][(seed / 3 % 3) as usize];
        let part = [60, 1_000_000][(seed / 27 % 2) as usize];
        let loss = [0, 0, 20][(seed / 9 % 3) as usize];
        let ordered = loss == 0;
        let Config { retain, max_early, .. } = Config::default();
        let config = Config {
            gather: [0, 60][(seed / 54 % 2) as usize],
            patience: 20,
            heartbeat: 200,
            resend: 500,
            min_deaths,
            part,
            retain: [retain, 300][(seed / 108 % 2) as usize],
            max_early: [max_early, 300][(seed / 216 % 2) as usize],
            ordered,
            ..Config::default()
        };
        Mesh { loss, lossy: loss > 0, ..Mesh::new(seed, leaders, links, config) }
    }

    fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// A leader's clock: each is off by up to some seconds, and steps.
    fn clock(&mut self, n: usize) -> Now {
        let skew = (n as u64 * 977) % 5_000 + self.rng.random_range(0..1_000);
        Now { wall: self.now.wall + skew, mono: self.now.mono }
    }

    pub fn write(&mut self, n: usize, name: &str, op: Op) {
        let now = self.clock(n);
        let leader = &mut self.leaders[n];
        let receipt = leader.engine.write(name, &op, None, now).expect("the write is valid");
        leader.pending.push((name.into(), op, receipt));
    }

    pub fn random_write(&mut self, n: usize) {
        let element = |rng: &mut StdRng| vec![b'a' + rng.random_range(0..6u8)];
        let some = |rng: &mut StdRng| (0..rng.random_range(1..4)).map(|_| element(rng)).collect::<Vec<_>>();
        let op = match self.rng.random_range(0..12) {
            0 => Op::Grow(self.rng.random_range(0..9)),
            1 => Op::Increment(self.rng.random_range(0..9)),
            2 => Op::Decrement(self.rng.random_range(0..9)),
            3 | 4 => Op::Assign(element(&mut self.rng)),
            5..=7 => Op::Add(some(&mut self.rng)),
            8..=10 => Op::Remove(some(&mut self.rng)),
            _ => Op::Clear,
        };
        let name = format!("{}-{}", op.kind(), self.rng.random_range(0..3));
        self.write(n, &name, op);
    }

    /// Makes what a leader did durable, and acknowledges it.
    pub fn commit(&mut self, n: usize) {
        let Leader { engine, disk, pending, shown: before } = &mut self.leaders[n];
        if let Some(commit) = engine.take_commit() {
            let now = shown(engine);
            for key in before.keys().chain(now.keys()).filter(|key| engine.is_key_durable(&key.name)) {
                let (was, is) = (before.get(key), now.get(key));
                // Of a set that is new here and was emptied elsewhere there is a name, and nothing to store.
                let is_only_named = was.is_none() && is == Some(&Some(Snapshot::Set(Vec::new())));
                assert!(was == is || is_only_named, "{key} at leader {n} was {was:?} and is {is:?}");
                *self.seen.entry("read during a commit").or_default() += 1;
            }
            disk.commit(commit);
            engine.committed(self.now);
            *before = now;
        }
        for (name, op, receipt) in pending.drain(..) {
            self.model.note(&name, &op, &receipt);
        }
        while let Some(event) = self.leaders[n].engine.poll_event() {
            match event {
                Event::Merged { .. } => self.count("merged"),
                Event::Close(session) => {
                    self.count("close");
                    let closed = self.up.iter().find(|(link, up)| link.0 == n && **up == session);
                    if let Some((a, b)) = closed.map(|closed| *closed.0) {
                        self.disconnect(a, b);
                    }
                }
                Event::Diverged { .. } if self.damaged => self.count("diverged"),
                Event::Reconciled { .. } if self.damaged => self.count("reconciled"),
                Event::Restored { unsent, .. } if self.damaged => {
                    self.count("restored");
                    if unsent > 0 {
                        self.count("restored with own updates");
                    }
                }
                Event::Unreachable { .. } if self.damaged => self.count("unreachable"),
                other => panic!("{other:?} at leader {n}"),
            }
        }
    }

    /// Loses what was not committed.
    pub fn crash(&mut self, n: usize) {
        if !self.leaders[n].pending.is_empty() {
            self.count("unacknowledged writes lost");
        }
        for peer in 0..self.leaders.len() {
            self.disconnect(n, peer);
        }
        let leader = &mut self.leaders[n];
        // It may have it back, but not on disk.
        let is_stored = leader.disk.0.contains_key(b"history".as_slice());
        if leader.engine.has_lost_metadata() || self.damaged && leader.disk.0.len() > 1 && !is_stored {
            let replica = leader.engine.identity().replica;
            return self.recover_without_metadata(n, replica);
        }
        let disk = std::mem::take(&mut leader.disk);
        *leader = Leader::new(disk.open(n as u64 + 1, &self.config), disk);
    }

    /// Crashes, loses its version vector with it, and goes on under the id `replica`.
    pub fn lose_metadata(&mut self, n: usize, replica: u64) {
        self.damaged = true;
        self.lost_ids.insert(self.leaders[n].engine.identity().replica);
        self.crash(n);
        self.leaders[n].disk.0.remove(b"history".as_slice());
        self.recover_without_metadata(n, ReplicaId::new(replica));
    }

    fn recover_without_metadata(&mut self, n: usize, replica: ReplicaId) {
        let leader = &mut self.leaders[n];
        let recovery = Recovery::new(Registry::new(), replica.get()).without_metadata(replica);
        let disk = std::mem::take(&mut leader.disk);
        let recovered =
            Engine::recover(self.config.clone(), identity(n as u64 + 1), disk.read_into(recovery));
        *leader = Leader::new(recovered.expect("all else is sound"), disk);
    }

    pub fn connect(&mut self, a: usize, b: usize) {
        if self.up.contains_key(&(a, b)) {
            return;
        }
        self.commit(a);
        self.commit(b);
        let session = SessionId(self.next_session);
        self.next_session += 1;
        let (to_b, to_a) = (self.leaders[a].engine.hello(), self.leaders[b].engine.hello());
        self.leaders[a].engine.connect(session, &to_b, to_a.clone(), self.now).unwrap();
        self.leaders[b].engine.connect(session, &to_a, to_b, self.now).unwrap();
        for link in [(a, b), (b, a)] {
            self.up.insert(link, session);
            self.wires.insert(link, VecDeque::new());
        }
    }

    pub fn disconnect(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            if let Some(session) = self.up.remove(&(from, to)) {
                self.leaders[from].engine.disconnect(session);
                self.wires.remove(&(from, to));
            }
        }
    }

    /// What may happen at any time, by a die of 100 sides; time passes on those that are left over.
    pub fn stir(&mut self, n: usize, dice: u32) {
        match dice {
            0..30 if !self.leaders[n].engine.has_lost_metadata() => self.random_write(n),
            30..45 => self.flush(n),
            45..75 => drop(self.deliver(n)),
            75..85 => {
                let (a, b) = self.links[self.rng.random_range(0..self.links.len())];
                if dice < 82 { self.connect(a, b) } else { self.disconnect(a, b) }
            }
            85..88 => self.crash(n),
            _ => self.pass(30),
        }
    }

    /// Lets a leader say all it has to say; what it says may be lost, or said twice.
    pub fn flush(&mut self, n: usize) {
        self.commit(n);
        let peers: Vec<usize> = self.up.keys().filter(|link| link.0 == n).map(|link| link.1).collect();
        for peer in peers {
            while self.say(n, peer).is_some() {}
        }
    }

    /// Lets a leader say one thing to another; returns what it said, lost or not.
    pub fn say(&mut self, n: usize, peer: usize) -> Option<Message> {
        let session = *self.up.get(&(n, peer))?;
        let message = self.leaders[n].engine.poll(session, self.now)?;
        // What travels are bytes.
        let bytes = message.encode();
        self.said.write(&bytes);
        let message = Message::decode(&bytes).expect("a message survives its encoding");
        if self.rng.random_range(0..100) < self.loss {
            self.count("lost");
            return Some(message);
        }
        let wire = self.wires.get_mut(&(n, peer)).expect("the link is up");
        if self.rng.random_range(0..100) < self.loss / 2 {
            wire.push_back(message.clone());
        }
        wire.push_back(message.clone());
        Some(message)
    }

    /// Delivers one message to `n`, or what is under way in another order if `loss` is on.
    pub fn deliver(&mut self, n: usize) -> bool {
        let links: Vec<_> =
            self.wires.iter().filter(|(l, wire)| l.1 == n && !wire.is_empty()).map(|(l, _)| *l).collect();
        if links.is_empty() {
            return false;
        }
        let link = links[self.rng.random_range(0..links.len())];
        let session = self.up[&link];
        let reorder = self.loss > 0 && self.rng.random_range(0..4) == 0;
        let wire = self.wires.get_mut(&link).expect("just listed");
        let at = if reorder { self.rng.random_range(0..wire.len()) } else { 0 };
        let message = wire.remove(at).expect("in range");
        if at > 0 {
            self.count("overtaking");
        }
        match self.leaders[n].engine.handle(session, message, self.now) {
            Ok(()) => {}
            // It has closed all connections, and the others have not heard of it yet.
            Err(mesh_proto::HandleError::NoSession) if self.damaged => self.count("closed"),
            Err(error) => panic!("leader {n} refuses a message of {}: {error}", link.0),
        }
        true
    }

    pub fn pass(&mut self, ms: u64) {
        self.now.wall += ms;
        self.now.mono += ms;
        let now = self.now;
        self.leaders.iter_mut().for_each(|leader| leader.engine.tick(now));
    }

    /// What a leader shows is exactly what the events in its vector make.
    pub fn check(&mut self, n: usize) {
        self.commit(n);
        let (engine, model) = (&self.leaders[n].engine, &self.model);
        let vector = engine.version();
        for k in 0..3 {
            let name = |kind: &str| format!("{kind}-{k}");
            let set = name("or-set");
            let members: BTreeSet<&[u8]> = engine.members(&set).into_iter().collect();
            let expected = model.members_without(vector, &set, &self.lost_ids);
            if self.damaged {
                let lost: Vec<_> = expected.difference(&members).collect();
                assert!(lost.is_empty(), "{set} at leader {n} with {vector:?} lacks {lost:?}");
            } else {
                assert_eq!(members, expected, "{set} at leader {n} with {vector:?}");
            }
            let counter = name("pn-counter");
            assert_eq!(
                engine.counter(&counter).unwrap_or(0),
                model.sum(vector, &counter),
                "{counter} at leader {n}"
            );
            let grown = name("g-counter");
            let value = i128::try_from(engine.g_counter(&grown).unwrap_or(0)).unwrap();
            assert_eq!(value, model.sum(vector, &grown), "{grown} at leader {n}");
            let register = name("lww-register");
            let value = engine.register(&register).map(|found| found.0);
            assert_eq!(value, model.register(vector, &register), "{register} at leader {n}");
        }
    }

    /// Heals everything and runs until nobody has anything to say; fails if that takes too long.
    pub fn converge(&mut self) {
        self.loss = 0;
        for round in 1..=200 {
            for (a, b) in self.links.clone() {
                self.connect(a, b);
            }
            if round % 40 == 0
                && let Some(lost) = self.leaders.iter_mut().find(|leader| leader.engine.has_lost_metadata())
            {
                // It waits for one that waits for it: both have lost their metadata.
                lost.engine.go_without_unreachable();
                self.count("went without");
            }
            for _ in 0..20 {
                self.pass(100);
                (0..self.leaders.len()).for_each(|n| self.flush(n));
                (0..self.leaders.len()).for_each(|n| while self.deliver(n) {});
            }
            let first = self.leaders[0].engine.version().clone();
            let first_print = self.leaders[0].engine.fingerprint();
            if self.leaders.iter().all(|leader| *leader.engine.version() == first) {
                if self.leaders.iter().any(|l| l.engine.fingerprint() != first_print) {
                    assert!(self.damaged, "fingerprints differ");
                    continue;
                }
                (0..self.leaders.len()).for_each(|n| self.check(n));
                return;
            }
        }
        let vectors: Vec<_> = self.leaders.iter().map(|leader| leader.engine.version()).collect();
        panic!("no convergence: {vectors:?}");
    }
}

pub fn all_to_all(n: usize) -> Vec<(usize, usize)> {
    (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))).collect()
}

pub fn ring(n: usize) -> Vec<(usize, usize)> {
    (0..n).map(|a| (a, (a + 1) % n)).collect()
}

pub fn star(n: usize) -> Vec<(usize, usize)> {
    (1..n).map(|a| (0, a)).collect()
}

pub fn random_bytes(rng: &mut StdRng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// Runs histories, as many as `MESH_SEEDS` says or else `seeds`, each of which counts what it has seen. All of `happens`
/// has to be seen.
pub fn histories<T>(
    seeds: u64,
    happens: &[&str],
    mut run: impl FnMut(u64, &mut BTreeMap<&'static str, u64>) -> T,
) {
    let seeds = std::env::var("MESH_SEEDS").map_or(seeds, |n| n.parse().expect("MESH_SEEDS is a number"));
    let mut seen = BTreeMap::new();
    for seed in 0..seeds {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed, &mut seen)));
        assert!(outcome.is_ok(), "the history of seed {seed} fails");
    }
    for what in happens {
        assert!(seen.get(what).is_some_and(|times| *times > 0), "{what:?} never happened: {seen:?}");
    }
}
