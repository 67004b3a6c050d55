//! What the tests of whole leaders share.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod client;
pub(crate) mod gate;

use mesh::{Leader, LeaderConfig, Limits, Peer, PeerReport, Status, Storage};
use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};

/// How long anything may take before a test fails: generous, for a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// A leader on loopback that reconnects fast.
pub(crate) fn config(name: &str) -> LeaderConfig {
    let limits = Limits {
        reconnect_min: Duration::from_millis(5),
        reconnect_max: Duration::from_millis(50),
        down_after: Duration::from_millis(150),
        ..Limits::default()
    };
    LeaderConfig { listen: Some("127.0.0.1:0".into()), limits, ..LeaderConfig::new(name, Storage::Memory) }
}

pub(crate) fn config_in(name: &str, folder: &Path) -> LeaderConfig {
    LeaderConfig { storage: Storage::Dir(folder.to_path_buf()), ..config(name) }
}

pub(crate) fn with_peers(config: LeaderConfig, peers: &[(&str, SocketAddr)]) -> LeaderConfig {
    let peers = peers.iter().map(|(name, address)| Peer::new(*name, address.to_string())).collect();
    LeaderConfig { peers, ..config }
}

/// Addresses that leaders can be told of before they are there, and that nobody is given meanwhile who asks for any: those
/// ports are above these, as a rule.
pub(crate) fn addresses<const N: usize>() -> [SocketAddr; N] {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    // Another process of these tests begins elsewhere.
    let begin = std::process::id().wrapping_mul(97) % 10_000;
    std::array::from_fn(|_| {
        loop {
            let n = u16::try_from(begin).expect("small") + TAKEN.fetch_add(1, Relaxed) % 10_000;
            let address = SocketAddr::from(([127, 0, 0, 1], 10_000 + n));
            if std::net::TcpListener::bind(address).is_ok() {
                return address;
            }
        }
    })
}

pub(crate) fn addr(leader: &Leader) -> SocketAddr {
    leader.listen_addr().expect("the leader listens")
}

/// Waits until a status says `what`.
pub(crate) async fn until(leader: &Leader, what: &str, mut holds: impl FnMut(&Status) -> bool) -> Status {
    let deadline = deadline();
    loop {
        let status = leader.status().await.expect("the leader runs");
        if holds(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}; the status is {status:#?}");
        sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn peer<'a>(status: &'a Status, name: &str) -> Option<&'a PeerReport> {
    status.peers.iter().find(|peer| peer.name == name)
}

pub(crate) async fn until_connected(leader: &Leader, name: &str) {
    until(leader, &format!("{name} is connected"), |status| {
        peer(status, name).is_some_and(|peer| peer.connected)
    })
    .await;
}

/// Waits until all leaders have what each of them has now, and checks that their fingerprints are equal.
pub(crate) async fn converge(leaders: &[&Leader]) {
    for from in leaders {
        let token = from.status().await.expect("the leader runs").vector;
        for to in leaders {
            to.wait_for(&token, deadline()).await.expect("the leaders converge");
        }
    }
    let mut statuses = Vec::new();
    for leader in leaders {
        statuses.push(leader.status().await.expect("the leader runs"));
    }
    assert!(statuses.iter().all(|status| status.vector == statuses[0].vector), "{statuses:#?}");
    assert!(statuses.iter().all(|status| status.fingerprint == statuses[0].fingerprint), "{statuses:#?}");
}

/// A link that can be cut: it carries connections to `target` while it is whole.
pub(crate) struct Cable {
    pub(crate) address: SocketAddr,
    whole: Arc<watch::Sender<bool>>,
}

impl Cable {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let whole = Arc::new(watch::Sender::new(true));
        let sender = Arc::clone(&whole);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut state = sender.subscribe();
                tokio::spawn(async move {
                    if !*state.borrow() {
                        return;
                    }
                    let Ok(mut far) = TcpStream::connect(target).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = state.wait_for(|whole| !whole) => {}
                    }
                });
            }
        });
        Cable { address, whole }
    }

    pub(crate) fn cut(&self) {
        self.whole.send_replace(false);
    }

    pub(crate) fn mend(&self) {
        self.whole.send_replace(true);
    }
}
