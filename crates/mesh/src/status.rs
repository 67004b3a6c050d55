use crate::{
    TopologyReport,
    core::{Core, View},
    topology::look,
};
use crdt_core::ReplicaId;
use mesh_proto::{Engine, PeerStatus, VersionVector};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a leader is, as `GET /v1/status` reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// The mesh it belongs to.
    pub cluster: String,
    /// The id that it writes under.
    pub replica: ReplicaId,
    /// What it has, durably.
    pub vector: VersionVector,
    /// A hash of its keyspace in 16 hexadecimal digits; leaders with equal vectors have equal ones.
    pub fingerprint: String,
    /// How many keys there are.
    pub keys: usize,
    /// How many bytes the store takes.
    pub disk_bytes: u64,
    /// How many writes of clients made events since the start.
    pub writes: u64,
    /// How many events of others were merged since the start.
    pub merged_events: u64,
    /// How long ago it was started, in ms.
    pub uptime_ms: u64,
    /// The peers that this leader keeps a link to or is connected to, by name. Without a topology, also those that it has
    /// met since the start: they may dial it again.
    pub peers: Vec<PeerReport>,
    /// How the leaders are connected, and what is wrong with that.
    pub topology: TopologyReport,
}

/// How a peer is, seen from a leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerReport {
    /// Its name: the one it is dialled under, or the one it gives itself.
    pub name: String,
    /// The address it is dialled at; `None` if it is not.
    pub address: Option<String>,
    /// The id that it writes under; `None` if it was never met.
    pub replica: Option<ReplicaId>,
    /// Whether there is a connection.
    pub connected: bool,
    /// What it is known to have, durably.
    pub vector: VersionVector,
    /// How many events this leader has that the peer has not acknowledged as durable. Exact.
    pub events_behind: u128,
    /// How many events it has that this leader lacks.
    pub events_ahead: u128,
    /// How long the oldest event that it has not acknowledged has been here, in ms; 0 if there is none.
    pub oldest_ms: u64,
    /// How long ago it was heard of, in ms; `None` if it was never met.
    pub last_contact_ms: Option<u64>,
    /// The bytes received from it since the start, whole frames.
    pub bytes_in: u64,
    /// The bytes sent to it.
    pub bytes_out: u64,
    /// Whether at the last look with equal vectors its fingerprint differed.
    pub diverged: bool,
    /// What is wrong: why it is not connected, if it is dialled; or why a message of it was refused last, until one
    /// of its deltas is merged.
    pub problem: Option<String>,
}

impl Status {
    pub(crate) fn of(core: &Core, view: &View<'_>) -> Self {
        let engine = view.engine;
        let identity = engine.identity();
        Status {
            name: identity.name.clone(),
            cluster: identity.cluster.clone(),
            replica: identity.replica,
            vector: engine.version().clone(),
            fingerprint: format!("{:016x}", engine.fingerprint()),
            keys: engine.key_count(),
            disk_bytes: view.disk.bytes(),
            writes: core.metrics.writes.get(),
            merged_events: core.metrics.merged_events.get(),
            uptime_ms: core.clock.uptime_ms(),
            peers: peers(core, view),
            topology: core.topology(&look(&core.config, engine)),
        }
    }
}

fn peers(core: &Core, view: &View<'_>) -> Vec<PeerReport> {
    let View { engine, now, .. } = *view;
    // A peer that came back under a new id is one peer: of one name the id heard of last counts.
    let mut met: BTreeMap<String, PeerStatus> = BTreeMap::new();
    for peer in engine.peers(now) {
        let rank = |peer: &PeerStatus| (peer.session.is_none(), peer.last_contact_ms);
        if met.get(&peer.name).is_none_or(|other| rank(&peer) < rank(other)) {
            met.insert(peer.name.clone(), peer);
        }
    }
    let mut reports = Vec::new();
    let links = core.links().clone();
    for link in &links {
        let state = link.state();
        let found =
            met.iter().find(|(_, peer)| Some(peer.replica) == state.replica).map(|(name, _)| name.clone());
        let peer = met.remove(found.as_ref().unwrap_or(&link.peer.name));
        let problem = state.problem.clone();
        drop(state);
        let mut report = match &peer {
            Some(peer) => PeerReport::met(core, peer),
            None => PeerReport::unmet(engine),
        };
        report.name.clone_from(&link.peer.name);
        report.address = Some(link.peer.address.clone());
        report.problem = problem.filter(|_| !report.connected);
        reports.push(report);
    }
    // With a topology both ends keep up a link, so whoever else was met is no peer any more: what it has does not come here.
    let may_dial = look(&core.config, engine).plan.topology.is_none();
    let others = met.values().filter(|peer| may_dial || peer.session.is_some());
    reports.extend(others.map(|peer| PeerReport::met(core, peer)));
    for report in &mut reports {
        let refusal = report.replica.and_then(|replica| view.refusals.get(&replica));
        report.problem = report.problem.take().or_else(|| refusal.cloned());
    }
    reports.sort_by(|a, b| a.name.cmp(&b.name));
    reports
}

impl PeerReport {
    fn met(core: &Core, peer: &PeerStatus) -> Self {
        let traffic = core.metrics.traffic(&peer.name);
        PeerReport {
            name: peer.name.clone(),
            address: None,
            replica: Some(peer.replica),
            connected: peer.session.is_some(),
            vector: peer.vector.clone(),
            events_behind: peer.events_behind,
            events_ahead: peer.events_ahead,
            oldest_ms: peer.oldest_ms,
            last_contact_ms: Some(peer.last_contact_ms),
            bytes_in: traffic.received.get(),
            bytes_out: traffic.sent.get(),
            diverged: peer.diverged,
            problem: None,
        }
    }

    /// A peer that was never met has acknowledged nothing.
    fn unmet(engine: &Engine) -> Self {
        let nothing = VersionVector::new();
        PeerReport {
            name: String::new(),
            address: None,
            replica: None,
            connected: false,
            events_behind: engine.version().ahead_of(&nothing),
            vector: nothing,
            events_ahead: 0,
            oldest_ms: 0,
            last_contact_ms: None,
            bytes_in: 0,
            bytes_out: 0,
            diverged: false,
            problem: None,
        }
    }
}
