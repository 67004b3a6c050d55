//! The thread that owns the engine.
//!
//! It takes what waits, makes it durable in one commit, and only then answers and sends. While the disk is at it, the next
//! batch gathers: that is all there is to group commit. Reads are answered between two commits, and also during one if
//! they are of keys that it does not store, which show what is durable.

use crate::{
    Token,
    core::{Accepted, Connect, Connected, Core, Input, Rejected, Starved, View},
    disk::Disk,
    map::{Graph, Map},
    readers::{self, Readers},
};
use bytes::Bytes;
use crdt_core::ReplicaId;
use mesh_proto::{
    Engine, Event, HandleError, Hello, HelloError, Receipt, SessionId, VersionVector, WriteError,
};
use mesh_store::StoreError;
use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    runtime::Handle,
    sync::{
        mpsc::{
            self,
            error::{TryRecvError, TrySendError},
        },
        oneshot, watch,
    },
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// How many inputs go into one commit at most. Not a matter of memory, which the queues bound, but of latency.
const MAX_BATCH: usize = 1_024;

/// How long inputs are taken for one commit, as long as there are more: whoever reads waits.
const MAX_TAKING: Duration = Duration::from_millis(5);

/// How many peers' last refusals are remembered; then all are forgotten.
const MAX_REFUSALS: usize = 256;

type Reply = (oneshot::Sender<Result<Receipt, WriteError>>, Result<Receipt, WriteError>);
type Verdict = (oneshot::Sender<Result<Accepted, Rejected>>, Result<Accepted, Rejected>);

pub(crate) struct Actor {
    pub(crate) core: Arc<Core>,
    pub(crate) engine: Engine,
    pub(crate) disk: Disk,
    pub(crate) inbox: mpsc::Receiver<Input>,
    pub(crate) readers: Readers,
    /// To wait by.
    runtime: Handle,
    told: Told,
    map: Map,
    connections: BTreeMap<SessionId, Connection>,
    next_session: u64,
    /// Why a message of a peer was refused last, until a delta of it is merged: a connection that is closed for it is
    /// soon open again.
    refusals: BTreeMap<ReplicaId, String>,
    /// What waits for the commit.
    replies: Vec<Reply>,
    verdicts: Vec<Verdict>,
    merged: u128,
}

/// What is told to whoever looks.
pub(crate) struct Told {
    pub(crate) version: watch::Sender<VersionVector>,
    pub(crate) connected: watch::Sender<Connected>,
    pub(crate) graph: watch::Sender<Graph>,
    pub(crate) lost: watch::Sender<Option<VersionVector>>,
}

/// What there is to do.
enum Next {
    Take(Input),
    /// To go on talking.
    Talk,
    /// Nothing, ever again.
    End,
}

struct Connection {
    peer: ReplicaId,
    name: String,
    /// Whose announcements are to be sent.
    news: BTreeSet<String>,
    dialler: ReplicaId,
    frames: mpsc::Sender<Bytes>,
    starved: Starved,
    close: CancellationToken,
}

impl Actor {
    pub(crate) fn new(
        core: Arc<Core>,
        (engine, disk): (Engine, Disk),
        (inbox, readers): (mpsc::Receiver<Input>, Readers),
        told: Told,
    ) -> Self {
        let map = Map::new(&core.config.name, core.clock.now().wall);
        Actor {
            core,
            engine,
            disk,
            inbox,
            readers,
            runtime: Handle::current(),
            told,
            map,
            connections: BTreeMap::new(),
            next_session: 0,
            refusals: BTreeMap::new(),
            replies: Vec::new(),
            verdicts: Vec::new(),
            merged: 0,
        }
    }

