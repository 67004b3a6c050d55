//! Whatever leaders are down, those that are up compute links that make them one mesh.

use super::*;
use crate::map::Graph;
use quickcheck::{Arbitrary, Gen, TestResult, quickcheck};
use report::Seen;

/// Members in up to three regions, and some of them down.
#[derive(Clone, Debug)]
struct Mesh {
    members: Vec<Member>,
    down: BTreeSet<String>,
}

impl Arbitrary for Mesh {
    fn arbitrary(g: &mut Gen) -> Self {
        let size = 1 + usize::arbitrary(g) % 12;
        let member = |n: usize, g: &mut Gen| {
            let region = g.choose(&["", "eu", "us"]).copied().unwrap_or_default().to_owned();
            Member { region, ..Member::new(format!("leader-{n}"), "127.0.0.1:1") }
        };
        let members: Vec<Member> = (0..size).map(|n| member(n, g)).collect();
        let count = usize::arbitrary(g) % size;
        let mut down = BTreeSet::new();
        for _ in 0..count {
            down.extend(g.choose(&members).map(|member| member.name.clone()));
        }
        Mesh { members, down }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        let Mesh { members, down } = self.clone();
        let fewer_down = down.clone().into_iter().map(move |up| {
            let down = down.iter().filter(|name| **name != up).cloned().collect();
            Mesh { members: members.clone(), down }
        });
        let Mesh { members, down } = self.clone();
        let smaller = (0..members.len()).map(move |n| {
            let mut members = members.clone();
            let gone = members.remove(n).name;
            Mesh { members, down: down.iter().filter(|name| **name != gone).cloned().collect() }
        });
        Box::new(fewer_down.chain(smaller.filter(|mesh| !mesh.members.is_empty())))
    }
}

impl Mesh {
    fn plan(&self, topology: Topology) -> Plan {
        let members = self.members.iter().map(|member| (member.name.clone(), member.clone())).collect();
        Plan { topology: Some(topology), members }
    }

    fn up(&self) -> Vec<&str> {
        self.members
            .iter()
            .map(|member| member.name.as_str())
            .filter(|name| !self.down.contains(*name))
            .collect()
    }

    /// The links of every leader that is up, once each has found out who of those that it dials is down.
    fn links<'a>(&'a self, plan: &'a Plan) -> BTreeMap<&'a str, Vec<Wanted<'a>>> {
        let links = |me: &&'a str| {
            let (mut view, mut known) = (View { draw: fnv([me]), ..View::default() }, 0);
            // A gateway has given up on those before it that are down, and on no other.
            if let Some(own) = plan.members.get(*me) {
                for region in plan.regions().filter(|region| *region != own.region) {
                    let ours = plan.gateways(&own.region, region);
                    let before = ours.iter().take_while(|member| self.down.contains(&member.name)).count();
                    view.given_up.insert(region.to_owned(), before);
                }
            }
            loop {
                let links = plan.links(me, &view);
                let dialled = links.iter().map(|link| &link.member.name);
                view.down = dialled.filter(|name| self.down.contains(*name)).cloned().collect();
                if view.down.len() == known {
                    return (*me, plan.links(me, &view));
                }
                known = view.down.len();
            }
        };
        self.up().iter().map(links).collect()
    }

    /// The pairs that come to be connected.
    fn edges<'a>(&'a self, plan: &'a Plan) -> BTreeSet<(&'a str, &'a str)> {
        let mut edges = BTreeSet::new();
        for (me, links) in self.links(plan) {
            for name in links.iter().map(|link| link.member.name.as_str()) {
                if !self.down.contains(name) {
                    edges.insert((me.min(name), me.max(name)));
                }
            }
        }
        edges
    }

    fn is_connected(&self, edges: &BTreeSet<(&str, &str)>) -> bool {
        let up = self.up();
        let (mut reached, mut next) = (BTreeSet::new(), vec![up[0]]);
        while let Some(name) = next.pop() {
            if reached.insert(name) {
                next.extend(edges.iter().filter_map(|&(a, b)| match name {
                    name if name == a => Some(b),
                    name if name == b => Some(a),
                    _ => None,
                }));
            }
        }
        reached.len() == up.len()
    }

    fn graph(&self, plan: &Plan, me: &str) -> Graph {
        let mut graph = Graph::default();
        for (a, b) in self.edges(plan) {
            for (a, b) in [(a, b), (b, a)] {
                graph.links.entry(a.to_owned()).or_default().insert(b.to_owned());
            }
        }
        graph.hops = self.up().iter().map(|name| ((*name).to_owned(), u32::from(*name != me))).collect();
        graph
    }

    fn problems(&self, topology: Topology, me: &str) -> Vec<Problem> {
        let plan = self.plan(topology);
        let graph = self.graph(&plan, me);
        let found = Found { plan, source: Source::Replicated, problem: None };
        Seen { me, found: &found, graph: &graph, links: Vec::new(), now: 0 }.report().problems
    }
}

