//! Meshes of every topology, over TCP: what goes down is reported and gone round, and nothing is lost.

mod common;

use common::{Cable, addr, config, config_in, converge, deadline, peer, until, with_peers};
use mesh::{Leader, LeaderConfig, LeaderError, Member, PlanError, Source, Status, Topology};
use std::{collections::BTreeSet, net::SocketAddr, path::Path};
use tempfile::TempDir;

/// Leaders with their data, by place; `None` for one that is down.
struct Mesh {
    folder: TempDir,
    names: Vec<String>,
    addresses: Vec<SocketAddr>,
    leaders: Vec<Option<Leader>>,
}

impl Mesh {
    /// Leaders `l00`, `l01`, … that are made members in these regions, and then connected so while they run.
    async fn start(topology: &str, regions: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..regions.len()).map(|n| format!("l{n:02}")).collect();
        let mut leaders: Vec<Option<Leader>> = Vec::new();
        for name in &names {
            let mut config = of(name, folder.path());
            if let Some(Some(first)) = leaders.first() {
                config = with_peers(config, &[("l00", addr(first))]);
            }
            leaders.push(Some(Leader::start(config).await.unwrap()));
        }
        let addresses: Vec<_> = leaders.iter().flatten().map(addr).collect();
        let mesh = Mesh { folder, names, addresses, leaders };
        for (n, region) in regions.iter().enumerate() {
            mesh.at(0).add_member(mesh.member(n, region)).await.unwrap();
        }
        mesh.set(topology).await;
        mesh
    }

    /// Sets the topology at the first leader, and waits until all have it and are connected so.
    async fn set(&self, topology: &str) {
        let wanted: Topology = topology.parse().unwrap();
        self.at(0).set_topology(wanted.clone()).await.unwrap();
        for leader in self.up() {
            until(leader, &format!("{topology} is there"), |status| {
                let report = &status.topology;
                report.topology.as_ref() == Some(&wanted)
                    && report.source == Source::Replicated
                    && report.problems.is_empty()
            })
            .await;
        }
    }

    fn member(&self, n: usize, region: &str) -> Member {
        let region = region.to_owned();
        Member { region, ..Member::new(self.names[n].clone(), self.addresses[n].to_string()) }
    }

    fn at(&self, n: usize) -> &Leader {
        self.leaders[n].as_ref().expect("it is up")
    }

    fn up(&self) -> Vec<&Leader> {
        self.leaders.iter().flatten().collect()
    }

    async fn stop(&mut self, n: usize) {
        self.leaders[n].take().expect("it is up").shutdown().await;
    }

    /// Starts a leader again, which knows nobody but by its data.
    async fn restart(&mut self, n: usize) {
        let config = of(&self.names[n], self.folder.path());
        let config = LeaderConfig { listen: Some(self.addresses[n].to_string()), ..config };
        self.leaders[n] = Some(Leader::start(config).await.unwrap());
    }

    /// A write at each leader that is up; gives how many there were.
    async fn write(&self, set: &str) -> usize {
        for (n, leader) in self.leaders.iter().enumerate() {
            if let Some(leader) = leader {
                leader.add(set, n.to_string()).await.unwrap();
            }
        }
        self.up().len()
    }

    /// Waits until the graph that `n` sees has exactly these links.
    async fn until_linked(&self, n: usize, expected: &[(usize, usize)]) {
        let name = |n: usize| self.names[n].clone();
        let expected: BTreeSet<_> = expected.iter().map(|&(a, b)| (name(a.min(b)), name(a.max(b)))).collect();
        until(self.at(n), &format!("{} sees {expected:?}", self.names[n]), |status| {
            links(status) == expected
        })
        .await;
    }
}

fn of(name: &str, folder: &Path) -> LeaderConfig {
    config_in(name, &folder.join(name))
}

/// All links that a leader sees, each once.
fn links(status: &Status) -> BTreeSet<(String, String)> {
    let leaders = status.topology.leaders.iter();
    leaders
        .flat_map(|leader| leader.connected_to.iter().map(|other| (&leader.name, other)))
        .map(|(a, b)| (a.min(b).clone(), a.max(b).clone()))
        .collect()
}

fn says(status: &Status, code: &str, words: &str) -> bool {
    status.topology.problems.iter().any(|problem| problem.code == code && problem.text.contains(words))
}