    /// Runs until the leader is shut down or cannot go on, and leaves the reason in `stopped`.
    pub(crate) fn run(mut self, stopped: &watch::Sender<Option<Arc<str>>>) {
        // Only what users pass in can panic here: an update of their own type, or their store.
        let ended = catch_unwind(AssertUnwindSafe(|| self.serve()));
        let leader = &self.core.config.name;
        let reason = match ended {
            Ok(Ok(())) => {
                info!(leader, "shut down");
                "it was shut down".into()
            }
            Ok(Err(why)) => {
                error!(leader, %why, "stopped: a commit failed");
                format!("a commit failed: {why}")
            }
            Err(panic) => {
                let why = panic_message(&*panic);
                error!(leader, why, "stopped: a panic");
                format!("it panicked: {why}")
            }
        };
        // Whoever hears of the end finds that nothing is taken any more and that the data can be opened again.
        self.inbox.close();
        self.readers.close();
        let Actor { core, engine, disk, readers, .. } = self;
        drop((engine, disk, readers));
        core.disconnect.cancel();
        stopped.send_replace(Some(reason.into()));
    }

    fn serve(&mut self) -> Result<(), StoreError> {
        let mut has_more = false;
        loop {
            self.answer_readers();
            match self.hear(has_more) {
                Next::Take(input) => self.take_batch(input),
                Next::Talk => {}
                Next::End => return Ok(()),
            }
            self.commit()?;
            self.answer();
            has_more = self.talk();
        }
    }

    /// Waits for something to do, unless there is more to say, and answers who reads meanwhile.
    fn hear(&mut self, has_more: bool) -> Next {
        let next = |input: Option<Input>| input.map_or(Next::End, Next::Take);
        if has_more {
            return match self.inbox.try_recv() {
                Err(TryRecvError::Empty) => Next::Talk,
                input => next(input.ok()),
            };
        }
        loop {
            let Actor { runtime, inbox, readers, .. } = self;
            let heard = runtime.block_on(async {
                tokio::select! {
                    Some(read) = readers.next() => Err(read),
                    input = inbox.recv() => Ok(input),
                }
            });
            match heard {
                // None come after the shutdown and what waited behind it.
                Ok(input) => return next(input),
                Err(read) => readers::run(read, self.view()),
            }
        }
    }

    /// Takes an input and what waits behind it.
    fn take_batch(&mut self, first: Input) {
        let began = Instant::now();
        self.take(first);
        for _ in 1..MAX_BATCH {
            if began.elapsed() > MAX_TAKING {
                break;
            }
            let Ok(input) = self.inbox.try_recv() else { break };
            self.take(input);
        }
    }

    /// Makes durable what has changed, if anything has, and answers meanwhile who reads what is durable.
    fn commit(&mut self) -> Result<(), StoreError> {
        let Some(commit) = self.engine.take_commit() else { return Ok(()) };
        self.disk.begin(commit);
        let outcome = loop {
            let Actor { runtime, engine, disk, readers, .. } = self;
            let ended = runtime.block_on(async {
                tokio::select! {
                    biased;
                    outcome = disk.ended() => Ok(outcome),
                    Some(read) = readers.next() => Err(read),
                }
            });
            match ended {
                Ok(outcome) => break outcome,
                Err(read) => readers.answer_during_commit(read, engine),
            }
        };
        let took = outcome.unwrap_or_else(|panic| resume_unwind(panic))?;
        self.engine.committed(self.core.clock.now());
        self.core.metrics.commit_seconds.observe(took.as_secs_f64());
        Ok(())
    }

    // ---- inputs ----

    fn take(&mut self, input: Input) {
        let now = self.core.clock.now();
        match input {
            Input::Write { run, reply, room } => {
                let result = run(&mut self.engine, now);
                self.replies.push((reply, result));
                drop(room);
            }
            Input::Connect(connect) => {
                let Connect { hello, sent, dialled, reply } = *connect;
                let verdict = self.connect(hello, &sent, dialled);
                self.verdicts.push((reply, verdict));
            }
            Input::Message { session, message, room } => {
                if self.connections.contains_key(&session)
                    && let Err(why) = self.engine.handle(session, message, now)
                {
                    if why != HandleError::LostUpdates {
                        let peer = self.connections[&session].peer;
                        let leader = &self.core.config.name;
                        warn!(leader, %peer, %why, "closing the connection: a message was refused");
                        self.refuse(peer, &why);
                    }
                    self.close(session);
                }
                drop(room);
            }
            Input::Announced { session, announcements } => {
                for said in announcements {
                    if let Some(name) = self.map.take(said, now.mono) {
                        let own = name == self.core.config.name;
                        self.spread(&name, Some(session).filter(|_| !own));
                    }
                }
            }
            Input::Disconnected(session) => self.close(session),
            Input::Wake => self.engine.tick(now),
            Input::Shutdown => self.inbox.close(),
        }
        self.take_events();
    }

