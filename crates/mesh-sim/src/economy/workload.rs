//! What the users do: the operations of a run, drawn before it, so that every protocol gets the same at the same times.

use super::{
    lattice::{Bytes, Lattice, Name, Stamped},
    node::delta_of,
    object::{Change, Keyspace, What},
    scuttlebutt::Ids,
};
use crdt_core::ReplicaId;
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    rc::Rc,
};

/// One operation: the changes made at once at one node.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// When, in microseconds.
    pub at: u64,
    /// Where.
    pub node: usize,
    /// Which of the workload's changes.
    pub changes: Range<usize>,
}

/// The operations of a run in the order of time.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The ids of the nodes.
    pub ids: Ids,
    /// The operations.
    pub operations: Vec<Operation>,
    /// All changes, numbered in the order in which they are made.
    pub changes: Vec<Change>,
    /// Whether no key of a map is written twice.
    pub write_once: bool,
    facts: Vec<Fact>,
    by_origin: Vec<Vec<usize>>,
    /// Of each counter's rows the change that made each count.
    counts: BTreeMap<(Name, ReplicaId), Vec<usize>>,
}

/// What there is to know of a change besides what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    /// When it was made.
    pub at: u64,
    /// The node that made it.
    pub origin: usize,
    /// The change that it overwrites: who has this one needs that one no more.
    pub overwrites: Option<usize>,
    /// Whether another change of the same origin overwrites it within one tick, so that nobody elsewhere has to see it.
    pub fleeting: bool,
}

/// The kinds of workload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// One set, to which each operation adds an element of so many bytes (at least 4).
    GSet {
        /// The length of an element.
        bytes: usize,
    },
    /// One counter.
    GCounter,
    /// One map of 1,000 keys, divided among the nodes; each operation writes so many percent of the node's own keys, with
    /// empty values.
    GMap {
        /// How many percent.
        percent: u32,
    },
    /// The clone of Twitter of Enes et al.: 10,000 users whom a Zipf distribution with this coefficient draws; 15% of the
    /// operations follow a user, 35% post 270 bytes to the user's wall and the post's id of 31 bytes to the followers'
    /// timelines, 50% read.
    Retwis {
        /// The coefficient, in hundredths.
        zipf: u32,
    },
}

/// When the operations happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How many each node does.
    pub operations: u64,
    /// The time between two of a node, in microseconds. The first comes at a random moment of the first interval.
    pub interval: u64,
    /// Changes that the same node overwrites within this time, in microseconds, are [fleeting](Fact::fleeting).
    pub tick: u64,
}

/// Where stamps of maps begin: nanoseconds since 1970, early in 2018. The stamp less this is the number of the change.
const EPOCH: u64 = 1_514_764_800_000_000_000;

/// Ids as they are drawn in practice, all 64 bits in use, and the same for every run.
pub fn ids(nodes: usize) -> Ids {
    let mut rng = StdRng::seed_from_u64(8);
    Rc::new((0..nodes).map(|_| ReplicaId::new(rng.random_range(1..=u64::MAX))).collect())
}

impl Workload {
    /// Draws the operations.
    pub fn draw(kind: Kind, nodes: usize, pace: Pace, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let ids = ids(nodes);
        let mut times = Vec::new();
        for node in 0..nodes {
            let phase = rng.random_range(0..pace.interval);
            times.extend((0..pace.operations).map(|n| (phase + n * pace.interval, node)));
        }
        times.sort_unstable();
        let mut users = Users::new(kind, &ids);
        let mut workload = Workload {
            ids: Rc::clone(&ids),
            operations: Vec::new(),
            changes: Vec::new(),
            write_once: matches!(kind, Kind::Retwis { .. }),
            facts: Vec::new(),
            by_origin: vec![Vec::new(); nodes],
            counts: BTreeMap::new(),
        };
        let mut latest: BTreeMap<(Name, Bytes), usize> = BTreeMap::new();
        for (at, node) in times {
            let first = workload.changes.len();
            let made = users.act(node, first, &mut rng);
            for change in made {
                workload.note(change, at, node, pace.tick, &mut latest);
            }
            let changes = first..workload.changes.len();
            workload.operations.push(Operation { at, node, changes });
        }
        workload
    }

    fn note(
        &mut self,
        change: Change,
        at: u64,
        origin: usize,
        tick: u64,
        latest: &mut BTreeMap<(Name, Bytes), usize>,
    ) {
        let number = self.changes.len();
        let overwrites = match &change.what {
            What::Add(_) => None,
            What::Count(id, _) => {
                let counts = self.counts.entry((change.object.clone(), *id)).or_default();
                counts.push(number);
                counts.len().checked_sub(2).map(|before| counts[before])
            }
            What::Put(..) if self.write_once => None,
            What::Put(key, _) => latest.insert((change.object.clone(), key.clone()), number),
        };
        if let Some(before) = overwrites {
            let before = &mut self.facts[before];
            // Ticks of one length, wherever they begin, separate two moments that are further apart.
            before.fleeting = before.origin == origin && before.at / tick == at / tick;
        }
        self.facts.push(Fact { at, origin, overwrites, fleeting: false });
        self.by_origin[origin].push(number);
        self.changes.push(change);
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.ids.len()
    }

