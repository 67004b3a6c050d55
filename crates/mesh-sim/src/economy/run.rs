//! One run: a protocol's nodes, the network between them, and what is measured.

use super::{
    delta::{Delta, DeltaNode, ObjectsNode, TURNS},
    flooding::Flooding,
    full_state::FullState,
    leader::{Leader, gathering},
    node::{Frame, Node, Outbox},
    overlay::Overlay,
    scuttlebutt::Scuttlebutt,
    single_leader::SingleLeader,
    track::Tracker,
    workload::Workload,
};
use crate::{Link, Queue};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::time::{Duration, Instant};

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The whole state every tick.
    FullState,
    /// Deltas of the whole keyspace.
    Delta(Delta),
    /// Deltas of each object by itself.
    Objects(Delta),
    /// Scuttlebutt.
    Scuttlebutt {
        /// Whether it lets go of what all have, for which every message carries all nodes' vectors.
        deletes: bool,
    },
    /// Everything at once to all neighbours.
    Flooding,
    /// Node 0 orders all operations.
    SingleLeader,
    /// The engine of this workspace.
    Mesh {
        /// The least time between two frames of news on a link, in ms.
        gather: u64,
    },
}

impl Protocol {
    /// The name in tables.
    pub fn name(self) -> String {
        let improvements = |delta: Delta| match (delta.bp, delta.rr) {
            (false, false) => " (classic)",
            (true, false) => " BP",
            (false, true) => " RR",
            (true, true) => " BP+RR",
        };
        match self {
            Protocol::FullState => "full state".into(),
            Protocol::Delta(delta) => format!("delta{}", improvements(delta)),
            Protocol::Objects(delta) => format!("delta{}, by object", improvements(delta)),
            Protocol::Scuttlebutt { deletes: false } => "Scuttlebutt".into(),
            Protocol::Scuttlebutt { deletes: true } => "Scuttlebutt, NxN".into(),
            Protocol::Flooding => "flooding".into(),
            Protocol::SingleLeader => "single leader".into(),
            Protocol::Mesh { gather: 0 } => "mesh, at once".into(),
            Protocol::Mesh { .. } => "mesh".into(),
        }
    }

    fn nodes(self, scenario: &Scenario) -> Vec<Box<dyn Node>> {
        let (overlay, ids) = (&scenario.overlay, &scenario.workload.ids);
        if let Protocol::Mesh { gather } = self {
            let config = gathering(gather, &scenario.link);
            let leaders = Leader::mesh(ids, overlay, &config, scenario.workload.write_once);
            return leaders.into_iter().map(|leader| Box::new(leader) as Box<dyn Node>).collect();
        }
        let parents = overlay.parents(0);
        let mut turns = StdRng::seed_from_u64(scenario.seed);
        let mut node = |node: usize| -> Box<dyn Node> {
            let to = overlay.neighbours(node);
            match self {
                Protocol::FullState => Box::new(FullState::new(to)),
                Protocol::Delta(options) => Box::new(DeltaNode::new(to, options)),
                Protocol::Objects(options) => Box::new(ObjectsNode::new(to, options, &mut turns)),
                Protocol::Scuttlebutt { deletes } => Box::new(Scuttlebutt::new(node, ids, to, deletes)),
                Protocol::Flooding => Box::new(Flooding::new(to)),
                Protocol::SingleLeader => Box::new(SingleLeader::new(node, &parents, scenario.tick)),
                Protocol::Mesh { .. } => unreachable!("leaders greet each other before they are nodes"),
            }
        };
        (0..overlay.nodes()).map(&mut node).collect()
    }

    /// How often a node is woken. The engine says itself when it wants to be, and forgets what has expired once a second.
    fn period(self, tick: u64) -> u64 {
        match self {
            Protocol::Mesh { .. } => 1_000_000,
            Protocol::Objects(_) => tick / u64::from(TURNS),
            _ => tick,
        }
    }
}

/// Where and with what protocols are compared. Times are in microseconds.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// In tables.
    pub name: String,
    /// The graph.
    pub overlay: Overlay,
    /// Every link, in each direction.
    pub link: Link,
    /// How often a node of a published protocol synchronises; at which moments differs from node to node.
    pub tick: u64,
    /// The operations.
    pub workload: Workload,
    /// Of the network's chances.
    pub seed: u64,
}

