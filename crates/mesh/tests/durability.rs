//! What outlives a leader, and what a leader does when that fails.

mod common;

use common::{addr, client::Client, config, config_in, converge, deadline, peer, until, with_peers};
use mesh::{
    Leader, LeaderError, MemoryStore, Op, RedbStore, StartError, Status, Store, StoreError, WriteError,
};
use mesh_store::{Batch, Fault};
use std::{collections::BTreeMap, fs, path::Path};
use tempfile::TempDir;

#[tokio::test]
async fn a_restart_resumes_the_numbering() {
    let folder = TempDir::new().unwrap();
    let leader = Leader::start(config_in("a", &folder.path().join("new/folder"))).await.unwrap();
    let first = leader.add("set", "x").await.unwrap();
    leader.increment("n", 5).await.unwrap();
    let before = leader.status().await.unwrap();
    assert!(before.disk_bytes > 0);
    leader.shutdown().await;

    let leader = Leader::start(config_in("a", &folder.path().join("new/folder"))).await.unwrap();
    let after = leader.status().await.unwrap();
    assert_eq!(
        (after.replica, after.vector, after.fingerprint),
        (before.replica, before.vector, before.fingerprint)
    );
    assert_eq!(leader.members("set").await.unwrap(), [b"x"]);
    let next = leader.increment("n", 1).await.unwrap();
    assert_eq!((next.replica, next.last), (first.replica, 3));
    assert_eq!(leader.counter("n").await.unwrap(), 6);
}

#[tokio::test]
async fn a_repeated_write_counts_once_across_a_restart() {
    let folder = TempDir::new().unwrap();
    let leader = Leader::start(config_in("a", folder.path())).await.unwrap();
    let key = Some("request-1".to_owned());
    let first = leader.write("n", Op::Increment(5), key.clone()).await.unwrap();
    leader.increment("n", 1).await.unwrap();
    leader.shutdown().await;

    let leader = Leader::start(config_in("a", folder.path())).await.unwrap();
    let again = leader.write("n", Op::Increment(5), key).await.unwrap();
    assert!(again.repeated && !first.repeated);
    assert_eq!((again.last, again.token), (first.last, first.token));
    assert_eq!(leader.counter("n").await.unwrap(), 6);
    assert_eq!(leader.status().await.unwrap().writes, 0, "a repetition is no write");
}

/// Many writers, one of whose commits fails; then everything is repeated at the leader that comes after.
async fn fails_a_commit(fault: Fault) {
    let disk = MemoryStore::new();
    let mut failing = disk.reopen();
    failing.fail_commit(6, fault); // the first makes the leader's id durable
    let leader = Leader::start_with_store(config("a"), failing).await.unwrap();
    let peer_leader = Leader::start(with_peers(config("b"), &[("a", addr(&leader))])).await.unwrap();

    let mut writers = Vec::new();
    for n in 0..8 {
        let leader = leader.clone();
        writers.push(tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for round in 0..1_000 {
                let key = format!("{n}/{round}");
                match leader.write("set", Op::Add(vec![key.clone().into_bytes()]), Some(key.clone())).await {
                    Ok(_) => acknowledged.push(key),
                    Err(error) => return (acknowledged, key, error),
                }
            }
            panic!("no commit failed")
        }));
    }
    let (mut acknowledged, mut unknown) = (Vec::new(), Vec::new());
    for writer in writers {
        let (done, last, error) = writer.await.unwrap();
        assert!(matches!(error, LeaderError::Stopped { .. }), "{error:?}");
        acknowledged.extend(done);
        if matches!(error, LeaderError::Stopped { unknown: true, .. }) {
            assert!(error.to_string().contains("repeat the write under its idempotency key"), "{error}");
            unknown.push(last);
        }
    }
    assert!(!unknown.is_empty());
    assert!(leader.stopped().await.contains("a commit failed"));
    assert!(matches!(leader.increment("n", 1).await, Err(LeaderError::Stopped { unknown: false, .. })));
    assert!(matches!(leader.counter("n").await, Err(LeaderError::Stopped { .. })));
    until(&peer_leader, "the failed leader has left the mesh", |status| {
        status.peers[0].problem.as_ref().is_some_and(|problem| problem.contains("cannot connect"))
    })
    .await;
    let sent = peer_leader.members("set").await.unwrap();

    let leader = Leader::start_with_store(config("a"), disk.reopen()).await.unwrap();
    let found = leader.members("set").await.unwrap();
    for key in &acknowledged {
        assert!(found.contains(&key.clone().into_bytes()), "{key} was acknowledged and is lost");
    }
    assert!(sent.iter().all(|element| found.contains(element)), "what was sent was durable");
    let before = leader.status().await.unwrap().vector;
    let mut repeated = 0_u128;
    for key in acknowledged.iter().chain(&unknown) {
        let receipt =
            leader.write("set", Op::Add(vec![key.clone().into_bytes()]), Some(key.clone())).await.unwrap();
        repeated += u128::from(receipt.repeated);
    }
    let events = leader.status().await.unwrap().vector.ahead_of(&before);
    assert_eq!(repeated + events, (acknowledged.len() + unknown.len()) as u128);
    let expected = if fault == Fault::Kept { 0 } else { unknown.len() as u128 };
    assert!(events >= expected.min(1) && events <= unknown.len() as u128, "{events} of {}", unknown.len());
    assert_eq!(leader.members("set").await.unwrap().len(), acknowledged.len() + unknown.len());
}

