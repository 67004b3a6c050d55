//! Topologies, sessions and `mesh verify` on leaders in processes of their own.

use crate::common::{Leader, converged, until};
use serde_json::{Value, json};
use std::{
    fmt::Write,
    fs,
    net::TcpListener,
    path::Path,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};
use tempfile::tempdir;

/// Addresses that leaders can be told of before they are there, and that nobody is given meanwhile who asks for any: those
/// ports are above these, as a rule.
fn addresses<const N: usize>() -> [String; N] {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    std::array::from_fn(|_| {
        let mut address = String::new();
        while address.is_empty() || TcpListener::bind(&address).is_err() {
            // Another process of these tests begins elsewhere.
            let n = std::process::id().wrapping_mul(97).wrapping_add(TAKEN.fetch_add(1, Relaxed));
            address = format!("127.0.0.1:{}", 10_000 + n % 20_000);
        }
        address
    })
}

/// Leaders that are configured alike, but for themselves.
fn start(folder: &Path, names: &[&str], addresses: &[String], topology: &str) -> Vec<Leader> {
    let members: Vec<_> =
        names.iter().zip(addresses).map(|(name, address)| format!("{name}={address}")).collect();
    let start = |n: usize| {
        let mut args = vec!["--listen", &addresses[n], "--topology", topology];
        args.extend(members.iter().flat_map(|member| ["--member", member]));
        Leader::start(folder, names[n], &args)
    };
    (0..names.len()).map(start).collect()
}

fn shown(leader: &Leader) -> Value {
    serde_json::from_str(&leader.ok(&["topology", "show", "--json"])).expect("the topology is JSON")
}

/// Waits until `leader` reports problems of exactly these kinds.
#[track_caller]
fn until_problems(leader: &Leader, codes: &[&str]) -> Value {
    until(&format!("the problems are {codes:?}"), || {
        let report = shown(leader);
        let found: Vec<_> =
            report["problems"].as_array()?.iter().map(|problem| problem["code"].clone()).collect();
        (found == codes).then_some(report)
    })
}

#[test]
fn a_ring_loses_one_says_so_heals_and_has_it_back() {
    let folder = tempdir().expect("a folder");
    let names = ["a", "b", "c", "d", "e"];
    let addresses = addresses::<5>();
    let mut leaders = start(folder.path(), &names, &addresses, "ring");
    for leader in &leaders {
        until_problems(leader, &[]);
    }
    leaders[2].process.signal("-KILL");
    leaders[2].process.ended();
    for leader in [0, 1, 3, 4].map(|n| &leaders[n]) {
        let text = until("the ring is healed", || {
            let text = leader.ok(&["topology", "show"]);
            text.contains("ring-broken: the ring is broken at c; b and d are connected instead")
                .then_some(text)
        });
        assert!(text.starts_with("ring, configured\n"), "{text}");
        assert!(text.contains("unreached: 1 of 5 leaders are not reached"), "{text}");
        assert!(
            leader.ok(&["status"]).contains("ring-broken: the ring is broken at c"),
            "a status says it too"
        );
    }
    leaders[0].ok(&["set", "add", "tags", "while c is down"]);
    converged(&[&leaders[0], &leaders[1], &leaders[3], &leaders[4]]);
    // Not all can be asked.
    let verify = leaders[0].run(&["verify"]);
    assert_eq!(verify.code, Some(2), "{verify:?}");
    assert!(verify.stdout.starts_with("equal: 4 leaders (a, b, d, e), 1 key"), "{verify:?}");
    assert!(verify.stderr.contains("not asked: c: it has not been reached for"), "{verify:?}");

    leaders[2] = start_one(folder.path(), &names, &addresses, 2);
    for leader in &leaders {
        until_problems(leader, &[]);
    }
    converged(&leaders.iter().collect::<Vec<_>>());
    assert_eq!(leaders[2].ok(&["set", "members", "tags"]), "while c is down\n");
    assert!(leaders[4].ok(&["verify"]).starts_with("equal: 5 leaders (a, b, c, d, e), 1 key, fingerprint "));
}

/// From a file.
fn start_one(folder: &Path, names: &[&str], addresses: &[String], n: usize) -> Leader {
    let file = folder.join(format!("{}.toml", names[n]));
    let mut text = "topology = \"ring\"\n\n[members]\n".to_owned();
    for (name, address) in names.iter().zip(addresses) {
        writeln!(text, "{name} = \"{address}\"").expect("memory can be written");
    }
    fs::write(&file, text).expect("the file can be written");
    let file = file.to_str().expect("the folder's name is UTF-8");
    Leader::start(folder, names[n], &["--listen", &addresses[n], "--config", file])
}

