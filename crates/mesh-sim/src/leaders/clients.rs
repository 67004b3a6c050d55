//! Clients in all regions, in calm times and while one region after another is cut off.

use super::{Mode, REGIONS, regions};
use crate::whatif::{
    Times,
    mesh::{Cut, Mesh, Setup, Turn, replica},
    milliseconds,
};
use mesh_proto::{Config, Merge, Op, ReplicaId, VersionVector};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use serde::Serialize;
use std::collections::BTreeMap;

/// How long a commit takes, in microseconds: a flush of a good SSD.
const COMMIT: u64 = 2_000;
/// From time to time a client in each region writes: this often a second on average.
const RATE: f64 = 20.0;
/// How often a client looks how old the data in its region is, in microseconds.
const LOOK: u64 = 100_000;
/// For how long to wait for all to agree in the end, in microseconds.
const PATIENCE: u64 = 120_000_000;

/// When what happens, in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    seed: u64,
    /// For how long all is well, and is timed,
    calm: u64,
    /// and then for how long each region is cut off in its turn,
    cut: u64,
    /// and for how long all is well before each and after the last.
    rest: u64,
}

impl Scene {
    pub(super) fn new(seed: u64, quick: bool) -> Self {
        let second = 1_000_000;
        let [calm, cut, rest] =
            if quick { [20, 8, 12] } else { [120, 30, 30] }.map(|seconds| seconds * second);
        Scene { seed, calm, cut, rest }
    }

    fn cuts(&self) -> Vec<Cut> {
        let cut = |region: usize| {
            let from = self.calm + self.rest + region as u64 * (self.cut + self.rest);
            Cut { from, until: from + self.cut, side: [region].into() }
        };
        (0..REGIONS.len()).map(cut).collect()
    }

    fn end(&self) -> u64 {
        self.calm + self.rest + REGIONS.len() as u64 * (self.cut + self.rest)
    }
}

/// Writes of clients in one region while all was well.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calm {
    /// Who takes writes.
    pub mode: Mode,
    /// Where the clients are.
    pub region: String,
    /// From a client's request to its reply.
    pub write: Times,
    /// From a client's request until a region shows the write, over all regions but the one whose leader took it.
    pub visible: Times,
}

/// What was left while a region was cut off.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outage {
    /// Who takes writes.
    pub mode: Mode,
    /// Which region was cut off.
    pub region: String,
    /// For how long.
    pub seconds: f64,
    /// What clients in it saw.
    pub inside: Seen,
    /// What clients elsewhere saw.
    pub outside: Seen,
    /// How long it took after healing until every region had all that had been written by then; `None` if it never had.
    pub caught_up_ms: Option<f64>,
}

/// What clients saw during an outage.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Seen {
    /// How many writes they asked for.
    pub asked: u64,
    /// How many of them were answered.
    pub answered: u64,
    /// For how long the oldest write that was durable somewhere had been missing from what they read, at the worst, in
    /// milliseconds.
    pub stale_ms: f64,
}

impl Seen {
    /// How many writes were not answered.
    pub fn unanswered(&self) -> u64 {
        self.asked - self.answered
    }
}

/// All that was seen in one mode.
#[derive(Debug, PartialEq)]
pub(super) struct Observed {
    pub(super) calm: Vec<Calm>,
    pub(super) outages: Vec<Outage>,
    /// Answered writes, times the regions that lacked them in the end.
    pub(super) missing: u64,
}

enum Due {
    Ask(usize),
    Arrive(usize),
    Reply(usize),
    Look,
    Heal(usize),
}

struct Write {
    region: usize,
    asked: u64,
    answered: Option<u64>,
}

/// An event: the write that made it, and when it was durable at its leader.
type Made = (usize, u64);

struct Run<'a> {
    scene: &'a Scene,
    mode: Mode,
    mesh: Mesh<Due>,
    rng: SmallRng,
    writes: Vec<Write>,
    numbers: BTreeMap<ReplicaId, usize>,
    made: Vec<Vec<Made>>,
    shown: Vec<VersionVector>,
    all: VersionVector,
    visible: Vec<Vec<u64>>,
    outages: Vec<Outage>,
    healing: Vec<(usize, u64, VersionVector)>,
}