    /// Of two connections between two leaders, the one opened by the smaller id stays: both sides decide alike. Of two
    /// opened by one side, the newer: its opener knows that the older is gone.
    fn connect(&mut self, hello: Hello, sent: &Hello, dialled: bool) -> Result<Accepted, Rejected> {
        let (peer, me, name) = (hello.replica, self.engine.identity().replica, hello.name.clone());
        let dialler = if dialled { me } else { peer };
        if self.connections.values().any(|other| other.peer == peer && other.dialler < dialler) {
            return Err(Rejected::Duplicate);
        }
        let session = SessionId(self.next_session);
        self.next_session += 1;
        let connected = self.engine.connect(session, sent, hello, self.core.clock.now());
        connected.map_err(|why| match why {
            HelloError::Forked { .. } => Rejected::Forked(why.to_string(), self.engine.farewell(peer)),
            why => Rejected::Refused(why.to_string()),
        })?;
        let (frames, receiver) = mpsc::channel(self.core.config.limits.frames_ahead.max(1));
        let (starved, close) = (Starved::default(), self.core.disconnect.child_token());
        let news = self.map.names().cloned().collect();
        let connection =
            Connection { peer, name, news, dialler, frames, starved: starved.clone(), close: close.clone() };
        self.connections.insert(session, connection);
        Ok(Accepted { session, frames: receiver, starved, close })
    }

    fn close(&mut self, session: SessionId) {
        self.engine.disconnect(session);
        if let Some(connection) = self.connections.remove(&session) {
            connection.close.cancel();
        }
    }

    /// What `name` said is to be passed on to all but `from`.
    fn spread(&mut self, name: &str, from: Option<SessionId>) {
        for (session, connection) in &mut self.connections {
            if Some(*session) != from {
                connection.news.insert(name.to_owned());
            }
        }
    }

    fn refuse(&mut self, peer: ReplicaId, why: &HandleError) {
        // Whoever invents ids must not fill the memory.
        if self.refusals.len() >= MAX_REFUSALS {
            self.refusals.clear();
        }
        self.refusals.insert(peer, format!("a message of it was refused: {why}"));
    }

    fn take_events(&mut self) {
        while let Some(event) = self.engine.poll_event() {
            let leader = &self.core.config.name;
            match event {
                Event::Close(session) => self.close(session),
                Event::Merged { peer, events } => {
                    self.merged += events;
                    self.refusals.remove(&peer);
                }
                Event::LostUpdates { have, peer_has } => {
                    let (old, new) = (self.engine.identity().replica, ReplicaId::random());
                    warn!(
                        leader, have, peer_has, %old, %new,
                        "a peer has updates of this leader that are missing here: its data was lost or set back. \
                         It goes on under a new id and gets them back from its peers"
                    );
                    self.engine.reincarnate(new);
                }
                Event::Diverged { peer } => {
                    self.core.metrics.mismatches.inc();
                    error!(leader, %peer, "a peer with an equal vector has different data");
                }
                Event::Forked { from } => {
                    let me = self.engine.identity().replica;
                    let why = WriteError::Forked { replica: me, from };
                    error!(leader, %why, "this leader takes no more writes");
                    // Of several times the first one counts.
                    let _ = self.core.forked.set(why.to_string());
                }
                Event::Reconciled { peer, keys, repairs } => {
                    let named =
                        repairs.iter().map(|repair| repair.key.to_string()).collect::<Vec<_>>().join(", ");
                    error!(leader, %peer, keys, named, "this leader and a peer with an equal vector differed, and do no more");
                }
                Event::Unreachable { updates } => {
                    self.told.lost.send_replace(Some(updates.clone()));
                    let updates = Token::from(updates);
                    warn!(
                        leader, %updates,
                        "no connected peer has these updates, of which there are traces here: waiting for one that has"
                    );
                }
                Event::Restored { peer, keys, unsent, .. } => {
                    warn!(leader, %peer, keys, unsent, "the lost version vector is back");
                }
                other => warn!(leader, event = ?other, "an event that this version does not know"),
            }
        }
    }

