//! The commands that drive leaders.

use crate::common::{Leader, Lines, Process, converged, mesh, run, until};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Stdio,
    thread,
};
use tempfile::tempdir;

#[test]
fn three_leaders_under_all_commands_come_to_the_same_values() {
    let folder = tempdir().expect("a folder");
    let eu = Leader::start(folder.path(), "eu", &[]);
    let us = Leader::start(folder.path(), "us", &["--peer", &eu.as_peer("eu")]);
    let ap = Leader::start(folder.path(), "ap", &["--peer", &eu.as_peer("eu"), "--peer", &us.as_peer("us")]);

    assert_eq!(eu.ok(&["counter", "get", "visits"]), "0\n");
    assert_eq!(eu.ok(&["counter", "incr", "visits"]), format!("{}:1\n", eu.id));
    us.ok(&["counter", "incr", "visits", "10"]);
    ap.ok(&["counter", "decr", "visits", "4"]);
    ap.ok(&["counter", "decr", "stock", "5"]);
    us.ok(&["counter", "incr", "--grow-only", "requests", "3"]);

    assert_eq!(eu.ok(&["set", "members", "tags"]), "");
    assert_eq!(eu.ok(&["set", "add", "tags", "rust", "crdt", "a b"]), format!("{}:4\n", eu.id));
    us.ok(&["set", "add", "tags", "mesh", "über"]);
    us.ok(&["set", "add", "emptied", "x", "y"]);
    us.ok(&["set", "clear", "emptied"]);

    us.ok(&["register", "set", "title", "a mesh of leaders"]);
    converged(&[&eu, &us, &ap]);
    ap.ok(&["set", "remove", "tags", "crdt"]);
    // It has seen the first one, so it wins.
    ap.ok(&["register", "set", "title", "last"]);
    converged(&[&eu, &us, &ap]);

    for leader in [&eu, &us, &ap] {
        assert_eq!(leader.ok(&["counter", "get", "visits"]), "7\n");
        assert_eq!(leader.ok(&["counter", "get", "stock"]), "-5\n");
        assert_eq!(leader.ok(&["counter", "get", "--grow-only", "requests"]), "3\n");
        assert_eq!(leader.ok(&["set", "members", "tags"]), "a b\nmesh\nrust\nüber\n");
        assert_eq!(leader.ok(&["set", "members", "emptied"]), "");
        assert_eq!(leader.ok(&["set", "contains", "tags", "über"]), "true\n");
        assert_eq!(leader.ok(&["register", "get", "title"]), "last\n");
        let keys = leader.ok(&["keys"]);
        // What is remembered of the emptied set's removals may keep its key in the list.
        let mut keys: Vec<_> = keys.lines().filter(|&key| key != "or-set emptied").collect();
        keys.sort_unstable();
        let expected = [
            "g-counter requests",
            "lww-register title",
            "or-set tags",
            "pn-counter stock",
            "pn-counter visits",
        ];
        assert_eq!(keys, expected);
        assert_eq!(leader.ok(&["keys", "vis"]), "pn-counter visits\n");
    }
    let absent = eu.run(&["set", "contains", "tags", "crdt"]);
    assert_eq!((absent.code, absent.stdout.as_str()), (Some(1), "false\n"));
}

#[test]
fn json_prints_the_reply_as_it_is() {
    let folder = tempdir().expect("a folder");
    let eu = Leader::start(folder.path(), "eu", &[]);
    let parsed = |args: &[&str]| -> Value { serde_json::from_str(&eu.ok(args)).expect("one JSON value") };

    let receipt = parsed(&["counter", "incr", "visits", "5", "--json"]);
    assert_eq!(receipt["dot"], json!(format!("{}:1", eu.id)));
    assert_eq!(receipt["token"], json!({ &eu.id: 1 }));
    assert_eq!(receipt["repeated"], json!(false));
    assert_eq!(parsed(&["--log", "off", "counter", "--json", "get", "visits"]), json!({ "value": 5 }));
    let receipt = parsed(&["register", "set", "title", "x", "--json"]);
    assert_eq!(receipt["stamp"]["replica"], json!(eu.id));
    assert_eq!(parsed(&["register", "get", "title", "--json"])["value"], json!("x"));
    parsed(&["set", "add", "tags", "b", "a", "--json"]);
    assert_eq!(parsed(&["set", "members", "tags", "--json"]), json!({ "members": ["a", "b"] }));
    assert_eq!(parsed(&["set", "contains", "tags", "b", "--json"]), json!({ "contains": true }));
    assert_eq!(
        parsed(&["keys", "ti", "--json"]),
        json!({ "keys": [{ "type": "lww-register", "name": "title" }] })
    );
}