    /// What is known of a change.
    pub fn fact(&self, change: usize) -> &Fact {
        &self.facts[change]
    }

    /// The changes of an origin, in the order in which it made them.
    pub fn of_origin(&self, origin: usize) -> &[usize] {
        &self.by_origin[origin]
    }

    /// The numbers of the changes that a state was made by, as far as it shows them: overwritten ones are missing.
    ///
    /// # Panics
    ///
    /// If it was made by others.
    pub fn changes_in(&self, state: &Keyspace, mut each: impl FnMut(usize)) {
        use super::object::Object;
        for (name, object) in state.iter() {
            match object {
                Object::Nothing => {}
                Object::Set(set) => set.iter().for_each(|(element, _)| each(number_of(element))),
                Object::Counter(counter) => counter.iter().for_each(|(id, count)| {
                    let counts = &self.counts[&(name.clone(), *id)];
                    each(counts[usize::try_from(count.0 - 1).expect("a count of changes")]);
                }),
                Object::Map(map) => map.iter().for_each(|(_, stamped)| {
                    each(usize::try_from(stamped.time - EPOCH).expect("the number of a change"));
                }),
            }
        }
    }

    /// What everybody shows in the end.
    pub fn result(&self) -> Keyspace {
        delta_of(&self.changes)
    }

    /// The bytes of payload if each change that is to be seen elsewhere went exactly once to each other node.
    pub fn optimum(&self) -> u64 {
        let lasting = self.changes.iter().zip(&self.facts).filter(|(_, fact)| !fact.fleeting);
        let bytes: u64 = lasting.map(|(change, _)| change.delta().encode(&mut Vec::new()) as u64).sum();
        bytes * (self.nodes() as u64 - 1)
    }

    /// The same in irreducible states.
    pub fn optimum_elements(&self) -> u64 {
        let lasting = self.facts.iter().filter(|fact| !fact.fleeting).count();
        lasting as u64 * (self.nodes() as u64 - 1)
    }
}

/// An element that says which change adds it.
fn element(number: usize, bytes: usize, rng: &mut impl Rng) -> Bytes {
    let mut element = vec![0; bytes];
    rng.fill_bytes(&mut element);
    element[..4].copy_from_slice(&u32::try_from(number).expect("fewer changes").to_le_bytes());
    element.into()
}

fn number_of(element: &[u8]) -> usize {
    let number = element.first_chunk().map(|first| u32::from_le_bytes(*first));
    number.expect("an element of a workload") as usize
}

fn stamped(number: usize, value: Bytes) -> Stamped {
    Stamped { time: EPOCH + number as u64, value }
}

/// Those who do the operations, with all that they remember.
enum Users {
    GSet { object: Name, bytes: usize },
    GCounter { object: Name, ids: Ids, counts: Vec<u64> },
    GMap { object: Name, keys: Vec<Vec<Bytes>>, each: usize },
    Retwis(Retwis),
}

impl Users {
    fn new(kind: Kind, ids: &Ids) -> Self {
        let nodes = ids.len();
        match kind {
            Kind::GSet { bytes } => Users::GSet { object: "set".into(), bytes },
            Kind::GCounter => {
                Users::GCounter { object: "counter".into(), ids: Rc::clone(ids), counts: vec![0; nodes] }
            }
            Kind::GMap { percent } => {
                // As many keys a node, and of them as many an operation, as the authors' program takes.
                let share = 1_000 / nodes + 1;
                let each = share * percent as usize / 100 + 1;
                let key = |n: usize| -> Bytes { n.to_be_bytes()[6..].into() };
                let keys =
                    (0..nodes).map(|node| (node * share..((node + 1) * share).min(1_000)).map(key).collect());
                Users::GMap { object: "map".into(), keys: keys.collect(), each }
            }
            Kind::Retwis { zipf } => Users::Retwis(Retwis::new(zipf)),
        }
    }

    /// What an operation changes; `number` is that of its first change.
    fn act(&mut self, node: usize, number: usize, rng: &mut impl Rng) -> Vec<Change> {
        match self {
            Users::GSet { object, bytes } => {
                vec![Change { object: object.clone(), what: What::Add(element(number, *bytes, rng)) }]
            }
            Users::GCounter { object, ids, counts } => {
                counts[node] += 1;
                vec![Change { object: object.clone(), what: What::Count(ids[node], counts[node]) }]
            }
            Users::GMap { object, keys, each } => {
                keys[node].shuffle(rng);
                let put = |(n, key): (usize, &Bytes)| Change {
                    object: object.clone(),
                    what: What::Put(key.clone(), stamped(number + n, Bytes::default())),
                };
                keys[node].iter().take(*each).enumerate().map(put).collect()
            }
            Users::Retwis(retwis) => retwis.act(number, rng),
        }
    }
}

