//! What goes wrong while leaders run: kills, full disks, strangers on the peer port. Nothing acknowledged is lost.

use crate::common::{Leader, converged, until};
use serde_json::Value;
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use tempfile::tempdir;

/// Waits until `leader` says why it has no connection to its peer `name`.
fn problem(leader: &Leader, name: &str, word: &str) -> String {
    until("the status names the problem", || {
        let status = leader.status();
        let peer = status["peers"].as_array()?.iter().find(|peer| peer["name"] == name)?;
        assert_eq!(peer["connected"], Value::Bool(false), "{peer:#}");
        let problem = peer["problem"].as_str()?;
        problem.contains(word).then(|| problem.to_owned())
    })
}

#[test]
fn a_killed_leader_comes_back_with_every_acknowledged_write_and_repeats_count_once() {
    let folder = tempdir().expect("a folder");
    let us = Leader::start(folder.path(), "us", &[]);
    let mut eu = Leader::start(folder.path(), "eu", &["--peer", &us.as_peer("us")]);
    let (id, mut written) = (eu.id.clone(), 0);
    for round in 0..3 {
        let key =
            |writer: usize, n: usize| format!("round {round} writer {writer} write {n}").replace(' ', "-");
        let killed = AtomicBool::new(false);
        // Each writer goes on until a write of its gets no reply, and gives the number of that write.
        let unanswered: Vec<usize> = thread::scope(|scope| {
            let write = |writer: usize| {
                for n in 0.. {
                    let done = eu.run(&["counter", "incr", "visits", "--idempotency-key", &key(writer, n)]);
                    if done.code != Some(0) {
                        assert!(killed.load(Ordering::SeqCst), "{done:?}");
                        return n;
                    }
                }
                unreachable!("the leader is killed before a writer runs out of numbers")
            };
            let writers: Vec<_> = (0..4).map(|writer| scope.spawn(move || write(writer))).collect();
            until("some writes are acknowledged", || {
                let read = eu.ok(&["counter", "get", "visits"]);
                (read.trim_end().parse::<usize>().expect("an integer") > written + 10).then_some(())
            });
            killed.store(true, Ordering::SeqCst);
            eu.process.signal("-KILL");
            writers.into_iter().map(|writer| writer.join().expect("the writer ends")).collect()
        });
        let ports = eu.peers.clone();
        assert_eq!(eu.process.ended().code(), None, "killed by a signal");
        eu = Leader::start(folder.path(), "eu", &["--peer", &us.as_peer("us"), "--listen", &ports]);
        assert_eq!(eu.id, id);

        let acknowledged: usize = unanswered.iter().sum();
        let read: usize = eu.ok(&["counter", "get", "visits"]).trim_end().parse().expect("an integer");
        let (least, most) = (written + acknowledged, written + acknowledged + unanswered.len());
        assert!((least..=most).contains(&read), "{read} of {least} to {most}");
        for (writer, &n) in unanswered.iter().enumerate() {
            eu.ok(&["counter", "incr", "visits", "--idempotency-key", &key(writer, n)]);
        }
        written = most;
        assert_eq!(eu.ok(&["counter", "get", "visits"]), format!("{written}\n"));
    }
    converged(&[&eu, &us]);
    assert_eq!(us.ok(&["counter", "get", "visits"]), format!("{written}\n"));
}

#[test]
fn a_leader_that_cannot_write_stops_with_1_and_keeps_what_it_acknowledged() {
    let folder = tempdir().expect("a folder");
    let mut limited = std::process::Command::new("sh");
    // Files end at 4 MiB, and writing past that is an error rather than a signal.
    limited.args(["-c", "trap '' XFSZ; ulimit -f 8192; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_mesh")]);
    limited.args(["serve", "--name", "eu", "--listen", "127.0.0.1:0", "--api", "127.0.0.1:0", "--data"]);
    limited.arg(folder.path().join("eu"));
    let mut eu = Leader::spawn(&mut limited, folder.path(), "eu");
    let value = "x".repeat(100 << 10);
    let acknowledged = (0..200).take_while(|n| {
        let done = eu.run(&["register", "set", &format!("register/{n}"), &value]);
        assert!(done.code == Some(0) || done.stderr.starts_with("mesh: "), "{done:?}");
        done.code == Some(0)
    });
    let acknowledged = acknowledged.count();
    assert!((1..200).contains(&acknowledged), "{acknowledged}");
    assert_eq!(eu.process.ended().code(), Some(1), "{}", eu.log());
    let log = eu.log();
    let last = log.lines().last().expect("a message");
    assert!(last.starts_with("mesh: ") && last.contains("leader.redb"), "{log}");

    let eu = Leader::start(folder.path(), "eu", &[]);
    for n in 0..acknowledged {
        assert_eq!(eu.ok(&["register", "get", &format!("register/{n}")]).trim_end(), value);
    }
}

