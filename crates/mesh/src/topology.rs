//! Who connects to whom: a pure function of the members, the topology, and what is known to be down.
//!
//! Every leader computes its own links from the same list of members, so nobody has to be asked. Both ends of a link dial
//! it (one connection stays), so a link comes up as soon as one of the two knows of it.

mod plan;
mod report;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use plan::{Change, Found, Plan, configured, is_reserved, look};
pub use plan::{PlanError, RESERVED, Source};
pub(crate) use report::Seen;
pub use report::{LeaderReport, LinkReport, Problem, TopologyReport};
pub use text::parse_duration;

use crate::map::Graph;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use std::collections::{BTreeMap, BTreeSet};

/// How the leaders of a mesh are connected. Leaders pass on what they hear, so any connected graph converges.
///
/// Its text form is the same in flags, files, the API and the store: `all-to-all`, `ring`, `star:HUB,STAND-IN`,
/// `gossip:3,2s`, `regions`, `explicit:a=b,b=c`.
///
/// ```
/// use mesh::Topology;
///
/// let star: Topology = "star:eu,us".parse()?;
/// assert_eq!(star, Topology::Star { hubs: vec!["eu".into(), "us".into()] });
/// assert_eq!(star.to_string(), "star:eu,us");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Topology {
    /// Each leader to each: news takes one step, and every leader keeps n − 1 connections.
    AllToAll,
    /// Each leader to the next and the one before, in the order of regions, then names. A leader that is down is stepped
    /// over.
    Ring,
    /// Each leader to the first of the hubs that is up, and the hubs to each other; so the rest are stand-ins.
    Star {
        /// The hub, then the leaders that stand in for it, in this order.
        hubs: Vec<String>,
    },
    /// Each leader to some others, which it draws anew every so often.
    Gossip {
        /// How many.
        peers: usize,
        /// How often, in ms, at least 100.
        every_ms: u64,
    },
    /// All to all within a region, and one link between each two regions, kept by gateways that stand in for each other.
    Regions,
    /// These pairs.
    Explicit {
        /// Pairs of names, the smaller first.
        edges: BTreeSet<(String, String)>,
    },
}

/// A leader as the others know it; `name=host:port@region` as text, where the region may be missing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Its name: the one it has itself.
    pub name: String,
    /// `host:port`, where the others reach it.
    pub address: String,
    /// Where it is; empty if that does not matter.
    pub region: String,
}

/// What a leader takes into account besides the plan.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// The members that it dials and has not reached for some time.
    pub(crate) down: BTreeSet<String>,
    /// For each other region, how many of the gateways before this leader have been given up on.
    pub(crate) given_up: BTreeMap<String, usize>,
    /// Decides the draw of gossip; changes with every round.
    pub(crate) draw: u64,
}

/// A link that a leader keeps up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted<'a> {
    pub(crate) member: &'a Member,
    /// Whom the link goes round, if it is there only because somebody is down.
    pub(crate) instead_of: Option<&'a str>,
}

