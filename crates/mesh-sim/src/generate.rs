use crate::{Action, Link, Schedule, Setup, Step, Topology, keys::NUMBERS};
use mesh_proto::{Config, Op};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

/// Draws the schedule of a seed: a mesh, at least `updates` writes, and faults.
///
/// Seeds go through the topologies and the sizes from 3 to 16 leaders in turn; which faults a seed has is drawn.
pub fn schedule(seed: u64, updates: usize) -> Schedule {
    let mut rng = SmallRng::seed_from_u64(seed ^ 0x6d65_7368);
    let topology = Topology::ALL[(seed % 6) as usize];
    let leaders = 3 + (seed / 6 % 14) as usize;
    let mut setup = setup(topology, leaders, &mut rng);
    let mut generator = Generator {
        faults: Faults::draw(&mut rng),
        workload: Workload::draw(&mut rng),
        down: vec![0; leaders],
        restored: vec![false; leaders],
        keyed: vec![Vec::new(); leaders],
        next_once: 0,
        steps: Vec::new(),
        now: 0,
        rng,
        topology,
        leaders,
        near: setup.near,
    };
    let mut steps = generator.draw(updates);
    if generator.rng.random_range(0..4) == 0 {
        // The last leader joins under load.
        let at = generator.rng.random_range(0..=generator.now);
        steps.push(Step { at, action: Action::Graph(setup.graph.clone()) });
        setup.graph.retain(|link| link.1 != leaders - 1);
    }
    steps.sort_by_key(|step| step.at);
    Schedule { seed, setup, steps }
}

/// Draws the schedule of a seed in which only the user's own type is updated.
pub(crate) fn own_schedule(seed: u64, updates: usize) -> Schedule {
    let mut schedule = schedule(seed, updates);
    let mut rng = SmallRng::seed_from_u64(seed ^ 0x006f_776e);
    for step in &mut schedule.steps {
        if let Action::Write { leader, number, .. } | Action::Update { leader, number, .. } = step.action {
            step.action = Action::Update { leader, number, draw: rng.random() };
        }
    }
    schedule
}

fn setup(topology: Topology, leaders: usize, rng: &mut SmallRng) -> Setup {
    let graph = topology.links(leaders, rng);
    let lossy = rng.random();
    let near = Link {
        latency: rng.random_range(100..5_000),
        spread: rng.random_range(0..3_000),
        jitter: if rng.random() { rng.random_range(1..10_000) } else { 0 },
        loss: if lossy { rng.random_range(0..200) } else { 0 },
        duplication: if lossy { rng.random_range(0..100) } else { 0 },
        ordered: !lossy,
    };
    let far = match topology {
        Topology::Regions => Link { latency: rng.random_range(20_000..120_000), ..near },
        _ => near,
    };
    let heartbeat = rng.random_range(100..1_000);
    let config = Config {
        gather: [0, 0, 5, 50][rng.random_range(0..4)],
        patience: rng.random_range(5..200),
        // Little is retained and held, so that the coarser ways of syncing are taken too.
        retain: [0, 300, 3_000, 4 << 20][rng.random_range(0..4)],
        max_early: [64 << 10, 16 << 20][rng.random_range(0..2)],
        ordered: !lossy,
        heartbeat,
        part: [30, 1_000, 1_000_000][rng.random_range(0..3)],
        resend: rng.random_range(2..6) * heartbeat,
        // Few removals are remembered, so that forgotten ones are met.
        min_deaths: [0, 5, 50, 100_000][rng.random_range(0..4)],
        ..Config::default()
    };
    let wake = [20_000, 50_000][rng.random_range(0..2)];
    let turn = [0, 100, 1_000][rng.random_range(0..3)];
    Setup { leaders, topology, graph, near, far, disk: rng.random_range(50..3_000), turn, wake, config }
}

/// Which faults a seed has, each as how many come on a thousand writes.
struct Faults {
    crash: u32,
    restore: u32,
    cut: u32,
    close: u32,
    conditions: u32,
    disk: u32,
    clock: u32,
    graph: u32,
}

impl Faults {
    fn draw(rng: &mut SmallRng) -> Self {
        let mut rate = |most: u32| if rng.random_range(0..3) == 0 { 0 } else { rng.random_range(1..=most) };
        Faults {
            crash: rate(20),
            restore: rate(4),
            cut: rate(20),
            close: rate(20),
            conditions: rate(10),
            disk: rate(5),
            clock: rate(10),
            graph: rate(5),
        }
    }
}