#[test]
fn leaders_of_different_clusters_refuse_each_other_and_say_so() {
    let folder = tempdir().expect("a folder");
    let us = Leader::start(folder.path(), "us", &["--cluster", "blue"]);
    let eu = Leader::start(folder.path(), "eu", &["--peer", &us.as_peer("us")]);
    us.ok(&["counter", "incr", "visits", "5"]);
    eu.ok(&["counter", "incr", "visits", "2"]);
    let problem = problem(&eu, "us", "cluster");
    assert!(problem.contains("blue"), "{problem}");
    let table = eu.ok(&["status"]);
    assert!(table.contains(&format!("us: {problem}")), "{table}");
    assert_eq!(eu.ok(&["counter", "get", "visits"]), "2\n");
    assert_eq!(us.ok(&["counter", "get", "visits"]), "5\n");
}

/// Reads one frame: its length in four bytes, big-endian, and its content.
fn read_frame(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut content = vec![0; usize::try_from(u32::from_be_bytes(length)).expect("32 bits fit")];
    stream.read_exact(&mut content)?;
    Ok(content)
}

fn frame(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("the frame is short");
    [&length.to_be_bytes(), content].concat()
}

/// The greeting of `leader`, as it greets whoever connects.
fn greeting_of(leader: &Leader) -> Vec<u8> {
    let mut stream = TcpStream::connect(&leader.peers).expect("the peer port answers");
    read_frame(&mut stream).expect("a leader greets")
}

#[test]
fn a_peer_of_another_wire_version_is_named_as_such() {
    let folder = tempdir().expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let eu = Leader::start(folder.path(), "eu", &["--peer", &format!("us={address}")]);
    let ours = greeting_of(&eu);
    let (magic, version) = (&ours[..4], ours[4]);
    assert_eq!(magic, b"mesh");
    let mut theirs = magic.to_vec();
    theirs.extend([version + 1, 0xff, 0xff, 0xff]); // what follows is for that version alone to know
    let greeting = frame(&theirs);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { break };
            // The leader may close first.
            let _ = stream
                .write_all(&greeting)
                .and_then(|()| read_frame(&mut stream))
                .and_then(|_| read_frame(&mut stream));
        }
    });
    let problem = problem(&eu, "us", "version");
    assert!(
        problem.contains(&(version + 1).to_string()) && problem.contains(&version.to_string()),
        "{problem}"
    );

    // Who connects hears why it is refused.
    let mut stream = TcpStream::connect(&eu.peers).expect("the peer port answers");
    stream.write_all(&frame(&theirs)).expect("the greeting is sent");
    read_frame(&mut stream).expect("the leader's greeting");
    let verdict = read_frame(&mut stream).expect("the leader's verdict");
    assert!(String::from_utf8_lossy(&verdict).contains("version"), "{verdict:?}");
    eu.ok(&["counter", "incr", "visits"]);
}

