//! What comes to a leader's port, or answers at a peer's address, and is no peer.

mod common;

use common::{PATIENCE, addr, config, until, until_connected, with_peers};
use mesh::{Leader, Peer, ReplicaId, StartError, VersionVector};
use mesh_proto::{Hello, Lineage, MAGIC, Message, WIRE_VERSION};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// A connection that speaks frames by hand.
struct Raw(TcpStream);

impl Raw {
    async fn open(address: SocketAddr) -> Self {
        Raw(TcpStream::connect(address).await.unwrap())
    }

    async fn send(&mut self, content: &[u8]) {
        let length = u32::try_from(content.len()).unwrap();
        self.0.write_all(&[&length.to_be_bytes(), content].concat()).await.unwrap();
    }

    async fn receive(&mut self) -> Vec<u8> {
        let read = async {
            let mut content = vec![0; self.0.read_u32().await.unwrap() as usize];
            self.0.read_exact(&mut content).await.unwrap();
            content
        };
        timeout(PATIENCE, read).await.expect("the leader says something")
    }

    /// Waits until the other side has closed the connection.
    async fn closed(&mut self) {
        let mut buffer = [0; 4096];
        let gone = async { while !matches!(self.0.read(&mut buffer).await, Ok(0) | Err(_)) {} };
        timeout(PATIENCE, gone).await.expect("the leader closes the connection");
    }
}

fn hello() -> Hello {
    Hello {
        magic: MAGIC,
        version: WIRE_VERSION,
        cluster: "default".into(),
        name: "raw".into(),
        replica: ReplicaId::new(7),
        vector: VersionVector::new(),
        lineage: Lineage::default(),
    }
}

async fn still_works(leader: &Leader) {
    let before = leader.counter("n").await.unwrap();
    leader.increment("n", 1).await.unwrap();
    assert_eq!(leader.counter("n").await.unwrap(), before + 1);
    let peer = Leader::start(with_peers(config("peer"), &[("a", addr(leader))])).await.unwrap();
    until_connected(leader, "peer").await;
    peer.shutdown().await;
}

#[tokio::test]
async fn another_cluster_is_refused_and_named() {
    let a = Leader::start(config("a")).await.unwrap();
    let mut other = with_peers(config("b"), &[("a", addr(&a))]);
    other.cluster = "test".into();
    let b = Leader::start(other).await.unwrap();
    b.increment("n", 1).await.unwrap();
    let status = until(&b, "b knows the problem", |status| status.peers[0].problem.is_some()).await;
    let problem = status.peers[0].problem.as_ref().unwrap();
    assert!(problem.contains("\"test\"") && problem.contains("\"default\""), "{problem}");
    assert!(!status.peers[0].connected);
    assert_eq!(a.status().await.unwrap().peers, [], "a has not taken it");
    assert_eq!(a.counter("n").await.unwrap(), 0);
    still_works(&a).await;
}

#[tokio::test]
async fn another_wire_version_is_refused_and_told_so() {
    let a = Leader::start(config("a")).await.unwrap();
    let mut raw = Raw::open(addr(&a)).await;
    raw.send(&Hello { version: 99, ..hello() }.encode()).await;
    assert_eq!(Hello::decode(&raw.receive().await).unwrap().name, "a");
    let verdict = raw.receive().await;
    let sentence = std::str::from_utf8(&verdict[1..]).unwrap();
    assert_eq!(verdict[0], 1);
    assert!(sentence.contains("wire version 99"), "{sentence}");
    raw.closed().await;
    still_works(&a).await;
}

