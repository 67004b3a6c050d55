//! What the parts of a running leader share, and what they say to its engine.

use crate::{
    LeaderConfig, LinkReport, Peer, Problem, TopologyReport,
    clock::Clock,
    disk::Disk,
    error::LeaderError,
    map::{Announcement, Graph},
    metrics::Metrics,
    topology::{Found, Seen},
};
use bytes::Bytes;
use crdt_core::ReplicaId;
use mesh_proto::{Engine, Hello, Message, Now, Receipt, SessionId, VersionVector, WriteError};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What all tasks of a leader share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: LeaderConfig,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    pub(crate) listen_addr: Option<SocketAddr>,
    /// The links that are kept up, by name.
    pub(crate) links: Mutex<Vec<Arc<Link>>>,
    /// Where the API is served, if it is.
    pub(crate) api: OnceLock<String>,
    pub(crate) inbox: mpsc::Sender<Input>,
    /// Beside the inbox: reads overtake what changes something.
    pub(crate) reads: mpsc::Sender<Read>,
    /// The bytes of writes that may wait, in units of [`WRITE_UNIT`].
    pub(crate) write_room: Arc<Semaphore>,
    /// What is durable.
    pub(crate) version: watch::Receiver<VersionVector>,
    /// Who is connected, and by which name.
    pub(crate) connected: watch::Receiver<Connected>,
    /// Who is connected to whom.
    pub(crate) graph: watch::Receiver<Graph>,
    /// While the leader has lost its causal metadata: the updates that it waits for and nobody connected has.
    pub(crate) lost: watch::Receiver<Option<VersionVector>>,
    /// Why the leader takes no more writes although it goes on, once it is so: another run has made other updates under its id.
    pub(crate) forked: OnceLock<String>,
    /// Why the leader has stopped, once it has.
    pub(crate) stopped: watch::Receiver<Option<Arc<str>>>,
    /// Ends everything.
    pub(crate) shutdown: CancellationToken,
    /// Ends what talks to peers: a leader that cannot commit has nothing to say to them.
    pub(crate) disconnect: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// The peers that are connected, with their names.
pub(crate) type Connected = BTreeMap<ReplicaId, String>;

/// What a write counts for when it waits, at least and in steps of, in bytes.
pub(crate) const WRITE_UNIT: usize = 1024;

impl Core {
    /// Gives the engine something to do; waits while too much is waiting already.
    pub(crate) async fn send(&self, input: Input) -> Result<(), LeaderError> {
        match self.inbox.send(input).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.stop_error(false).await),
        }
    }

    /// Refuses what only a leader with its causal metadata can do. Once it has that, it does not lose it again.
    pub(crate) fn check_metadata(&self) -> Result<(), LeaderError> {
        match &*self.lost.borrow() {
            Some(unreachable) => Err(LeaderError::LostMetadata { unreachable: unreachable.clone() }),
            None => Ok(()),
        }
    }

    /// Runs `read` between two commits.
    pub(crate) async fn view<R: Send + 'static>(
        &self,
        read: impl FnOnce(View<'_>) -> R + Send + 'static,
    ) -> Result<R, LeaderError> {
        // Whoever has stopped waiting needs no answer.
        self.ask(|reply| Read::View(Box::new(move |view| drop(reply.send(read(view)))))).await
    }

    /// Runs `read`, which looks at keys named `name` only: also during a commit, unless that stores one of them.
    pub(crate) async fn look_up<R: Send + 'static>(
        &self,
        name: String,
        read: impl FnOnce(&Engine, &str) -> R + Send + 'static,
    ) -> Result<R, LeaderError> {
        let ask = |reply: oneshot::Sender<R>| {
            let read: KeyRead = Box::new(move |engine, name| drop(reply.send(read(engine, name))));
            Read::Key { name, read }
        };
        self.ask(ask).await
    }

    async fn ask<R>(&self, read: impl FnOnce(oneshot::Sender<R>) -> Read) -> Result<R, LeaderError> {
        let (reply, answer) = oneshot::channel();
        if self.reads.send(read(reply)).await.is_err() {
            return Err(self.stop_error(false).await);
        }
        match answer.await {
            Ok(answer) => Ok(answer),
            Err(_) => Err(self.stop_error(false).await),
        }
    }

    pub(crate) fn links(&self) -> MutexGuard<'_, Vec<Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the leaders are connected under the plan `found`.
    pub(crate) fn topology(&self, found: &Found) -> TopologyReport {
        let connected = self.connected.borrow().clone();
        let links = self.links().iter().map(|link| link.report(&connected)).collect();
        let (me, now) = (&self.config.name, self.clock.uptime_ms());
        let mut report = Seen { me, found, graph: &self.graph.borrow(), links, now }.report();
        report.problems.extend(taken_names(me, &connected));
        if let Some(why) = self.forked.get() {
            report.problems.push(Problem {
                code: "two-histories".into(),
                leaders: vec![me.clone()],
                text: format!("{me} takes no more writes: {why}"),
            });
        }
        report
    }

    /// The error of a leader whose engine has gone.
    pub(crate) async fn stop_error(&self, unknown: bool) -> LeaderError {
        LeaderError::Stopped { reason: self.stop_reason().await, unknown }
    }

    /// Waits until the leader has stopped, and says why.
    pub(crate) async fn stop_reason(&self) -> Arc<str> {
        let mut stopped = self.stopped.clone();
        let reason = stopped.wait_for(Option::is_some).await;
        reason.ok().and_then(|reason| reason.clone()).unwrap_or_else(|| "it ended without a word".into())
    }
}

