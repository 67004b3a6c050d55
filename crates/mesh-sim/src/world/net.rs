use super::leader::ConnectionId;
use crate::{Fate, Link, Setup, model::mix};
use rand::{SeedableRng, rngs::SmallRng};

/// The links between leaders, and the connections on them.
pub(super) struct Net {
    leaders: usize,
    directions: Vec<Direction>,
    pairs: Vec<Pair>,
    pub(super) connections: Vec<Connection>,
}

/// One direction between two leaders.
pub(super) struct Direction {
    pub(super) link: Link,
    /// Whether messages vanish.
    pub(super) cut: bool,
    seed: u64,
    /// When the last message was sent, and how many were sent in that moment.
    sent: (u64, u64),
    /// When the last message arrives, on a link that keeps order.
    pub(super) last: u64,
}

#[derive(Clone, Default)]
pub(super) struct Pair {
    pub(super) wanted: bool,
    pub(super) current: Option<ConnectionId>,
    /// Whether somebody is about to dial.
    pub(super) dialing: bool,
}

pub(super) struct Connection {
    pub(super) ends: (usize, usize),
    /// Messages sent by each end, the latest number that arrived from it, and those on their way.
    pub(super) sent: [u32; 2],
    pub(super) latest: [u32; 2],
    pub(super) under_way: u32,
    /// How many of those are parts of deltas.
    pub(super) parts: u32,
    /// On a link that keeps order a message was lost, and so are all after it: by the end that sends.
    pub(super) broken: [bool; 2],
}

impl Net {
    pub(super) fn new(seed: u64, setup: &Setup) -> Self {
        let leaders = setup.leaders;
        let direction = |from: usize, to: usize| Direction {
            link: setup.link(from, to),
            cut: false,
            seed: mix(seed, (from << 8 | to) as u64),
            sent: (0, 0),
            last: 0,
        };
        let mut net = Net {
            leaders,
            directions: (0..leaders)
                .flat_map(|from| (0..leaders).map(move |to| (from, to)))
                .map(|(a, b)| direction(a, b))
                .collect(),
            pairs: vec![Pair::default(); leaders * leaders],
            connections: Vec::new(),
        };
        net.want(&setup.graph);
        net
    }

    pub(super) fn direction(&mut self, from: usize, to: usize) -> &mut Direction {
        &mut self.directions[from * self.leaders + to]
    }

    pub(super) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.directions[from * self.leaders + to].cut
    }

    pub(super) fn pair(&mut self, a: usize, b: usize) -> &mut Pair {
        &mut self.pairs[a.min(b) * self.leaders + a.max(b)]
    }

    /// All pairs of leaders, the smaller number first.
    pub(super) fn all_pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let leaders = self.leaders;
        (0..leaders).flat_map(move |a| (a + 1..leaders).map(move |b| (a, b)))
    }

    /// These links and no others are to be there.
    pub(super) fn want(&mut self, graph: &[(usize, usize)]) {
        self.pairs.iter_mut().for_each(|pair| pair.wanted = false);
        for &(a, b) in graph {
            if a != b && a.max(b) < self.leaders {
                self.pair(a, b).wanted = true;
            }
        }
    }

    pub(super) fn connect(&mut self, a: usize, b: usize) -> ConnectionId {
        let id = self.connections.len();
        self.connections.push(Connection {
            ends: (a, b),
            sent: [0; 2],
            latest: [0; 2],
            under_way: 0,
            parts: 0,
            broken: [false; 2],
        });
        self.pair(a, b).current = Some(id);
        id
    }

    /// Whether this is the connection that two leaders have now.
    pub(super) fn is_current(&mut self, id: ConnectionId) -> bool {
        let (a, b) = self.connections[id].ends;
        self.pair(a, b).current == Some(id)
    }
}

impl Direction {
    /// What becomes of a message that is sent at `now`.
    ///
    /// That depends on the seed, the direction and the moment only: a step less elsewhere changes nothing here, which
    /// helps to shrink a schedule.
    pub(super) fn fate(&mut self, now: u64) -> Fate {
        self.sent = if self.sent.0 == now { (now, self.sent.1 + 1) } else { (now, 0) };
        self.link.fate(&mut SmallRng::seed_from_u64(mix(self.seed ^ self.sent.1, now)))
    }
}

impl Connection {
    /// 0 or 1.
    pub(super) fn end(&self, leader: usize) -> usize {
        usize::from(leader == self.ends.1)
    }
}
