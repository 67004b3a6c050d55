//! The HTTP API, spoken by hand.

mod common;

use common::{
    PATIENCE, addr,
    client::{Client, rest},
    config, until, until_connected, with_peers,
};
use mesh::{Leader, MemoryStore, Status};
use mesh_store::Fault;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

#[tokio::test]
async fn values_are_written_and_read() {
    let leader = Leader::start(config("a")).await.unwrap();
    let me = leader.status().await.unwrap().replica;
    let client = Client::of(&leader).await;

    assert_eq!(client.get("/v1/counter/visits").await, json!({"value": 0}));
    let receipt = client.write("POST", "/v1/counter/visits/incr", r#"{"by": 7}"#).await;
    let expected =
        json!({"dot": format!("{me}:1"), "events": 1, "token": {me.to_string(): 1}, "repeated": false});
    assert_eq!(receipt, expected);
    client.write("POST", "/v1/counter/visits/incr", "").await;
    client.write("POST", "/v1/counter/visits/decr", "").await;
    client.write("POST", "/v1/counter/visits/decr", r#"{"by": 10}"#).await;
    assert_eq!(client.get("/v1/counter/visits").await, json!({"value": -3}));
    let nothing = client.write("POST", "/v1/counter/visits/incr", r#"{"by": 0}"#).await;
    assert_eq!((&nothing["dot"], &nothing["events"]), (&Value::Null, &json!(0)));

    client.write("POST", "/v1/g-counter/total/incr", r#"{"by": 18446744073709551615}"#).await;
    let (_, text) = client.text("GET", "/v1/g-counter/total", "", b"").await;
    assert_eq!(text, r#"{"value":18446744073709551615}"#);

    assert_eq!(client.refused("GET", "/v1/register/title", "").await.0, 404);
    let receipt = client.write("PUT", "/v1/register/title", r#"{"value": "Mesh ✓"}"#).await;
    let read = client.get("/v1/register/title").await;
    assert_eq!((&read["value"], &read["stamp"]), (&json!("Mesh ✓"), &receipt["stamp"]));
    assert_eq!(receipt["stamp"]["replica"], json!(me.to_string()));
    client.write("PUT", "/v1/register/title", r#"{"value": {"base64": "/wA="}}"#).await;
    assert_eq!(client.get("/v1/register/title").await["value"], json!({"base64": "/wA="}));

    assert_eq!(client.get("/v1/set/a%2Fb%20c").await, json!({"members": []}));
    let receipt = client
        .write("POST", "/v1/set/a%2Fb%20c/add", r#"{"elements": ["b", "", {"base64": "/w=="}, "a"]}"#)
        .await;
    assert_eq!(receipt["events"], json!(4));
    assert_eq!(client.get("/v1/set/a%2Fb%20c").await, json!({"members": ["", "a", "b", {"base64": "/w=="}]}));
    assert_eq!(client.get("/v1/set/a%2Fb%20c/contains?element=a").await, json!({"contains": true}));
    assert_eq!(client.get("/v1/set/a%2Fb%20c/contains?base64=/w%3D%3D").await, json!({"contains": true}));
    assert_eq!(client.get("/v1/set/a%2Fb%20c/contains?base64=/wA%3D").await, json!({"contains": false}));
    assert_eq!(client.get("/v1/set/a%2Fb%20c/contains?%65lement=").await, json!({"contains": true}));
    let receipt = client.write("POST", "/v1/set/a%2Fb%20c/remove", r#"{"elements": ["a", "nobody"]}"#).await;
    assert_eq!(receipt["events"], json!(1));
    assert_eq!(client.get("/v1/set/a%2Fb%20c/contains?element=a").await, json!({"contains": false}));
    client.write("POST", "/v1/set/a%2Fb%20c/clear", "").await;
    assert_eq!(client.get("/v1/set/a%2Fb%20c").await, json!({"members": []}));
    assert_eq!(client.write("POST", "/v1/set/a%2Fb%20c/clear", "").await["dot"], Value::Null);

    client.write("POST", "/v1/set/tags/add", r#"{"elements": ["x"]}"#).await;
    let keys = client.get("/v1/keys?prefix=t").await;
    let named = |kind: &str, name: &str| json!({"type": kind, "name": name});
    let expected = [named("g-counter", "total"), named("lww-register", "title"), named("or-set", "tags")];
    assert_eq!(keys, json!({"keys": expected}));
}

#[tokio::test]
async fn a_request_is_repeated_under_its_key() {
    let leader = Leader::start(config("a")).await.unwrap();
    let client = Client::of(&leader).await;
    let header = "Idempotency-Key: once\r\n";
    let mut replies = Vec::new();
    for _ in 0..2 {
        let (status, body) = client.text("POST", "/v1/counter/n/incr", header, b"").await;
        assert_eq!(status, 200);
        replies.push(serde_json::from_str::<Value>(&body).unwrap());
    }
    assert_eq!((&replies[0]["repeated"], &replies[1]["repeated"]), (&json!(false), &json!(true)));
    assert_eq!(replies[0]["dot"], replies[1]["dot"]);
    assert_eq!(client.get("/v1/counter/n").await, json!({"value": 1}));

    let (status, body) = client.text("POST", "/v1/counter/n/incr", header, br#"{"by": 2}"#).await;
    assert!(status == 422 && body.contains("key-reused"), "{status} {body}");
    for bad in [String::new(), "k".repeat(256)] {
        let header = format!("Idempotency-Key: {bad}\r\n");
        let (status, body) = client.text("POST", "/v1/counter/n/incr", &header, b"").await;
        assert!(status == 400 && body.contains("Idempotency-Key"), "{status} {body}");
    }
    assert_eq!(client.get("/v1/counter/n").await, json!({"value": 1}));
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let leader = Leader::start(config("a")).await.unwrap();
    let client = Client::of(&leader).await;
    client.write("POST", "/v1/counter/n/incr", "").await;
    let before = leader.status().await.unwrap().vector;
    let long = format!("/v1/counter/{}/incr", "n".repeat(1025));
    let large = json!({"elements": ["x".repeat((1 << 20) + 1)]}).to_string();
    let huge = "x".repeat(17 << 20);
    for (method, path, body, status, code, words) in [
        ("POST", "/v1/set/n/add", r#"{"elements": []}"#, 409, "other-type", "pn-counter"),
        ("GET", "/v1/set/n", "", 409, "other-type", "pn-counter"),
        ("POST", "/v1/counter/n/incr", r#"{"by": -1}"#, 400, "bad-request", r#"{"by": 5}"#),
        ("POST", "/v1/counter/n/incr", r#"{"by": 1.5}"#, 400, "bad-request", "floating point"),
        ("POST", "/v1/counter/n/incr", r#"{"buy": 1}"#, 400, "bad-request", "unknown field `buy`"),
        ("POST", "/v1/counter/n/incr", "{", 400, "bad-request", "EOF"),
        ("PUT", "/v1/register/r", "", 400, "bad-request", r#"{"value": "text"}"#),
        ("PUT", "/v1/register/r", r#"{"value": 5}"#, 400, "bad-request", "a string or"),
        ("POST", "/v1/set/s/add", r#"{"elements": "a"}"#, 400, "bad-request", r#"{"elements": ["a", "b"]}"#),
        ("POST", "/v1/set/s/clear", "[", 400, "bad-request", "must be empty"),
        ("GET", "/v1/set/s/contains", "", 400, "bad-request", "element"),
        ("GET", "/v1/set/s/contains?element=a&base64=YQ", "", 400, "bad-request", "one element"),
        ("GET", "/v1/set/s/contains?element=a&element=b", "", 400, "bad-request", "more than once"),
        ("GET", "/v1/set/s/contains?base64=%3F", "", 400, "bad-request", "not base64"),
        (
            "GET",
            "/v1/set/s/contains?element=%ff",
            "",
            400,
            "bad-request",
            "\"element\" is not percent-encoded UTF-8",
        ),
        ("GET", "/v1/keys?prefix=%ff", "", 400, "bad-request", "\"prefix\" is not percent-encoded UTF-8"),
        ("GET", "/v1/watch?prefix=%ff", "", 400, "bad-request", "\"prefix\" is not percent-encoded UTF-8"),
        ("GET", "/v1/keys?%ff=a", "", 400, "bad-request", "%ff is not percent-encoded UTF-8"),
        ("GET", "/v1/keys?prefx=a", "", 400, "bad-request", "no query parameter \"prefx\""),
        ("GET", "/v1/watch?from=a", "", 400, "bad-request", "no query parameter \"from\""),
        ("POST", "/v1/counter/n/incr?by=5", "", 400, "bad-request", "no query parameter \"by\""),
        ("GET", "/v1/counter/%ff", "", 400, "bad-request", "UTF-8"),
        ("GET", "/v1/watch?since=5", "", 400, "bad-request", "token"),
        ("POST", &long, "", 413, "too-large", "1025 bytes"),
        ("POST", "/v1/set/s/add", &large, 413, "too-large", "1048577 bytes"),
        ("POST", "/v1/set/s/add", &huge, 413, "too-large", "body"),
        ("GET", "/v2", "", 404, "not-found", "GET /v2"),
        ("DELETE", "/v1/counter/n", "", 404, "not-found", "DELETE /v1/counter/n"),
    ] {
        let (found, word, sentence) = client.refused(method, path, body).await;
        assert_eq!((found, &*word), (status, code), "{method} {path}: {sentence}");
        assert!(sentence.contains(words), "{method} {path}: {sentence}");
    }
    assert_eq!(leader.status().await.unwrap().vector, before);

    client.write("POST", "/v1/g-counter/g/incr", &format!(r#"{{"by": {}}}"#, u64::MAX)).await;
    let (status, code, _) = client.refused("POST", "/v1/g-counter/g/incr", "").await;
    assert_eq!((status, &*code), (409, "overflow"));
}

#[tokio::test]
async fn a_leader_reports_itself() {
    let a = Leader::start(config("a")).await.unwrap();
    let b = Leader::start(with_peers(config("b"), &[("a", addr(&a))])).await.unwrap();
    until_connected(&b, "a").await;
    let client = Client::of(&b).await;
    let receipt = a.increment("n", 1).await.unwrap();
    b.wait_for(&receipt.token, common::deadline()).await.unwrap();

    let body = client.get("/v1/status").await;
    let status: Status = serde_json::from_value(body.clone()).unwrap();
    assert_eq!((&*status.name, &*status.cluster, status.keys, status.merged_events), ("b", "default", 1, 1));
    assert_eq!(status.fingerprint.len(), 16);
    assert_eq!(body["peers"][0]["address"], json!(addr(&a).to_string()));
    assert_eq!(body["peers"][0]["problem"], Value::Null);

    assert_eq!(client.get("/healthz").await, json!({"status": "ok"}));
    client.write("POST", "/v1/counter/n/incr", "").await;
    let (code, metrics) = client.text("GET", "/metrics", "", b"").await;
    assert_eq!(code, 200);
    for line in [
        "mesh_writes_total 1",
        "mesh_merged_events_total 1",
        "mesh_keys 1",
        "mesh_connections 1",
        "mesh_fingerprint_mismatches_total 0",
        "mesh_commit_seconds_count",
        "mesh_peer_bytes_total{direction=\"in\",peer=\"a\"}",
        "mesh_peer_events_behind{peer=\"a\"}",
        "mesh_peer_oldest_seconds{peer=\"a\"}",
        "# HELP mesh_reads_total",
    ] {
        assert!(metrics.lines().any(|found| found.starts_with(line)), "{line} is missing in\n{metrics}");
    }
}

#[tokio::test]
async fn a_stopped_leader_says_why() {
    let mut store = MemoryStore::new();
    store.fail_commit(2, Fault::Lost);
    let leader = Leader::start_with_store(config("a"), store).await.unwrap();
    let client = Client::of(&leader).await;
    for (method, path, words) in [
        ("POST", "/v1/counter/n/incr", "repeat the write under its idempotency key"),
        ("POST", "/v1/counter/n/incr", "nothing was done"),
        ("GET", "/v1/counter/n", "a commit failed"),
        ("GET", "/healthz", "a commit failed"),
        ("GET", "/v1/status", "a commit failed"),
        ("GET", "/v1/watch", "a commit failed"),
    ] {
        let (status, code, sentence) = client.refused(method, path, "").await;
        assert_eq!((status, &*code), (503, "stopped"), "{method} {path}");
        assert!(sentence.contains(words), "{method} {path}: {sentence}");
    }
}

/// The lines of a watch; the sizes of its chunks and its signs of life are left out.
struct Lines(BufReader<TcpStream>);

impl Lines {
    async fn of(client: &Client, path: &str) -> Self {
        Lines(BufReader::new(client.open("GET", path, "", b"").await))
    }

    async fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            let read = timeout(PATIENCE, self.0.read_line(&mut line)).await.expect("a line in time");
            if read.unwrap_or(0) == 0 {
                return None;
            }
            if line.starts_with('{') {
                return Some(serde_json::from_str(&line).unwrap());
            }
        }
    }
}

#[tokio::test]
async fn a_watch_streams_changes_and_resumes() {
    let leader = Leader::start(config("a")).await.unwrap();
    let client = Client::of(&leader).await;
    client.write("POST", "/v1/counter/p%2F1/incr", "").await;
    let mut lines = Lines::of(&client, "/v1/watch?prefix=p/").await;
    let there = lines.next().await.unwrap();
    assert_eq!(there["changes"], json!([{"type": "pn-counter", "name": "p/1", "value": 1}]));

    client.write("POST", "/v1/counter/q/incr", "").await;
    client.write("POST", "/v1/set/p%2F2/add", r#"{"elements": ["b", "a"]}"#).await;
    let change = lines.next().await.unwrap();
    assert_eq!(change["changes"], json!([{"type": "or-set", "name": "p/2", "value": ["a", "b"]}]));
    drop(lines);

    client.write("PUT", "/v1/register/p%2F3", r#"{"value": "x"}"#).await;
    let token: Vec<_> = change["token"].to_string().bytes().map(|byte| format!("%{byte:02x}")).collect();
    let token = token.concat();
    let mut lines = Lines::of(&client, &format!("/v1/watch?since={token}")).await;
    let resumed = lines.next().await.unwrap();
    assert_eq!(resumed["changes"].as_array().unwrap().len(), 1);
    assert_eq!(resumed["changes"][0]["value"], json!("x"));
    assert!(resumed["changes"][0]["stamp"].is_object());

    leader.shutdown().await;
    assert_eq!(lines.next().await, None, "the stream ends with the leader");
}

#[tokio::test]
async fn a_declared_length_is_judged_before_the_body_comes() {
    let leader = Leader::start(config("a")).await.unwrap();
    let client = Client::of(&leader).await;
    let head = "POST /v1/set/s/add HTTP/1.1\r\nHost: a\r\nContent-Length: 10737418240\r\n\r\n";
    let reply = rest(&mut client.raw(head).await).await;
    assert!(reply.starts_with("HTTP/1.1 413 ") && reply.contains("too-large"), "{reply}");
}

const SHORT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn what_does_not_arrive_in_time_is_not_waited_for() {
    let mut impatient = config("a");
    impatient.limits.http_head = SHORT;
    impatient.limits.http_body = SHORT;
    let leader = Leader::start(impatient).await.unwrap();
    let client = Client::of(&leader).await;
    let mut lines = Lines::of(&client, "/v1/watch").await;
    assert_eq!(lines.next().await.unwrap()["changes"], json!([]));

    // Nothing, a half of a head, and nothing after the first request.
    for bytes in ["", "GET /healthz HTTP/1.1\r\nHost:"] {
        assert_eq!(rest(&mut client.raw(bytes).await).await, "");
    }
    let reply = rest(&mut client.raw("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await).await;
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    let half = "POST /v1/counter/n/incr HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{\"by\"";
    let reply = rest(&mut client.raw(half).await).await;
    assert!(reply.starts_with("HTTP/1.1 408 ") && reply.contains("too-slow"), "{reply}");

    // The watch has outlasted all these limits.
    leader.increment("n", 1).await.unwrap();
    assert_eq!(lines.next().await.unwrap()["changes"][0]["value"], json!(1));
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed() {
    let mut small = config("a");
    small.limits.http_connections = 2;
    small.limits.http_head = PATIENCE * 100;
    let leader = Leader::start(small).await.unwrap();
    let client = Client::of(&leader).await;
    let half = "GET /healthz HTTP/1.1\r\nHost: a\r\n";
    let mut first = client.raw(half).await;
    let second = client.raw(half).await;
    assert_eq!(rest(&mut TcpStream::connect(client.0).await.unwrap()).await, "");
    first.write_all(b"Connection: close\r\n\r\n").await.unwrap();
    let reply = rest(&mut first).await;
    assert!(reply.starts_with("HTTP/1.1 200 "), "those within it are served: {reply}");
    drop(second);
    let place = async {
        while !rest(&mut client.open("GET", "/healthz", "", b"").await).await.starts_with("HTTP/1.1 200 ") {}
    };
    timeout(PATIENCE, place).await.expect("a place is free again");
}

#[tokio::test]
async fn a_refused_delta_is_a_problem_until_one_is_merged() {
    let b = Leader::start(config("b")).await.unwrap();
    let mut small = with_peers(config("a"), &[("b", addr(&b))]);
    small.engine.max_staged = 4_096;
    let a = Leader::start(small).await.unwrap();
    until_connected(&a, "b").await;
    // Too large for a batch of updates.
    b.set_register("r", vec![b'x'; 300_000]).await.unwrap();
    until(&a, "it is refused, and connected again", |status| {
        let peer = &status.peers[0];
        peer.connected && peer.problem.as_ref().is_some_and(|why| why.contains("the limit of 4096 bytes"))
    })
    .await;
    let small = b.set_register("r", "x").await.unwrap();
    a.wait_for(&small.token, common::deadline()).await.unwrap();
    assert_eq!(a.status().await.unwrap().peers[0].problem, None);
}
