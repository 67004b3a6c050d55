//! Reads while the store is at a commit: they neither wait for it nor show anything of it.

mod common;

use common::{
    PATIENCE,
    client::Client,
    config,
    gate::{Gate, gated},
};
use futures_util::future::join_all;
use mesh::{Kind, Leader, LeaderConfig, LeaderError, Limits, MemoryStore, Receipt, Token, WriteError};
use mesh_store::Fault;
use std::pin::pin;
use tokio::{task::JoinHandle, time::timeout};

/// A leader with one key of each type, whose next commits wait to be let go.
async fn leader(config: LeaderConfig, store: MemoryStore) -> (Leader, Gate) {
    let (store, mut gate) = gated(store);
    // The leader's id, and each of the writes.
    (0..4).for_each(|_| gate.let_go());
    let leader = Leader::start_with_store(config, store).await.unwrap();
    leader.increment("counter", 1).await.unwrap();
    leader.set_register("register", "old").await.unwrap();
    leader.add("set", "x").await.unwrap();
    for _ in 0..4 {
        gate.is_under_way().await;
    }
    (leader, gate)
}

/// Adds 7 to the counter `busy`, and returns when the commit of that is under way.
async fn add(leader: &Leader, gate: &mut Gate) -> JoinHandle<Result<Receipt, LeaderError>> {
    let writer = leader.clone();
    let write = tokio::spawn(async move { writer.increment("busy", 7).await });
    gate.is_under_way().await;
    write
}

/// Fails if it has to wait for something that does not come.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("nothing holds it up")
}

#[tokio::test]
async fn reads_of_other_keys_do_not_wait_for_a_commit_and_their_token_lacks_it() {
    let (leader, mut gate) = leader(config("a"), MemoryStore::new()).await;
    let client = Client::of(&leader).await;
    let before = leader.status().await.unwrap().vector;
    let write = add(&leader, &mut gate).await;

    assert_eq!(soon(leader.counter("counter")).await, Ok(1));
    assert_eq!(soon(leader.register("register")).await.unwrap().unwrap().0, b"old");
    assert_eq!(soon(leader.members("set")).await, Ok(vec![b"x".to_vec()]));
    assert_eq!(soon(leader.contains("set", "x")).await, Ok(true));
    assert_eq!(soon(leader.counter("unused")).await, Ok(0));
    let refused = WriteError::OtherType { name: "set".into(), held: Kind::Set, wanted: Kind::PnCounter };
    assert_eq!(soon(leader.counter("set")).await, Err(LeaderError::Refused(refused)));
    let reply = soon(client.whole("GET", "/v1/counter/counter")).await;
    let token = reply.lines().find_map(|line| line.strip_prefix("mesh-token: ")).expect("a token");
    assert_eq!(token.parse::<Token>().unwrap().vector(), &before, "{reply}");
    assert!(!write.is_finished());

    gate.let_go();
    let receipt = soon(write).await.unwrap().unwrap();
    assert!(before.covers(&receipt.token).is_err());
    assert_eq!(leader.counter("busy").await, Ok(7));
}

#[tokio::test]
async fn what_is_not_durable_yet_is_not_shown() {
    let (leader, mut gate) = leader(config("a"), MemoryStore::new()).await;
    let write = add(&leader, &mut gate).await;

    let mut value = pin!(leader.counter("busy"));
    let mut of_other_type = pin!(leader.members("busy"));
    let mut state = pin!(leader.read(|engine| (engine.counter("busy"), engine.version().clone())));
    tokio::select! {
        // In this order they are asked, and so they would be answered.
        biased;
        shown = &mut value => panic!("{shown:?}"),
        shown = &mut of_other_type => panic!("{shown:?}"),
        shown = &mut state => panic!("{shown:?}"),
        read = soon(leader.counter("counter")) => assert_eq!(read, Ok(1)),
    }

    gate.let_go();
    let receipt = soon(write).await.unwrap().unwrap();
    assert_eq!(soon(value).await, Ok(7));
    let refused = soon(of_other_type).await;
    assert!(matches!(refused, Err(LeaderError::Refused(WriteError::OtherType { .. }))), "{refused:?}");
    let (value, version) = soon(state).await.unwrap();
    assert_eq!((value, version.covers(&receipt.token)), (Some(7), Ok(())));
}