#[tokio::test]
async fn what_answers_at_a_peers_address_is_judged_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peers = &[("later", listener.local_addr().unwrap())];
    let a = Leader::start(with_peers(config("a"), peers)).await.unwrap();
    for (answer, words) in [
        (Hello { version: 99, ..hello() }.encode(), "wire version 99"),
        (b"HTTP/1.1 400 Bad Request".to_vec(), "not a leader's greeting"),
        (Hello { cluster: "x".repeat(300), ..hello() }.encode(), "longer than 255 bytes"),
        (Hello { name: "b\r\u{1b}".into(), ..hello() }.encode(), "control characters"),
    ] {
        let (stream, _) = listener.accept().await.unwrap();
        let mut raw = Raw(stream);
        raw.send(&answer).await;
        raw.closed().await;
        until(&a, words, |status| status.peers[0].problem.as_ref().is_some_and(|why| why.contains(words)))
            .await;
    }
    let (stream, _) = listener.accept().await.unwrap();
    let mut raw = Raw(stream);
    raw.send(&hello().encode()).await;
    raw.send(b"\x01no room for you").await;
    let words = "refuses this leader: no room for you";
    until(&a, words, |status| status.peers[0].problem.as_ref().is_some_and(|why| why.contains(words))).await;
    drop((raw, listener));
    let words = "cannot connect to";
    until(&a, words, |status| status.peers[0].problem.as_ref().is_some_and(|why| why.contains(words))).await;
}

/// Greets as `replica` on a fresh connection; gives the leader's verdict.
async fn greet(raw: &mut Raw, replica: u64) -> Vec<u8> {
    raw.send(&Hello { replica: ReplicaId::new(replica), ..hello() }.encode()).await;
    raw.receive().await;
    raw.send(&[0]).await;
    raw.receive().await
}

#[tokio::test]
async fn of_two_connections_to_a_peer_the_one_opened_by_the_smaller_id_stays() {
    const TAKEN: [u8; 1] = [0];
    const DUPLICATE: [u8; 1] = [2];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peers = &[("raw", listener.local_addr().unwrap())];
    let a = Leader::start(with_peers(config("a"), peers)).await.unwrap();

    // The greatest id dials in vain while the leader's own connection lives.
    let mut dialled = Raw(listener.accept().await.unwrap().0);
    assert_eq!(greet(&mut dialled, u64::MAX).await, TAKEN);
    let mut second = Raw::open(addr(&a)).await;
    assert_eq!(greet(&mut second, u64::MAX).await, DUPLICATE);
    second.closed().await;
    until_connected(&a, "raw").await;
    drop(dialled);

    // The smallest id takes over, and so does its next connection.
    let mut dialled = Raw(listener.accept().await.unwrap().0);
    assert_eq!(greet(&mut dialled, 1).await, TAKEN);
    let mut second = Raw::open(addr(&a)).await;
    assert_eq!(greet(&mut second, 1).await, TAKEN);
    dialled.closed().await;
    let mut third = Raw::open(addr(&a)).await;
    assert_eq!(greet(&mut third, 1).await, TAKEN);
    second.closed().await;
    until_connected(&a, "raw").await;
}

#[tokio::test]
async fn a_leader_that_dials_itself_is_told_so() {
    let [address] = common::addresses();
    let mut own = with_peers(config("a"), &[("mirror", address)]);
    own.listen = Some(address.to_string());
    let a = Leader::start(own).await.unwrap();
    let words = "own id";
    until(&a, words, |status| status.peers[0].problem.as_ref().is_some_and(|why| why.contains(words))).await;
    a.increment("n", 1).await.unwrap();
}

/// Sends 100 MB, or as much as the leader lets in before it closes the connection.
async fn flood(raw: &mut Raw, chunk: &[u8]) {
    let flood = async {
        for _ in 0..(100 << 20) / chunk.len() {
            if raw.0.write_all(chunk).await.is_err() {
                break;
            }
        }
        raw.closed().await;
    };
    timeout(PATIENCE, flood).await.expect("the leader closes the connection");
}

