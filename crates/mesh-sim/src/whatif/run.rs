//! One run of a what-if.

use super::{
    Between, Class, Healed, Report, Sample, Times, Transport, WhatIf,
    mesh::{Cut, Mesh, Setup, Traffic, Turn, replica},
    milliseconds,
};
use crate::{Link, Topology};
use mesh_proto::{Config, Merge, Op, ReplicaId, VersionVector};
use rand::{Rng, RngExt, SeedableRng, rngs::SmallRng};
use std::collections::BTreeMap;

/// How often gossip draws other peers, in microseconds.
const GOSSIP: u64 = 1_000_000;
/// For how long the leaders may take to agree in the end, in microseconds.
const PATIENCE: u64 = 300_000_000;
/// How many points a picture has about.
const SAMPLES: u64 = 240;
/// Of how many sets the writes go to one.
const SETS: u32 = 16;

enum Due {
    Write,
    Sample,
    Heal(usize),
    Rewire,
}

struct Run<'a> {
    what_if: &'a WhatIf,
    mesh: Mesh<Due>,
    rng: SmallRng,
    /// When each leader's events were written, in the order of their numbers.
    written: Vec<Vec<u64>>,
    leaders: BTreeMap<ReplicaId, usize>,
    /// What each leader has shown, and how many events that is.
    shown: Vec<VersionVector>,
    have: Vec<u64>,
    /// How many events are durable somewhere, and which.
    made: u64,
    all: VersionVector,
    writes: Vec<u64>,
    deliveries: Vec<u64>,
    worst_lag: u64,
    samples: Vec<Sample>,
    /// For each partition that is healed, what was to be caught up with, and since when.
    healing: Vec<(usize, u64, VersionVector)>,
    healed: Vec<Healed>,
    last_write: u64,
    agreed_at: Option<u64>,
}

fn micros(milliseconds: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be within a day")]
    let micros = (milliseconds * 1e3).round() as u64;
    micros
}

impl WhatIf {
    fn link(&self, from: usize, to: usize) -> Link {
        let region = |leader| self.topology.region(leader, self.leaders);
        let latency = if region(from) == region(to) && self.topology == Topology::Regions {
            self.local_latency
        } else {
            self.latency
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be 0 to 90")]
        let loss = (self.loss * 10.0).round() as u32;
        let ordered = self.transport == Transport::Tcp;
        Link {
            latency: micros(latency),
            spread: 0,
            jitter: micros(self.jitter),
            loss,
            duplication: 0,
            ordered,
        }
    }

    fn config(&self) -> Config {
        let config = Config { gather: self.gather, ..Config::default() };
        match self.transport {
            Transport::Tcp => config,
            Transport::Datagrams => {
                // Two round trips, with what the other side takes to answer.
                let round_trip = 2 * (micros(self.latency + 3.0 * self.jitter + self.commit) / 1_000);
                let resend = 2 * round_trip + self.gather + 50;
                Config { ordered: false, resend, ..config }
            }
        }
    }

    fn setup(&self, rng: &mut impl Rng) -> Setup {
        let cut = |partition: &super::Partition| Cut {
            from: micros(1e3 * partition.from),
            until: micros(1e3 * partition.to),
            side: partition.leaders.iter().copied().collect(),
        };
        let what_if = self.clone();
        Setup {
            leaders: self.leaders,
            links: self.topology.links(self.leaders, rng),
            link: Box::new(move |from, to| what_if.link(from, to)),
            cuts: self.partitions.iter().map(cut).collect(),
            commit: micros(self.commit),
            config: self.config(),
            seed: rng.random(),
        }
    }

    fn class(&self, a: usize, b: usize) -> &'static str {
        let region = |leader| self.topology.region(leader, self.leaders);
        match self.topology {
            Topology::Regions if region(a) == region(b) => "within regions",
            Topology::Regions => "between regions",
            _ => "all links",
        }
    }
}