impl Plan {
    /// The links of the member `me`; none if it is no member.
    ///
    /// **O(n log n)** in the number of members.
    pub(crate) fn links<'a>(&'a self, me: &str, view: &View) -> Vec<Wanted<'a>> {
        let Some(own) = self.members.get(me) else {
            // Whoever is no member may still have been told to talk to all of them.
            return if self.topology.is_none() { all(self.members.values()) } else { Vec::new() };
        };
        let others = || self.members.values().filter(|member| member.name != me);
        let mut links = match &self.topology {
            None | Some(Topology::AllToAll) => all(others()),
            Some(Topology::Ring) => {
                let ring = self.ring();
                let at = ring.iter().position(|member| member.name == me).unwrap_or(0);
                let (before, after) = (&ring[..at], &ring[at + 1..]);
                let mut links = first_up(after.iter().chain(before).copied(), 1, view);
                links.extend(first_up(before.iter().rev().chain(after.iter().rev()).copied(), 1, view));
                links
            }
            Some(Topology::Star { hubs }) => {
                let hubs: Vec<_> = hubs.iter().filter_map(|name| self.members.get(name)).collect();
                let rank = hubs.iter().position(|hub| hub.name == me);
                let before = &hubs[..rank.unwrap_or(hubs.len())];
                if rank.is_some() && before.iter().all(|hub| view.down.contains(&hub.name)) {
                    // It dials those before it in any case, to find out that they are back.
                    let first = before.first().map(|hub| hub.name.as_str());
                    let instead_of = |member: &Member| first.filter(|_| !before.contains(&member));
                    others().map(|member| Wanted { member, instead_of: instead_of(member) }).collect()
                } else {
                    first_up(before.iter().copied(), 1, view)
                }
            }
            Some(Topology::Gossip { peers, .. }) => {
                let mut drawn: Vec<_> = others().collect();
                drawn.shuffle(&mut StdRng::seed_from_u64(view.draw));
                let links = first_up(drawn.into_iter(), *peers, view);
                links.into_iter().map(|link| Wanted { instead_of: None, ..link }).collect()
            }
            Some(Topology::Regions) => {
                let mut links = all(others().filter(|member| member.region == own.region));
                for region in self.regions().filter(|region| *region != own.region) {
                    let ours = self.gateways(&own.region, region);
                    let rank = ours.iter().position(|member| member.name == me).unwrap_or(0);
                    let before = &ours[..rank];
                    let alone = before.iter().all(|member| view.down.contains(&member.name));
                    if alone || view.given_up.get(region).is_some_and(|given_up| *given_up >= rank) {
                        let first = before.first().map(|member| member.name.as_str());
                        let across = first_up(self.gateways(region, &own.region).into_iter(), 1, view);
                        let instead_of = |link: Wanted<'a>| first.or(link.instead_of);
                        links.extend(
                            across.into_iter().map(|link| Wanted { instead_of: instead_of(link), ..link }),
                        );
                    }
                }
                links
            }
            Some(Topology::Explicit { edges }) => {
                let other = |(a, b): &'a (String, String)| match me {
                    me if me == a => Some(b),
                    me if me == b => Some(a),
                    _ => None,
                };
                all(edges.iter().filter_map(other).filter_map(|name| self.members.get(name)))
            }
        };
        // A link that two rules want is there for the one that always wants it.
        links.sort_by_key(|link| (&link.member.name, link.instead_of.is_some()));
        links.dedup_by_key(|link| &link.member.name);
        links
    }

    /// The regions whose links are up to gateways before `me`, none of which has one, and how many those are.
    pub(crate) fn waits(&self, me: &str, graph: &Graph) -> BTreeMap<&str, usize> {
        let Some(own) = self.members.get(me) else { return BTreeMap::new() };
        let waits = self.regions().filter(|region| *region != own.region).filter_map(|region| {
            let ours = self.gateways(&own.region, region);
            let before = &ours[..ours.iter().position(|member| member.name == me)?];
            let theirs = self.gateways(region, &own.region);
            let served = before.iter().any(|x| theirs.iter().any(|y| graph.are_linked(&x.name, &y.name)));
            (!before.is_empty() && !served).then_some((region, before.len()))
        });
        waits.collect()
    }

    /// The members in the order of the ring: by region first, so that a ring enters each region once.
    pub(crate) fn ring(&self) -> Vec<&Member> {
        let mut ring: Vec<_> = self.members.values().collect();
        ring.sort_by_key(|member| (&member.region, &member.name));
        ring
    }

    /// The regions of the members, each once, in order.
    pub(crate) fn regions(&self) -> impl Iterator<Item = &str> {
        self.members.values().map(|member| member.region.as_str()).collect::<BTreeSet<_>>().into_iter()
    }

    /// The members of `region` in the order in which they keep up its link to the region `to`: another one for each pair,
    /// so that one member is not the gateway to everywhere.
    pub(crate) fn gateways(&self, region: &str, to: &str) -> Vec<&Member> {
        let pair = if region < to { [region, to] } else { [to, region] };
        let mut gateways: Vec<_> = self.members.values().filter(|member| member.region == region).collect();
        gateways.sort_by_key(|member| (fnv([pair[0], pair[1], &member.name]), &member.name));
        gateways
    }
}

fn all<'a>(members: impl Iterator<Item = &'a Member>) -> Vec<Wanted<'a>> {
    members.map(|member| Wanted { member, instead_of: None }).collect()
}

/// The first of `candidates` up to the `count`th that is not down. Those that are down stay among them: that they are back
/// is found out by dialling.
fn first_up<'a>(candidates: impl Iterator<Item = &'a Member>, count: usize, view: &View) -> Vec<Wanted<'a>> {
    let (mut links, mut up, mut instead_of) = (Vec::new(), 0, None);
    for member in candidates {
        if up == count {
            break;
        }
        links.push(Wanted { member, instead_of });
        if view.down.contains(&member.name) {
            instead_of = instead_of.or(Some(member.name.as_str()));
        } else {
            up += 1;
        }
    }
    links
}

/// FNV-1a, 64 bits, with the texts apart: all leaders, of whatever build, must agree on it.
fn fnv<const N: usize>(texts: [&str; N]) -> u64 {
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
