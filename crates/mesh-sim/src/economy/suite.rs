//! The comparison: all workloads, all protocols, and the large states.

use super::{
    Outcome, Overlay, Protocol, Scenario,
    delta::{Delta, Prune},
    goals::{Goal, goals},
    large::{Exchange, Pair},
    published,
    run::run,
    workload::{Kind, Pace, Workload},
};
use crate::Link;
use serde::Serialize;

/// How the suite is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Of all chances.
    pub seed: u64,
    /// Shorter runs and smaller states: under 50 seconds on one core.
    pub quick: bool,
    /// Tells the live bytes of the process, where somebody counts them.
    pub live: Option<fn() -> u64>,
    /// Is told of what is about to be run.
    pub progress: fn(&str),
}

impl Default for Options {
    fn default() -> Self {
        Options { seed: 1, quick: false, live: None, progress: |_| {} }
    }
}

/// One workload with what each protocol came to.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The name of the workload.
    pub workload: String,
    /// The payload if each visible change went once to each other node, in bytes.
    pub optimum: u64,
    /// One for each protocol.
    pub outcomes: Vec<Outcome>,
}

impl Comparison {
    /// What this protocol came to; `None` if it was not run.
    pub fn of(&self, protocol: Protocol) -> Option<&Outcome> {
        let name = protocol.name();
        self.outcomes.iter().find(|outcome| outcome.protocol == name)
    }
}

/// Two leaders with large states.
#[derive(Clone, Debug, Serialize)]
pub struct Large {
    /// How many keys, or elements, there are.
    pub size: usize,
    /// The first meeting: one has everything and the other nothing.
    pub join: Exchange,
    /// Coming together after a partition in which a thousand keys were changed by 64 leaders.
    pub heal: Exchange,
    /// The same in a hundredth of the size.
    pub heal_small: Exchange,
    /// Bytes a second and microseconds of CPU a second of a connection on which nothing happens,
    pub idle: (f64, f64),
    /// and the same in a hundredth of the size.
    pub idle_small: (f64, f64),
    /// A leader gets back its causal metadata, and what it lacks,
    pub restored: Exchange,
    /// after so many keys were changed on both sides.
    pub changed: usize,
    /// How many elements the sets have.
    pub elements: usize,
    /// How many others were removed from the second.
    pub removed: usize,
    /// A leader without anything gets the first set,
    pub fresh: Exchange,
    /// and the second.
    pub churned: Exchange,
}

/// All that the suite found out.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// With which seed.
    pub seed: u64,
    /// Whether in the shorter form.
    pub quick: bool,
    /// The workloads.
    pub comparisons: Vec<Comparison>,
    /// The large states.
    pub large: Large,
    /// The goals.
    pub goals: Vec<Goal>,
}

impl Report {
    /// Whether all goals hold.
    pub fn holds(&self) -> bool {
        self.goals.iter().all(|goal| goal.holds)
    }
}

/// The engine in step with protocols that synchronise once a second.
pub const MESH: Protocol = Protocol::Mesh { gather: 1_000 };
/// The engine as it is when nothing is set.
pub const MESH_AT_ONCE: Protocol = Protocol::Mesh { gather: 0 };
/// The engine in step with Retwis.
pub const MESH_RETWIS: Protocol = Protocol::Mesh { gather: 500 };
/// The best of the published protocols.
pub const BP_RR: Protocol = Protocol::Delta(Delta::BP_RR);
/// The same with a buffer for each object, as it was published for Retwis.
pub const BP_RR_BY_OBJECT: Protocol = Protocol::Objects(Delta::BP_RR);
/// The variant of Scuttlebutt that lets go of what all have.
pub const NXN: Protocol = Protocol::Scuttlebutt { deletes: true };

const MAIN: [Protocol; 7] = [
    BP_RR,
    Protocol::Scuttlebutt { deletes: false },
    NXN,
    Protocol::SingleLeader,
    Protocol::Flooding,
    MESH,
    MESH_AT_ONCE,
];

