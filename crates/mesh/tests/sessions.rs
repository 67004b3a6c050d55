//! Sessions over several leaders, and the topology, through the HTTP API.

mod common;

use common::{Cable, addr, client::Client, config, until, with_peers};
use mesh::{Leader, LeaderConfig, Member, Token, TopologyReport};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// A read, and the token of what it saw.
async fn read(client: &Client, path: &str) -> (u16, Value, Option<Token>) {
    let reply = client.whole("GET", path).await;
    let (head, body) = reply.split_once("\r\n\r\n").expect("a reply");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let token = head.lines().find_map(|line| line.strip_prefix("mesh-token: "));
    (status, serde_json::from_str(body).unwrap(), token.map(|token| token.parse().unwrap()))
}

/// JSON in a query.
fn encoded(value: &Value) -> String {
    value.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat()
}

/// Two leaders on a cable.
async fn two() -> (Leader, Leader, Cable) {
    let a = Leader::start(config("a")).await.unwrap();
    let cable = Cable::to(addr(&a)).await;
    let b = Leader::start(with_peers(config("b"), &[("a", cable.address)])).await.unwrap();
    (a, b, cable)
}

#[tokio::test]
async fn a_client_reads_its_own_writes_at_another_leader() {
    let (a, b, _cable) = two().await;
    let (at_a, at_b) = (Client::of(&a).await, Client::of(&b).await);
    for n in 1..=20 {
        let dot = at_a.write("POST", "/v1/counter/n/incr", "").await["dot"].as_str().unwrap().to_owned();
        let (status, body, seen) = read(&at_b, &format!("/v1/counter/n?after={dot}&within=30s")).await;
        assert_eq!((status, &body), (200, &json!({"value": n})));
        // And what the read saw is enough to see it again elsewhere.
        let seen = seen.expect("every reply says what it saw");
        let (status, body, _) = read(&at_a, &format!("/v1/counter/n?within=30s&after={seen}")).await;
        assert_eq!((status, &body), (200, &json!({"value": n})));
    }
}

#[tokio::test]
async fn what_does_not_come_in_time_is_said_and_changes_nothing() {
    let (a, b, cable) = two().await;
    let (at_a, at_b) = (Client::of(&a).await, Client::of(&b).await);
    until(&b, "connected", |status| status.peers[0].connected).await;
    cable.cut();
    until(&b, "cut", |status| !status.peers[0].connected).await;
    at_a.write("POST", "/v1/counter/n/incr", "").await;
    let written = at_a.write("POST", "/v1/counter/n/incr", "").await;
    let dot = written["dot"].as_str().unwrap();
    let started = Instant::now();
    for (method, path) in [
        ("GET", "/v1/counter/n"),
        ("POST", "/v1/counter/n/incr"),
        ("GET", "/v1/set/s/contains?element=x"),
        ("GET", "/v1/keys?prefix=n"),
        ("GET", "/v1/status"),
        ("GET", "/v1/topology"),
        ("GET", "/v1/watch"),
    ] {
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}after={dot}&within=20ms");
        let (status, code, sentence) = at_b.refused(method, &path, "").await;
        assert_eq!((status, &*code), (504, "not-yet"), "{path}");
        assert!(sentence.contains("lacked 2 of the events"), "{sentence}");
    }
    assert!(started.elapsed() >= Duration::from_millis(140), "each waited");
    assert_eq!(b.status().await.unwrap().vector, mesh::VersionVector::new(), "nothing was written");

    // Whoever waits is woken by what comes.
    let waits = {
        let (dot, path) = (dot.to_owned(), "/v1/counter/n/incr");
        tokio::spawn(async move { at_b.write("POST", &format!("{path}?after={dot}&within=30s"), "").await })
    };
    cable.mend();
    let receipt = waits.await.unwrap();
    assert_eq!(receipt["token"].as_object().unwrap().len(), 2, "it was written after what it had seen");
    // A token may also be a vector, as a status shows it.
    let vector = encoded(&receipt["token"]);
    let (status, body, _) = read(&at_a, &format!("/v1/counter/n?after={vector}&within=30s")).await;
    assert_eq!((status, body), (200, json!({"value": 3})));
}