/// Lets clients write in one mode, and sees what happens.
pub(super) fn observe(scene: &Scene, mode: Mode) -> Observed {
    let regions = REGIONS.len();
    let links = match mode {
        Mode::Single => (1..regions).map(|follower| (0, follower)).collect(),
        Mode::Each => (0..regions).flat_map(|a| (a + 1..regions).map(move |b| (a, b))).collect(),
    };
    let setup = Setup {
        leaders: regions,
        links,
        link: Box::new(regions::link),
        cuts: scene.cuts(),
        commit: COMMIT,
        config: Config::default(),
        seed: scene.seed,
    };
    let outage = |region: &&str| Outage {
        mode,
        region: (*region).to_owned(),
        seconds: milliseconds(scene.cut) / 1e3,
        inside: Seen::default(),
        outside: Seen::default(),
        caught_up_ms: None,
    };
    let mut run = Run {
        scene,
        mode,
        mesh: Mesh::new(setup),
        rng: SmallRng::seed_from_u64(scene.seed),
        writes: Vec::new(),
        numbers: (0..regions).map(|leader| (replica(leader), leader)).collect(),
        made: vec![Vec::new(); regions],
        shown: vec![VersionVector::new(); regions],
        all: VersionVector::new(),
        visible: vec![Vec::new(); regions],
        outages: REGIONS.iter().map(outage).collect(),
        healing: Vec::new(),
    };
    run.go();
    run.observed()
}

impl Run<'_> {
    fn leader_of(&self, region: usize) -> usize {
        match self.mode {
            Mode::Single => 0,
            Mode::Each => region,
        }
    }

    /// Which region is cut off at a time.
    fn outage_at(&self, at: u64) -> Option<usize> {
        self.mesh.setup.cuts.iter().position(|cut| (cut.from..cut.until).contains(&at))
    }

    fn go(&mut self) {
        let end = self.scene.end();
        for region in 0..REGIONS.len() {
            let first = self.pause();
            self.mesh.schedule(first, Due::Ask(region));
            let healed = self.mesh.setup.cuts[region].until;
            self.mesh.schedule(healed, Due::Heal(region));
        }
        self.mesh.schedule(LOOK, Due::Look);
        while let Some(turn) = self.mesh.turn(end + PATIENCE) {
            let now = self.mesh.now();
            match turn {
                Turn::Due(Due::Ask(region)) if now < end => {
                    self.ask(region);
                    let next = now + self.pause();
                    self.mesh.schedule(next, Due::Ask(region));
                }
                Turn::Due(Due::Ask(_)) => {}
                Turn::Due(Due::Arrive(write)) => {
                    let leader = self.leader_of(self.writes[write].region);
                    self.mesh.write(leader, SET, Op::Add(vec![element(write)]), write as u64);
                }
                Turn::Due(Due::Reply(write)) => {
                    let write = &mut self.writes[write];
                    write.answered = Some(now);
                    let (asked, region) = (write.asked, write.region);
                    if let Some(cut) = self.outage_at(asked) {
                        self.seen(cut, region).answered += 1;
                    }
                }
                Turn::Due(Due::Look) => {
                    self.look();
                    self.mesh.schedule(now + LOOK, Due::Look);
                    if now > end + 2 * LOOK && self.healing.is_empty() && self.mesh.agrees() {
                        break;
                    }
                }
                Turn::Due(Due::Heal(region)) => self.healing.push((region, now, self.all.clone())),
                Turn::Committed { leader, tickets } => self.committed(leader, &tickets),
            }
        }
    }

    fn pause(&mut self) -> u64 {
        let seconds = -(1.0 - self.rng.random::<f64>()).ln() / RATE;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some seconds")]
        let micros = (seconds * 1e6) as u64;
        micros
    }

    fn seen(&mut self, outage: usize, region: usize) -> &mut Seen {
        let outage_of = &mut self.outages[outage];
        if outage == region { &mut outage_of.inside } else { &mut outage_of.outside }
    }

    /// A client asks its leader. What the cut swallows is not repeated: nobody knows how clients would do that.
    fn ask(&mut self, region: usize) {
        let now = self.mesh.now();
        let (write, leader) = (self.writes.len(), self.leader_of(region));
        self.writes.push(Write { region, asked: now, answered: None });
        if let Some(cut) = self.outage_at(now) {
            self.seen(cut, region).asked += 1;
        }
        if !self.mesh.setup.is_cut(region, leader, now) {
            let at = now + self.mesh.draw_delay(&regions::link(region, leader));
            self.mesh.schedule(at, Due::Arrive(write));
        }
    }

    fn committed(&mut self, leader: usize, tickets: &[u64]) {
        let now = self.mesh.now();
        for ticket in tickets {
            let write = usize::try_from(*ticket).expect("it is an index");
            self.made[leader].push((write, now));
            let region = self.writes[write].region;
            if !self.mesh.setup.is_cut(leader, region, now) {
                let at = now + self.mesh.draw_delay(&regions::link(leader, region));
                self.mesh.schedule(at, Due::Reply(write));
            }
        }
        let version = self.mesh.version(leader).clone();
        for (id, dots) in version.difference(&self.shown[leader]) {
            let origin = self.numbers[&id];
            for counter in dots.filter(|_| origin != leader) {
                let (write, _) = self.made[origin][index(counter)];
                let Write { region, asked, .. } = self.writes[write];
                if asked < self.scene.calm {
                    self.visible[region].push(now - asked);
                }
            }
        }
        self.all.merge(&version);
        self.shown[leader] = version;
        let (shown, outages) = (&self.shown, &mut self.outages);
        self.healing.retain(|(region, since, all)| {
            let is_open = shown.iter().any(|have| have.covers(all).is_err());
            if !is_open {
                outages[*region].caught_up_ms = Some(milliseconds(now - since));
            }
            is_open
        });
    }

    /// How old is what each region shows?
    fn look(&mut self) {
        let now = self.mesh.now();
        let Some(cut) = self.outage_at(now) else { return };
        for region in 0..REGIONS.len() {
            let shown = &self.shown[region];
            let missing = |(id, origin): (&ReplicaId, &usize)| {
                let (_, durable) = self.made[*origin].get(index(shown.get(*id) + 1))?;
                Some(now - durable)
            };
            let oldest = self.numbers.iter().filter_map(missing).max().unwrap_or(0);
            let seen = self.seen(cut, region);
            seen.stale_ms = seen.stale_ms.max(milliseconds(oldest));
        }
    }

    fn observed(self) -> Observed {
        let calm = |region: usize| {
            let of_region = |write: &&Write| write.region == region && write.asked < self.scene.calm;
            let times =
                self.writes.iter().filter(of_region).filter_map(|write| Some(write.answered? - write.asked));
            Calm {
                mode: self.mode,
                region: REGIONS[region].to_owned(),
                write: Times::of(times.collect()),
                visible: Times::of(self.visible[region].clone()),
            }
        };
        let answered = self.writes.iter().enumerate().filter(|(_, write)| write.answered.is_some());
        let lacking = |write: usize| {
            let element = element(write);
            (0..REGIONS.len()).filter(|region| !self.mesh.contains(*region, SET, &element)).count() as u64
        };
        Observed {
            calm: (0..REGIONS.len()).map(calm).collect(),
            missing: answered.map(|(write, _)| lacking(write)).sum(),
            outages: self.outages,
        }
    }
}