async fn members(leader: &Leader, set: &str) -> usize {
    leader.members(set).await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_leaders_all_to_all() {
    let mesh = Mesh::start("all-to-all", &[""; 16]).await;
    for leader in mesh.up() {
        until(leader, "it has 15 neighbours", |status| {
            links(status).len() == 16 * 15 / 2
                && status.peers.iter().filter(|peer| peer.connected).count() == 15
        })
        .await;
    }
    for round in 0..5 {
        mesh.write(&format!("set/{round}")).await;
    }
    converge(&mesh.up()).await;
    for leader in mesh.up() {
        for round in 0..5 {
            assert_eq!(members(leader, &format!("set/{round}")).await, 16);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ring_of_eight_loses_one_and_goes_on() {
    let mut mesh = Mesh::start("ring", &[""; 8]).await;
    let ring: Vec<_> = (0..8).map(|n| (n, (n + 1) % 8)).collect();
    mesh.until_linked(0, &ring).await;

    mesh.stop(3).await;
    for leader in mesh.up() {
        until(leader, "the ring is healed, and said to be", |status| {
            says(status, "ring-broken", "the ring is broken at l03; l02 and l04 are connected instead")
                && says(
                    status,
                    "unreached",
                    "1 of 8 leaders are not reached, directly or by way of others: l03 for",
                )
        })
        .await;
    }
    let healed: Vec<_> =
        [(2, 4)].into_iter().chain(ring.iter().copied().filter(|&(a, b)| a != 3 && b != 3)).collect();
    mesh.until_linked(6, &healed).await;
    let stand_in = until(mesh.at(2), "the link is a stand-in", |status| {
        status.topology.links.iter().any(|link| link.name == "l04" && link.connected)
    });
    let status = stand_in.await;
    let link = status.topology.links.iter().find(|link| link.name == "l04");
    assert_eq!(link.and_then(|link| link.instead_of.as_deref()), Some("l03"));

    assert_eq!(mesh.write("while it is down").await, 7);
    converge(&mesh.up()).await;
    assert_eq!(members(mesh.at(7), "while it is down").await, 7);

    mesh.restart(3).await;
    mesh.write("when it is back").await;
    mesh.until_linked(0, &ring).await;
    converge(&mesh.up()).await;
    for leader in mesh.up() {
        until(leader, "nothing is broken", |status| status.topology.problems.is_empty()).await;
        assert_eq!(
            (members(leader, "while it is down").await, members(leader, "when it is back").await),
            (7, 8)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_star_without_its_hub_waits_and_with_a_stand_in_goes_on() {
    let mut mesh = Mesh::start("star:l00", &[""; 5]).await;
    mesh.until_linked(4, &[(0, 1), (0, 2), (0, 3), (0, 4)]).await;
    mesh.stop(0).await;
    for leader in mesh.up() {
        until(leader, "the hub's end is said", |status| {
            says(status, "hub-down", "the hub l00 is down or cut off, and nobody stands in for it")
        })
        .await;
    }
    mesh.write("each alone").await;
    for leader in mesh.up() {
        assert_eq!(members(leader, "each alone").await, 1);
    }
    mesh.restart(0).await;
    converge(&mesh.up()).await;
    assert_eq!(members(mesh.at(0), "each alone").await, 4);

    mesh.set("star:l00,l01").await;
    mesh.stop(0).await;
    for leader in mesh.up() {
        until(leader, "another stands in", |status| {
            says(status, "hub-down", "the hub l00 is down or cut off; l01 stands in for it")
        })
        .await;
    }
    mesh.write("around the stand-in").await;
    converge(&mesh.up()).await;
    mesh.until_linked(4, &[(1, 2), (1, 3), (1, 4)]).await;
    mesh.restart(0).await;
    mesh.until_linked(4, &[(0, 1), (0, 2), (0, 3), (0, 4)]).await;
    converge(&mesh.up()).await;
    assert_eq!(members(mesh.at(0), "around the stand-in").await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_regions_are_joined_by_one_link_whatever_gateway_is_down() {
    let mut mesh = Mesh::start("regions", &["eu", "eu", "eu", "us", "us", "us"]).await;
    let between = |status: &Status| -> Vec<(String, String)> {
        let eu = |name: &String| name.as_str() < "l03";
        links(status).into_iter().filter(|(a, b)| eu(a) != eu(b)).collect()
    };
    // The order of the gateways is drawn from names, on every machine alike.
    let crossing = ("l01".to_owned(), "l05".to_owned());
    for leader in mesh.up() {
        until(leader, "one link crosses", |status| {
            between(status) == [crossing.clone()] && links(status).len() == 7
        })
        .await;
    }
    mesh.write("all").await;
    converge(&mesh.up()).await;

    let gateway = 1;
    mesh.stop(gateway).await;
    for leader in mesh.up() {
        until(leader, "another gateway stands in", |status| {
            says(status, "gateway-down", &format!("{}, the gateway", crossing.0))
                && between(status).len() == 1
        })
        .await;
    }
    mesh.write("without the gateway").await;
    converge(&mesh.up()).await;

    mesh.restart(gateway).await;
    for leader in mesh.up() {
        until(leader, "the link is the first one's again", |status| {
            between(status) == [crossing.clone()] && status.topology.problems.is_empty()
        })
        .await;
    }
    converge(&mesh.up()).await;
    assert_eq!(members(mesh.at(gateway), "without the gateway").await, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gossip_draws_new_peers_and_news_comes_everywhere() {
    let mesh = Mesh::start("gossip:2,200ms", &[""; 6]).await;
    for round in 0..4 {
        mesh.write(&format!("set/{round}")).await;
        converge(&mesh.up()).await;
    }
    let mut drawn = BTreeSet::new();
    until(mesh.at(0), "everybody was drawn", |status| {
        drawn.extend(status.topology.links.iter().map(|link| link.name.clone()));
        drawn.len() == 5
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_topology_changes_while_leaders_write_and_outlasts_restarts() {
    let mut mesh = Mesh::start("all-to-all", &[""; 5]).await;
    let star = [(0, 2), (1, 2), (2, 3), (2, 4)];
    for (round, (topology, expected)) in [
        ("explicit:l00=l01,l01=l02,l02=l03,l03=l04", &[(0, 1), (1, 2), (2, 3), (3, 4)][..]),
        ("ring", &[(0, 1), (1, 2), (2, 3), (3, 4), (0, 4)]),
        ("star:l02", &star),
    ]
    .into_iter()
    .enumerate()
    {
        let writer = mesh.at(4).clone();
        let writes = tokio::spawn(async move {
            for n in 0..100 {
                writer.increment(format!("round/{round}/{}", n % 10), 1).await.unwrap();
            }
        });
        mesh.set(topology).await;
        mesh.until_linked(0, expected).await;
        mesh.until_linked(4, expected).await;
        writes.await.unwrap();
        converge(&mesh.up()).await;
    }
    // Those to whom there were links before are behind for ever, as far as it can tell.
    until(mesh.at(0), "it tells of the hub alone", |status| {
        status.peers.iter().map(|peer| &*peer.name).eq(["l02"])
    })
    .await;
    for n in 0..5 {
        mesh.stop(n).await;
    }
    for n in 0..5 {
        mesh.restart(n).await;
    }
    mesh.until_linked(3, &star).await;

    // One goes, one comes.
    mesh.at(3).remove_member("l04").await.unwrap();
    until(mesh.at(0), "the member is gone", |status| {
        links(status).len() == 3
            && status.topology.leaders.iter().all(|leader| leader.name != "l04" || !leader.member)
    })
    .await;
    let left =
        until(mesh.at(4), "it knows that it is no member", |status| says(status, "not-a-member", "l04"));
    left.await;
    let late = Leader::start(with_peers(config("late"), &[("l01", mesh.addresses[1])])).await.unwrap();
    mesh.at(1).add_member(Member::new("late", addr(&late).to_string())).await.unwrap();
    until(&late, "it is connected to the hub alone", |status| {
        status.topology.links.len() == 1
            && status.peers.iter().filter(|peer| peer.connected).map(|peer| &*peer.name).eq(["l02"])
    })
    .await;
    converge(&[mesh.at(0), mesh.at(1), mesh.at(2), mesh.at(3), &late]).await;
}

#[tokio::test]
async fn leaders_that_add_members_at_one_time_have_added_both() {
    let a = Leader::start(config("a")).await.unwrap();
    let b = Leader::start(with_peers(config("b"), &[("a", addr(&a))])).await.unwrap();
    let (x, y) = (Leader::start(config("x")).await.unwrap(), Leader::start(config("y")).await.unwrap());
    let (of_x, of_y) = (Member::new("x", addr(&x).to_string()), Member::new("y", addr(&y).to_string()));
    tokio::try_join!(a.add_member(of_x), b.add_member(of_y)).unwrap();
    for leader in [&x, &y, &a, &b] {
        until(leader, "all are reached", |status| {
            status.topology.leaders.iter().filter(|leader| leader.steps.is_some()).count() == 4
        })
        .await;
    }
    converge(&[&a, &b, &x, &y]).await;
}

#[tokio::test]
async fn a_plan_that_does_not_join_the_members_is_refused_and_changes_nothing() {
    let a = Leader::start(config("a")).await.unwrap();
    let set = |text: &str| a.set_topology(text.parse::<Topology>().unwrap());
    let refused = |error: LeaderError| match error {
        LeaderError::Plan(why) => why,
        other => panic!("{other:?}"),
    };
    let name = |name: &str| PlanError::NotAMember { name: name.into() };
    assert_eq!(refused(set("ring").await.unwrap_err()), name("a"));
    a.add_member(Member::new("a", "127.0.0.1:1")).await.unwrap();
    a.add_member(Member::new("b", "127.0.0.1:2")).await.unwrap();
    a.add_member(Member::new("c", "127.0.0.1:3")).await.unwrap();
    let before = a.status().await.unwrap().vector;
    assert_eq!(refused(set("star:a,x").await.unwrap_err()), name("x"));
    assert_eq!(refused(set("explicit:a=x").await.unwrap_err()), name("x"));
    let apart = PlanError::Unconnected { from: "a".into(), to: "c".into() };
    assert_eq!(refused(set("explicit:a=b").await.unwrap_err()), apart);
    assert_eq!(refused(a.remove_member("x").await.unwrap_err()), name("x"));
    let bad = a.add_member(Member::new("d", "nowhere")).await.unwrap_err();
    assert!(bad.to_string().contains("HOST:PORT"), "{bad}");
    assert_eq!(a.status().await.unwrap().vector, before);

    set("star:b").await.unwrap();
    assert_eq!(refused(a.remove_member("b").await.unwrap_err()), PlanError::Needed { name: "b".into() });
    a.add_member(Member::new("c", "127.0.0.1:4")).await.unwrap();
    let report = a.topology().await.unwrap();
    let addresses: Vec<_> = report.leaders.iter().map(|leader| leader.address.as_deref()).collect();
    assert_eq!(addresses, [Some("127.0.0.1:1"), Some("127.0.0.1:2"), Some("127.0.0.1:4")], "replaced");
    let reserved = a.set_register("_mesh/topology", "ring").await.unwrap_err();
    assert!(matches!(reserved, LeaderError::Reserved { .. }), "{reserved:?}");
}

#[tokio::test]
async fn a_configured_topology_counts_until_another_is_set() {
    let addresses = common::addresses::<3>();
    let names = ["a", "b", "c"];
    let mut leaders = Vec::new();
    for (name, address) in names.iter().zip(&addresses) {
        let members =
            names.iter().zip(&addresses).map(|(name, address)| Member::new(*name, address.to_string()));
        let (members, topology) = (members.collect(), Some("star:b".parse().unwrap()));
        let listen = Some(address.to_string());
        leaders
            .push(Leader::start(LeaderConfig { members, topology, listen, ..config(name) }).await.unwrap());
    }
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    for leader in &leaders {
        until(leader, "a star round b", |status| {
            links(status) == [pair("a", "b"), pair("b", "c")].into() && status.topology.problems.is_empty()
        })
        .await;
        assert_eq!(leader.topology().await.unwrap().source, Source::Configured);
    }
    leaders[2].set_topology(Topology::AllToAll).await.unwrap();
    for leader in &leaders {
        until(leader, "all to all", |status| links(status).len() == 3).await;
        assert_eq!(leader.topology().await.unwrap().source, Source::Replicated);
    }
}

/// The chain is the only way: whoever is behind the leader that is down is reported with it.
#[tokio::test]
async fn a_partition_is_reported_with_all_that_are_beyond_it() {
    let mut mesh = Mesh::start("explicit:l00=l01,l01=l02,l02=l03", &[""; 4]).await;
    mesh.stop(1).await;
    let status = until(mesh.at(0), "it is cut off from all", |status| {
        says(status, "unreached", "3 of 4 leaders are not reached, directly or by way of others: l01 for")
    })
    .await;
    let lost: Vec<_> =
        status.topology.leaders.iter().filter(|leader| leader.unreached_ms.is_some()).collect();
    assert_eq!(lost.iter().map(|leader| &*leader.name).collect::<Vec<_>>(), ["l01", "l02", "l03"]);
    until(mesh.at(3), "the other side reaches one", |status| {
        says(status, "unreached", "2 of 4 leaders") && links(status).len() == 1
    })
    .await;
    mesh.restart(1).await;
    until(mesh.at(0), "all are reached", |status| status.topology.problems.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_edits_offline_come_home() {
    let a = Leader::start(config("a")).await.unwrap();
    let cable = Cable::to(addr(&a)).await;
    let b = Leader::start(with_peers(config("b"), &[("a", cable.address)])).await.unwrap();
    let there = b.add("tags", "before").await.unwrap();
    a.wait_for(&there.token, deadline()).await.unwrap();
    cable.cut();
    until(&a, "b is offline", |status| !status.peers[0].connected).await;

    let mut writes = Vec::new();
    for (leader, name) in [(&a, "a"), (&b, "b")] {
        for writer in 0..10 {
            let leader = leader.clone();
            writes.push(tokio::spawn(async move {
                for n in 0..250 {
                    leader.increment("edits", 1).await.unwrap();
                    leader.add(format!("doc/{writer}"), format!("{name} {n}")).await.unwrap();
                }
            }));
        }
    }
    for write in writes {
        write.await.unwrap();
    }
    assert_eq!(peer(&a.status().await.unwrap(), "b").unwrap().events_behind, 5_000);
    cable.mend();
    converge(&[&a, &b]).await;
    for leader in [&a, &b] {
        assert_eq!(leader.counter("edits").await.unwrap(), 5_000);
        for writer in 0..10 {
            assert_eq!(members(leader, &format!("doc/{writer}")).await, 500);
        }
    }
}

#[tokio::test]
async fn a_backlog_of_five_hundred_is_reported_as_such() {
    let mut mesh = Mesh::start("all-to-all", &[""; 3]).await;
    converge(&mesh.up()).await;
    let behind = |status: &Status| peer(status, "l02").map(|peer| peer.events_behind);
    until(mesh.at(0), "l02 has acknowledged all", |status| behind(status) == Some(0)).await;
    mesh.stop(2).await;
    until(mesh.at(0), "l02 is gone", |status| !peer(status, "l02").unwrap().connected).await;
    for n in 0..500 {
        mesh.at(n % 2).increment(format!("n/{}", n % 7), 1).await.unwrap();
    }
    converge(&mesh.up()).await;
    for n in 0..2 {
        assert_eq!(behind(&mesh.at(n).status().await.unwrap()), Some(500));
    }
    mesh.restart(2).await;
    converge(&mesh.up()).await;
    until(mesh.at(0), "l02 has acknowledged all", |status| behind(status) == Some(0)).await;
}

/// Write at A, reply at B once B has it, read at C: on any graph, whatever way each takes, never the reply first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_is_never_seen_before_what_it_replies_to() {
    for topology in ["explicit:l00=l01,l00=l02,l01=l02", "explicit:l00=l01,l00=l03,l03=l02,l01=l02"] {
        let mesh = Mesh::start(topology, &[""; 4][..if topology.contains("l03") { 4 } else { 3 }]).await;
        let (a, b, c) = (mesh.at(0).clone(), mesh.at(1).clone(), mesh.at(2).clone());
        let reader = tokio::spawn(async move {
            let mut watch = c.watch("", mesh::VersionVector::new());
            let mut seen = 0_u32;
            while seen < 100 {
                watch.next().await.unwrap();
                // One read sees one state of both.
                let (post, reply) = c
                    .read(|engine| {
                        (engine.counter("post").unwrap_or(0), engine.counter("reply").unwrap_or(0))
                    })
                    .await
                    .unwrap();
                assert!(reply <= post, "reply {reply} before post {post}");
                seen = u32::try_from(reply).unwrap();
            }
        });
        for n in 1..=100 {
            let post = a.increment("post", 1).await.unwrap();
            b.wait_for(mesh::Token::from(&post).vector(), deadline()).await.unwrap();
            assert_eq!(b.counter("post").await.unwrap(), n);
            b.increment("reply", 1).await.unwrap();
        }
        tokio::time::timeout(common::PATIENCE, reader).await.expect("all replies come").unwrap();
    }
}