/// What is written.
struct Workload {
    /// The keys of each type, and the elements of sets.
    keys: usize,
    elements: usize,
    /// The greatest length of a value.
    bytes: usize,
    /// Whether some leaders write more than others.
    is_skewed: bool,
    /// The mean time between writes, in microseconds.
    gap: u64,
}

impl Workload {
    fn draw(rng: &mut SmallRng) -> Self {
        Workload {
            keys: rng.random_range(1..=NUMBERS),
            elements: [2, 6, 40][rng.random_range(0..3)],
            bytes: [1, 20, 800][rng.random_range(0..3)],
            is_skewed: rng.random(),
            gap: rng.random_range(500..12_000),
        }
    }

    /// An element or value: the lower its number the likelier, so that concurrent writes meet.
    fn value(&self, rng: &mut SmallRng) -> Vec<u8> {
        let number = rng.random_range(0..self.elements).min(rng.random_range(0..self.elements));
        // A value of one number always has one length.
        let mut value = format!("{number}").into_bytes();
        value.resize((1 + number * 7 % 11 * self.bytes / 11).max(value.len()), b'.');
        value
    }

    fn values(&self, rng: &mut SmallRng) -> Vec<Vec<u8>> {
        (0..rng.random_range(1..4)).map(|_| self.value(rng)).collect()
    }
}

struct Generator {
    rng: SmallRng,
    topology: Topology,
    leaders: usize,
    near: Link,
    faults: Faults,
    workload: Workload,
    /// Which leaders were set back: they may take no writes for a while.
    restored: Vec<bool>,
    /// Until when each leader is down.
    down: Vec<u64>,
    /// The writes with an idempotency key at each leader.
    keyed: Vec<Vec<Action>>,
    next_once: u32,
    now: u64,
    steps: Vec<Step>,
}

impl Generator {
    fn draw(&mut self, updates: usize) -> Vec<Step> {
        let next_graph = if self.topology == Topology::Gossip { 300_000 } else { u64::MAX };
        let mut graph_at = next_graph;
        let mut writes = 0;
        // Some are lost in a crash before they were carried out.
        while writes < updates + updates / 16 {
            self.now += self.rng.random_range(0..=2 * self.workload.gap);
            if self.rng.random_range(0..300) == 0 {
                // All fall silent.
                self.now += self.rng.random_range(0..3_000_000);
            }
            if self.now >= graph_at {
                graph_at = self.now + self.rng.random_range(next_graph / 2..=next_graph);
                self.redraw();
            }
            self.faults();
            writes += self.write();
        }
        std::mem::take(&mut self.steps)
    }

    fn push(&mut self, at: u64, action: Action) {
        self.steps.push(Step { at, action });
    }

    fn leader(&mut self) -> usize {
        self.rng.random_range(0..self.leaders)
    }

    fn writer(&mut self) -> usize {
        let (one, other) = (self.leader(), self.leader());
        if self.workload.is_skewed { one.min(other) } else { one }
    }

    fn pair(&mut self) -> (usize, usize) {
        let a = self.leader();
        (a, (a + self.rng.random_range(1..self.leaders)) % self.leaders)
    }

    /// Some time from now, mostly short: 1 ms to 2 s.
    fn later(&mut self) -> u64 {
        let magnitude = self.rng.random_range(0..11);
        self.now + 1_000 + self.rng.random_range(0..2_000 << magnitude)
    }

    /// A write, or a few in one go; returns how many surely make events.
    fn write(&mut self) -> usize {
        let leader = self.writer();
        if self.down[leader] > self.now {
            return 0;
        }
        let burst = if self.rng.random_range(0..30) == 0 { self.rng.random_range(2..20) } else { 1 };
        let mut sure = 0;
        for _ in 0..burst {
            let action = self.one_write(leader);
            let may_do_nothing = matches!(action, Action::Write { op: Op::Remove(_) | Op::Clear, .. })
                || self.restored[leader];
            sure += usize::from(!may_do_nothing);
            self.push(self.now, action);
        }
        sure
    }

    fn one_write(&mut self, leader: usize) -> Action {
        let (rng, workload) = (&mut self.rng, &self.workload);
        let number = rng.random_range(0..workload.keys);
        let op = match rng.random_range(0..14) {
            0 => Op::Grow(rng.random_range(1..9)),
            1 => Op::Increment(rng.random_range(1..9)),
            2 => Op::Decrement(rng.random_range(1..9)),
            3 | 4 => Op::Assign(workload.value(rng)),
            5..=7 => Op::Add(workload.values(rng)),
            8..=10 => Op::Remove(workload.values(rng)),
            11 => Op::Clear,
            _ => return Action::Update { leader, number, draw: rng.random() },
        };
        if rng.random_range(0..10) > 0 {
            return Action::Write { leader, number, op, once: None };
        }
        self.next_once += 1;
        let action = Action::Write { leader, number, op, once: Some(self.next_once) };
        self.keyed[leader].push(action.clone());
        if self.rng.random_range(0..4) == 0 {
            // The client hears nothing, and asks again.
            let at = self.later();
            self.push(at, action.clone());
        }
        action
    }