const SET: &str = "written";

fn element(write: usize) -> Vec<u8> {
    format!("the write number {write}").into_bytes()
}

fn index(counter: u64) -> usize {
    usize::try_from(counter - 1).expect("few enough to be remembered")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(seed: u64) -> Scene {
        Scene { seed, calm: 8_000_000, cut: 6_000_000, rest: 7_000_000 }
    }

    /// Round trip and commit; the jitter adds a twentieth on average, and a commit under way as much again.
    #[test]
    fn a_write_takes_the_round_trip_to_its_leader_and_a_commit() {
        for mode in [Mode::Single, Mode::Each] {
            let observed = observe(&scene(1), mode);
            assert_eq!(observed.missing, 0);
            for (region, calm) in observed.calm.iter().enumerate() {
                let away = if mode == Mode::Single { regions::ROUND_TRIPS[0][region] } else { 1 };
                let least = f64::from(u32::try_from(away).unwrap()) + 2.0;
                let most = 1.2 * least + 2.0;
                assert!((least..most).contains(&calm.write.p50_ms), "{mode}: {calm:?}");
                assert!(calm.write.count > 100, "{calm:?}");
                assert_eq!(
                    calm.visible.count,
                    4 * calm.write.count,
                    "all were seen in the four other regions"
                );
            }
        }
    }

    #[test]
    fn a_region_that_is_cut_off_writes_only_where_it_has_a_leader() {
        let [single, each] = [Mode::Single, Mode::Each].map(|mode| observe(&scene(2), mode));
        for (region, outage) in each.outages.iter().enumerate() {
            assert!(outage.inside.asked > 50 && outage.outside.asked > 200, "{outage:?}");
            assert_eq!((outage.inside.unanswered(), outage.outside.unanswered()), (0, 0), "{outage:?}");
            // Both sides go on without each other.
            assert!(outage.inside.stale_ms > 5_000.0 && outage.outside.stale_ms > 5_000.0, "{outage:?}");
            let of_single = &single.outages[region];
            // What was asked for just before the cut may still be lost in it; what is asked for in it is.
            assert_eq!(of_single.inside.answered == 0, region != 0, "{of_single:?}");
            assert_eq!(of_single.outside.answered == 0, region == 0, "{of_single:?}");
            assert_eq!(of_single.outside.stale_ms > 5_000.0, region == 0, "{of_single:?}");
            assert!(outage.caught_up_ms.is_some() && of_single.caught_up_ms.is_some());
        }
        assert_eq!((single.missing, each.missing), (0, 0));
    }

    #[test]
    fn the_same_seed_gives_the_same_observations() {
        let short = |seed| Scene { seed, calm: 2_000_000, cut: 500_000, rest: 500_000 };
        let [one, same, other] = [3, 3, 4].map(|seed| observe(&short(seed), Mode::Each));
        assert_eq!(one, same);
        assert_ne!(one, other);
    }
}
