//! What is to be said about a mesh's connections: who is reached, which links there are, and what is broken.

use super::{Found, Plan, Source, Topology};
use crate::map::Graph;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How the leaders are connected, seen from one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopologyReport {
    /// Where this leader's links come from.
    pub source: Source,
    /// The topology that counts; `None` if leaders are connected as each is configured.
    pub topology: Option<Topology>,
    /// All leaders that are members, configured as peers, or were heard of in the last 24 hours, by name.
    pub leaders: Vec<LeaderReport>,
    /// The links that this leader keeps up.
    pub links: Vec<LinkReport>,
    /// What is not as it should be; empty if all is well.
    pub problems: Vec<Problem>,
}

/// A leader of the mesh, seen from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderReport {
    /// Its name.
    pub name: String,
    /// Whether it is in the list of members.
    pub member: bool,
    /// The address of its peer port, if it is known.
    pub address: Option<String>,
    /// Its region; empty if it has none.
    pub region: String,
    /// Where its API is served, as it says itself.
    pub api: Option<String>,
    /// Over how many connections it is reached: 0 for the leader itself; `None` if it is not reached.
    pub steps: Option<u32>,
    /// For how long there has been no way to it, in ms; `None` if it is reached. One that was never heard of counts from
    /// this leader's start.
    pub unreached_ms: Option<u64>,
    /// Whom it is connected to; empty if it is not reached.
    pub connected_to: Vec<String>,
}

/// A link that a leader keeps up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkReport {
    /// To whom.
    pub name: String,
    /// Where that one is.
    pub address: String,
    /// Whether there is a connection, whichever side opened it.
    pub connected: bool,
    /// Who is down, if the link only goes round that one.
    pub instead_of: Option<String>,
    /// Why there is no connection.
    pub problem: Option<String>,
}

/// Something that is not as the topology wants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What it is, for programs: `unreached`, `ring-broken`, `hub-down`, `gateway-down`, `regions-apart`, `link-missing`,
    /// `not-a-member`, `unknown-topology`, `name-taken` or `two-histories`.
    pub code: String,
    /// The leaders that it is about.
    pub leaders: Vec<String>,
    /// A sentence for people, which says what it was healed by, if it was.
    pub text: String,
}

/// What a leader sees.
pub(crate) struct Seen<'a> {
    pub(crate) me: &'a str,
    pub(crate) found: &'a Found,
    pub(crate) graph: &'a Graph,
    /// The links that it keeps up.
    pub(crate) links: Vec<LinkReport>,
    /// How long it has been running, in ms: the time of [`Graph::lost`].
    pub(crate) now: u64,
}

