//! Starting a leader: its address, its data, its thread and its tasks.

use crate::{
    LeaderConfig, Metadata, StartError, Storage,
    actor::{Actor, Told},
    clock::Clock,
    core::{Connected, Core, Input, WRITE_UNIT},
    disk::{self, Disk},
    keeper::Keeper,
    map::Graph,
    metrics::Metrics,
    readers::Readers,
    topology, transport,
};
use crdt_core::ReplicaId;
use mesh_proto::{Engine, Identity, RecoverError, Recovery, VersionVector};
use mesh_store::{MemoryStore, RedbStore, Store};
use std::{
    fs, io,
    path::Path,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc, watch},
    time::{MissedTickBehavior, interval},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::info;

/// How often the engine is asked whether it has something to say.
const TICK: Duration = Duration::from_millis(25);

/// The file of a leader's data in its folder.
const FILE: &str = "leader.redb";

pub(crate) async fn start(
    config: LeaderConfig,
    store: Option<Box<dyn Store>>,
) -> Result<Arc<Core>, StartError> {
    if let Some(problem) = config.problem() {
        return Err(StartError::Config(problem));
    }
    // Before the data is touched: a second start of one leader fails here or at the folder's lock.
    let listener = match &config.listen {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let listen_addr = listener.as_ref().map(|(_, address)| *address);
    let clock = Clock::new(config.clock_offset_ms);
    let opening = config.clone();
    let opened = tokio::task::spawn_blocking(move || open(&opening, store, clock)).await;
    // Only a store of the user's own can panic.
    let (engine, store) = opened.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
    let leader = &config.name;
    info!(leader, cluster = config.cluster, replica = %engine.identity().replica, ?listen_addr, "started");

    let disk = Disk::new(leader, store).map_err(StartError::Thread)?;
    let limit = config.limits.queue.max(1);
    let (inbox, inputs) = mpsc::channel(limit);
    let (reads, asked) = mpsc::channel(limit);
    let (version, versions) = watch::channel(engine.version().clone());
    let (connected, connections) = watch::channel(Connected::new());
    let (graph, graphs) = watch::channel(Graph::default());
    let (lost, losses) = watch::channel(engine.has_lost_metadata().then(VersionVector::new));
    let found = topology::look(&config, &engine);
    let (stopped, stops) = watch::channel(None);
    let shutdown = CancellationToken::new();
    let core = Arc::new(Core {
        clock,
        metrics: Metrics::new(),
        listen_addr,
        links: Mutex::default(),
        api: OnceLock::new(),
        inbox,
        reads,
        write_room: Arc::new(Semaphore::new((config.limits.queued_bytes / WRITE_UNIT).max(1))),
        version: versions,
        connected: connections,
        graph: graphs,
        lost: losses,
        forked: OnceLock::new(),
        stopped: stops,
        disconnect: shutdown.child_token(),
        shutdown,
        tasks: TaskTracker::new(),
        config,
    });
    let hears = (inputs, Readers::new(asked, limit));
    let told = Told { version, connected, graph, lost };
    let actor = Actor::new(Arc::clone(&core), (engine, disk), hears, told);
    let thread = std::thread::Builder::new().name(format!("leader {}", core.config.name));
    thread.spawn(move || actor.run(&stopped)).map_err(StartError::Thread)?;
    core.tasks.spawn(tick(Arc::clone(&core)));
    if let Some((listener, _)) = listener {
        core.tasks.spawn(transport::listen(Arc::clone(&core), listener));
    }
    core.tasks.spawn(Keeper::new(Arc::clone(&core), found).run());
    core.tasks.close();
    Ok(core)
}

async fn listen(address: &str) -> Result<(TcpListener, std::net::SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address: address.to_owned(), source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Takes up the data, and makes the leader's id durable before anybody sees it.
fn open(
    config: &LeaderConfig,
    store: Option<Box<dyn Store>>,
    clock: Clock,
) -> Result<(Engine, Box<dyn Store>), StartError> {
    let (mut store, place): (Box<dyn Store>, String) = match (store, &config.storage) {
        (Some(store), _) => (store, "the store".into()),
        (None, Storage::Memory) => (Box::new(MemoryStore::new()), "the memory".into()),
        (None, Storage::Dir(path)) => {
            create_folder(path)?;
            (Box::new(RedbStore::open(path.join(FILE))?), path.join(FILE).display().to_string())
        }
    };
    let mut recovery = Recovery::new(config.registry.clone(), ReplicaId::random().get());
    if let Metadata::FromPeer { .. } = config.metadata {
        recovery = recovery.without_metadata(ReplicaId::random());
    }
    store.scan(b"", &mut |key, value| recovery.row(key, value))?;
    let identity =
        Identity { cluster: config.cluster.clone(), name: config.name.clone(), replica: ReplicaId::random() };
    let recovered = Engine::recover(config.engine.clone(), identity, recovery);
    let mut engine = recovered.map_err(|error| match error {
        RecoverError::OtherLeader { found } => {
            let (name, cluster) = (config.name.clone(), config.cluster.clone());
            StartError::OtherLeader { place: place.clone(), found: Box::new(found), name, cluster }
        }
        source => StartError::Data { place: place.clone(), source },
    })?;
    if config.metadata == (Metadata::FromPeer { gives_up_unreachable: true }) {
        engine.go_without_unreachable();
    }
    if let Some(commit) = engine.take_commit() {
        disk::write(&mut *store, commit)?;
        engine.committed(clock.now());
    }
    Ok((engine, store))
}

fn create_folder(path: &Path) -> Result<(), StartError> {
    let failed = |source: io::Error| StartError::Folder { path: path.to_path_buf(), source };
    fs::create_dir_all(path).map_err(failed)?;
    // Otherwise the first sign would be a lock file that cannot be created.
    if fs::metadata(path).map_err(failed)?.permissions().readonly() {
        return Err(failed(io::ErrorKind::PermissionDenied.into()));
    }
    Ok(())
}

/// Wakes the engine until the leader is shut down, then tells it so.
async fn tick(core: Arc<Core>) {
    let mut interval = interval(TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = core.shutdown.cancelled() => break,
            _ = interval.tick() => {
                // An engine whose inbox is full is awake.
                if let Err(mpsc::error::TrySendError::Closed(_)) = core.inbox.try_send(Input::Wake) {
                    return;
                }
            }
        }
    }
    // Fails only if the engine has ended already.
    let _ = core.send(Input::Shutdown).await;
}