#[tokio::test]
async fn a_hundred_megabytes_of_garbage_cost_a_closed_connection() {
    // Not the time limit but the garbage itself must end it: nothing is read that no greeting could be.
    let mut patient = config("a");
    patient.limits.handshake = PATIENCE * 100;
    let a = Leader::start(patient).await.unwrap();
    // Random-looking bytes, a frame of zeros, a browser, and frames of the greatest length that a greeting may have.
    let noise: Vec<u8> =
        (0..1_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 | 0x80).collect();
    let frames = [&(512_u32 << 10).to_be_bytes()[..], &vec![b'x'; 512 << 10]].concat();
    for chunk in [noise, vec![0; 1 << 20], b"GET / HTTP/1.1\r\n".repeat(1 << 16), frames] {
        flood(&mut Raw::open(addr(&a)).await, &chunk).await;
        a.increment("n", 1).await.unwrap();
    }
    assert_eq!(a.counter("n").await.unwrap(), 4);
    still_works(&a).await;
}

#[tokio::test]
async fn garbage_after_the_greeting_costs_a_closed_connection() {
    let a = Leader::start(config("a")).await.unwrap();
    for garbage in [
        vec![0xff; 1000],
        vec![0; 3],
        Message::Alive { vector: 1, fingerprint: 2, wall: 3 }.encode().repeat(2),
    ] {
        let mut raw = Raw::open(addr(&a)).await;
        raw.send(&hello().encode()).await;
        raw.receive().await;
        raw.send(&[0]).await;
        assert_eq!(raw.receive().await, [0]);
        until_connected(&a, "raw").await;
        raw.send(&garbage).await;
        raw.closed().await;
        until(&a, "the connection is gone", |status| !status.peers[0].connected).await;
    }
    still_works(&a).await;
}

#[tokio::test]
async fn a_silent_stranger_is_closed() {
    let mut impatient = config("a");
    impatient.limits.handshake = Duration::from_millis(50);
    impatient.engine.heartbeat = 20;
    let a = Leader::start(impatient).await.unwrap();
    let mut raw = Raw::open(addr(&a)).await;
    raw.closed().await;
    // Silent after the greeting.
    let mut raw = Raw::open(addr(&a)).await;
    raw.send(&hello().encode()).await;
    raw.send(&[0]).await;
    raw.closed().await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let a = Leader::start(config("a")).await.unwrap();
    let mut second = config("b");
    second.listen = Some(addr(&a).to_string());
    let error = Leader::start(second).await.unwrap_err();
    assert!(matches!(error, StartError::Listen { .. }), "{error:?}");
    assert!(
        error.to_string().contains(&addr(&a).to_string()) && error.to_string().contains("in use"),
        "{error}"
    );
    let api = mesh::api::serve(&a, &addr(&a).to_string()).await.unwrap_err();
    assert!(matches!(api, StartError::Listen { .. }), "{api:?}");

    let mut nowhere = config("b");
    nowhere.listen = Some("no port".into());
    assert!(matches!(Leader::start(nowhere).await, Err(StartError::Listen { .. })));
}

#[tokio::test]
async fn a_contradictory_configuration_is_named() {
    let address = "127.0.0.1:1".parse().unwrap();
    let mut nameless = config("b");
    nameless.name.clear();
    for (config, words) in [
        (nameless, "1 to 255 bytes"),
        (config("a\r"), "no control characters"),
        (with_peers(config("a"), &[("b\u{1b}", address)]), "no control characters"),
        (with_peers(config("a"), &[("a", address)]), "name of the leader itself"),
        (with_peers(config("a"), &[("b", address), ("b", address)]), "two peers"),
    ] {
        let error = Leader::start(config).await.unwrap_err();
        assert!(matches!(error, StartError::Config(_)) && error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_peers_address_may_be_a_host_name() {
    let a = Leader::start(config("a")).await.unwrap();
    let mut named = config("b");
    named.peers = vec![Peer::new("a", format!("localhost:{}", addr(&a).port()))];
    let b = Leader::start(named).await.unwrap();
    until_connected(&b, "a").await;
}
