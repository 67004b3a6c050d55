//! A mesh in virtual time: engines, disks, links and clocks, driven by a schedule.

mod check;
mod leader;
mod life;
mod net;
mod talk;

use crate::{
    Action, Invariant, Planted, Queue, Schedule, Seen, Sometimes, Step, Violation,
    keys::{self, KEYS},
    model::{History, Shadow, mix},
    own::{Own, State},
    topology,
    violation::Finding,
};
use leader::{ConnectionId, Disk, Input, Leader, Pending};
use mesh_proto::{Hello, Key, Now, ReplicaId};
use net::Net;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::{DefaultHasher, Hasher},
    sync::Arc,
};

/// The wall clock at the start, in milliseconds since 1970.
const WALL: u64 = 1_700_000_000_000;

/// What a run of a schedule came to.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) violation: Option<Violation>,
    pub(crate) seen: Seen,
    /// A hash of every message: when, from whom, to whom, and its bytes.
    pub(crate) trace: u64,
    /// Inputs to engines: writes, messages, connections opened and closed, ticks and commits.
    pub(crate) inputs: u64,
    /// Writes that made events.
    pub(crate) updates: u64,
    /// How long it took after healing until all agreed, and how long it may take, in virtual milliseconds.
    pub(crate) healed: u64,
    pub(crate) patience: u64,
}

impl Outcome {
    /// Of a run that came to nothing but this.
    pub(crate) fn failed(violation: Violation) -> Self {
        let seen = Seen::default();
        Outcome { violation: Some(violation), seen, trace: 0, inputs: 0, updates: 0, healed: 0, patience: 0 }
    }
}

/// Runs a schedule to its end, and until all agree; stops at the first violation.
pub(crate) fn run(schedule: &Schedule, own: &Arc<dyn Own>, planted: Option<Planted>) -> Outcome {
    #[cfg(planted)]
    mesh_proto::plant(planted.and_then(Planted::in_engine));
    let mut world = World::new(schedule, own.clone(), planted);
    let violation = world.play().err();
    Outcome {
        violation: violation.map(|found| *found),
        seen: world.seen,
        trace: world.trace.finish(),
        inputs: world.inputs,
        updates: world.updates,
        healed: world.healed,
        patience: world.patience,
    }
}

/// Something that is going to happen.
enum Happening {
    Step(usize),
    Arrive { to: usize, connection: ConnectionId, number: u32, cargo: Cargo, bytes: Box<[u8]> },
    Committed { leader: usize, life: u32 },
    Wake { leader: usize, life: u32 },
    Turn { leader: usize, life: u32 },
    Dial(usize, usize),
    Silence(ConnectionId),
    Established(ConnectionId),
    Closed { leader: usize, connection: ConnectionId },
}

/// What a message carries, as far as its sender tells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cargo {
    /// Nothing that is kept.
    Words,
    /// Values.
    News,
    /// A part of a delta of merged state.
    Part,
}

struct World<'a> {
    schedule: &'a Schedule,
    own: Arc<dyn Own>,
    planted: Option<Planted>,
    queue: Queue<Happening>,
    leaders: Vec<Leader>,
    net: Net,
    graph: Vec<(usize, usize)>,
    /// The greetings on their way, of both ends.
    greetings: BTreeMap<ConnectionId, [Hello; 2]>,
    names: Vec<Key>,
    history: History,
    /// What leaders with a vector have shown as their fingerprint.
    fingerprints: HashMap<u64, u64>,
    /// What each leader last showed of the user's own type.
    shown: Vec<Vec<Option<State>>>,
    concurrency: check::Concurrency,
    /// The last update under each id that a client was told of.
    acknowledged: BTreeMap<ReplicaId, u64>,
    seen: Seen,
    trace: DefaultHasher,
    inputs: u64,
    updates: u64,
    step: usize,
    healing: bool,
    healed: u64,
    patience: u64,
}

type Found = Result<(), Box<Violation>>;

impl<'a> World<'a> {
    fn new(schedule: &'a Schedule, own: Arc<dyn Own>, planted: Option<Planted>) -> Self {
        let setup = &schedule.setup;
        let mut history = History::default();
        let leader = |n: usize| {
            let id = replica(schedule.seed, n, 0);
            history.begin(id, n);
            Leader {
                engine: None,
                disk: Disk::default(),
                shadow: Shadow::new(),
                kept: BTreeMap::new(),
                backup: None,
                previous: None,
                id,
                issued: 0,
                pending: Pending::default(),
                committing: None,
                inbox: VecDeque::new(),
                sessions: Vec::new(),
                suspect: None,
                is_set_back: false,
                renaming: false,
                life: 0,
                names: 0,
                offset: 0,
                stepped_back: false,
                latency: setup.disk,
                commits: 0,
                wakes: 0,
                crashed_since: BTreeMap::new(),
            }
        };
        World {
            leaders: (0..setup.leaders).map(leader).collect(),
            net: Net::new(schedule.seed, setup),
            graph: setup.graph.clone(),
            names: keys::all(own.kind()),
            shown: vec![vec![None; KEYS]; setup.leaders],
            schedule,
            own,
            planted,
            queue: Queue::new(),
            greetings: BTreeMap::new(),
            history,
            fingerprints: HashMap::new(),
            concurrency: check::Concurrency::default(),
            acknowledged: BTreeMap::new(),
            seen: Seen::default(),
            trace: DefaultHasher::new(),
            inputs: 0,
            updates: 0,
            step: 0,
            healing: false,
            healed: 0,
            patience: 0,
        }
    }