    // ---- outputs ----

    fn answer(&mut self) {
        let metrics = &self.core.metrics;
        metrics.merged_events.inc_by(u64::try_from(std::mem::take(&mut self.merged)).unwrap_or(u64::MAX));
        #[expect(
            clippy::cast_precision_loss,
            reason = "a gauge is a float, and there are at most millions of keys"
        )]
        metrics.idempotency_keys.set(self.engine.kept_replies() as f64);
        let version = self.engine.version();
        self.told.version.send_if_modified(|last| {
            let changed = last != version;
            if changed {
                last.clone_from(version);
            }
            changed
        });
        // It is back once that is durable.
        if !self.engine.has_lost_metadata() {
            self.told.lost.send_if_modified(|lost| lost.take().is_some());
        }
        self.map_out();
        let metrics = &self.core.metrics;
        // Where nobody waits for an answer any more, there is nobody to tell.
        for (reply, result) in self.replies.drain(..) {
            if result.as_ref().is_ok_and(|receipt| receipt.events > 0 && !receipt.repeated) {
                metrics.writes.inc();
            }
            let _ = reply.send(result);
        }
        for (reply, verdict) in self.verdicts.drain(..) {
            let _ = reply.send(verdict);
        }
        self.answer_readers();
    }

    /// Answers all that read: everything is durable.
    fn answer_readers(&mut self) {
        let Actor { core, engine, disk, readers, refusals, .. } = self;
        readers.answer(|| View { engine, disk, refusals, now: core.clock.now() });
    }

    fn view(&self) -> View<'_> {
        View { engine: &self.engine, disk: &self.disk, refusals: &self.refusals, now: self.core.clock.now() }
    }

    /// Says who is connected now, here and to the peers.
    fn map_out(&mut self) {
        let peers = self.connections.values().map(|connection| (connection.peer, connection.name.clone()));
        let peers: Connected = peers.collect();
        let api = self.core.api.get().cloned();
        if self.map.set_own(peers.values().cloned(), api, self.core.clock.uptime_ms()) {
            let me = self.core.config.name.clone();
            self.spread(&me, None);
        }
        self.told.connected.send_if_modified(|last| {
            let changed = *last != peers;
            *last = peers;
            changed
        });
        self.told.graph.send_if_modified(|last| {
            let changed = last != self.map.graph();
            if changed {
                last.clone_from(self.map.graph());
            }
            changed
        });
    }

    /// Says what there is to say; true if a connection has had its turn before it had room for no more. Whoever takes a
    /// large delta takes it as fast as it is cut, and others want to write meanwhile; who reads is answered after each message.
    fn talk(&mut self) -> bool {
        let Actor { core, engine, disk, readers, map, connections, refusals, .. } = self;
        let now = core.clock.now();
        let mut has_more = false;
        for (session, connection) in connections {
            let mut said = 0;
            loop {
                readers.answer(|| View { engine, disk, refusals, now });
                if said == core.config.limits.frames_ahead.max(1) {
                    has_more = true;
                    break;
                }
                said += 1;
                let mut room = connection.frames.try_reserve();
                if matches!(room, Err(TrySendError::Full(()))) {
                    connection.starved.set();
                    // Room made before that was set has woken nobody.
                    room = connection.frames.try_reserve();
                }
                let Ok(room) = room else { break };
                if !connection.news.is_empty() {
                    room.send(map.frame(&mut connection.news).into());
                    continue;
                }
                let Some(message) = engine.poll(*session, now) else { break };
                room.send(message.encode().into());
            }
        }
        has_more
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
