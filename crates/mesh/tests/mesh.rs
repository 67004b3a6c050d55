//! Leaders that replicate to each other.

mod common;

use common::{Cable, addr, addresses, config, converge, deadline, peer, until, until_connected, with_peers};
use mesh::{Leader, LeaderError, Op, Status, WaitError, WriteError};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_leaders_converge_all_to_all() {
    let a = Leader::start(config("a")).await.unwrap();
    let b = Leader::start(with_peers(config("b"), &[("a", addr(&a))])).await.unwrap();
    let c = Leader::start(with_peers(config("c"), &[("a", addr(&a)), ("b", addr(&b))])).await.unwrap();

    let mut writes = Vec::new();
    for (n, leader) in [&a, &b, &c].into_iter().enumerate() {
        for round in 0..40_u64 {
            let (leader, element) = (leader.clone(), format!("{n}/{round}"));
            writes.push(tokio::spawn(async move {
                leader.increment("hits", round).await?;
                leader.decrement("hits", 1).await?;
                leader.write("total", Op::Grow(2), None).await?;
                leader.set_register("last", element.clone()).await?;
                leader.add("seen", element).await?;
                leader.add("shared", "x").await?;
                leader.remove("shared", "x").await
            }));
        }
    }
    for write in writes {
        write.await.unwrap().unwrap();
    }
    converge(&[&a, &b, &c]).await;
    let last = a.register("last").await.unwrap();
    for leader in [&a, &b, &c] {
        assert_eq!(leader.counter("hits").await.unwrap(), 3 * (39 * 40 / 2 - 40));
        assert_eq!(leader.read(|engine| engine.g_counter("total")).await.unwrap(), Some(240));
        assert_eq!(leader.members("seen").await.unwrap().len(), 120);
        assert_eq!(leader.register("last").await.unwrap(), last);
    }
    // Everybody learns that everybody has everything.
    for leader in [&a, &b, &c] {
        let status = until(leader, "no peer is behind", |status| {
            status.peers.len() == 2
                && status.peers.iter().all(|peer| peer.connected && peer.events_behind == 0)
        });
        for peer in status.await.peers {
            assert_eq!((peer.events_ahead, peer.oldest_ms, peer.diverged, peer.problem), (0, 0, false, None));
            assert!(peer.bytes_in > 0 && peer.bytes_out > 0);
        }
    }
}

#[tokio::test]
async fn a_chain_relays() {
    let a = Leader::start(config("a")).await.unwrap();
    let b = Leader::start(with_peers(config("b"), &[("a", addr(&a))])).await.unwrap();
    let c = Leader::start(with_peers(config("c"), &[("b", addr(&b))])).await.unwrap();
    let at_a = a.add("set", "from a").await.unwrap();
    let at_c = c.add("set", "from c").await.unwrap();
    c.wait_for(&at_a.token, deadline()).await.unwrap();
    a.wait_for(&at_c.token, deadline()).await.unwrap();
    assert_eq!(a.members("set").await.unwrap(), [b"from a", b"from c"]);
    converge(&[&a, &b, &c]).await;
    assert!(peer(&a.status().await.unwrap(), "c").is_none(), "they never met");
}

#[tokio::test]
async fn a_cut_link_heals() {
    let a = Leader::start(config("a")).await.unwrap();
    let cable = Cable::to(addr(&a)).await;
    let b = Leader::start(with_peers(config("b"), &[("a", cable.address)])).await.unwrap();
    until_connected(&a, "b").await;

    cable.cut();
    until(&b, "b notices", |status| !status.peers[0].connected && status.peers[0].problem.is_some()).await;
    let here = a.add("set", "a").await.unwrap();
    b.add("set", "b").await.unwrap();
    let late = b.wait_for(&here.token, Instant::now() + Duration::from_millis(20)).await;
    assert_eq!(late, Err(WaitError::Timeout { missing: 1 }));
    let status = until(&a, "a notices", |status| status.peers[0].events_behind == 1).await;
    assert!(!status.peers[0].connected);

    cable.mend();
    converge(&[&a, &b]).await;
    assert_eq!(a.members("set").await.unwrap(), [b"a", b"b"]);
}

#[tokio::test]
async fn leaders_that_dial_each_other_keep_one_connection() {
    // Each knows the other's address before the other is there.
    let addresses = addresses::<2>();
    let start = |me: usize| {
        let mut config = with_peers(config(["a", "b"][me]), &[(["b", "a"][me], addresses[1 - me])]);
        config.listen = Some(addresses[me].to_string());
        Leader::start(config)
    };
    let (a, b) = (start(0).await.unwrap(), start(1).await.unwrap());
    for round in 0..50_u8 {
        let receipt = a.add("set", [round]).await.unwrap();
        b.wait_for(&receipt.token, deadline()).await.unwrap();
    }
    for leader in [&a, &b] {
        let quiet =
            until(leader, "connected", |status| status.peers.len() == 1 && status.peers[0].connected).await;
        assert_eq!(quiet.peers[0].problem, None);
    }
    converge(&[&a, &b]).await;
}