#[tokio::test]
async fn a_failed_commit_stops_the_leader_and_loses_nothing_acknowledged() {
    fails_a_commit(Fault::Lost).await;
}

#[tokio::test]
async fn a_commit_that_only_looked_failed_is_found_by_repeating() {
    fails_a_commit(Fault::Kept).await;
}

/// A store that panics: the user's mistake must not hang anybody.
struct Panics;

impl Store for Panics {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        assert!(batch.len() <= 1, "a mistake in the store");
        Ok(())
    }

    fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }

    fn scan(&self, _: &[u8], _: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        Ok(())
    }

    fn disk_bytes(&self) -> Result<u64, StoreError> {
        Ok(0)
    }
}

#[tokio::test]
async fn a_panic_of_the_store_stops_the_leader() {
    let leader = Leader::start_with_store(config("a"), Panics).await.unwrap();
    let error = leader.increment("n", 1).await.unwrap_err();
    assert!(matches!(error, LeaderError::Stopped { unknown: true, .. }), "{error:?}");
    assert!(leader.stopped().await.contains("a mistake in the store"));
    leader.shutdown().await;
}

#[tokio::test]
async fn a_folder_belongs_to_one_leader_of_one_cluster() {
    let folder = TempDir::new().unwrap();
    let leader = Leader::start(config_in("a", folder.path())).await.unwrap();
    leader.increment("n", 1).await.unwrap();

    let second = Leader::start(config_in("a", folder.path())).await.unwrap_err();
    assert!(matches!(second, StartError::Store(StoreError::InUse { .. })), "{second:?}");
    leader.shutdown().await;

    let other_name = Leader::start(config_in("b", folder.path())).await.unwrap_err();
    assert!(matches!(other_name, StartError::OtherLeader { .. }), "{other_name:?}");
    let mut other_cluster = config_in("a", folder.path());
    other_cluster.cluster = "test".into();
    let other_cluster = Leader::start(other_cluster).await.unwrap_err().to_string();
    for words in ["leader \"a\" of cluster \"default\"", "cluster \"test\"", "leader.redb"] {
        assert!(other_cluster.contains(words), "{other_cluster}");
    }

    let leader = Leader::start(config_in("a", folder.path())).await.unwrap();
    assert_eq!(leader.counter("n").await.unwrap(), 1);
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("leader.redb");
    let leader = Leader::start(config_in("a", folder.path())).await.unwrap();
    for n in 0..200 {
        leader.add("set", format!("element {n}")).await.unwrap();
    }
    leader.shutdown().await;
    let whole = fs::read(&file).unwrap();

    let needle = b"element 123";
    let mut flipped = whole.clone();
    let places: Vec<_> =
        whole.windows(needle.len()).enumerate().filter(|(_, w)| w == needle).map(|(at, _)| at).collect();
    for at in &places {
        flipped[at + 8] ^= 1;
    }
    assert!(!places.is_empty());
    for damaged in
        [flipped, whole[..whole.len() / 2].to_vec(), b"not a store at all".repeat(1_000), Vec::new()]
    {
        fs::write(&file, &damaged).unwrap();
        let error = Leader::start(config_in("a", folder.path())).await.unwrap_err();
        assert!(matches!(error, StartError::Store(_)), "{error:?}");
        assert!(error.to_string().contains("leader.redb"), "{error}");
        assert!(fs::read(&file).unwrap() == damaged, "the damaged file was changed: {error}");
    }
    fs::write(&file, &whole).unwrap();
    let leader = Leader::start(config_in("a", folder.path())).await.unwrap();
    assert_eq!(leader.members("set").await.unwrap().len(), 200);
}