quickcheck! {
    fn all_to_all_joins_every_pair(mesh: Mesh) -> bool {
        let plan = mesh.plan(Topology::AllToAll);
        let up = mesh.up().len();
        mesh.edges(&plan).len() == up * (up - 1) / 2
    }

    /// A cycle of those that are up: each has two neighbours, and it is one cycle.
    fn a_ring_heals_round_all_that_are_down(mesh: Mesh) -> bool {
        let plan = mesh.plan(Topology::Ring);
        let (edges, up) = (mesh.edges(&plan), mesh.up());
        let degree = |name: &&str| edges.iter().filter(|(a, b)| a == name || b == name).count();
        let expected = up.len().saturating_sub(1).min(2);
        mesh.is_connected(&edges) && up.iter().all(|name| degree(name) == expected)
    }

    /// As many links as there are leaders beside the hub, however many hubs are down, as long as one is up.
    fn a_star_falls_back_to_the_next_hub(mesh: Mesh) -> TestResult {
        let names: Vec<_> = mesh.members.iter().take(3).map(|member| member.name.clone()).collect();
        let Some(acting) = names.iter().find(|name| !mesh.down.contains(*name)) else {
            return TestResult::discard();
        };
        let plan = mesh.plan(Topology::Star { hubs: names.clone() });
        let edges = mesh.edges(&plan);
        let through_hub = edges.iter().all(|(a, b)| a == acting || b == acting);
        TestResult::from_bool(through_hub && edges.len() == mesh.up().len() - 1)
    }

    /// Each draws as many as it should of those that are up, or all of them, and over some rounds everybody is joined.
    fn gossip_draws_anew(mesh: Mesh, peers: usize) -> bool {
        let peers = 1 + peers % 4;
        let plan = mesh.plan(Topology::Gossip { peers, every_ms: 1_000 });
        let (up, mut joined) = (mesh.up(), BTreeSet::new());
        for draw in 0..40 {
            for me in &up {
                let view = View { draw: fnv([*me]).wrapping_add(draw), down: mesh.down.clone(), ..View::default() };
                let drawn: Vec<_> = plan.links(me, &view).iter().map(|link| link.member.name.as_str()).collect();
                let alive = drawn.iter().filter(|name| !mesh.down.contains(**name)).count();
                if alive != peers.min(up.len() - 1) || drawn.contains(me) {
                    return false;
                }
                joined.extend(drawn.into_iter().filter(|name| up.contains(name)).map(|name| (*me.min(&name), *me.max(&name))));
            }
        }
        mesh.is_connected(&joined)
    }

    /// Everybody within a region, one link between two regions, and a stand-in for each gateway that is down.
    fn regions_are_joined_by_one_link_each(mesh: Mesh) -> bool {
        let plan = mesh.plan(Topology::Regions);
        let edges = mesh.edges(&plan);
        let region = |name: &str| plan.members[name].region.as_str();
        let up = mesh.up();
        let regions: BTreeSet<_> = up.iter().map(|name| region(name)).collect();
        let between = edges.iter().filter(|(a, b)| region(a) != region(b)).count();
        let within = edges.len() - between;
        let pairs = |n: usize| n * n.saturating_sub(1) / 2;
        let sizes = regions.iter().map(|at| up.iter().filter(|name| region(name) == *at).count());
        mesh.is_connected(&edges)
            && between == pairs(regions.len())
            && within == sizes.map(pairs).sum::<usize>()
    }

    /// What is healed is said to be, and what is whole gives no cause for words but for those that are not reached.
    fn problems_are_named(mesh: Mesh) -> bool {
        let up = mesh.up();
        let me = up[0];
        let hubs: Vec<_> = mesh.members.iter().map(|member| member.name.clone()).collect();
        let codes = |topology: Topology| -> BTreeSet<String> {
            mesh.problems(topology, me).into_iter().map(|problem| problem.code).collect()
        };
        let lost = mesh.plan(Topology::Ring).members.len() > up.len();
        let set = |codes: &[&str]| codes.iter().map(|&code| code.to_owned()).collect::<BTreeSet<_>>();
        let hub_down = mesh.down.contains(&hubs[0]);
        codes(Topology::AllToAll) == set(if lost { &["unreached"] } else { &[] })
            && codes(Topology::Ring).contains("ring-broken") == lost
            && codes(Topology::Star { hubs }).contains("hub-down") == hub_down
    }
}