#[tokio::test]
async fn a_large_state_arrives_in_parts() {
    let a = Leader::start(config("a")).await.unwrap();
    for n in 0..6 {
        a.set_register(format!("large/{n}"), vec![n; 900 << 10]).await.unwrap();
    }
    let b = Leader::start(with_peers(config("b"), &[("a", addr(&a))])).await.unwrap();
    converge(&[&a, &b]).await;
    assert_eq!(b.register("large/5").await.unwrap().unwrap().0, vec![5; 900 << 10]);
}

#[tokio::test]
async fn a_key_has_one_type() {
    let a = Leader::start(config("a")).await.unwrap();
    a.increment("visits", 1).await.unwrap();
    let before = a.status().await.unwrap().vector;
    let refused = a.add("visits", "x").await.unwrap_err();
    assert!(matches!(refused, LeaderError::Refused(WriteError::OtherType { .. })), "{refused:?}");
    let sentence = refused.to_string();
    assert!(["visits", "pn-counter", "or-set"].iter().all(|word| sentence.contains(word)), "{sentence}");
    assert!(matches!(a.members("visits").await, Err(LeaderError::Refused(WriteError::OtherType { .. }))));
    assert_eq!(a.status().await.unwrap().vector, before);
    assert_eq!(a.counter("visits").await.unwrap(), 1);
}

#[tokio::test]
async fn a_watch_misses_nothing_and_resumes() {
    let a = Leader::start(config("a")).await.unwrap();
    let b = Leader::start(with_peers(config("b"), &[("a", addr(&a))])).await.unwrap();
    let mut watch = a.watch("n/", mesh::VersionVector::new());
    assert_eq!(watch.next().await.unwrap().keys, [], "nothing is there yet");

    a.increment("other", 1).await.unwrap();
    a.increment("n/1", 1).await.unwrap();
    let first = watch.next().await.unwrap();
    assert_eq!(first.keys.len(), 1);
    assert_eq!(&*first.keys[0].key.name, "n/1");
    drop(watch);

    for n in 1..=3 {
        b.increment(format!("n/{n}"), 1).await.unwrap();
    }
    converge(&[&a, &b]).await;
    let resumed = a.watch("n/", first.token.clone()).next().await.unwrap();
    let names: Vec<_> = resumed.keys.iter().map(|changed| changed.key.name.to_string()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    // A token holds at every leader.
    assert_eq!(b.watch("n/", resumed.token.clone()).next().await.unwrap().keys, []);

    let mut watch = b.watch("", resumed.token);
    watch.next().await.unwrap();
    b.shutdown().await;
    assert!(matches!(watch.next().await, Err(LeaderError::Stopped { .. })));
}

#[tokio::test]
async fn a_dropped_leader_stops() {
    let a = Leader::start(config("a")).await.unwrap();
    let b = Leader::start(with_peers(config("b"), &[("a", addr(&a))])).await.unwrap();
    until_connected(&a, "b").await;
    drop(b);
    until(&a, "b has gone", |status| !status.peers[0].connected).await;

    let clone = a.clone();
    a.shutdown().await;
    assert_eq!(&*clone.stopped().await, "it was shut down");
    let late = clone.increment("n", 1).await.unwrap_err();
    assert!(matches!(late, LeaderError::Stopped { unknown: false, .. }), "{late:?}");
}

#[tokio::test]
async fn a_panic_in_a_read_is_the_readers() {
    let a = Leader::start(config("a")).await.unwrap();
    let reader = a.clone();
    let read = tokio::spawn(async move { reader.read::<()>(|_| panic!("of the reader")).await });
    assert!(read.await.unwrap_err().is_panic());
    a.increment("n", 1).await.unwrap();
}

#[tokio::test]
async fn two_leaders_of_one_name_are_named() {
    let hub = Leader::start(config("hub")).await.unwrap();
    let of_hub = [("hub", addr(&hub))];
    let first = Leader::start(with_peers(config("twin"), &of_hub)).await.unwrap();
    until_connected(&hub, "twin").await;
    let taken = |status: &Status| -> Vec<String> {
        let problems = status.topology.problems.iter().filter(|problem| problem.code == "name-taken");
        problems.flat_map(|problem| problem.leaders.clone()).collect()
    };
    assert_eq!(taken(&hub.status().await.unwrap()), [""; 0]);
    let peers = [("hub", addr(&hub)), ("other", addr(&first))];
    let second = Leader::start(with_peers(config("twin"), &peers)).await.unwrap();
    for leader in [&hub, &first, &second] {
        until(leader, "the name is said to be taken", |status| taken(status) == ["twin"]).await;
    }
    second.shutdown().await;
    for leader in [&hub, &first] {
        until(leader, "the name is one leader's again", |status| taken(status).is_empty()).await;
    }
}
