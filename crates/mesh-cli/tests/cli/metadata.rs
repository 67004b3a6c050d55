//! A leader whose store has lost its version vector, and has its values.

use crate::common::{Leader, converged, run, until};
use mesh::{Batch, RedbStore, Store};
use std::path::Path;
use tempfile::tempdir;

/// Takes the row with the version vector out of the store of a leader that does not run.
fn lose_metadata(folder: &Path, name: &str) {
    let mut store = RedbStore::open(folder.join(name).join("leader.redb")).expect("the store opens");
    assert!(store.get(b"history").expect("the store can be read").is_some(), "there is such a row");
    let mut batch = Batch::new();
    batch.delete("history");
    store.commit(&batch).expect("the store can be written");
}

fn stop(mut leader: Leader) {
    leader.process.signal("-TERM");
    assert_eq!(leader.process.ended().code(), Some(0), "{}", leader.log());
}

#[test]
fn a_lost_version_vector_is_said_and_comes_back_from_a_peer() {
    let folder = tempdir().expect("a folder");
    let folder = folder.path();
    let us_again = |more: &[&str]| Leader::start(folder, "us", more);

    let eu = Leader::start(folder, "eu", &[]);
    let us = us_again(&["--peer", &eu.as_peer("eu")]);
    eu.ok(&["counter", "incr", "visits", "5"]);
    eu.ok(&["set", "add", "tags", "gone", "kept"]);
    us.ok(&["counter", "incr", "visits", "2"]);
    converged(&[&eu, &us]);
    // Each goes on alone: eu has what us has not seen, and us what nobody else has.
    stop(us);
    eu.ok(&["set", "remove", "tags", "gone"]);
    stop(eu);
    let us = us_again(&[]);
    us.ok(&["counter", "incr", "visits", "10"]);
    us.ok(&["set", "add", "tags", "only-here"]);
    let old_id = us.id.clone();
    stop(us);
    lose_metadata(folder, "us");

    let data = folder.join("us");
    let data = data.to_str().expect("the folder's name is UTF-8");
    let serve = ["serve", "--name", "us", "--data", data, "--listen", "127.0.0.1:0", "--api", "127.0.0.1:0"];
    let words = ["mesh: ", "leader.redb", "version vector is missing", "--without-metadata"];
    run(&serve).failed(1, &words);
    run(&[&serve[..], &["--give-up-unreachable"]].concat()).failed(2, &["--without-metadata"]);

    // Alone it shows nothing and takes nothing, and nothing is changed by trying.
    let us = us_again(&["--without-metadata"]);
    let words_of_it = ["lost its causal metadata", "connect it to a peer"];
    us.run(&["counter", "get", "visits"]).failed(1, &words_of_it);
    us.run(&["counter", "incr", "visits"]).failed(1, &words_of_it);
    stop(us);
    run(&serve).failed(1, &words);

    let eu = Leader::start(folder, "eu", &[]);
    let us = us_again(&["--without-metadata", "--peer", &eu.as_peer("eu")]);
    assert_ne!(us.id, old_id, "it goes on under a new id");
    // What it shows first is all of it.
    let visits = until("the version vector is back", || {
        let read = us.run(&["counter", "get", "visits"]);
        (read.code == Some(0)).then_some(read.stdout)
    });
    assert_eq!(visits, "17\n");
    us.ok(&["counter", "incr", "visits"]);
    converged(&[&eu, &us]);
    let verified = us.run(&["verify"]);
    assert_eq!(verified.code, Some(0), "{verified:?}\n{}\n{}", us.log(), eu.log());
    for leader in [&eu, &us] {
        assert_eq!(leader.ok(&["counter", "get", "visits"]), "18\n");
        assert_eq!(leader.ok(&["set", "members", "tags"]), "kept\nonly-here\n");
    }

    // From then on as always.
    let id = us.id.clone();
    stop(us);
    let us = us_again(&["--peer", &eu.as_peer("eu")]);
    assert_eq!(us.id, id);
    assert_eq!(us.ok(&["counter", "get", "visits"]), "18\n");
}

#[test]
fn what_nobody_has_any_more_is_waited_for_until_it_is_given_up() {
    let folder = tempdir().expect("a folder");
    let folder = folder.path();
    let eu = Leader::start(folder, "eu", &[]);
    let us = Leader::start(folder, "us", &["--peer", &eu.as_peer("eu")]);
    us.ok(&["counter", "incr", "visits", "2"]);
    converged(&[&eu, &us]);
    let lost = eu.id.clone();
    eu.ok(&["counter", "incr", "visits", "5"]);
    converged(&[&eu, &us]);
    stop(us);
    stop(eu);
    std::fs::remove_dir_all(folder.join("eu")).expect("it can be removed");
    lose_metadata(folder, "us");

    let eu = Leader::start(folder, "eu", &[]);
    eu.ok(&["counter", "incr", "visits", "1"]);
    let with_peer = ["--without-metadata", "--peer", &eu.as_peer("eu")];
    let us = Leader::start(folder, "us", &with_peer);
    until("it says what it waits for", || us.log().contains(&lost).then_some(()));
    us.run(&["counter", "incr", "visits"]).failed(1, &[&lost, "--give-up-unreachable"]);
    stop(us);
    let us = Leader::start(folder, "us", &[&with_peer[..], &["--give-up-unreachable"]].concat());
    converged(&[&eu, &us]);
    until("what it had written itself is kept", || {
        let visits = eu.ok(&["counter", "get", "visits"]);
        (visits == "3\n").then_some(())
    });
    us.ok(&["counter", "incr", "visits"]);
    us.ok(&["verify"]);
}