#[tokio::test]
async fn writes_that_come_during_a_commit_share_the_next_one() {
    let (leader, mut gate) = leader(config("a"), MemoryStore::new()).await;
    let first = add(&leader, &mut gate).await;
    let mut more = pin!(join_all((0..10).map(|n| leader.increment(format!("n/{n}"), 1))));
    tokio::select! {
        biased;
        written = &mut more => panic!("{written:?}"),
        read = soon(leader.counter("counter")) => assert_eq!(read, Ok(1)),
    }
    // One for each of the two; a third would wait for ever.
    gate.let_go();
    gate.let_go();
    assert!(soon(more).await.iter().all(Result::is_ok));
    first.await.unwrap().unwrap();
}

#[tokio::test]
async fn however_many_writes_come_during_a_commit_all_are_answered() {
    let limits = Limits { queue: 5_000, ..Limits::default() };
    let (leader, mut gate) = leader(LeaderConfig { limits, ..config("a") }, MemoryStore::new()).await;
    let first = add(&leader, &mut gate).await;
    let mut more = pin!(join_all((0..5_000).map(|_| leader.increment("busy", 1))));
    tokio::select! {
        biased;
        written = &mut more => panic!("{written:?}"),
        read = soon(leader.counter("counter")) => assert_eq!(read, Ok(1)),
    }
    drop(gate);
    assert!(soon(more).await.iter().all(Result::is_ok));
    first.await.unwrap().unwrap();
    assert_eq!(leader.counter("busy").await, Ok(5_007));
}

#[tokio::test]
async fn however_many_reads_wait_all_are_answered() {
    let limits = Limits { queue: 2, ..Limits::default() };
    let (leader, mut gate) = leader(LeaderConfig { limits, ..config("a") }, MemoryStore::new()).await;
    let write = add(&leader, &mut gate).await;
    let mut reads = pin!(join_all((0..10).map(|_| leader.counter("busy"))));
    tokio::select! {
        biased;
        shown = &mut reads => panic!("{shown:?}"),
        () = tokio::task::yield_now() => {}
    }
    gate.let_go();
    assert_eq!(soon(reads).await, vec![Ok(7); 10]);
    write.await.unwrap().unwrap();
}

#[tokio::test]
async fn reads_that_wait_for_a_commit_that_fails_hear_of_it() {
    let disk = MemoryStore::new();
    let mut failing = disk.reopen();
    failing.fail_commit(5, Fault::Lost);
    let (leader, mut gate) = leader(config("a"), failing).await;
    let write = add(&leader, &mut gate).await;
    let mut value = pin!(leader.counter("busy"));
    tokio::select! {
        biased;
        shown = &mut value => panic!("{shown:?}"),
        read = soon(leader.counter("counter")) => assert_eq!(read, Ok(1)),
    }
    gate.let_go();
    let failed = soon(value).await;
    assert!(matches!(failed, Err(LeaderError::Stopped { unknown: false, .. })), "{failed:?}");
    let failed = soon(write).await.unwrap();
    assert!(matches!(failed, Err(LeaderError::Stopped { unknown: true, .. })), "{failed:?}");
    // The store is free again, and the reads that were answered were right.
    let leader = Leader::start_with_store(config("a"), disk.reopen()).await.unwrap();
    assert_eq!((leader.counter("counter").await, leader.counter("busy").await), (Ok(1), Ok(0)));
}

#[tokio::test]
async fn a_leader_that_is_shut_down_during_a_commit_ends_it() {
    let disk = MemoryStore::new();
    let (leader, mut gate) = leader(config("a"), disk.reopen()).await;
    let write = add(&leader, &mut gate).await;
    let mut shutdown = pin!(leader.shutdown());
    tokio::select! {
        biased;
        () = &mut shutdown => panic!("a commit was under way"),
        read = soon(leader.counter("counter")) => assert_eq!(read, Ok(1)),
    }
    gate.let_go();
    soon(shutdown).await;
    write.await.unwrap().unwrap();
    let leader = Leader::start_with_store(config("a"), disk.reopen()).await.unwrap();
    assert_eq!(leader.counter("busy").await, Ok(7));
}