    fn play(&mut self) -> Found {
        for n in 0..self.leaders.len() {
            self.start(n)?;
        }
        self.rewire(self.graph.clone());
        self.queue.schedule(self.schedule.steps.first().map_or(0, |first| first.at), Happening::Step(0));
        let mut deadline = u64::MAX;
        while let Some(happening) = self.queue.take() {
            self.happen(happening)?;
            if self.healing && deadline == u64::MAX {
                deadline = self.queue.now() + 1_000 * self.patience;
            }
            if self.healing && self.agree() {
                self.healed = self.patience - (deadline - self.queue.now()) / 1_000;
                return self.check_end();
            }
            if self.queue.now() > deadline {
                return self.not_agreed();
            }
        }
        unreachable!("leaders wake for ever")
    }

    fn happen(&mut self, happening: Happening) -> Found {
        match happening {
            Happening::Step(index) => {
                self.step = index;
                let schedule = self.schedule;
                let Some(step) = schedule.steps.get(index) else { return self.heal() };
                // After the last one everything is healed.
                let next = schedule.steps.get(index + 1).map_or(self.queue.now(), |next| next.at);
                self.queue.schedule(next, Happening::Step(index + 1));
                self.take_step(index, step)
            }
            Happening::Arrive { to, connection, number, cargo, bytes } => {
                self.arrive(to, connection, number, cargo, bytes);
                Ok(())
            }
            Happening::Committed { leader, life } if self.leaders[leader].life == life => {
                self.committed(leader)
            }
            Happening::Wake { leader, life } if self.leaders[leader].life == life => self.wake(leader),
            Happening::Turn { leader, life } if self.leaders[leader].life == life => self.turn(leader),
            Happening::Committed { .. } | Happening::Wake { .. } | Happening::Turn { .. } => Ok(()),
            Happening::Dial(a, b) => {
                self.dial(a, b);
                Ok(())
            }
            Happening::Established(connection) => {
                self.established(connection);
                Ok(())
            }
            Happening::Silence(connection) => {
                self.close(connection);
                Ok(())
            }
            Happening::Closed { leader, connection } => {
                self.input(leader, Input::Disconnect(connection));
                Ok(())
            }
        }
    }

    fn take_step(&mut self, index: usize, step: &'a Step) -> Found {
        match step.action {
            Action::Write { leader, .. } | Action::Update { leader, .. } => {
                self.input(leader, Input::Step(index));
            }
            Action::Crash(leader) => self.crash(leader),
            Action::Restart(leader) => return self.restart(leader),
            Action::Backup(leader) => {
                let leader = &mut self.leaders[leader];
                leader.backup = Some((leader.disk.clone(), leader.shadow.clone(), leader.kept.clone()));
            }
            Action::Restore(leader) => return self.restore(leader),
            Action::Disk { leader, latency } => self.leaders[leader].latency = latency,
            Action::Clock { leader, offset } => {
                let leader = &mut self.leaders[leader];
                leader.stepped_back |= offset < leader.offset;
                leader.offset = offset;
            }
            Action::Cut { from, to } => self.net.direction(from, to).cut = true,
            Action::Heal { from, to } => self.net.direction(from, to).cut = false,
            Action::Close(a, b) => {
                if let Some(connection) = self.net.pair(a, b).current {
                    self.close(connection);
                }
            }
            Action::Conditions { from, to, link } => self.net.direction(from, to).link = link,
            Action::Graph(ref graph) => self.rewire(graph.clone()),
        }
        Ok(())
    }

    /// Everything is made whole: links, disks, and leaders that are down.
    fn heal(&mut self) -> Found {
        topology::connect_parts(self.leaders.len(), &mut self.graph);
        self.patience = self.schedule.setup.patience(&self.graph);
        self.rewire(self.graph.clone());
        for from in 0..self.leaders.len() {
            for to in 0..self.leaders.len() {
                if let Some(connection) = self.net.pair(from, to).current.filter(|_| from < to)
                    && self.net.connections[connection].broken != [false; 2]
                {
                    self.close(connection);
                }
                let setup = &self.schedule.setup;
                let mut link = setup.link(from, to);
                (link.loss, link.duplication, link.ordered) = (0, 0, true);
                let direction = self.net.direction(from, to);
                (direction.link, direction.cut) = (link, false);
            }
            self.leaders[from].latency = self.schedule.setup.disk;
            self.restart(from)?;
        }
        if !self.agree() {
            self.seen.note(Sometimes::HealedApart);
        }
        self.healing = true;
        Ok(())
    }

    fn now(&self, leader: usize) -> Now {
        let mono = self.queue.now() / 1_000;
        Now { wall: (WALL + mono).saturating_add_signed(self.leaders[leader].offset), mono }
    }

    #[expect(clippy::unnecessary_box_returns, reason = "it travels up in results, which are to stay small")]
    fn violation(&self, leader: Option<usize>, finding: Finding) -> Box<Violation> {
        let Finding { invariant, key, what } = finding;
        Box::new(Violation { invariant, leader, key, step: self.step, at: self.queue.now(), what })
    }

    fn broken(&self, leader: usize, invariant: Invariant, what: impl Into<String>) -> Found {
        Err(self.violation(Some(leader), Finding::new(invariant, what)))
    }
}

/// The id that leader `n` writes under after it has changed it `names` times: as good as random, as real ones are.
fn replica(seed: u64, n: usize, names: u64) -> ReplicaId {
    ReplicaId::new(mix(seed, names << 8 | n as u64) | 1)
}