#[test]
fn a_topology_is_set_for_all_while_they_run_and_outlasts_a_kill() {
    let folder = tempdir().expect("a folder");
    let names = ["eu", "us", "ap"];
    let addresses = addresses::<3>();
    let mut leaders = start(folder.path(), &names, &addresses, "all-to-all");
    for leader in &leaders {
        until_problems(leader, &[]);
    }
    until("the APIs are known", || {
        let report = shown(&leaders[1]);
        report["leaders"].as_array()?.iter().all(|leader| leader["api"].is_string()).then_some(())
    });
    let set = leaders[1].run(&["topology", "set", "star:us", "--all"]);
    assert!(set.stdout.starts_with(&format!("{}:", leaders[1].id)), "{set:?}");
    assert_eq!((set.code, set.stderr.as_str()), (Some(0), "ap: star:us\neu: star:us\nus: star:us\n"));
    for leader in &leaders {
        let report = until_problems(leader, &[]);
        assert_eq!((&report["topology"], &report["source"]), (&json!("star:us"), &json!("replicated")));
    }
    until("eu and ap are not connected", || {
        let hub = leaders[1].ok(&["topology", "show"]);
        hub.lines()
            .any(|line| line.starts_with("eu ") && line.trim_end().ends_with("directly  us"))
            .then_some(())
    });

    leaders[0].process.signal("-KILL");
    leaders[0].process.ended();
    leaders[0] = start_one(folder.path(), &names, &addresses, 0);
    let report = until_problems(&leaders[0], &[]);
    assert_eq!(report["topology"], json!("star:us"), "what was set wins over the file, which says ring");
    assert_eq!(report["links"].as_array().map(Vec::len), Some(1));

    leaders[2].run(&["peer", "remove", "us"]).failed(1, &["mesh: ", "the topology names \"us\""]);
    leaders[2].ok(&["topology", "set", "star:eu,us"]);
    leaders[2].ok(&["peer", "remove", "ap"]);
    until_problems(&leaders[2], &["not-a-member"]);
    leaders[0].ok(&["peer", "add", &format!("ap={}@asia", addresses[2])]);
    for leader in &leaders {
        until_problems(leader, &[]);
    }
    assert!(leaders[1].ok(&["topology", "show"]).contains("asia"), "the region is known");
}

#[test]
fn a_client_sees_its_writes_wherever_it_reads() {
    let folder = tempdir().expect("a folder");
    let eu = Leader::start(folder.path(), "eu", &[]);
    let us = Leader::start(folder.path(), "us", &["--peer", &eu.as_peer("eu")]);
    for n in 1..=5 {
        let dot = eu.ok(&["counter", "incr", "visits"]);
        let read = us.run(&[
            "counter",
            "get",
            "visits",
            "--after",
            dot.trim_end(),
            "--within",
            "30s",
            "--print-token",
        ]);
        assert_eq!(read.stdout, format!("{n}\n"), "{read:?}");
        let token = read.stderr.strip_prefix("token: ").unwrap_or_else(|| panic!("{read:?}")).trim_end();
        // What was read at one is there at the other, and is built upon.
        assert_eq!(eu.ok(&["counter", "get", "visits", "--after", token]), format!("{n}\n"));
        us.ok(&["set", "add", "log", &n.to_string(), "--after", token]);
    }
    let nowhere = format!("{}:1000", eu.id);
    let late = us.run(&["counter", "get", "visits", "--after", &nowhere, "--within", "50ms"]);
    late.failed(3, &["mesh: ", "lacked 995 of the events"]);
    us.run(&["counter", "incr", "visits", "--after", &nowhere, "--within", "50ms"])
        .failed(3, &["lacked 995"]);
    assert_eq!(us.ok(&["counter", "get", "visits"]), "5\n", "nothing was done");
}

#[test]
fn verify_waits_for_who_is_behind_and_says_who_it_is() {
    let folder = tempdir().expect("a folder");
    let eu = Leader::start(folder.path(), "eu", &[]);
    let us = Leader::start(folder.path(), "us", &["--peer", &eu.as_peer("eu")]);
    // Nobody has told them of this one.
    let alone = Leader::start(folder.path(), "alone", &[]);
    eu.ok(&["set", "add", "tags", "x", "y"]);
    let both = us.ok(&["verify", "--at", &eu.api]);
    assert!(both.starts_with("equal: 2 leaders (eu, us), 1 key, fingerprint "), "{both}");
    let three = eu.run(&["verify", "--at", &us.api, "--at", &alone.api, "--wait", "100ms"]);
    assert_eq!(three.code, Some(1), "{three:?}");
    assert!(three.stdout.contains("alone: 2 updates behind, 0 keys"), "{three:?}");
    assert!(three.stdout.contains("us: 0 updates behind, 1 key"), "{three:?}");
    let json = eu.ok(&["verify", "--at", &us.api, "--json"]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["result"], &json["keys"]), (&json!("equal"), &json!([])));
    let nobody = eu.run(&["verify", "--at", "127.0.0.1:1"]);
    assert_eq!(nobody.code, Some(2), "{nobody:?}");
    assert!(nobody.stderr.contains("not asked: 127.0.0.1:1: nothing answers at"), "{nobody:?}");
}