#[test]
fn keys_and_elements_may_hold_any_characters() {
    let folder = tempdir().expect("a folder");
    let eu = Leader::start(folder.path(), "eu", &[]);
    for key in ["a/b", "..", "a b?c#d%e&f=g", "日本", "\"quoted\"\n", "+"] {
        eu.ok(&["set", "add", key, key, "--", "-dash"]);
        assert_eq!(eu.ok(&["set", "contains", key, key]), "true\n", "{key:?}");
        eu.ok(&["set", "remove", key, "--", "-dash"]);
        assert_eq!(eu.ok(&["set", "members", key]), format!("{key}\n"));
        let listed: Value = serde_json::from_str(&eu.ok(&["keys", key, "--json"])).expect("JSON");
        assert_eq!(listed["keys"][0]["name"], json!(key));
    }
    assert_eq!(eu.ok(&["keys", "\""]), "or-set \"\\\"quoted\\\"\\n\"\n");
}

#[test]
fn values_that_are_not_utf_8_are_printed_as_the_bytes_they_are() {
    let folder = tempdir().expect("a folder");
    let eu = Leader::start(folder.path(), "eu", &[]);
    let bytes = b"\xff\0\xfe"; // in base64: /wD+
    for (request, body) in [
        ("PUT /v1/register/raw", r#"{"value":{"base64":"/wD+"}}"#),
        ("POST /v1/set/raws/add", r#"{"elements":["a",{"base64":"/wD+"}]}"#),
    ] {
        let mut stream = TcpStream::connect(&eu.api).expect("the API answers");
        let (host, length) = (&eu.api, body.len());
        write!(
            stream,
            "{request} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        )
        .expect("the request is sent");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("a reply");
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    }
    let printed =
        |args: &[&str]| mesh().args(args).args(["--api", &eu.api]).output().expect("the binary runs").stdout;
    assert_eq!(printed(&["register", "get", "raw"]), [bytes, &b"\n"[..]].concat());
    assert_eq!(printed(&["set", "members", "raws"]), [b"a\n", &bytes[..], b"\n"].concat());
    assert_eq!(eu.ok(&["set", "members", "raws", "--json"]), "{\"members\":[\"a\",{\"base64\":\"/wD+\"}]}\n");
}

#[test]
fn a_write_repeated_under_its_idempotency_key_counts_once() {
    let folder = tempdir().expect("a folder");
    let eu = Leader::start(folder.path(), "eu", &[]);
    let order = ["counter", "decr", "stock", "3", "--idempotency-key", "order-17"];
    let first = eu.run(&order);
    let again = eu.run(&order);
    assert_eq!(first.stderr, "");
    assert!(again.stderr.contains("repeated"), "{again:?}");
    assert_eq!(first.ok(), again.ok());
    assert_eq!(eu.ok(&["counter", "get", "stock"]), "-3\n");
    // Another write under the same key is a mistake.
    eu.run(&["counter", "decr", "stock", "4", "--idempotency-key", "order-17"]).failed(1, &["mesh: "]);
    assert_eq!(eu.ok(&["counter", "get", "stock"]), "-3\n");
}

#[test]
fn a_write_with_nothing_to_do_says_so() {
    let folder = tempdir().expect("a folder");
    let eu = Leader::start(folder.path(), "eu", &[]);
    let nothing = eu.run(&["set", "remove", "tags", "rust"]);
    assert_eq!(
        (nothing.code, nothing.stdout.as_str(), nothing.stderr.as_str()),
        (Some(0), "", "mesh: nothing to do\n")
    );
}

#[test]
fn a_register_that_nobody_has_written_is_an_error() {
    let folder = tempdir().expect("a folder");
    let eu = Leader::start(folder.path(), "eu", &[]);
    eu.run(&["register", "get", "title"]).failed(1, &["mesh: ", "title"]);
    eu.run(&["register", "get", "title", "--json"]).failed(1, &["mesh: ", "title"]);
}

#[test]
fn a_key_of_another_type_is_refused_and_unchanged() {
    let folder = tempdir().expect("a folder");
    let eu = Leader::start(folder.path(), "eu", &[]);
    eu.ok(&["counter", "incr", "visits", "2"]);
    for args in [
        &["set", "add", "visits", "x"][..],
        &["set", "members", "visits"],
        &["register", "set", "visits", "x"],
        &["register", "get", "visits"],
        &["counter", "incr", "--grow-only", "visits"],
    ] {
        eu.run(args).failed(1, &["mesh: ", "visits", "pn-counter"]);
    }
    assert_eq!(eu.ok(&["counter", "get", "visits"]), "2\n");
}

#[test]
fn an_overflow_is_refused_and_changes_nothing() {
    let folder = tempdir().expect("a folder");
    let eu = Leader::start(folder.path(), "eu", &[]);
    let most = u64::MAX.to_string();
    eu.ok(&["counter", "incr", "big", &most]);
    eu.run(&["counter", "incr", "big"]).failed(1, &["mesh: "]);
    assert_eq!(eu.ok(&["counter", "get", "big"]), format!("{most}\n"));
}

#[test]
fn status_is_a_table_for_people() {
    let folder = tempdir().expect("a folder");
    let eu = Leader::start(folder.path(), "eu", &[]);
    let us = Leader::start(folder.path(), "us", &["--peer", &eu.as_peer("eu")]);
    eu.ok(&["counter", "incr", "visits"]);
    converged(&[&eu, &us]);
    let table = until("the peer has acknowledged", || {
        let status = us.status();
        let up =
            status["peers"][0]["connected"] == json!(true) && status["peers"][0]["events_behind"] == json!(0);
        up.then(|| us.ok(&["status"]))
    });
    let fingerprint = us.status()["fingerprint"].as_str().expect("a string").to_owned();
    assert!(fingerprint.len() == 16 && fingerprint.chars().all(|c| c.is_ascii_hexdigit()), "{fingerprint}");
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines[0], format!("leader       us ({}) of cluster default", us.id));
    assert_eq!(lines[2], format!("fingerprint  {fingerprint}"));
    assert_eq!(lines[3], format!("vector       {}:1", eu.id));
    let (head, row) = (lines[8], lines[9]);
    assert!(head.starts_with("peer") && row.starts_with("eu"), "{table}");
    for (column, value) in
        [("address", eu.peers.as_str()), ("replica", &eu.id), ("link", "up"), ("behind", "0")]
    {
        let at = head.find(column).expect("the column is there");
        assert!(row[at..].starts_with(value), "{column} of\n{table}");
    }
}

#[test]
fn watch_shows_what_is_there_then_each_change_and_resumes() {
    let folder = tempdir().expect("a folder");
    let eu = Leader::start(folder.path(), "eu", &[]);
    eu.ok(&["counter", "incr", "stock/7", "5"]);
    eu.ok(&["counter", "incr", "other"]);

    let watch = |args: &[&str]| {
        let mut child =
            mesh().arg("watch").args(args).args(["--api", &eu.api]).stdout(Stdio::piped()).spawn();
        let stdout = child.as_mut().expect("the binary runs").stdout.take().expect("stdout is piped");
        (Process(child.expect("the binary runs")), Lines::of(stdout))
    };
    let (_stock, stock) = watch(&["stock/"]);
    assert_eq!(stock.next().as_deref(), Some("pn-counter stock/7 5"));
    let (_json, json) = watch(&["--json", "stock/"]);
    let first: Value = serde_json::from_str(&json.next().expect("a line")).expect("JSON");
    assert_eq!(first["changes"], json!([{ "type": "pn-counter", "name": "stock/7", "value": 5 }]));

    eu.ok(&["counter", "incr", "other"]);
    eu.ok(&["counter", "decr", "stock/7"]);
    assert_eq!(stock.next().as_deref(), Some("pn-counter stock/7 4"));
    eu.ok(&["register", "set", "stock/name of 7", "bolts"]);
    assert_eq!(stock.next().as_deref(), Some("lww-register \"stock/name of 7\" \"bolts\""));

    // What has changed since the first line of the other one.
    let (_since, since) = watch(&["--since", &first["token"].to_string(), "stock/"]);
    let mut resumed = [since.next().expect("a line"), since.next().expect("a line")];
    resumed.sort_unstable();
    assert_eq!(resumed, ["lww-register \"stock/name of 7\" \"bolts\"", "pn-counter stock/7 4"]);
}

#[test]
fn watch_says_how_to_resume_when_the_leader_goes() {
    let folder = tempdir().expect("a folder");
    let eu = Leader::start(folder.path(), "eu", &[]);
    eu.ok(&["counter", "incr", "visits"]);
    let mut watch = mesh();
    watch.args(["watch", "--api", &eu.api]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut watch = Process(watch.spawn().expect("the binary runs"));
    let lines = Lines::of(watch.0.stdout.take().expect("stdout is piped"));
    assert_eq!(lines.next().as_deref(), Some("pn-counter visits 1"));
    let id = eu.id.clone();
    eu.process.signal("-KILL");
    assert_eq!(lines.next(), None);
    assert_eq!(watch.ended().code(), Some(1));
    let mut stderr = String::new();
    watch.0.stderr.take().expect("stderr is piped").read_to_string(&mut stderr).expect("stderr is UTF-8");
    assert!(stderr.contains(&format!("--since {id}:1")), "{stderr}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let folder = tempdir().expect("a folder");
    let eu = Leader::start(folder.path(), "eu", &[]);
    eu.ok(&["counter", "incr", "visits"]);
    let mut child =
        mesh().args(["watch", "--api", &eu.api]).stdout(Stdio::piped()).spawn().expect("the binary runs");
    drop(child.stdout.take());
    let mut watch = Process(child);
    assert_eq!(watch.ended().code(), Some(0));
}

#[test]
fn where_no_leader_answers_the_message_says_what_to_do() {
    let free =
        TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address").to_string();
    for args in [&["status"][..], &["counter", "incr", "visits"], &["watch"]] {
        let mut args = args.to_vec();
        args.extend(["--api", &free]);
        run(&args).failed(1, &["nothing answers at", &free, "is the leader running?", "MESH_API"]);
    }
    run(&["status", "--api", "no-such-host.invalid:7101"])
        .failed(1, &["no-such-host.invalid:7101", "MESH_API"]);
}

/// Answers each connection with `reply`, whatever it says.
fn fake_server(reply: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { break };
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && connection.read(&mut byte).is_ok_and(|read| read > 0) {
                request.push(byte[0]);
            }
            // Whoever has gone away needs no reply.
            let _ = connection.write_all(reply.as_bytes());
        }
    });
    address
}

#[test]
fn who_waits_for_a_leader_that_hangs_waits_little_longer_than_it_said() {
    // It takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let api = silent.local_addr().expect("an address").to_string();
    let token = format!("{}:1", "0".repeat(15) + "a");
    run(&["counter", "get", "visits", "--api", &api, "--after", &token, "--within", "100ms"])
        .failed(1, &["no whole reply came from", &api, "within 2.1 s"]);
}

#[test]
fn another_kind_of_server_is_named_as_such() {
    let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\nConnection: close\r\n\r\n<html></html>";
    let not_found = "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\nConnection: close\r\n\r\nnot found";
    let not_http = "SSH-2.0-OpenSSH_9.9\r\n";
    for reply in [page, not_found, not_http] {
        let api = fake_server(reply);
        run(&["status", "--api", &api]).failed(1, &[&api, "is not the API of a leader", "MESH_API"]);
    }
}

#[test]
fn a_write_without_a_reply_says_that_it_may_be_repeated() {
    let cut_off = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"dot\":";
    for reply in ["", cut_off] {
        let api = fake_server(reply);
        let write = ["counter", "incr", "visits", "--api", &api];
        run(&write).failed(1, &["not known whether the write is durable", "--idempotency-key"]);
        let keyed = [&write[..], &["--idempotency-key", "k1"]].concat();
        run(&keyed)
            .failed(1, &["not known whether the write is durable", "--idempotency-key k1", "counts once"]);
    }
}
