use crate::{Link, Topology, topology};
use mesh_proto::{Config, Op};
use std::fmt;

/// Everything that happens to a mesh, as data: the same schedule gives the same run, byte for byte.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// What it was drawn from, and what the fates of messages are drawn from.
    pub seed: u64,
    /// The mesh.
    pub setup: Setup,
    /// What happens, in the order of time.
    pub steps: Vec<Step>,
}

/// A mesh before anything happens.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// How many leaders there are.
    pub leaders: usize,
    /// What the links are.
    pub topology: Topology,
    /// The links at the start.
    pub graph: Vec<(usize, usize)>,
    /// How links within a region treat messages.
    pub near: Link,
    /// How links between regions do.
    pub far: Link,
    /// How long a commit takes, in microseconds.
    pub disk: u64,
    /// For how long a leader gathers what comes in before it goes to work on it, in microseconds.
    pub turn: u64,
    /// How often a leader looks whether it has something to say by itself, in microseconds.
    pub wake: u64,
    /// What the engines are set to.
    pub config: Config,
}

/// Something that happens at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// When, in microseconds.
    pub at: u64,
    /// What.
    pub action: Action,
}

/// What can happen to a mesh.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A client writes to key `number` of the type that the operation writes to, with an idempotency key or without.
    Write {
        /// At which leader.
        leader: usize,
        /// To which key.
        number: usize,
        /// What.
        op: Op,
        /// The idempotency key.
        once: Option<u32>,
    },
    /// A client updates key `number` of the user's own type.
    Update {
        /// At which leader.
        leader: usize,
        /// Which key.
        number: usize,
        /// What the update is drawn from.
        draw: u64,
    },
    /// A leader stops at once; what is not durable is lost.
    Crash(usize),
    /// A leader that is down starts from its disk.
    Restart(usize),
    /// A leader's disk is copied, as it is now.
    Backup(usize),
    /// A leader crashes if it is up, and starts from the copy of its disk, if there is one.
    Restore(usize),
    /// A leader's commits take this long from now on, in microseconds.
    Disk {
        /// Which.
        leader: usize,
        /// How long.
        latency: u64,
    },
    /// A leader's wall clock shows the true time plus this many milliseconds from now on.
    Clock {
        /// Which.
        leader: usize,
        /// How much.
        offset: i64,
    },
    /// Messages in this direction vanish from now on.
    Cut {
        /// Whose.
        from: usize,
        /// To whom.
        to: usize,
    },
    /// Messages in this direction arrive again.
    Heal {
        /// Whose.
        from: usize,
        /// To whom.
        to: usize,
    },
    /// The connection between two leaders breaks; they connect again.
    Close(usize, usize),
    /// Messages in this direction are treated so from now on.
    Conditions {
        /// Whose.
        from: usize,
        /// To whom.
        to: usize,
        /// How.
        link: Link,
    },
    /// The links are these from now on.
    Graph(Vec<(usize, usize)>),
}

impl Action {
    /// The leaders concerned; none for a change of the graph.
    pub(crate) fn leaders_mut(&mut self) -> Vec<&mut usize> {
        match self {
            Action::Write { leader, .. }
            | Action::Update { leader, .. }
            | Action::Crash(leader)
            | Action::Restart(leader)
            | Action::Backup(leader)
            | Action::Restore(leader)
            | Action::Disk { leader, .. }
            | Action::Clock { leader, .. } => vec![leader],
            Action::Cut { from, to } | Action::Heal { from, to } | Action::Conditions { from, to, .. } => {
                vec![from, to]
            }
            Action::Close(a, b) => vec![a, b],
            Action::Graph(_) => Vec::new(),
        }
    }
}

impl Setup {
    /// How two leaders' messages are treated at the start.
    pub fn link(&self, from: usize, to: usize) -> Link {
        let region = |leader| self.topology.region(leader, self.leaders);
        if region(from) == region(to) { self.near } else { self.far }
    }