#[test]
fn garbage_on_the_peer_port_harms_nothing() {
    const GARBAGE: usize = 100 << 20;
    let folder = tempdir().expect("a folder");
    let us = Leader::start(folder.path(), "us", &[]);
    let mut eu = Leader::start(folder.path(), "eu", &[]);
    eu.ok(&["counter", "incr", "visits", "5"]);
    let hello = frame(&greeting_of(&us));
    let accepted = frame(&[0]);

    let mut noise = vec![0; 1 << 20];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for byte in &mut noise {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state.to_be_bytes()[0];
    }
    let small = noise.chunks(1_000).flat_map(frame).collect::<Vec<_>>();
    let mut sent = 0;
    let mut kinds = [0; 5];
    let mut written = 5;
    while sent < GARBAGE {
        for (kind, count) in kinds.iter_mut().enumerate() {
            let mut stream = TcpStream::connect(&eu.peers).expect("the peer port answers");
            let mut send = |bytes: &[u8]| stream.write_all(bytes).inspect(|()| sent += bytes.len());
            // The leader closes the connection at the first thing that is wrong, so the rest may find nobody.
            let _ = match kind {
                0 => send(&noise),
                // A frame as long as four bytes can say.
                1 => send(&[0xff; 4]).and_then(|()| send(&noise)),
                // Frames of noise in place of a greeting.
                2 => send(&small),
                // A greeting as it should be, then noise.
                3 => send(&hello).and_then(|()| send(&accepted)).and_then(|()| send(&noise)),
                _ => send(&hello).and_then(|()| send(&accepted)).and_then(|()| send(&small)),
            };
            *count += 1;
        }
        if kinds[0] % 10 == 0 {
            eu.ok(&["counter", "incr", "visits"]);
            written += 1;
        }
    }
    assert!(kinds.iter().all(|&count| count > 0), "{kinds:?}");
    let met = eu.status()["peers"][0]["name"].clone();
    assert_eq!(met, "us", "the greetings as they should be were taken for those of a leader");
    assert!(eu.process.0.try_wait().expect("it can be waited for").is_none(), "{}", eu.log());
    assert_eq!(eu.ok(&["counter", "get", "visits"]), format!("{written}\n"));
    #[cfg(target_os = "linux")]
    {
        let status = std::fs::read_to_string(format!("/proc/{}/status", eu.process.0.id()))
            .expect("the process is there");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak memory");
        let kib: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
        assert!(kib < 256 << 10, "the leader took {kib} KiB");
    }

    // It still replicates, and after a kill everything is there.
    let ap = Leader::start(folder.path(), "ap", &["--peer", &eu.as_peer("eu")]);
    converged(&[&eu, &ap]);
    assert_eq!(ap.ok(&["counter", "get", "visits"]), format!("{written}\n"));
    eu.process.signal("-KILL");
    eu.process.ended();
    let eu = Leader::start(folder.path(), "eu", &[]);
    assert_eq!(eu.ok(&["counter", "get", "visits"]), format!("{written}\n"));
}

#[test]
fn garbage_on_the_api_port_harms_nothing() {
    let folder = tempdir().expect("a folder");
    let eu = Leader::start(folder.path(), "eu", &[]);
    eu.ok(&["counter", "incr", "visits"]);
    for garbage in [
        &[0xff; 1 << 13][..],
        b"POST /v1/counter/visits/incr HTTP/1.1\r\nHost: eu\r\nContent-Length: 99999999999\r\n\r\n{",
    ] {
        let mut stream = TcpStream::connect(&eu.api).expect("the API answers");
        // The leader may close at once.
        let _ = stream.write_all(garbage);
    }
    assert_eq!(eu.ok(&["counter", "get", "visits"]), "1\n");
}

#[test]
fn a_peer_that_is_away_is_a_problem_until_it_is_back() {
    let folder = tempdir().expect("a folder");
    let mut us = Leader::start(folder.path(), "us", &[]);
    let eu = Leader::start(folder.path(), "eu", &["--peer", &us.as_peer("us")]);
    converged(&[&eu, &us]);
    us.process.signal("-KILL");
    us.process.ended();
    eu.ok(&["counter", "incr", "visits", "3"]);
    let status = until("the connection is gone", || {
        let status = eu.status();
        (status["peers"][0]["connected"] == Value::Bool(false)).then_some(status)
    });
    assert_eq!(status["peers"][0]["events_behind"], 1, "{status:#}");
    problem(&eu, "us", "");
    let us = Leader::start(folder.path(), "us", &["--listen", &us.peers]);
    converged(&[&eu, &us]);
    assert_eq!(us.ok(&["counter", "get", "visits"]), "3\n");
}

#[test]
fn a_clock_that_is_behind_still_wins_over_what_it_has_seen() {
    let folder = tempdir().expect("a folder");
    let eu = Leader::start(folder.path(), "eu", &[]);
    let us = Leader::start(folder.path(), "us", &["--peer", &eu.as_peer("eu"), "--clock-offset", "-3600000"]);
    eu.ok(&["register", "set", "title", "first"]);
    until("us has seen it", || (us.run(&["register", "get", "title"]).stdout == "first\n").then_some(()));
    us.ok(&["register", "set", "title", "second"]);
    converged(&[&eu, &us]);
    assert_eq!(eu.ok(&["register", "get", "title"]), "second\n");
    // The offset is there: a register that nobody has written before is stamped an hour ago.
    let time = |leader: &Leader, name: &str| {
        let receipt: Value =
            serde_json::from_str(&leader.ok(&["register", "set", name, "x", "--json"])).expect("JSON");
        receipt["stamp"]["time"].as_u64().expect("an integer")
    };
    let solo = Leader::start(folder.path(), "solo", &["--clock-offset", "-3600000"]);
    assert!(time(&solo, "a") < time(&eu, "a"));
}
