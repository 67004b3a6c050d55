//! `mesh verify` against leaders that hold different values with the same updates: only a merge that breaks its laws makes
//! such, so these leaders have a type of that kind.

use mesh::{
    Custom, Dotted, Leader, LeaderConfig, Merge, Op, Peer, Registry, ReplicaId, Storage, VersionVector,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    process::{Command, Output},
    time::{Duration, Instant},
};

/// Keeps what it has.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Stubborn {
    own: u64,
    updates: VersionVector,
}

impl Merge for Stubborn {
    fn merge(&mut self, other: &Self) -> bool {
        self.updates.merge(&other.updates)
    }
}

impl Dotted for Stubborn {
    fn last_counter(&self, replica: ReplicaId) -> u64 {
        self.updates.get(replica)
    }
}

impl Custom for Stubborn {
    const TYPE: &'static str = "stubborn";
}

async fn start(name: &str, peers: Vec<Peer>) -> (Leader, String) {
    let config = LeaderConfig {
        listen: Some("127.0.0.1:0".into()),
        registry: Registry::new().with::<Stubborn>(),
        peers,
        ..LeaderConfig::new(name, Storage::Memory)
    };
    let leader = Leader::start(config).await.expect("it starts");
    let api = mesh::api::serve(&leader, "127.0.0.1:0").await.expect("the API is served");
    (leader, api.to_string())
}

async fn verify(args: &[&str]) -> Output {
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    let run = move || Command::new(env!("CARGO_BIN_EXE_mesh")).arg("verify").args(args).output();
    tokio::task::spawn_blocking(run).await.expect("it does not panic").expect("the binary runs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_names_the_keys_that_differ() {
    let (eu, api) = start("eu", Vec::new()).await;
    let address = eu.listen_addr().expect("it listens").to_string();
    let (us, of_us) = start("us", vec![Peer::new("eu", address)]).await;
    for n in 0..200 {
        eu.write(format!("n/{n}"), Op::Increment(n + 1), None).await.expect("it is written");
    }
    let mut last = VersionVector::new();
    for (leader, own) in [(&eu, 1), (&us, 2)] {
        for key in ["x", "y"] {
            let receipt = leader.update::<Stubborn>(key, move |value, tick| {
                value.own = own;
                value.updates.increment(tick).map(drop)
            });
            last.merge(&receipt.await.expect("it is written").token);
        }
    }
    for leader in [&eu, &us] {
        leader.wait_for(&last, Instant::now() + Duration::from_secs(30)).await.expect("they meet");
    }

    let done = verify(&["--api", &api, "--at", &of_us]).await;
    let (stdout, code) = (String::from_utf8_lossy(&done.stdout), done.status.code());
    assert_eq!(code, Some(1), "{done:?}");
    let named: Vec<_> = stdout.lines().filter(|line| line.starts_with("different: ")).collect();
    assert_eq!(named.len(), 2, "{stdout}");
    assert!(named[0].starts_with("different: stubborn x: eu ") && named[0].contains(", us "), "{stdout}");
    assert!(named[1].starts_with("different: stubborn y: eu "), "{stdout}");
    assert!(stdout.contains("eu: 0 updates behind, 202 keys, fingerprint "), "{stdout}");

    let done = verify(&["--api", &api, "--at", &of_us, "--json"]).await;
    let json: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    assert_eq!((&json["result"], &json["keys"][1]["name"]), (&"different".into(), &"y".into()));
    assert_ne!(json["keys"][0]["hashes"]["eu"], json["keys"][0]["hashes"]["us"]);
}