const RETWIS_USERS: usize = 10_000;

struct Retwis {
    /// The probability of a user or one before it.
    cumulated: Vec<f64>,
    followers: BTreeMap<usize, BTreeSet<usize>>,
}

impl Retwis {
    fn new(zipf: u32) -> Self {
        let exponent = f64::from(zipf) / 100.0;
        let mut sum = 0.0;
        let mut cumulated = Vec::with_capacity(RETWIS_USERS);
        for rank in 1..=u32::try_from(RETWIS_USERS).expect("few") {
            sum += f64::from(rank).powf(-exponent);
            cumulated.push(sum);
        }
        for below in &mut cumulated {
            *below /= sum;
        }
        Retwis { cumulated, followers: BTreeMap::new() }
    }

    fn user(&self, rng: &mut impl Rng) -> usize {
        let drawn: f64 = rng.random();
        self.cumulated.partition_point(|below| *below <= drawn).min(RETWIS_USERS - 1)
    }

    fn act(&mut self, number: usize, rng: &mut impl Rng) -> Vec<Change> {
        match rng.random_range(1..=100) {
            1..=15 => {
                let (follower, followed) = (self.user(rng), self.user(rng));
                if !self.followers.entry(followed).or_default().insert(follower) {
                    return Vec::new();
                }
                let what = What::Add(element(number, 31, rng));
                vec![Change { object: format!("{followed}_followers").into(), what }]
            }
            16..=50 => {
                let author = self.user(rng);
                let mut post = vec![0; 270];
                rng.fill_bytes(&mut post);
                let mut id = vec![0; 31];
                rng.fill_bytes(&mut id);
                let id: Bytes = id.into();
                let what = What::Put(id.clone(), stamped(number, post.into()));
                let mut changes = vec![Change { object: format!("{author}_posts").into(), what }];
                let followers = self.followers.get(&author).into_iter().flatten();
                for (n, follower) in followers.enumerate() {
                    let entry = stamped(number + 1 + n, id.clone());
                    let key: Bytes = entry.time.to_be_bytes().into();
                    let object = format!("{follower}_timeline").into();
                    changes.push(Change { object, what: What::Put(key, entry) });
                }
                changes
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(operations: u64, interval: u64) -> Pace {
        Pace { operations, interval, tick: 1_000_000 }
    }

    #[test]
    fn the_optimum_counts_each_change_once_for_each_other_node() {
        let workload = Workload::draw(Kind::GSet { bytes: 20 }, 15, pace(100, 1_000_000), 1);
        assert_eq!(workload.optimum_elements(), 15 * 100 * 14);
        assert_eq!(workload.optimum(), 15 * 100 * 14 * 21);
        let workload = Workload::draw(Kind::GMap { percent: 10 }, 15, pace(100, 1_000_000), 1);
        assert_eq!(workload.optimum_elements(), 15 * 100 * 14 * 7);
        let workload = Workload::draw(Kind::GMap { percent: 100 }, 15, pace(3, 1_000_000), 1);
        assert_eq!(workload.optimum_elements(), 1_000 * 3 * 14);
    }

    #[test]
    fn of_what_is_overwritten_within_a_tick_only_the_last_counts() {
        let workload = Workload::draw(Kind::GCounter, 2, pace(20, 1_000_000), 1);
        assert_eq!(workload.optimum_elements(), 2 * 20);
        let workload = Workload::draw(Kind::GCounter, 2, pace(20, 100_000), 1);
        // Two seconds and a bit touch three ticks.
        assert!(workload.optimum_elements() <= 2 * 3, "{}", workload.optimum_elements());
    }

    #[test]
    fn states_tell_their_changes() {
        let kinds = [
            Kind::GSet { bytes: 20 },
            Kind::GCounter,
            Kind::GMap { percent: 30 },
            Kind::Retwis { zipf: 100 },
        ];
        for kind in kinds {
            let workload = Workload::draw(kind, 5, pace(20, 1_000_000), 3);
            assert!(workload.changes.len() > 20);
            for (number, change) in workload.changes.iter().enumerate() {
                let mut found = Vec::new();
                workload.changes_in(&change.delta(), |change| found.push(change));
                assert_eq!(found, [number], "{kind:?}");
            }
            let mut left: BTreeSet<usize> = (0..workload.changes.len()).collect();
            workload.changes_in(&workload.result(), |change| {
                let mut next = Some(change);
                while let Some(change) = next {
                    assert!(left.remove(&change));
                    next = workload.fact(change).overwrites;
                }
            });
            assert!(left.is_empty(), "{kind:?}: what is not there is overwritten");
        }
    }
}
