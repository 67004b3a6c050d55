//! `mesh serve`.

use crate::config::{Args, Config};
use anyhow::{Context, Result, anyhow, bail};
use mesh::{Leader, LeaderConfig, Peer, RecoverError, StartError, Storage};
use std::{
    io::{self, Write},
    process::ExitCode,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Runs a leader until it is told to stop, or has to.
///
/// # Errors
///
/// Why it could not start, or had to stop.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let config = Config::gather(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("the leader's threads cannot be started")?.block_on(serve(config))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: Config) -> Result<()> {
    // First of all: a signal during the start ends it as cleanly as one after it.
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be waited for")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be waited for")?;

    let api = config.api;
    let leader = Leader::start(LeaderConfig {
        cluster: config.cluster,
        metadata: config.metadata,
        listen: Some(config.listen.into()),
        peers: config.peers.into_iter().map(|(name, address)| Peer::new(name, address)).collect(),
        topology: config.topology,
        members: config.members,
        clock_offset_ms: config.clock_offset,
        ..LeaderConfig::new(config.name, Storage::Dir(config.data))
    })
    .await
    .map_err(|error| match error {
        StartError::Data { source: RecoverError::NoMetadata, .. } => {
            anyhow!("{error}: start it once with --without-metadata, and with a --peer that is up")
        }
        // The sentence has what its sources say.
        error => anyhow!("{error}"),
    })?;
    let ended = serve_started(&leader, api.as_str(), &mut interrupt, &mut terminate).await;
    leader.shutdown().await;
    ended
}

/// Serves the API of a leader that runs, until a signal comes.
async fn serve_started(
    leader: &Leader,
    api: &str,
    interrupt: &mut Signal,
    terminate: &mut Signal,
) -> Result<()> {
    let api = mesh::api::serve(leader, api).await;
    let api = api.map_err(|error| anyhow!("the API cannot be served: {error}"))?;
    let peers = leader.listen_addr().context("the leader does not listen")?;
    let status = leader.status().await?;
    let (name, replica) = (status.name, status.replica);
    // Whoever started this may not care for the line, and have closed the pipe.
    let _ = writeln!(io::stdout(), "leader {name} ({replica}) ready: peers on {peers}, api on {api}");
    tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        reason = leader.stopped() => bail!("the leader stopped: {reason}"),
    }
}