/// Who was reached once and is no member is not missed, unless nobody knows who belongs to the mesh.
#[test]
fn who_was_removed_is_not_missed() {
    let small = mesh(&["a", "b"], &[]);
    let mut plan = small.plan(Topology::AllToAll);
    let mut graph = small.graph(&plan, "a");
    graph.lost.insert("gone".into(), 5);
    let codes = |plan: &Plan| -> Vec<String> {
        let found = Found { plan: plan.clone(), source: Source::Replicated, problem: None };
        let seen = Seen { me: "a", found: &found, graph: &graph, links: Vec::new(), now: 9 };
        seen.report().problems.into_iter().map(|problem| problem.code).collect()
    };
    assert_eq!(codes(&plan), [""; 0]);
    plan = Plan::default();
    assert_eq!(codes(&plan), ["unreached"]);
}

/// Whoever was removed is told that, and not besides that it is connected to nobody.
#[test]
fn who_was_removed_misses_no_links() {
    let plan = mesh(&["b", "c"], &[]).plan(Topology::AllToAll);
    let found = Found { plan, source: Source::Replicated, problem: None };
    let mut graph = Graph::default();
    graph.hops.extend([("a", 0), ("b", 1), ("c", 2)].map(|(name, steps)| (name.to_owned(), steps)));
    let seen = Seen { me: "a", found: &found, graph: &graph, links: Vec::new(), now: 9 };
    let codes: Vec<_> = seen.report().problems.into_iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["not-a-member"]);
}

#[test]
fn an_address_is_one_member_s() {
    let members = ["a=10.0.0.1:7001", "b=10.0.0.2:7001"].map(|text| text.parse::<Member>().unwrap());
    let members = members.into_iter().map(|member| (member.name.clone(), member)).collect();
    let plan = Plan { topology: None, members };
    let found = Found { plan, source: Source::Replicated, problem: None };
    let add = |text: &str| Change::Add(text.parse().unwrap()).check(&found, "a");
    let taken = PlanError::AddressTaken { name: "a".into(), address: "10.0.0.1:7001".into() };
    assert_eq!(add("c=10.0.0.1:7001"), Err(taken.clone()));
    assert_eq!(add("b=10.0.0.1:7001"), Err(taken), "also for one that is a member already");
    assert_eq!(add("a=10.0.0.1:7001@eu"), Ok(()), "its own, in another region");
    assert_eq!(add("c=10.0.0.3:7001"), Ok(()));
}

fn mesh(members: &[&str], down: &[&str]) -> Mesh {
    let member = |text: &&str| {
        let (name, region) = text.split_once('@').unwrap_or((text, ""));
        Member { region: region.into(), ..Member::new(name, "127.0.0.1:1") }
    };
    Mesh {
        members: members.iter().map(member).collect(),
        down: down.iter().map(|&name| name.to_owned()).collect(),
    }
}

fn texts(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|problem| problem.text.as_str()).collect()
}

#[test]
fn a_ring_goes_through_regions_in_turn() {
    let plan = mesh(&["a@us", "b@eu", "c@us", "d@eu"], &[]).plan(Topology::Ring);
    let names: Vec<_> = plan.ring().iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, ["b", "d", "a", "c"]);
}

#[test]
fn links_say_whom_they_go_round() {
    let mesh = mesh(&["a", "b", "c", "d", "e", "f"], &["b", "c"]);
    let plan = mesh.plan(Topology::Ring);
    let links = mesh.links(&plan);
    let of_a: Vec<_> = links["a"].iter().map(|link| (link.member.name.as_str(), link.instead_of)).collect();
    assert_eq!(of_a, [("b", None), ("c", Some("b")), ("d", Some("b")), ("f", None)]);
    assert!(links["e"].iter().all(|link| link.instead_of.is_none()));
}

