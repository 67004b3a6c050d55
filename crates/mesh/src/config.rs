use crate::{Member, Topology, topology::configured};
use mesh_proto::{Config, MAX_LEADER_NAME, Registry};
use std::{path::PathBuf, time::Duration};

/// How a leader is set up. Begin with [`LeaderConfig::new`] and change what differs.
///
/// ```
/// use mesh::{LeaderConfig, Peer, Storage};
///
/// let config = LeaderConfig {
///     listen: Some("0.0.0.0:7001".into()),
///     peers: vec![Peer::new("us", "us.example.com:7001")],
///     ..LeaderConfig::new("eu", Storage::Dir("/var/lib/mesh/eu".into()))
/// };
/// assert_eq!(config.cluster, "default");
/// ```
#[derive(Clone, Debug)]
pub struct LeaderConfig {
    /// The leader's name in reports, 1 to [`MAX_LEADER_NAME`] bytes, unlike those of the other leaders. A data folder
    /// belongs to one name.
    pub name: String,
    /// The mesh it belongs to, 1 to [`MAX_LEADER_NAME`] bytes (default `"default"`). Leaders of different clusters
    /// refuse each other.
    pub cluster: String,
    /// Where its data lies: there is no default, because only one of the two keeps it.
    pub storage: Storage,
    /// Whether the causal metadata in its data is relied on (default [`Metadata::Stored`]).
    pub metadata: Metadata,
    /// The address to take connections of peers on, `host:port`; port 0 takes a free one (default none: then this
    /// leader only connects to others).
    pub listen: Option<String>,
    /// The leaders to connect to. One side of each pair is enough; any connected graph will do. A leader that is a
    /// member of a mesh with a topology leaves them alone: they are for finding the mesh.
    pub peers: Vec<Peer>,
    /// How the members are connected, this leader being one of them (default none: each leader is connected to the
    /// `peers` that it is given, and to all members). Counts until a topology or members are set while the mesh is
    /// running; then that counts, also after a restart. Give all leaders the same.
    pub topology: Option<Topology>,
    /// All leaders of the mesh, this one included, for `topology` (default none).
    pub members: Vec<Member>,
    /// Added to the wall clock, in ms (default 0). For tests.
    pub clock_offset_ms: i64,
    /// The user's own types, alike on all leaders (default none).
    pub registry: Registry,
    /// What the replication engine lets set.
    pub engine: Config,
    /// What the runtime lets set.
    pub limits: Limits,
}

impl LeaderConfig {
    /// A leader of the cluster `default` that knows no peers.
    pub fn new(name: impl Into<String>, storage: Storage) -> Self {
        LeaderConfig {
            name: name.into(),
            cluster: "default".into(),
            storage,
            metadata: Metadata::Stored,
            listen: None,
            peers: Vec::new(),
            topology: None,
            members: Vec::new(),
            clock_offset_ms: 0,
            registry: Registry::new(),
            engine: Config::default(),
            limits: Limits::default(),
        }
    }

    /// What is wrong with the configuration, as a sentence.
    pub(crate) fn problem(&self) -> Option<String> {
        let names = [("leader's name", &self.name), ("cluster's name", &self.cluster)];
        for (what, name) in names.into_iter().chain(self.peers.iter().map(|peer| ("peer's name", &peer.name)))
        {
            if !(1..=MAX_LEADER_NAME).contains(&name.len()) {
                return Some(format!(
                    "a {what} has 1 to {MAX_LEADER_NAME} bytes, {name:?} has {}",
                    name.len()
                ));
            }
            if name.contains(char::is_control) {
                return Some(format!("a {what} has no control characters, unlike {name:?}"));
            }
        }
        for (n, peer) in self.peers.iter().enumerate() {
            if peer.name == self.name {
                return Some(format!("peer {:?} has the name of the leader itself", peer.name));
            }
            if self.peers[..n].iter().any(|other| other.name == peer.name) {
                return Some(format!("two peers have the name {:?}", peer.name));
            }
        }
        for (n, member) in self.members.iter().enumerate() {
            if let Some(why) = member.problem() {
                return Some(why);
            }
            if self.members[..n].iter().any(|other| other.name == member.name) {
                return Some(format!("two members have the name {:?}", member.name));
            }
        }
        let plan = configured(self);
        if plan.topology.is_some() && !plan.members.contains_key(&self.name) {
            return Some(format!("a topology joins the members, and {:?} is not among them", self.name));
        }
        plan.check().err().map(|why| why.to_string())
    }
}

