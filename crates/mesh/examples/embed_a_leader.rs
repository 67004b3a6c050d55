//! Two leaders in one process: each takes writes by itself, and both end up with all of them.
//!
//! `cargo run -p mesh --example embed_a_leader`

use mesh::{Leader, LeaderConfig, Op, Peer, Storage, VersionVector};
use std::{
    error::Error,
    time::{Duration, Instant},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let eu = Leader::start(LeaderConfig {
        listen: Some("127.0.0.1:0".into()),
        ..LeaderConfig::new("eu", Storage::Dir(folder.path().join("eu")))
    })
    .await?;
    let us = Leader::start(LeaderConfig {
        peers: vec![Peer::new("eu", eu.listen_addr().expect("it listens").to_string())],
        ..LeaderConfig::new("us", Storage::Dir(folder.path().join("us")))
    })
    .await?;

    // A write returns when it is durable where it was made; no other leader is asked.
    eu.increment("visits", 2).await?;
    eu.add("tags", "rust").await?;
    us.add("tags", "crdt").await?;
    // A key of the client's choice makes a write repeatable: whatever happened to the first reply, it counts once.
    let receipt = us.write("visits", Op::Increment(3), Some("request 4711".into())).await?;
    let again = us.write("visits", Op::Increment(3), Some("request 4711".into())).await?;
    assert!(again.repeated && again.token == receipt.token);

    // A receipt's token makes its write visible anywhere: wait for it, then read.
    eu.wait_for(&receipt.token, Instant::now() + Duration::from_secs(10)).await?;
    println!("visits at eu: {}", eu.counter("visits").await?);
    assert_eq!(eu.counter("visits").await?, 5);

    // What changes can be followed, here from the beginning.
    let changes = eu.watch("", VersionVector::new()).next().await?;
    for changed in changes.keys {
        println!("{}: {:?}", changed.key, changed.value);
    }

    // Everyone knows how far the others are.
    for peer in us.status().await?.peers {
        println!(
            "{} lacks {} events of us, the oldest {} ms old",
            peer.name, peer.events_behind, peer.oldest_ms
        );
    }
    us.shutdown().await;
    eu.shutdown().await;
    Ok(())
}

#[test]
fn runs() {
    main().unwrap();
}