pub(super) fn run(what_if: &WhatIf, progress: &mut dyn FnMut(f64)) -> Report {
    let mut rng = SmallRng::seed_from_u64(what_if.seed);
    let leaders = what_if.leaders;
    let mut run = Run {
        what_if,
        mesh: Mesh::new(what_if.setup(&mut rng)),
        rng,
        written: vec![Vec::new(); leaders],
        leaders: (0..leaders).map(|leader| (replica(leader), leader)).collect(),
        shown: vec![VersionVector::new(); leaders],
        have: vec![0; leaders],
        made: 0,
        all: VersionVector::new(),
        writes: Vec::new(),
        deliveries: Vec::new(),
        worst_lag: 0,
        samples: Vec::new(),
        healing: Vec::new(),
        healed: Vec::new(),
        last_write: 0,
        agreed_at: None,
    };
    run.go(progress);
    run.report()
}

impl Run<'_> {
    fn go(&mut self, progress: &mut dyn FnMut(f64)) {
        let end = 1_000_000 * self.what_if.seconds;
        let healed: Vec<u64> = self.mesh.setup.cuts.iter().map(|cut| cut.until).collect();
        for (partition, at) in healed.iter().enumerate() {
            self.mesh.schedule(*at, Due::Heal(partition));
        }
        if self.what_if.topology == Topology::Gossip {
            self.mesh.schedule(GOSSIP, Due::Rewire);
        }
        self.mesh.schedule(0, Due::Sample);
        let first = self.pause();
        self.mesh.schedule(first, Due::Write);
        let quiet = healed.into_iter().max().unwrap_or(0).max(end);
        let interval = (end / SAMPLES).max(10_000);
        while let Some(turn) = self.mesh.turn(quiet + PATIENCE) {
            let now = self.mesh.now();
            match turn {
                Turn::Due(Due::Write) if now < end => {
                    self.write();
                    let next = now + self.pause();
                    self.mesh.schedule(next, Due::Write);
                }
                Turn::Due(Due::Write) => {}
                Turn::Due(Due::Sample) => {
                    self.sample();
                    self.mesh.schedule(now + interval, Due::Sample);
                    progress(milliseconds(now) / 1e3);
                }
                Turn::Due(Due::Heal(partition)) => {
                    self.healing.push((partition, now, self.all.clone()));
                    self.settle_healed();
                }
                Turn::Due(Due::Rewire) => {
                    let links = self.what_if.topology.links(self.what_if.leaders, &mut self.rng);
                    self.mesh.rewire(&links);
                    self.mesh.schedule(now + GOSSIP, Due::Rewire);
                }
                Turn::Committed { leader, tickets } => self.committed(leader, &tickets),
            }
            let written: usize = self.written.iter().map(Vec::len).sum();
            let complete = self.made == written as u64 && self.have.iter().all(|have| *have == self.made);
            if now >= end && complete {
                self.agreed_at.get_or_insert(now);
                if now >= quiet && self.mesh.agrees() {
                    break;
                }
            }
        }
        self.sample();
    }

    /// Until the next write: times between events that come by chance.
    fn pause(&mut self) -> u64 {
        let seconds = -(1.0 - self.rng.random::<f64>()).ln() / self.what_if.ops;
        micros(1e3 * seconds.min(super::DAY))
    }

    fn write(&mut self) {
        let leader = self.rng.random_range(0..self.what_if.leaders);
        let mut element = vec![0; self.what_if.bytes];
        self.rng.fill_bytes(&mut element);
        // No two are equal, or a write would be none.
        let number: u64 = self.written.iter().map(|written| written.len() as u64).sum();
        element[..8].copy_from_slice(&number.to_le_bytes());
        let set = self.rng.random_range(0..SETS);
        self.last_write = self.mesh.now();
        self.written[leader].push(self.last_write);
        self.mesh.write(leader, format!("set-{set}"), Op::Add(vec![element]), self.last_write);
    }

    fn committed(&mut self, leader: usize, tickets: &[u64]) {
        let now = self.mesh.now();
        self.writes.extend(tickets.iter().map(|at| now - at));
        self.made += tickets.len() as u64;
        let version = self.mesh.version(leader);
        for (id, dots) in version.difference(&self.shown[leader]) {
            let origin = self.leaders[&id];
            self.have[leader] += dots.end() - (dots.start() - 1);
            if origin != leader {
                let times = dots.map(|counter| {
                    let at = usize::try_from(counter - 1).expect("few enough to be remembered");
                    now - self.written[origin][at]
                });
                self.deliveries.extend(times);
            }
        }
        self.all.merge(version);
        self.shown[leader].clone_from(version);
        if !tickets.is_empty() {
            let least = self.have.iter().min().copied().unwrap_or(0);
            self.worst_lag = self.worst_lag.max(self.made - least);
        }
        self.settle_healed();
    }

    fn settle_healed(&mut self) {
        let (now, shown, cuts) = (self.mesh.now(), &self.shown, &self.mesh.setup.cuts);
        let healed = &mut self.healed;
        self.healing.retain(|(partition, since, all)| {
            let is_open = shown.iter().any(|have| have.covers(all).is_err());
            if !is_open {
                let after_ms = Some(milliseconds(now - since));
                healed.push(Healed {
                    partition: *partition,
                    at_s: milliseconds(cuts[*partition].until) / 1e3,
                    after_ms,
                });
            }
            is_open
        });
    }

    fn classes(&self) -> Vec<Class> {
        let mut classes: BTreeMap<&'static str, Class> = BTreeMap::new();
        for ((a, b), Traffic { frames, payload, metadata }) in self.mesh.traffic() {
            let name = self.what_if.class(a, b);
            let class =
                classes.entry(name).or_insert_with(|| Class { name: name.to_owned(), ..Class::default() });
            class.links += 1;
            class.frames += frames;
            class.payload += payload;
            class.metadata += metadata;
        }
        classes.into_values().collect()
    }

    fn sample(&mut self) {
        let lag = self.have.iter().map(|have| self.made - have).collect();
        let bytes =
            self.classes().into_iter().map(|class| (class.name, class.payload + class.metadata)).collect();
        self.samples.push(Sample { at_ms: milliseconds(self.mesh.now()), lag, bytes });
    }

    fn report(self) -> Report {
        let agrees = self.mesh.agrees();
        let classes = self.classes();
        let between =
            |(leaders, Traffic { frames, payload, metadata })| Between { leaders, frames, payload, metadata };
        let links = self.mesh.traffic().map(between).collect();
        let updates = self.made;
        let length = self.what_if.bytes as u64;
        // An element is written with its length, seven bits a byte.
        let encoded = length + u64::from(length.ilog2() / 7) + 1;
        let optimum = updates * encoded * (self.what_if.leaders as u64 - 1);
        let mut healed = self.healed;
        let never = |(partition, at, _): (usize, u64, VersionVector)| Healed {
            partition,
            at_s: milliseconds(at) / 1e3,
            after_ms: None,
        };
        healed.extend(self.healing.into_iter().map(never));
        healed.sort_by_key(|healed| healed.partition);
        let payload: u64 = classes.iter().map(|class| class.payload).sum();
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        let payload_to_optimum = (optimum > 0).then(|| payload as f64 / optimum as f64);
        Report {
            what_if: self.what_if.clone(),
            updates,
            write: Times::of(self.writes),
            delivery: Times::of(self.deliveries),
            classes,
            links,
            optimum,
            payload_to_optimum,
            converged: agrees && self.agreed_at.is_some() && self.mesh.trouble.is_empty(),
            converged_after_ms: self.agreed_at.map(|at| milliseconds(at.saturating_sub(self.last_write))),
            healed,
            worst_lag: self.worst_lag,
            inputs: self.mesh.inputs,
            trace: self.mesh.trace(),
            trouble: self.mesh.trouble,
            samples: self.samples,
        }
    }
}