/// What a run came to. Bytes are those of encoded frames.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// Which protocol.
    pub protocol: String,
    /// Encoded elements and values, retransmissions included.
    pub payload: u64,
    /// All other bytes.
    pub metadata: u64,
    /// How many frames were sent.
    pub frames: u64,
    /// How many irreducible states were sent; not counted for the engine.
    pub elements: u64,
    /// How many entries of metadata, as Enes et al. count them; not counted for the engine.
    pub entries: u64,
    /// The middle of the times from a change to its visibility at another node, over all such pairs, in milliseconds.
    pub p50_ms: f64,
    /// The time that 99% of them do not exceed.
    pub p99_ms: f64,
    /// The greatest.
    pub max_ms: f64,
    /// How many pairs of a change and another node were still missing in the end.
    pub undelivered: u64,
    /// Whether all nodes showed exactly the result in the end.
    pub converged: bool,
    /// How many inputs the nodes had.
    pub inputs: u64,
    /// The CPU time of all nodes in milliseconds, without the network between them,
    pub cpu_ms: f64,
    /// and how much of it went into the rows that a store is to keep, which published protocols do without.
    pub durability_ms: f64,
    /// The live bytes that all nodes together held in the end; `None` if nobody counts them. What nodes of a published
    /// protocol share with the workload, their own elements, is not among them.
    pub memory: Option<u64>,
}

impl Outcome {
    /// All bytes.
    pub fn bytes(&self) -> u64 {
        self.payload + self.metadata
    }

    /// The CPU time of what all protocols do: without [durability](Outcome::durability_ms), in milliseconds.
    pub fn protocol_ms(&self) -> f64 {
        self.cpu_ms - self.durability_ms
    }
}

/// The CPU time of this thread, in nanoseconds.
///
/// # Panics
///
/// Never: the time is positive.
pub fn thread_nanos() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let part = |number: i64| u64::try_from(number).expect("a clock that counts from 0");
    part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec)
}

#[allow(clippy::cast_precision_loss)] // Far below 2^52.
pub(crate) fn float(number: u64) -> f64 {
    number as f64
}

enum Input {
    Operation(usize),
    Tick(usize),
    /// The time for which the node asked.
    Wake(usize),
    Arrival {
        from: usize,
        to: usize,
        bytes: Vec<u8>,
    },
}

/// How long a run goes on after the last operation at most.
const PATIENCE: u64 = 120_000_000;

/// For how many ticks it goes on when everything is everywhere.
const LINGER: u64 = 2;

struct Run<'a> {
    scenario: &'a Scenario,
    period: u64,
    queue: Queue<Input>,
    nodes: Vec<Box<dyn Node>>,
    /// The earliest wake-up that is scheduled for each node.
    wakes: Vec<u64>,
    rng: StdRng,
    tracker: Tracker<'a>,
    /// When the latest message on a link arrives, for links that keep the order.
    last: Vec<Vec<u64>>,
    /// How long nodes were at work, by the clock on the wall: it is read at each step, and the CPU's would take longer to
    /// read than many a step.
    at_work: Duration,
    outcome: Outcome,
}

/// Runs a protocol until everything is everywhere and two ticks more, or for two minutes after the last operation.
///
/// `live` tells the live bytes of the process, where somebody counts them.
///
/// # Panics
///
/// If the workload is for another number of nodes.
pub fn run(scenario: &Scenario, protocol: Protocol, live: Option<fn() -> u64>) -> Outcome {
    let nodes = scenario.overlay.nodes();
    assert_eq!(nodes, scenario.workload.nodes(), "the workload is for this overlay");
    let mut run = Run {
        scenario,
        period: protocol.period(scenario.tick),
        queue: Queue::new(),
        nodes: protocol.nodes(scenario),
        wakes: vec![u64::MAX; nodes],
        rng: StdRng::seed_from_u64(scenario.seed),
        tracker: Tracker::new(&scenario.workload),
        last: vec![vec![0; nodes]; nodes],
        at_work: Duration::ZERO,
        outcome: Outcome { protocol: protocol.name(), ..Outcome::default() },
    };
    let (start, begin) = (thread_nanos(), Instant::now());
    run.go();
    let (millis, elapsed) = (float(thread_nanos() - start) / 1e6, begin.elapsed());
    let share = |work: Duration| millis * work.as_secs_f64() / elapsed.as_secs_f64();
    let durability = run.nodes.iter().map(|node| node.durability()).sum();
    (run.outcome.cpu_ms, run.outcome.durability_ms) = (share(run.at_work), share(durability));
    let expected = scenario.workload.result();
    run.outcome.converged = run.nodes.iter().all(|node| node.shows(&expected));
    let Run { nodes, tracker, mut outcome, .. } = run;
    if let Some(live) = live {
        let with = live();
        drop(nodes);
        outcome.memory = Some(with.saturating_sub(live()));
    }
    outcome.undelivered = tracker.missing();
    let times = tracker.finish();
    [outcome.p50_ms, outcome.p99_ms, outcome.max_ms] = times.map(|micros| float(micros) / 1e3);
    outcome
}