#[tokio::test]
async fn mistakes_in_a_session_are_named() {
    let leader = Leader::start(config("a")).await.unwrap();
    let client = Client::of(&leader).await;
    for (path, words) in [
        ("/v1/counter/n?after=17", "is not a token"),
        ("/v1/counter/n?after=a:1&after=a:2", "more than once"),
        ("/v1/counter/n?after=&within=soon", "length of time"),
        ("/v1/counter/n?within=11m", "600 s at most"),
        ("/v1/counter/n?afterwards=a:1", "no query parameter \"afterwards\""),
        ("/healthz?after=a:1", "no query parameter \"after\""),
        ("/v1/hashes?after_key=n", "must be a key"),
    ] {
        let (status, code, sentence) = client.refused("GET", path, "").await;
        assert_eq!((status, &*code), (400, "bad-request"), "{path}: {sentence}");
        assert!(sentence.contains(words), "{path}: {sentence}");
    }
    assert_eq!(client.get("/v1/counter/n?after=").await, json!({"value": 0}), "nothing was seen");
}

#[tokio::test]
async fn the_topology_is_shown_and_changed() {
    let a = Leader::start(config("a")).await.unwrap();
    let b = Leader::start(with_peers(config("b"), &[("a", addr(&a))])).await.unwrap();
    let (at_a, at_b) = (Client::of(&a).await, Client::of(&b).await);
    let before = at_a.get("/v1/topology").await;
    assert_eq!((&before["source"], &before["topology"]), (&json!("peers"), &Value::Null));

    for (leader, name) in [(&a, "a"), (&b, "b")] {
        let body = json!({"address": addr(leader).to_string(), "region": "eu"}).to_string();
        at_a.write("PUT", &format!("/v1/members/{name}"), &body).await;
    }
    let receipt = at_a.write("PUT", "/v1/topology", r#"{"topology": "ring"}"#).await;
    let dot = receipt["dot"].as_str().unwrap();
    let report = at_b.get(&format!("/v1/topology?after={dot}&within=30s")).await;
    assert_eq!((&report["source"], &report["topology"]), (&json!("replicated"), &json!("ring")));
    let api = |client: &Client| Some(client.0.to_string());
    let status = until(&b, "the leaders know each other", |status| {
        status.topology.leaders.iter().all(|leader| leader.steps.is_some() && leader.api.is_some())
    })
    .await;
    let report: TopologyReport = serde_json::from_value(at_b.get("/v1/topology").await).unwrap();
    assert_eq!(report.leaders, status.topology.leaders, "a status has it too");
    assert_eq!((&report.leaders[0].api, &report.leaders[1].api), (&api(&at_a), &api(&at_b)));
    assert_eq!((report.leaders[0].steps, &*report.leaders[0].region), (Some(1), "eu"));

    // The mesh's own keys are its own.
    assert_eq!(at_a.get("/v1/keys").await, json!({"keys": []}));
    let own = at_a.get("/v1/keys?prefix=_mesh/").await;
    assert_eq!(own["keys"].as_array().unwrap().len(), 2);
    assert_eq!(at_a.get("/v1/register/_mesh%2Ftopology").await["value"], json!("ring"));
    for (method, path, body, status, code, words) in [
        ("PUT", "/v1/register/_mesh%2Ftopology", r#"{"value": "ring"}"#, 403, "reserved", "_mesh/"),
        ("PUT", "/v1/topology", r#"{"topology": "torus"}"#, 400, "bad-request", "star:HUB"),
        ("PUT", "/v1/topology", r#"{"topology": "star:x"}"#, 409, "plan", "\"x\" is no member"),
        ("PUT", "/v1/topology", "", 400, "bad-request", r#"{"topology": "ring"}"#),
        ("PUT", "/v1/members/c", r#"{"address": "c"}"#, 409, "plan", "HOST:PORT"),
        ("PUT", "/v1/members/c", "{}", 400, "bad-request", "address"),
        ("DELETE", "/v1/members/c", "", 409, "plan", "\"c\" is no member"),
        ("GET", "/v1/topology?all=1", "", 400, "bad-request", "\"all\""),
    ] {
        let (found, word, sentence) = at_a.refused(method, path, body).await;
        assert_eq!((found, &*word), (status, code), "{method} {path}: {sentence}");
        assert!(sentence.contains(words), "{method} {path}: {sentence}");
    }

    a.shutdown().await;
    until(&b, "a is gone", |status| !status.topology.problems.is_empty()).await;
    let (_, metrics) = at_b.text("GET", "/metrics", "", b"").await;
    for line in [
        "mesh_leaders_reached 1",
        "mesh_leader_unreached_seconds{leader=\"a\"} ",
        "mesh_stand_in_links 0",
        "mesh_topology_problems{code=\"unreached\"} 1",
        "mesh_topology_problems{code=\"ring-broken\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found.starts_with(line)), "{line} is missing in\n{metrics}");
    }
    let gone = at_b.write("DELETE", "/v1/members/a", "").await;
    assert_eq!(gone["events"], json!(1));
}

#[tokio::test]
async fn hashes_of_ranges_add_up_to_the_fingerprint() {
    let leader = Leader::start(config("a")).await.unwrap();
    let client = Client::of(&leader).await;
    for n in 0..100 {
        leader.increment(format!("n/{n:02}"), 1).await.unwrap();
        leader.add(format!("s/{n:02}"), "x").await.unwrap();
    }
    let whole = client.get("/v1/hashes").await;
    assert_eq!((&whole["keys"], &whole["entries"]), (&json!(200), &Value::Null));
    assert_eq!(whole["hash"], client.get("/v1/status").await["fingerprint"]);
    let middle = encoded(&whole["middle"]);
    let first = client.get(&format!("/v1/hashes?until_key={middle}")).await;
    let second = client.get(&format!("/v1/hashes?after_key={middle}")).await;
    assert_eq!((&first["keys"], &second["keys"]), (&json!(100), &json!(100)));
    let number = |text: &Value| u64::from_str_radix(text.as_str().unwrap(), 16).unwrap();
    let sum = number(&first["hash"]).wrapping_add(number(&second["hash"]));
    assert_eq!(sum, number(&whole["hash"]));
    // Half of a half, and so on, until the keys are few enough to be listed.
    let mut part = first;
    while part["entries"].is_null() {
        part = client.get(&format!("/v1/hashes?until_key={}", encoded(&part["middle"]))).await;
    }
    let entries = part["entries"].as_array().unwrap();
    assert_eq!((entries.len(), &part["keys"]), (25, &json!(25)));
    let sum = entries.iter().fold(0_u64, |sum, entry| sum.wrapping_add(number(&entry["hash"])));
    assert_eq!(sum, number(&part["hash"]));
    let known = |entry: &Value| match entry["type"].as_str().unwrap() {
        "pn-counter" => entry["name"].as_str().unwrap().starts_with("n/"),
        "or-set" => entry["name"].as_str().unwrap().starts_with("s/"),
        _ => false,
    };
    assert!(entries.iter().all(known), "{entries:?}");
}

/// A leader that serves its API on all its addresses is reached where its peer port is.
#[tokio::test]
async fn the_address_of_an_api_is_one_that_others_can_use() {
    let members = vec![Member::new("a", "localhost:7001")];
    let a = Leader::start(LeaderConfig { members, ..config("a") }).await.unwrap();
    let bound: SocketAddr = mesh::api::serve(&a, "0.0.0.0:0").await.unwrap();
    let expected = format!("localhost:{}", bound.port());
    until(&a, "it says so", |status| status.topology.leaders[0].api.as_ref() == Some(&expected)).await;
}