    fn faults(&mut self) {
        let mut hits = |rate: u32| self.rng.random_range(0..1_000) < rate;
        let Faults { crash, restore, cut, close, conditions, disk, clock, graph } = self.faults;
        let hit = [crash, restore, cut, close, conditions, disk, clock, graph].map(&mut hits);
        let [crash, restore, cut, close, conditions, disk, clock, graph] = hit;
        let leader = self.leader();
        if crash && self.down[leader] <= self.now {
            self.crash(leader);
        }
        let set_back = self.restored.iter().filter(|restored| **restored).count();
        if restore && set_back < self.leaders / 2 {
            self.restored[leader] = true;
            self.push(self.now, Action::Backup(leader));
            let at = self.later() + 100_000;
            self.push(at, Action::Restore(leader));
        }
        if cut {
            self.cut();
        }
        if close {
            let (a, b) = self.pair();
            self.push(self.now, Action::Close(a, b));
        }
        if conditions {
            self.conditions();
        }
        if disk {
            let latency = self.rng.random_range(10_000..300_000);
            let (until, fast) = (self.later(), self.rng.random_range(50..3_000));
            self.push(self.now, Action::Disk { leader, latency });
            self.push(until, Action::Disk { leader, latency: fast });
        }
        if clock {
            let far = if self.rng.random_range(0..10) == 0 { 3_600_000 } else { 20_000 };
            let offset = self.rng.random_range(-far..far);
            self.push(self.now, Action::Clock { leader, offset });
        }
        if graph {
            self.redraw();
        }
    }

    /// Right after a write, so that something is under way.
    fn crash(&mut self, leader: usize) {
        let soon = self.now + self.rng.random_range(0..5_000);
        let write = self.one_write(leader);
        self.push(self.now, write);
        self.push(soon, Action::Crash(leader));
        let up = self.later().max(soon + 1);
        self.push(up, Action::Restart(leader));
        self.down[leader] = up;
        // A client that has heard nothing asks again.
        if let Some(lost) = self.keyed[leader].last().filter(|_| self.rng.random_range(0..4) > 0) {
            let lost = lost.clone();
            self.push(up + 1_000, lost);
        }
    }

    /// One direction, one link, or some leaders from the rest.
    fn cut(&mut self) {
        let until = self.later();
        let (a, b) = self.pair();
        let mut lost = vec![(a, b)];
        match self.rng.random_range(0..3) {
            0 => {}
            1 => lost.push((b, a)),
            _ => {
                let side: Vec<bool> = (0..self.leaders).map(|_| self.rng.random()).collect();
                let apart = |a: usize, b: usize| side[a] != side[b];
                lost = (0..self.leaders)
                    .flat_map(|a| (0..self.leaders).map(move |b| (a, b)))
                    .filter(|(a, b)| apart(*a, *b))
                    .collect();
            }
        }
        for (from, to) in lost {
            self.push(self.now, Action::Cut { from, to });
            self.push(until, Action::Heal { from, to });
        }
    }

    fn conditions(&mut self) {
        let (from, to) = self.pair();
        let until = self.later();
        let link = Link {
            latency: self.rng.random_range(50..30_000),
            jitter: self.rng.random_range(0..30_000),
            loss: if self.near.ordered { 0 } else { self.rng.random_range(0..500) },
            duplication: if self.near.ordered { 0 } else { self.rng.random_range(0..300) },
            ..self.near
        };
        self.push(self.now, Action::Conditions { from, to, link });
        self.push(until, Action::Conditions { from, to, link: self.near });
    }

    fn redraw(&mut self) {
        let topology = if self.rng.random_range(0..3) == 0 {
            Topology::ALL[self.rng.random_range(0..6)]
        } else {
            self.topology
        };
        let mut graph = topology.links(self.leaders, &mut self.rng);
        if graph.len() > self.leaders && self.rng.random() {
            // A link fewer, which may cut the graph in two for a while.
            graph.remove(self.rng.random_range(0..graph.len()));
        }
        self.push(self.now, Action::Graph(graph));
    }
}