    /// Within which time leaders agree once everything is whole, in milliseconds: what is said anew after it was lost is
    /// said within `resend` or a few heartbeats, on each of the links that the news passes.
    pub fn patience(&self, graph: &[(usize, usize)]) -> u64 {
        let Config { gather, patience, heartbeat, resend, .. } = self.config;
        let trip = |link: Link| 2 * (link.latency + link.spread + 8 * link.jitter);
        let round = trip(self.near).max(trip(self.far)) + 2 * self.disk + 2 * self.turn + 4 * self.wake;
        let hop = 2 * heartbeat + resend + patience + gather + 2 * round / 1_000;
        // Connecting anew costs a hop as well.
        (topology::diameter(self.leaders, graph) + 3) * hop
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setup { leaders, topology, graph, near, far, disk, turn, wake, config } = self;
        writeln!(f, "  {leaders} leaders, {topology}, links {}", Links(graph))?;
        writeln!(f, "  links: {}", Conditions(near))?;
        if near != far {
            writeln!(f, "  links between regions: {}", Conditions(far))?;
        }
        let Config {
            gather, patience, retain, ordered, max_early, heartbeat, part, resend, min_deaths, ..
        } = config;
        writeln!(f, "  commits of {disk} us, turns of {turn} us, woken every {wake} us")?;
        writeln!(
            f,
            "  {}gather {gather} ms, patience {patience} ms, heartbeat {heartbeat} ms, resend {resend} ms, \
             retain {retain} B, max_early {max_early} B, part {part} B, min_deaths {min_deaths}",
            if *ordered { "ordered, " } else { "" }
        )
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>7}.{:03} ms  {}", self.at / 1_000, self.at % 1_000, self.action)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Write { leader, number, op, once } => {
                write!(f, "leader {leader}: {}-{number} {}", op.kind(), Operation(op))?;
                once.map_or(Ok(()), |once| write!(f, ", once by key {once}"))
            }
            Action::Update { leader, number, draw } => {
                write!(f, "leader {leader}: own-{number} updated as drawn from {draw:#x}")
            }
            Action::Crash(leader) => write!(f, "leader {leader} crashes"),
            Action::Restart(leader) => write!(f, "leader {leader} starts again from its disk"),
            Action::Backup(leader) => write!(f, "leader {leader}'s disk is copied"),
            Action::Restore(leader) => {
                write!(f, "leader {leader} is stopped and started from the copy of its disk")
            }
            Action::Disk { leader, latency } => write!(f, "leader {leader}: commits take {latency} us"),
            Action::Clock { leader, offset } => {
                write!(f, "leader {leader}: the wall clock is {offset:+} ms off")
            }
            Action::Cut { from, to } => write!(f, "messages {from} -> {to} vanish"),
            Action::Heal { from, to } => write!(f, "messages {from} -> {to} arrive again"),
            Action::Close(a, b) => write!(f, "the connection {a} - {b} breaks"),
            Action::Conditions { from, to, link } => {
                write!(f, "messages {from} -> {to}: {}", Conditions(link))
            }
            Action::Graph(links) => write!(f, "the links become {}", Links(links)),
        }
    }
}

struct Operation<'a>(&'a Op);

impl fmt::Display for Operation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Op::Grow(by) => write!(f, "grows by {by}"),
            Op::Increment(by) => write!(f, "+{by}"),
            Op::Decrement(by) => write!(f, "-{by}"),
            Op::Assign(value) => write!(f, ":= {}", value.escape_ascii()),
            Op::Add(elements) => write!(f, "adds {}", Elements(elements)),
            Op::Remove(elements) => write!(f, "removes {}", Elements(elements)),
            Op::Clear => f.write_str("is cleared"),
        }
    }
}

struct Elements<'a>(&'a [Vec<u8>]);

impl fmt::Display for Elements<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, element) in self.0.iter().enumerate() {
            write!(f, "{}{}", if at > 0 { ", " } else { "" }, element.escape_ascii())?;
        }
        Ok(())
    }
}

struct Links<'a>(&'a [(usize, usize)]);

impl fmt::Display for Links<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (a, b)) in self.0.iter().enumerate() {
            write!(f, "{}{a}-{b}", if at > 0 { " " } else { "" })?;
        }
        if self.0.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

struct Conditions<'a>(&'a Link);

impl fmt::Display for Conditions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Link { latency, spread, jitter, loss, duplication, ordered } = self.0;
        write!(f, "{latency} us")?;
        if *spread > 0 {
            write!(f, " and up to {spread} us more")?;
        }
        if *jitter > 0 {
            write!(f, ", jitter {jitter} us")?;
        }
        if *loss > 0 {
            write!(f, ", {loss}/1000 lost")?;
        }
        if *duplication > 0 {
            write!(f, ", {duplication}/1000 twice")?;
        }
        f.write_str(if *ordered { ", in order" } else { ", in any order" })
    }
}
