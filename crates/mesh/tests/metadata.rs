//! A leader that has lost its causal metadata says so to whoever asks, until it has it back.

mod common;

use common::{PATIENCE, addr, client::Client, config, converge, gate::gated, with_peers};
use mesh::{
    Batch, Dot, Leader, LeaderConfig, LeaderError, MemoryStore, Metadata, Op, ReplicaId, Store, Topology,
    VersionVector,
};
use std::{net::SocketAddr, time::Instant};
use tokio::time::{Duration, sleep, timeout};

fn without_metadata(peers: &[(&str, SocketAddr)]) -> LeaderConfig {
    let metadata = Metadata::FromPeer { gives_up_unreachable: false };
    LeaderConfig { metadata, ..with_peers(config("a"), peers) }
}

/// A store of a leader that has lost the row with its version vector.
fn lost(disk: &MemoryStore) -> MemoryStore {
    let mut store = disk.reopen();
    let mut batch = Batch::new();
    batch.delete("history");
    assert!(store.get(b"history").unwrap().is_some());
    store.commit(&batch).unwrap();
    store
}

/// Everything that shows or takes something is refused; gives what it waits for.
async fn refuses(leader: &Leader) -> VersionVector {
    let mut watch = leader.watch("", VersionVector::new());
    let state = leader.read(mesh::Engine::key_count).await;
    let refused = [
        leader.counter("n").await.map(drop),
        leader.register("r").await.map(drop),
        leader.members("s").await.map(drop),
        leader.contains("s", "x").await.map(drop),
        state.map(drop),
        watch.next().await.map(drop),
        leader.write("n", Op::Increment(1), None).await.map(drop),
        leader.set_topology(Topology::AllToAll).await.map(drop),
    ];
    let mut waits_for = VersionVector::new();
    for result in &refused {
        let Err(LeaderError::LostMetadata { unreachable }) = result else { panic!("{refused:?}") };
        waits_for.clone_from(unreachable);
    }
    waits_for
}

/// As [`refuses`], over HTTP.
async fn refuses_clients(client: &Client, words: &[&str]) {
    for (method, path) in [
        ("GET", "/healthz"),
        ("GET", "/v1/counter/n"),
        ("GET", "/v1/g-counter/g"),
        ("GET", "/v1/set/s"),
        ("GET", "/v1/keys"),
        ("GET", "/v1/hashes"),
        ("GET", "/v1/watch"),
        ("POST", "/v1/counter/n/incr"),
    ] {
        let (status, code, sentence) = client.refused(method, path, "").await;
        assert_eq!((status, &*code), (503, "lost-metadata"), "{method} {path}");
        assert!(words.iter().all(|word| sentence.contains(word)), "{method} {path}: {sentence}");
    }
    assert_eq!(client.get("/v1/status").await["name"], "a", "it says how it is all the same");
}

#[tokio::test]
async fn reads_and_writes_are_refused_until_what_was_lost_is_back_and_durable() {
    let disk = MemoryStore::new();
    let b = Leader::start(config("b")).await.unwrap();
    let peers = [("b", addr(&b))];
    let a = Leader::start_with_store(with_peers(config("a"), &peers), disk.reopen()).await.unwrap();
    a.increment("n", 5).await.unwrap();
    converge(&[&a, &b]).await;
    a.shutdown().await;

    let a = Leader::start_with_store(without_metadata(&[]), lost(&disk)).await.unwrap();
    assert_eq!(refuses(&a).await, VersionVector::new());
    refuses_clients(&Client::of(&a).await, &["lost its causal metadata", "connect it to a peer"]).await;
    a.shutdown().await;

    let (store, mut gate) = gated(disk.reopen());
    let a = Leader::start_with_store(without_metadata(&peers), store).await.unwrap();
    // The one commit that brings everything back.
    gate.is_under_way().await;
    let client = Client::of(&a).await;
    assert_eq!(timeout(PATIENCE, a.counter("n")).await.unwrap(), refused());
    assert_eq!(client.refused("GET", "/healthz", "").await.0, 503);
    gate.let_go();
    drop(gate);
    let deadline = Instant::now() + PATIENCE;
    while let Err(why) = a.counter("n").await {
        assert_eq!(Err(why), refused());
        assert!(Instant::now() < deadline);
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(a.counter("n").await, Ok(5));
    assert_eq!(client.get("/healthz").await["status"], "ok");
    a.increment("n", 1).await.unwrap();
    converge(&[&a, &b]).await;
}

fn refused() -> Result<i128, LeaderError> {
    Err(LeaderError::LostMetadata { unreachable: VersionVector::new() })
}

#[tokio::test]
async fn what_nobody_connected_has_is_named() {
    let disk = MemoryStore::new();
    let (b, c) = (Leader::start(config("b")).await.unwrap(), Leader::start(config("c")).await.unwrap());
    let peers = [("c", addr(&c))];
    let a = Leader::start_with_store(with_peers(config("a"), &peers), disk.reopen()).await.unwrap();
    let written = c.increment("n", 5).await.unwrap();
    converge(&[&a, &c]).await;
    a.shutdown().await;
    c.shutdown().await;

    let peers = [("b", addr(&b))];
    let a = Leader::start_with_store(without_metadata(&peers), lost(&disk)).await.unwrap();
    let mut found = VersionVector::new();
    let deadline = Instant::now() + PATIENCE;
    while found.is_empty() {
        assert!(Instant::now() < deadline, "it does not say what it waits for");
        sleep(Duration::from_millis(5)).await;
        found = refuses(&a).await;
    }
    let of: Vec<ReplicaId> = found.iter().map(|row| row.0).collect();
    assert_eq!((of, found.get(written.replica)), (vec![written.replica], 1));
    let dot = Dot::new(written.replica, 1).to_string();
    refuses_clients(&Client::of(&a).await, &[&dot, "--give-up-unreachable"]).await;
}