impl Run<'_> {
    fn go(&mut self) {
        let operations = &self.scenario.workload.operations;
        for node in 0..self.nodes.len() {
            // The phases are the same for all protocols with this period: the first draws of the seed.
            let phase = self.rng.random_range(0..self.period);
            self.queue.schedule(phase, Input::Tick(node));
        }
        if let Some(first) = operations.first() {
            self.queue.schedule(first.at, Input::Operation(0));
        }
        let last = operations.last().map_or(0, |operation| operation.at);
        let mut end = last + PATIENCE;
        let mut complete = false;
        let mut out = Outbox::default();
        while self.queue.next_at().is_some_and(|at| at <= end) {
            let Some(input) = self.queue.take() else { break };
            self.handle(input, &mut out);
            let now = self.queue.now();
            if !complete && now >= last && self.tracker.missing() == 0 {
                complete = true;
                end = now + LINGER * self.scenario.tick;
            }
        }
    }

    fn handle(&mut self, input: Input, out: &mut Outbox) {
        let now = self.queue.now();
        let workload = &self.scenario.workload;
        let node = match input {
            Input::Operation(number) => {
                let operation = &workload.operations[number];
                if let Some(next) = workload.operations.get(number + 1) {
                    self.queue.schedule(next.at, Input::Operation(number + 1));
                }
                let node = operation.node;
                let changes = operation.changes.clone();
                if !changes.is_empty() {
                    // A node sees its own changes at once; only those of others are waited for.
                    changes.clone().for_each(|change| self.tracker.made(change));
                    self.step(node, |node| node.update(&workload.changes[changes], now, out));
                }
                node
            }
            Input::Tick(node) => {
                self.queue.schedule(now + self.period, Input::Tick(node));
                self.step(node, |node| node.tick(now, out));
                node
            }
            Input::Wake(node) => {
                // One that was asked for later, and is earlier, has replaced it.
                if self.wakes[node] != now {
                    return;
                }
                self.wakes[node] = u64::MAX;
                self.step(node, |node| node.tick(now, out));
                node
            }
            Input::Arrival { from, to, bytes } => {
                self.step(to, |node| node.receive(from, &bytes, now, out));
                to
            }
        };
        self.outcome.inputs += 1;
        for state in out.states.drain(..) {
            workload.changes_in(&state, |change| self.tracker.visible(node, change, now));
        }
        for (origin, range) in out.ranges.drain(..) {
            let changes = &workload.of_origin(origin)[range];
            for change in changes {
                self.tracker.visible(node, *change, now);
            }
        }
        for frame in out.frames.drain(..) {
            self.send(node, frame);
        }
        // Never at once: what the node can say now, it has said.
        let wake = self.step(node, |node| node.wake_at()).map(|at| at.max(now + 1_000));
        if let Some(at) = wake.filter(|at| *at < self.wakes[node]) {
            self.wakes[node] = at;
            self.queue.schedule(at, Input::Wake(node));
        }
    }

    fn step<T>(&mut self, node: usize, act: impl FnOnce(&mut dyn Node) -> T) -> T {
        let begin = Instant::now();
        let done = act(&mut *self.nodes[node]);
        self.at_work += begin.elapsed();
        done
    }

    fn send(&mut self, from: usize, frame: Frame) {
        let Frame { to, bytes, payload, elements, entries } = frame;
        self.outcome.frames += 1;
        self.outcome.payload += payload as u64;
        self.outcome.metadata += (bytes.len() - payload) as u64;
        self.outcome.elements += elements as u64;
        self.outcome.entries += entries as u64;
        let fate = self.scenario.link.fate(&mut self.rng);
        let mut arrive = |delay: u64, bytes| {
            let mut at = self.queue.now() + delay;
            if self.scenario.link.ordered {
                let last = &mut self.last[from][to];
                at = at.max(*last);
                *last = at;
            }
            self.queue.schedule(at, Input::Arrival { from, to, bytes });
        };
        if let Some(delay) = fate.second {
            arrive(delay, bytes.clone());
        }
        if let Some(delay) = fate.first {
            arrive(delay, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::economy::{
        delta::Prune,
        published,
        workload::{Kind, Pace},
    };

    const KINDS: [Kind; 4] =
        [Kind::GSet { bytes: 20 }, Kind::GCounter, Kind::GMap { percent: 10 }, Kind::Retwis { zipf: 100 }];

    fn overlays() -> [Overlay; 4] {
        let tree = published::overlay("tree-15").expect("a published overlay");
        [tree, Overlay::circulant(9, &[1, 4]), Overlay::circulant(6, &[1]), Overlay::circulant(5, &[1, 2])]
    }

    fn scenario(kind: Kind, overlay: Overlay, link: Link) -> Scenario {
        let pace = Pace { operations: 8, interval: 500_000, tick: 1_000_000 };
        let workload = Workload::draw(kind, overlay.nodes(), pace, 5);
        Scenario { name: "a test".into(), overlay, link, tick: 1_000_000, workload, seed: 5 }
    }

    /// Those that send again what was not acknowledged or is still lacking.
    fn robust() -> Vec<Protocol> {
        let mut protocols =
            vec![Protocol::FullState, Protocol::SingleLeader, Protocol::Mesh { gather: 1_000 }];
        protocols.extend([false, true].map(|deletes| Protocol::Scuttlebutt { deletes }));
        for (bp, rr) in [(false, false), (false, true), (true, false), (true, true)] {
            for prune in [Prune::AcknowledgedByAll, Prune::AcknowledgedBySome] {
                let delta = Delta { bp, rr, prune };
                protocols.extend([Protocol::Delta(delta), Protocol::Objects(delta)]);
            }
        }
        protocols
    }

    #[test]
    fn all_converge_where_nothing_is_lost() {
        let link = Link { spread: 4_000, ..Link::steady(1_000) };
        for overlay in overlays() {
            for kind in KINDS {
                let scenario = scenario(kind, overlay.clone(), link);
                for protocol in robust().into_iter().chain([Protocol::Flooding]) {
                    let outcome = run(&scenario, protocol, None);
                    assert!(outcome.converged && outcome.undelivered == 0, "{kind:?}: {outcome:?}");
                }
            }
        }
    }

    #[test]
    fn those_with_acknowledgements_converge_under_loss_duplication_and_reordering() {
        let link = Link {
            spread: 4_000,
            jitter: 100_000,
            loss: 200,
            duplication: 100,
            ordered: false,
            ..Link::steady(1_000)
        };
        for overlay in overlays() {
            for kind in KINDS {
                let scenario = scenario(kind, overlay.clone(), link);
                for protocol in robust() {
                    let outcome = run(&scenario, protocol, None);
                    assert!(outcome.converged && outcome.undelivered == 0, "{kind:?}: {outcome:?}");
                }
            }
        }
    }

    #[test]
    fn on_trees_deltas_without_back_propagation_are_the_optimum() {
        let [tree, ..] = overlays();
        for kind in [Kind::GSet { bytes: 20 }, Kind::Retwis { zipf: 100 }] {
            let scenario = scenario(kind, tree.clone(), Link::steady(2_000));
            let outcome = run(&scenario, Protocol::Delta(Delta::BP_RR), None);
            assert_eq!(outcome.payload, scenario.workload.optimum());
            assert_eq!(outcome.elements, scenario.workload.optimum_elements());
        }
    }

    #[test]
    fn times_and_bytes_of_a_small_case_are_exact() {
        let pair = Overlay::circulant(2, &[1]);
        let pace = Pace { operations: 3, interval: 1_000_000, tick: 1_000_000 };
        let workload = Workload::draw(Kind::GSet { bytes: 20 }, 2, pace, 1);
        let scenario = Scenario {
            name: "two".into(),
            overlay: pair,
            link: Link::steady(2_000),
            tick: 1_000_000,
            workload,
            seed: 1,
        };
        let outcome = run(&scenario, Protocol::Flooding, None);
        // A count, a name with its length, a type, a count, and an element with its length.
        assert_eq!((outcome.frames, outcome.bytes()), (6, 6 * (1 + 4 + 1 + 1 + 21)));
        assert_eq!(outcome.payload, scenario.workload.optimum());
        let times = [outcome.p50_ms, outcome.p99_ms, outcome.max_ms];
        assert!(times.iter().all(|time| (time - 2.0).abs() < 1e-9), "{times:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_run() {
        let link = Link { spread: 4_000, loss: 100, ordered: false, ..Link::steady(1_000) };
        let scenario = scenario(Kind::GSet { bytes: 20 }, Overlay::circulant(6, &[1]), link);
        for protocol in robust() {
            let [mut a, b] = [(); 2].map(|()| run(&scenario, protocol, None));
            (a.cpu_ms, a.durability_ms) = (b.cpu_ms, b.durability_ms);
            assert_eq!(format!("{a:?}"), format!("{b:?}"));
        }
    }
}