impl Seen<'_> {
    pub(crate) fn report(self) -> TopologyReport {
        let leaders = self.leaders();
        let mut problems = Vec::new();
        if let Some(why) = &self.found.problem {
            problems.push(problem("unknown-topology", [self.me], why.clone()));
        }
        let Plan { topology, members } = &self.found.plan;
        if topology.is_some() && !members.contains_key(self.me) {
            problems.push(problem(
                "not-a-member",
                [self.me],
                format!("{} is no member of the mesh, so it is only connected as it is configured", self.me),
            ));
        }
        problems.extend(unreached(&leaders));
        match topology {
            Some(Topology::Ring) => problems.extend(self.ring()),
            Some(Topology::Star { hubs }) => problems.extend(self.star(hubs)),
            Some(Topology::Regions) => problems.extend(self.regions()),
            Some(Topology::Explicit { edges }) => {
                problems.extend(edges.iter().filter_map(|(a, b)| self.missing(a, b)));
            }
            // Whoever was removed is connected to nobody, as it should be.
            Some(Topology::AllToAll) if members.contains_key(self.me) => {
                problems.extend(members.keys().filter_map(|name| self.missing(self.me, name)));
            }
            None | Some(Topology::AllToAll | Topology::Gossip { .. }) => {}
        }
        let (source, topology) = (self.found.source, topology.clone());
        TopologyReport { source, topology, leaders, links: self.links, problems }
    }

    fn leaders(&self) -> Vec<LeaderReport> {
        let Seen { found, graph, .. } = self;
        // A peer may go by another name than the configured one; then it is only known by its own.
        let asked = self.links.iter().filter(|link| !link.connected).map(|link| &link.name);
        let members = &found.plan.members;
        // Where it is known who belongs to the mesh, nobody else is missed: somebody who was removed, say.
        let lost = graph.lost.keys().filter(|name| members.is_empty() || members.contains_key(*name));
        let names: BTreeSet<_> = members.keys().chain(graph.hops.keys()).chain(lost).chain(asked).collect();
        let addresses: BTreeMap<_, _> = self.links.iter().map(|link| (&link.name, &link.address)).collect();
        let report = |name: &String| {
            let member = found.plan.members.get(name);
            let steps = graph.hops.get(name).copied();
            let since = graph.lost.get(name).copied().unwrap_or(0);
            LeaderReport {
                name: name.clone(),
                member: member.is_some(),
                address: member.map(|member| &member.address).or(addresses.get(name).copied()).cloned(),
                region: member.map(|member| member.region.clone()).unwrap_or_default(),
                api: graph.apis.get(name).cloned(),
                steps,
                unreached_ms: steps.is_none().then(|| self.now.saturating_sub(since)),
                connected_to: graph.links.get(name).into_iter().flatten().cloned().collect(),
            }
        };
        names.into_iter().map(report).collect()
    }

    /// Two leaders that are both reached and should be connected, and are not.
    fn missing(&self, a: &str, b: &str) -> Option<Problem> {
        let both = a != b && self.graph.reaches(a) && self.graph.reaches(b);
        (both && !self.graph.are_linked(a, b))
            .then(|| problem("link-missing", [a, b], format!("{a} and {b} are not connected to each other")))
    }

    fn ring(&self) -> Vec<Problem> {
        let ring: Vec<&str> = self.found.plan.ring().iter().map(|member| member.name.as_str()).collect();
        let mut problems = Vec::new();
        // Begins at a leader that is reached, as this one is, so that no gap goes over the end.
        let Some(start) = ring.iter().position(|name| self.graph.reaches(name)) else { return problems };
        let (mut last, mut gap) = (ring[start], Vec::new());
        for name in ring[start + 1..].iter().chain(&ring[..=start]).copied() {
            if !self.graph.reaches(name) {
                gap.push(name);
                continue;
            }
            let linked = last == name || self.graph.are_linked(last, name);
            let text = match (gap.join(", "), linked) {
                (at, true) if at.is_empty() => None,
                (at, false) if at.is_empty() => Some(format!("the ring is broken between {last} and {name}")),
                (at, _) if last == name => Some(format!("the ring is broken at {at}: {name} is alone")),
                (at, true) => {
                    Some(format!("the ring is broken at {at}; {last} and {name} are connected instead"))
                }
                (at, false) => {
                    Some(format!("the ring is broken at {at}, and {last} and {name} are not connected"))
                }
            };
            let gap = std::mem::take(&mut gap);
            let about = if gap.is_empty() { vec![last, name] } else { gap };
            problems.extend(text.map(|text| problem("ring-broken", about, text)));
            last = name;
        }
        problems
    }

    fn star(&self, hubs: &[String]) -> Vec<Problem> {
        let mut problems = Vec::new();
        let Some(hub) = hubs.first() else { return problems };
        let acting = hubs.iter().find(|hub| self.graph.reaches(hub));
        if acting != Some(hub) {
            let text = match acting {
                Some(acting) => format!("the hub {hub} is down or cut off; {acting} stands in for it"),
                None => format!("the hub {hub} is down or cut off, and nobody stands in for it"),
            };
            problems.push(problem("hub-down", [hub.as_str()], text));
        }
        if let Some(acting) = acting {
            problems.extend(self.found.plan.members.keys().filter_map(|name| self.missing(acting, name)));
        }
        problems
    }

    fn regions(&self) -> Vec<Problem> {
        let plan = &self.found.plan;
        let mut problems = Vec::new();
        let regions: Vec<&str> = plan.regions().collect();
        for (n, &a) in regions.iter().enumerate() {
            for &b in &regions[n + 1..] {
                let (of_a, of_b) = (plan.gateways(a, b), plan.gateways(b, a));
                let joined = of_a.iter().find_map(|x| {
                    of_b.iter().find(|y| self.graph.are_linked(&x.name, &y.name)).map(|y| (x, y))
                });
                let reached =
                    |members: &[&super::Member]| members.iter().any(|m| self.graph.reaches(&m.name));
                let Some((x, y)) = joined else {
                    if reached(&of_a) && reached(&of_b) {
                        let text = format!("no connection joins the regions {a:?} and {b:?}");
                        problems.push(problem("regions-apart", [of_a[0].name.as_str(), &of_b[0].name], text));
                    }
                    continue;
                };
                for (region, gateway, acting) in [(a, of_a[0], x), (b, of_b[0], y)] {
                    if !self.graph.reaches(&gateway.name) {
                        let other = if region == a { b } else { a };
                        let text = format!(
                            "{}, the gateway of region {region:?} to {other:?}, is down or cut off; {} stands in for it",
                            gateway.name, acting.name
                        );
                        problems.push(problem("gateway-down", [gateway.name.as_str()], text));
                    }
                }
            }
        }
        let own = plan.members.get(self.me).map(|member| member.region.as_str());
        for region in regions.iter().filter(|region| Some(**region) != own) {
            let members: Vec<_> = plan.members.values().filter(|member| member.region == **region).collect();
            if members.iter().all(|member| !self.graph.reaches(&member.name)) {
                let names = members.iter().map(|member| member.name.as_str());
                let text = format!("nobody in the region {region:?} is reached");
                problems.push(problem("regions-apart", names, text));
            }
        }
        problems
    }
}

fn unreached(leaders: &[LeaderReport]) -> Option<Problem> {
    let lost: Vec<_> = leaders.iter().filter_map(|leader| Some((leader, leader.unreached_ms?))).collect();
    if lost.is_empty() {
        return None;
    }
    let (of, all) = (lost.len(), leaders.len());
    let each: Vec<_> =
        lost.iter().map(|(leader, ms)| format!("{} for {}", leader.name, seconds(*ms))).collect();
    let text = format!(
        "{of} of {all} leaders are not reached, directly or by way of others: {}; they are down or cut off",
        each.join(", ")
    );
    Some(problem("unreached", lost.iter().map(|(leader, _)| leader.name.as_str()), text))
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
}

fn problem<'a>(code: &str, leaders: impl IntoIterator<Item = &'a str>, text: String) -> Problem {
    let leaders = leaders.into_iter().map(str::to_owned).collect();
    Problem { code: code.into(), leaders, text }
}