/// Changes rows behind the leader's back.
fn tamper(folder: &Path, change: impl FnOnce(&BTreeMap<Vec<u8>, Vec<u8>>, &mut Batch)) {
    let mut store = RedbStore::open(folder.join("leader.redb")).unwrap();
    let mut rows = BTreeMap::new();
    store.scan(b"", &mut |key, value| drop(rows.insert(key.to_vec(), value.to_vec()))).unwrap();
    let mut batch = Batch::new();
    change(&rows, &mut batch);
    store.commit(&batch).unwrap();
}

#[tokio::test]
async fn rows_that_contradict_each_other_are_refused() {
    let folder = TempDir::new().unwrap();
    let leader = Leader::start(config_in("a", folder.path())).await.unwrap();
    leader.increment("n", 1).await.unwrap();
    leader.shutdown().await;

    tamper(folder.path(), |rows, batch| {
        let row = rows.keys().find(|row| row.starts_with(b"p")).expect("the counter has a row");
        batch.delete(row.clone());
    });
    let error = Leader::start(config_in("a", folder.path())).await.unwrap_err();
    assert!(matches!(error, StartError::Data { .. }), "{error:?}");
    assert!(error.to_string().contains("damaged") && error.to_string().contains("backup"), "{error}");
}

#[tokio::test]
async fn a_newer_format_is_named() {
    let folder = TempDir::new().unwrap();
    let leader = Leader::start(config_in("a", folder.path())).await.unwrap();
    leader.shutdown().await;
    // The version comes first in the identity row.
    tamper(folder.path(), |rows, batch| {
        let identity = &rows[&b"identity"[..]];
        batch.put("identity", [&[99], &identity[1..]].concat());
    });
    let error = Leader::start(config_in("a", folder.path())).await.unwrap_err().to_string();
    assert!(error.contains("format 99") && error.contains("newer program"), "{error}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_created_is_named() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("file"), "in the way").unwrap();
    let error = Leader::start(config_in("a", &folder.path().join("file/data"))).await.unwrap_err();
    assert!(matches!(error, StartError::Folder { .. }), "{error:?}");
    assert!(error.to_string().contains("file/data"), "{error}");
}

#[tokio::test]
async fn a_leader_whose_data_was_set_back_goes_on_under_a_new_id() {
    let (folder, backup) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = |folder: &TempDir| folder.path().join("leader.redb");
    let b = Leader::start(config("b")).await.unwrap();
    let start = || Leader::start(with_peers(config_in("a", folder.path()), &[("b", addr(&b))]));

    let a = start().await.unwrap();
    a.add("set", "old").await.unwrap();
    let old = a.status().await.unwrap().replica;
    a.shutdown().await;
    fs::copy(file(&folder), file(&backup)).unwrap();
    let a = start().await.unwrap();
    a.add("set", "lost here").await.unwrap();
    a.increment("n", 3).await.unwrap();
    converge(&[&a, &b]).await;
    a.shutdown().await;
    fs::copy(file(&backup), file(&folder)).unwrap();

    let a = start().await.unwrap();
    let status = until(&a, "a has a new id", |status| status.replica != old).await;
    assert_ne!(status.replica, old);
    let receipt = a.increment("n", 4).await.unwrap();
    assert_eq!((receipt.replica, receipt.last), (status.replica, 1));
    b.wait_for(&receipt.token, deadline()).await.unwrap();
    converge(&[&a, &b]).await;
    for leader in [&a, &b] {
        assert_eq!(leader.members("set").await.unwrap(), [&b"lost here"[..], b"old"]);
        assert_eq!(leader.counter("n").await.unwrap(), 7);
        assert_eq!(leader.status().await.unwrap().vector.get(old), 3);
    }
    // To b it is one peer.
    let status = until(&b, "b sees the new id", |seen| {
        peer(seen, "a").is_some_and(|peer| peer.connected && peer.replica == Some(status.replica))
    });
    assert_eq!(status.await.peers.len(), 1);

    a.shutdown().await;
    let a = start().await.unwrap();
    assert_eq!(a.status().await.unwrap().replica, receipt.replica, "the new id is durable");
}

#[tokio::test]
async fn a_leader_that_was_set_back_and_then_written_to_is_named_and_stopped() {
    let (folder, backup) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = |folder: &TempDir| folder.path().join("leader.redb");
    let b = Leader::start(config("b")).await.unwrap();
    let alone = || Leader::start(config_in("a", folder.path()));
    let start = || Leader::start(with_peers(config_in("a", folder.path()), &[("b", addr(&b))]));

    let a = start().await.unwrap();
    a.add("set", "old").await.unwrap();
    converge(&[&a, &b]).await;
    a.shutdown().await;
    fs::copy(file(&folder), file(&backup)).unwrap();
    let a = start().await.unwrap();
    a.add("set", "lost here").await.unwrap();
    a.add("set", "lost as well").await.unwrap();
    converge(&[&a, &b]).await;
    a.shutdown().await;
    fs::copy(file(&backup), file(&folder)).unwrap();

    let a = alone().await.unwrap();
    a.add("set", "only here").await.unwrap();
    a.shutdown().await;
    let a = start().await.unwrap();
    let what = "a says why it has no connection";
    let problem = |status: &Status| peer(status, "b").and_then(|b| b.problem.clone());
    let status =
        until(&a, what, |status| problem(status).is_some_and(|why| why.contains("two histories"))).await;
    assert!(problem(&status).unwrap().contains("from its update 2 on"), "{:?}", problem(&status));
    let refused = a.add("set", "more").await.unwrap_err();
    assert!(matches!(refused, LeaderError::Refused(WriteError::Forked { from: 2, .. })), "{refused:?}");
    let problems = a.status().await.unwrap().topology.problems;
    assert!(problems.iter().any(|problem| problem.code == "two-histories"), "{problems:?}");
    let (status, code, _) = Client::of(&a).await.refused("GET", "/healthz", "").await;
    assert_eq!((status, &*code), (503, "stopped"), "who routes writes should know");
    assert_eq!(a.members("set").await.unwrap(), [&b"old"[..], b"only here"], "it can still be read");
    assert_eq!(b.members("set").await.unwrap(), [&b"lost as well"[..], b"lost here", b"old"]);
}

#[tokio::test]
async fn a_leader_whose_data_was_lost_gets_everything_back() {
    let folder = TempDir::new().unwrap();
    let b = Leader::start(config("b")).await.unwrap();
    let start = || Leader::start(with_peers(config_in("a", folder.path()), &[("b", addr(&b))]));
    let a = start().await.unwrap();
    let receipt = a.add("set", "x").await.unwrap();
    converge(&[&a, &b]).await;
    a.shutdown().await;
    fs::remove_file(folder.path().join("leader.redb")).unwrap();

    let a = start().await.unwrap();
    a.wait_for(&receipt.token, deadline()).await.unwrap();
    assert_ne!(a.status().await.unwrap().replica, receipt.replica);
    assert_eq!(a.members("set").await.unwrap(), [b"x"]);
    a.remove("set", "x").await.unwrap();
    converge(&[&a, &b]).await;
    assert_eq!(b.members("set").await.unwrap(), Vec::<Vec<u8>>::new());
}
