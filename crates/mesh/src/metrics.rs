//! What a leader counts, in a registry of its own: several leaders in one process do not mix.

use crate::Status;
use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry,
    TextEncoder,
};
use std::sync::{Mutex, PoisonError};

#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) writes: IntCounter,
    pub(crate) reads: IntCounter,
    pub(crate) merged_events: IntCounter,
    pub(crate) mismatches: IntCounter,
    pub(crate) idempotency_keys: Gauge,
    pub(crate) commit_seconds: Histogram,
    peer_bytes: IntCounterVec,
    /// Set from one status when they are asked for; the lock keeps two scrapes apart.
    gauges: Mutex<Gauges>,
}

#[derive(Debug)]
struct Gauges {
    keys: Gauge,
    disk_bytes: Gauge,
    connections: Gauge,
    behind: GaugeVec,
    ahead: GaugeVec,
    oldest: GaugeVec,
    reached: Gauge,
    unreached: GaugeVec,
    stand_ins: Gauge,
    problems: GaugeVec,
}

/// The bytes of one peer's connections, whole frames.
#[derive(Clone, Debug)]
pub(crate) struct Traffic {
    pub(crate) received: IntCounter,
    pub(crate) sent: IntCounter,
}

/// What is wrong with a metric's name is wrong in this file, and found by the first test.
const FIXED: &str = "the names of the metrics are fixed, valid and distinct";

impl Metrics {
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        let counter = |name: &str, help: &str| add(&registry, IntCounter::new(name, help));
        let gauge = |name: &str, help: &str| add(&registry, Gauge::new(name, help));
        let by = |name: &str, help: &str, label: &str| {
            add(&registry, GaugeVec::new(Opts::new(name, help), &[label]))
        };
        let for_peers = |name: &str, help: &str| by(name, help, "peer");
        let commits =
            HistogramOpts::new("mesh_commit_seconds", "How long the store took to make a commit durable.")
                .buckets(vec![0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]);
        let bytes = Opts::new("mesh_peer_bytes_total", "Bytes of frames to and from a peer.");
        Metrics {
            writes: counter("mesh_writes_total", "Writes of clients that made events and are durable."),
            reads: counter("mesh_reads_total", "Reads of clients."),
            merged_events: counter(
                "mesh_merged_events_total",
                "Events of other leaders that were merged here.",
            ),
            mismatches: counter(
                "mesh_fingerprint_mismatches_total",
                "Times that a peer with an equal vector had a different fingerprint.",
            ),
            idempotency_keys: gauge("mesh_idempotency_keys", "Replies that are kept under idempotency keys."),
            commit_seconds: add(&registry, Histogram::with_opts(commits)),
            peer_bytes: add(&registry, IntCounterVec::new(bytes, &["peer", "direction"])),
            gauges: Mutex::new(Gauges {
                keys: gauge("mesh_keys", "Keys in the keyspace."),
                disk_bytes: gauge("mesh_disk_bytes", "Bytes that the store takes."),
                connections: gauge("mesh_connections", "Peers that are connected."),
                behind: for_peers("mesh_peer_events_behind", "Events that a peer has not acknowledged."),
                ahead: for_peers("mesh_peer_events_ahead", "Events of a peer that are not here yet."),
                oldest: for_peers(
                    "mesh_peer_oldest_seconds",
                    "How long the oldest event that a peer has not acknowledged has been here.",
                ),
                reached: gauge(
                    "mesh_leaders_reached",
                    "Leaders that are reached, directly or by way of others, this one included.",
                ),
                unreached: by(
                    "mesh_leader_unreached_seconds",
                    "How long there has been no way to a leader.",
                    "leader",
                ),
                stand_ins: gauge("mesh_stand_in_links", "Links that only go round a leader that is down."),
                problems: by(
                    "mesh_topology_problems",
                    "What is not as the topology wants it, by kind.",
                    "code",
                ),
            }),
            registry,
        }
    }

    pub(crate) fn traffic(&self, peer: &str) -> Traffic {
        let counter = |direction: &str| self.peer_bytes.with_label_values(&[peer, direction]);
        Traffic { received: counter("in"), sent: counter("out") }
    }

    /// Everything in Prometheus' text format.
    pub(crate) fn encode(&self, status: &Status) -> Vec<u8> {
        let gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.set(status);
        let mut text = Vec::new();
        // Writing to memory fails only for a family without samples, and then the rest is there.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }
}

impl Gauges {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a gauge is a float; beyond 2^53 the last digits do not matter"
    )]
    fn set(&self, status: &Status) {
        self.keys.set(status.keys as f64);
        self.disk_bytes.set(status.disk_bytes as f64);
        self.connections.set(status.peers.iter().filter(|peer| peer.connected).count() as f64);
        for family in [&self.behind, &self.ahead, &self.oldest, &self.unreached, &self.problems] {
            family.reset();
        }
        for peer in &status.peers {
            self.behind.with_label_values(&[&peer.name]).set(peer.events_behind as f64);
            self.ahead.with_label_values(&[&peer.name]).set(peer.events_ahead as f64);
            self.oldest.with_label_values(&[&peer.name]).set(peer.oldest_ms as f64 / 1e3);
        }
        let topology = &status.topology;
        self.reached.set(topology.leaders.iter().filter(|leader| leader.steps.is_some()).count() as f64);
        for leader in &topology.leaders {
            if let Some(ms) = leader.unreached_ms {
                self.unreached.with_label_values(&[&leader.name]).set(ms as f64 / 1e3);
            }
        }
        self.stand_ins.set(topology.links.iter().filter(|link| link.instead_of.is_some()).count() as f64);
        for problem in &topology.problems {
            self.problems.with_label_values(&[&problem.code]).inc();
        }
    }
}

fn add<M: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<M>,
) -> M {
    let metric = metric.expect(FIXED);
    registry.register(Box::new(metric.clone())).expect(FIXED);
    metric
}