const BESIDES: [Protocol; 4] = [
    Protocol::FullState,
    Protocol::Delta(Delta::CLASSIC),
    Protocol::Delta(Delta { bp: true, rr: false, prune: Prune::AcknowledgedByAll }),
    Protocol::Delta(Delta { bp: false, rr: true, prune: Prune::AcknowledgedByAll }),
];

/// What the names of workloads are made of, so that goals find them.
pub(crate) mod names {
    pub(crate) fn mesh(nodes: usize, rate: u64) -> String {
        format!("GSet, mesh of {nodes}, {rate} op/s")
    }

    pub(crate) fn jitter(nodes: usize) -> String {
        format!("{}, 10 ms jitter", mesh(nodes, 20))
    }

    pub(crate) fn loss(nodes: usize, percent: u32) -> String {
        format!("{}, {percent}% loss", mesh(nodes, 1))
    }

    pub(crate) fn retwis(zipf: u32) -> String {
        format!("Retwis, 50 nodes, Zipf {}.{:02}", zipf / 100, zipf % 100)
    }
}

/// One workload to be run.
struct Plan {
    name: String,
    kind: Kind,
    overlay: Overlay,
    /// Operations a second, and for how many seconds.
    rate: u64,
    seconds: u64,
    link: Link,
    tick: u64,
    protocols: Vec<Protocol>,
}

impl Plan {
    /// 20-byte elements on a partial mesh, once a second for 100 seconds, on links of 1 to 5 ms that keep the order.
    fn new(name: String, nodes: usize) -> Self {
        Plan {
            name,
            kind: Kind::GSet { bytes: 20 },
            overlay: Overlay::circulant(nodes, &[1, 4]),
            rate: 1,
            seconds: 100,
            link: Link { spread: 4_000, ..Link::steady(1_000) },
            tick: 1_000_000,
            protocols: MAIN.to_vec(),
        }
    }

    fn run(&self, options: &Options) -> Comparison {
        let interval = 1_000_000 / self.rate;
        let pace = Pace { operations: self.seconds * self.rate, interval, tick: self.tick };
        let scenario = Scenario {
            name: self.name.clone(),
            workload: Workload::draw(self.kind, self.overlay.nodes(), pace, options.seed),
            overlay: self.overlay.clone(),
            link: self.link,
            tick: self.tick,
            seed: options.seed,
        };
        let outcomes = self.protocols.iter().map(|protocol| {
            (options.progress)(&format!("{}: {}", self.name, protocol.name()));
            run(&scenario, *protocol, options.live)
        });
        let outcomes = outcomes.collect();
        Comparison { workload: self.name.clone(), optimum: scenario.workload.optimum(), outcomes }
    }
}