/// Where a leader keeps its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In memory: whatever was not replicated is lost when the process ends, and the leader comes back under a new id.
    /// A weaker mode; "durable" then means "applied".
    Memory,
    /// In the file `leader.redb` of this folder, which is created if it is missing.
    Dir(PathBuf),
}

/// Where a leader's causal metadata comes from: its version vector, and what belongs to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Metadata {
    /// From its data. Values without it are refused: nobody could say what they are complete for.
    #[default]
    Stored,
    /// From a peer, for one start with data whose metadata is lost or damaged: what there is of it is ignored. The leader
    /// goes on under a new id, and refuses reads and writes ([`LeaderError::LostMetadata`](crate::LeaderError)) until it has
    /// met a peer that it can become a copy of; then it joins what it alone had written. See
    /// [`Recovery::without_metadata`](mesh_proto::Recovery::without_metadata) for what is kept. Data in which there is
    /// nothing yet begins as always.
    FromPeer {
        /// Whether updates of others are given up of which there are traces here and which no connected peer has. If not,
        /// the leader waits for a peer that has them, and logs which they are.
        gives_up_unreachable: bool,
    },
}

/// A leader to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The name it has in this leader's reports: best the one it has itself.
    pub name: String,
    /// `host:port`; a host name is resolved anew each time a connection is opened.
    pub address: String,
}

impl Peer {
    /// The leader `name` at `address`.
    pub fn new(name: impl Into<String>, address: impl Into<String>) -> Self {
        Peer { name: name.into(), address: address.into() }
    }
}

/// What bounds the runtime's time and memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The pause before a lost connection is opened again; it doubles with each failure (default 100 ms). The actual
    /// pause is drawn between a half of it and the whole, so that leaders do not knock in step.
    pub reconnect_min: Duration,
    /// The longest such pause (default 5 s).
    pub reconnect_max: Duration,
    /// How long opening a connection, and then the greeting, may take each (default 5 s).
    pub handshake: Duration,
    /// How long a member is dialled in vain before it counts as down, so that a topology goes round it (default 3 s).
    /// Shorter heals sooner, and opens connections for nothing when a leader is only restarted.
    pub down_after: Duration,
    /// How many connections of peers are taken at most (default 256). Further ones are closed at once.
    pub connections: usize,
    /// How many inputs may wait for the engine, and how many reads besides (default 1,024). Whoever brings more waits; a
    /// commit takes what waits.
    pub queue: usize,
    /// How many bytes of writes may wait for the engine (default 64 MiB). Whoever brings more waits.
    pub queued_bytes: usize,
    /// How many messages are encoded ahead for a connection (default 4). Few, so that news gathers in the engine,
    /// where it coalesces, and not in a queue.
    pub frames_ahead: usize,
    /// How many connections to the HTTP API are served at most (default 512). Further ones are closed at once, so that
    /// clients leave descriptors to the peers and the store; a watch takes one for as long as it lasts.
    pub http_connections: usize,
    /// How long the head of an HTTP request may take, from when the connection could carry it (default 10 s); then the
    /// connection is closed, also an idle one.
    pub http_head: Duration,
    /// How long the body of an HTTP request may take as a whole (default 30 s); then it is refused. Neither limit
    /// concerns replies: a watch lasts.
    pub http_body: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            reconnect_min: Duration::from_millis(100),
            reconnect_max: Duration::from_secs(5),
            handshake: Duration::from_secs(5),
            down_after: Duration::from_secs(3),
            connections: 256,
            queue: 1_024,
            queued_bytes: 64 << 20,
            frames_ahead: 4,
            http_connections: 512,
            http_head: Duration::from_secs(10),
            http_body: Duration::from_secs(30),
        }
    }
}