#[test]
fn a_gateway_that_has_no_way_across_is_given_up() {
    let mesh = mesh(&["a@eu", "b@eu", "c@eu", "x@us"], &[]);
    let plan = mesh.plan(Topology::Regions);
    let order: Vec<_> = plan.gateways("eu", "us").iter().map(|member| member.name.clone()).collect();
    let crosses = |name: &str, given_up: usize| {
        let view = View { given_up: [("us".to_owned(), given_up)].into(), ..View::default() };
        plan.links(name, &view).iter().any(|link| link.member.name == "x")
    };
    for (rank, name) in order.iter().enumerate() {
        for given_up in 0..3 {
            assert_eq!(crosses(name, given_up), given_up >= rank, "{name} after {given_up}");
        }
    }
    // Nobody before the third has a link across, until the second has one.
    let mut graph = Graph::default();
    assert_eq!(plan.waits(&order[2], &graph), [("us", 2)].into());
    assert_eq!(plan.waits(&order[0], &graph), BTreeMap::new());
    graph.links.insert(order[1].clone(), ["x".to_owned()].into());
    assert_eq!(plan.waits(&order[2], &graph), BTreeMap::new());
}

#[test]
fn what_is_broken_is_said_in_words() {
    let ring = mesh(&["a", "b", "c", "d"], &["c"]);
    assert_eq!(
        texts(&ring.problems(Topology::Ring, "a")),
        [
            "1 of 4 leaders are not reached, directly or by way of others: c for 0.0 s; they are down or cut off",
            "the ring is broken at c; b and d are connected instead"
        ]
    );
    let star = mesh(&["a", "b", "c"], &["a"]);
    let with = |hubs: &[&str]| Topology::Star { hubs: hubs.iter().map(|&hub| hub.to_owned()).collect() };
    let said = star.problems(with(&["a", "b"]), "c");
    assert_eq!(texts(&said)[1..], ["the hub a is down or cut off; b stands in for it"]);
    let said = star.problems(with(&["a"]), "c");
    assert_eq!(texts(&said)[1..], ["the hub a is down or cut off, and nobody stands in for it"]);

    let plan = mesh(&["a@eu", "b@eu", "x@us"], &[]).plan(Topology::Regions);
    let first = plan.gateways("eu", "us")[0].name.clone();
    let (other, me) = if first == "a" { ("b", "b") } else { ("a", "a") };
    let regions = mesh(&["a@eu", "b@eu", "x@us"], &[&first]);
    let said = regions.problems(Topology::Regions, me);
    let expected = format!(
        "{first}, the gateway of region \"eu\" to \"us\", is down or cut off; {other} stands in for it"
    );
    assert_eq!(texts(&said)[1..], [expected]);
    let apart = mesh(&["a@eu", "b@eu", "x@us"], &["x"]).problems(Topology::Regions, "a");
    assert_eq!(texts(&apart)[1..], ["nobody in the region \"us\" is reached"]);
}

#[test]
fn a_link_that_is_missing_is_named() {
    let mesh = mesh(&["a", "b", "c"], &[]);
    let mut graph = mesh.graph(&mesh.plan(Topology::AllToAll), "a");
    for (a, b) in [("a", "c"), ("c", "a")] {
        graph.links.get_mut(a).unwrap().remove(b);
    }
    let said = |topology: &str| {
        let found =
            Found { plan: mesh.plan(topology.parse().unwrap()), source: Source::Replicated, problem: None };
        let seen = Seen { me: "a", found: &found, graph: &graph, links: Vec::new(), now: 0 };
        seen.report().problems
    };
    assert_eq!(texts(&said("all-to-all")), ["a and c are not connected to each other"]);
    assert_eq!(texts(&said("ring")), ["the ring is broken between c and a"]);
    assert_eq!(texts(&said("explicit:a=c,b=c")), ["a and c are not connected to each other"]);
    assert_eq!(texts(&said("star:c")), ["c and a are not connected to each other"]);
    assert_eq!(texts(&said("explicit:a=b,b=c")), Vec::<&str>::new());
}