fn plans(quick: bool) -> Vec<Plan> {
    let short = |quickly, fully| if quick { quickly } else { fully };
    let all = || if quick { MAIN.to_vec() } else { [&BESIDES[..], &MAIN[..]].concat() };
    let mut plans = Vec::new();
    let tree = published::overlay("tree-15").expect("a published overlay");
    plans.push(Plan { overlay: tree, protocols: all(), ..Plan::new("GSet, tree of 15, 1 op/s".into(), 15) });
    for nodes in if quick { vec![15, 32, 64] } else { vec![15, 16, 32, 64] } {
        let mut protocols = if nodes == 15 { all() } else { MAIN.to_vec() };
        if quick {
            protocols
                .retain(|protocol| nodes == 15 || ![Protocol::Flooding, MESH_AT_ONCE].contains(protocol));
        }
        plans.push(Plan { protocols, ..Plan::new(names::mesh(nodes, 1), nodes) });
    }
    let small = |kind, name: &str| Plan { kind, protocols: all(), ..Plan::new(name.into(), 15) };
    plans.push(small(Kind::GCounter, "GCounter, mesh of 15, 1 op/s"));
    plans.push(small(Kind::GMap { percent: 10 }, "GMap 10%, mesh of 15"));
    if !quick {
        plans.push(small(Kind::GMap { percent: 100 }, "GMap 100%, mesh of 15"));
    }
    for (nodes, seconds) in [(15, short(30, 100)), (32, short(15, 100)), (64, short(8, 100))] {
        let protocols = vec![BP_RR, NXN, MESH];
        plans.push(Plan { rate: 20, seconds, protocols, ..Plan::new(names::mesh(nodes, 20), nodes) });
    }
    for (nodes, seconds) in [(15, short(10, 50)), (32, short(4, 50)), (64, short(2, 50))] {
        let link = Link { spread: 4_000, jitter: 10_000, ..Link::steady(1_000) };
        let protocols = vec![Protocol::Flooding, MESH_AT_ONCE];
        plans.push(Plan { rate: 20, seconds, link, protocols, ..Plan::new(names::jitter(nodes), nodes) });
    }
    for nodes in if quick { vec![15] } else { vec![15, 32, 64] } {
        for percent in [5, 20] {
            let link = Link { spread: 4_000, loss: percent * 10, ordered: false, ..Link::steady(1_000) };
            let protocols = MAIN.into_iter().filter(|protocol| *protocol != Protocol::Flooding).collect();
            plans.push(Plan { link, protocols, ..Plan::new(names::loss(nodes, percent), nodes) });
        }
    }
    for zipf in if quick { vec![100, 125, 150] } else { vec![25, 50, 75, 100, 125, 150] } {
        let mut protocols = vec![BP_RR, MESH_RETWIS];
        if !quick {
            protocols.insert(0, BP_RR_BY_OBJECT);
        }
        let kind = Kind::Retwis { zipf };
        let seconds = short(15, 50);
        let plan = Plan::new(names::retwis(zipf), 50);
        plans.push(Plan { kind, rate: 2, seconds, tick: 500_000, protocols, ..plan });
    }
    plans
}

/// How many keys differ after a partition.
pub(crate) const CHANGES: usize = 1_000;

fn large(options: &Options) -> Large {
    const ORIGINS: usize = 64;
    const MINUTE: u64 = 60;
    let size = if options.quick { 100_000 } else { 1_000_000 };
    let heal = |keys: usize| {
        (options.progress)(&format!("two leaders with {keys} keys"));
        let mut pair = Pair::with_keys(keys, ORIGINS);
        let join = pair.meet();
        // An allocator gives back what others have freed whenever it is asked next: the middle one of three is ours.
        let mut healed = [(); 3].map(|()| {
            pair.part();
            pair.change(keys, CHANGES, ORIGINS);
            pair.meet()
        });
        healed.sort_by(|a, b| a.cpu_ms.total_cmp(&b.cpu_ms));
        (join, healed[1], pair.idle(MINUTE))
    };
    let (_, heal_small, idle_small) = heal(size / 100);
    let (join, heal, idle) = heal(size);
    (options.progress)(&format!("a leader with {size} keys loses its causal metadata"));
    // A key that is changed on one side is one item more on either.
    let changed = CHANGES / 2;
    let mut pair = Pair::with_keys(size, ORIGINS);
    pair.keep();
    pair.meet();
    pair.part();
    pair.change_own(size, changed);
    let restored = pair.restore();
    drop(pair);
    let (elements, removed) = (size / 10, size);
    let full = |removed: usize| {
        (options.progress)(&format!("a set of {elements} elements after {removed} removals"));
        Pair::with_set(elements, removed).meet()
    };
    let (fresh, churned) = (full(0), full(removed));
    Large {
        size,
        join,
        heal,
        heal_small,
        idle,
        idle_small,
        restored,
        changed,
        elements,
        removed,
        fresh,
        churned,
    }
}

/// Runs everything.
pub fn economy(options: &Options) -> Report {
    let comparisons: Vec<_> = plans(options.quick).iter().map(|plan| plan.run(options)).collect();
    let large = large(options);
    let goals = goals(&comparisons, &large);
    Report { seed: options.seed, quick: options.quick, comparisons, large, goals }
}