/// The names by which two leaders go, as far as they are connected to this one, or one of them is this one.
fn taken_names<'a>(me: &'a str, connected: &'a Connected) -> impl Iterator<Item = Problem> {
    let mut names: Vec<&str> = connected.values().map(String::as_str).chain([me]).collect();
    names.sort_unstable();
    let taken: BTreeSet<&str> = names.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0]).collect();
    taken.into_iter().map(|name| Problem {
        code: "name-taken".into(),
        leaders: vec![name.into()],
        text: format!(
            "two leaders go by the name {name}: nothing is lost, but reports and addresses show now one and now the other; \
             give one of them another name"
        ),
    })
}

/// A link that is kept up.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: Peer,
    /// Set when the link is wanted no more.
    pub(crate) close: CancellationToken,
    state: Mutex<LinkState>,
}

#[derive(Debug, Default)]
pub(crate) struct LinkState {
    /// Who answered at the address.
    pub(crate) replica: Option<ReplicaId>,
    /// Why there is no connection.
    pub(crate) problem: Option<String>,
    /// Whom the link goes round.
    pub(crate) instead_of: Option<String>,
}

impl Link {
    pub(crate) fn new(name: String, address: String, close: CancellationToken) -> Self {
        Link { peer: Peer { name, address }, close, state: Mutex::default() }
    }

    /// Whether whoever answered at the address, or goes by the name, is connected.
    pub(crate) fn is_connected(&self, connected: &Connected) -> bool {
        self.state().replica.is_some_and(|replica| connected.contains_key(&replica))
            || connected.values().any(|name| *name == self.peer.name)
    }

    fn report(&self, connected: &Connected) -> LinkReport {
        let (connected, Peer { name, address }) = (self.is_connected(connected), self.peer.clone());
        let state = self.state();
        let problem = state.problem.clone().filter(|_| !connected);
        LinkReport { name, address, connected, instead_of: state.instead_of.clone(), problem }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, LinkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A write: what it does to the engine.
pub(crate) type Write = Box<dyn FnOnce(&mut Engine, Now) -> Result<Receipt, WriteError> + Send>;

/// A read of what is durable.
pub(crate) enum Read {
    /// Of the keys of one name.
    Key { name: String, read: KeyRead },
    /// Of anything, in one state.
    View(Box<dyn FnOnce(View<'_>) + Send>),
}

pub(crate) type KeyRead = Box<dyn FnOnce(&Engine, &str) + Send>;

/// What a read sees when everything is durable.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) disk: &'a Disk,
    pub(crate) refusals: &'a BTreeMap<ReplicaId, String>,
    pub(crate) now: Now,
}

/// What the engine's thread takes.
pub(crate) enum Input {
    Write {
        run: Write,
        reply: oneshot::Sender<Result<Receipt, WriteError>>,
        room: OwnedSemaphorePermit,
    },
    Connect(Box<Connect>),
    Message {
        session: SessionId,
        message: Message,
        room: OwnedSemaphorePermit,
    },
    /// What others say of their connections.
    Announced {
        session: SessionId,
        announcements: Vec<Announcement>,
    },
    Disconnected(SessionId),
    /// Time has passed, or a connection has room again.
    Wake,
    Shutdown,
}

/// A connection whose other side has greeted.
pub(crate) struct Connect {
    pub(crate) hello: Hello,
    /// What this side has said.
    pub(crate) sent: Hello,
    /// Whether this side opened it.
    pub(crate) dialled: bool,
    pub(crate) reply: oneshot::Sender<Result<Accepted, Rejected>>,
}

/// A connection that the engine has taken.
pub(crate) struct Accepted {
    pub(crate) session: SessionId,
    /// Frames to send.
    pub(crate) frames: mpsc::Receiver<Bytes>,
    pub(crate) starved: Starved,
    /// Set when the engine wants it closed.
    pub(crate) close: CancellationToken,
}

/// Why the engine has not taken a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// There is one to the same peer already, and it has precedence.
    Duplicate,
    /// The other side is not to be talked to.
    Refused(String),
    /// The other side runs on a copy of another leader's data, or is that leader: with what it has to hear.
    Forked(String, Option<Message>),
}

/// Set by the engine when it found a connection without room: whoever makes room then wakes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Starved(Arc<AtomicBool>);

impl Starved {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}
