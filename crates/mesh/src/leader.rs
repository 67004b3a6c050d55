use crate::{
    LeaderConfig, LeaderError, Member, StartError, Status, Topology, TopologyReport, WaitError, Watch,
    core::{Core, Input, View, WRITE_UNIT, Write},
    start,
    topology::{Change, is_reserved, look},
};
use mesh_proto::{Custom, Engine, Kind, Op, Receipt, Stamp, Tick, UpdateError, VersionVector, WriteError};
use mesh_store::Store;
use std::{
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    thread,
    time::Instant,
};
use tokio::{sync::oneshot, time::timeout_at};
use tokio_util::sync::DropGuard;

/// A running leader: it takes writes by itself and replicates them to its peers.
///
/// A handle; cloning it is cheap. When the last one is dropped, the leader shuts down in the background;
/// [`shutdown`](Leader::shutdown) waits until its data folder is free again.
///
/// Everything here waits its turn in a bounded queue, and reads see what is durable, never less than was acknowledged
/// before. Reads overtake writes that are not answered yet; the read of a key waits for no commit but one that stores
/// this key.
#[derive(Clone, Debug)]
pub struct Leader {
    pub(crate) core: Arc<Core>,
    _last: Arc<DropGuard>,
}

impl Leader {
    /// Starts a leader: takes up its data, listens, and begins to connect to its peers.
    ///
    /// Returns when it takes writes; it does not wait for peers (with [`Metadata::FromPeer`](crate::Metadata) it takes them
    /// later, see there). Costs O(data). Must be called in a tokio runtime with
    /// IO and time enabled, which the leader needs as long as it runs; the engine has a thread of its own.
    ///
    /// # Errors
    ///
    /// [`StartError`]; what was stored is not changed.
    pub async fn start(config: LeaderConfig) -> Result<Self, StartError> {
        start::start(config, None).await.map(Self::of)
    }

    /// Starts a leader on a store of one's own; [`LeaderConfig::storage`] is not used.
    ///
    /// # Errors
    ///
    /// [`StartError`]; what was stored is not changed.
    pub async fn start_with_store(config: LeaderConfig, store: impl Store) -> Result<Self, StartError> {
        start::start(config, Some(Box::new(store))).await.map(Self::of)
    }

    fn of(core: Arc<Core>) -> Self {
        let last = Arc::new(core.shutdown.clone().drop_guard());
        Leader { core, _last: last }
    }

    // ---- writes ----

    /// Writes to the key `name`, and returns when that is durable here. It does not wait for any peer.
    ///
    /// With an idempotency key (1 to 255 bytes) the reply is kept for a bounded time
    /// ([`Config::idempotency_ttl`](crate::Config)): the same write under the same key counts once, also across a crash
    /// and restart of this leader. If the future is dropped, the write may happen or not.
    ///
    /// # Errors
    ///
    /// [`LeaderError::Refused`], [`LeaderError::Reserved`], [`LeaderError::LostMetadata`]: nothing was changed.
    /// [`LeaderError::Stopped`]: see there.
    pub async fn write(
        &self,
        name: impl Into<String>,
        op: Op,
        idempotency_key: Option<String>,
    ) -> Result<Receipt, LeaderError> {
        let name = name.into();
        if is_reserved(&name) {
            return Err(LeaderError::Reserved { name });
        }
        let blobs = match &op {
            Op::Assign(value) => value.len(),
            Op::Add(elements) | Op::Remove(elements) => {
                elements.iter().map(|element| element.len() + 32).sum()
            }
            _ => 0,
        };
        let bytes = name.len() + idempotency_key.as_ref().map_or(0, String::len) + blobs;
        let run: Write =
            Box::new(move |engine, now| engine.write(&name, &op, idempotency_key.as_deref(), now));
        self.run(run, bytes).await
    }

    /// Updates a value of the user's own type, and returns when that is durable here.
    ///
    /// `update` gets the value, bottom if it was never written, and the tick that names its update. It runs on the
    /// engine's thread, between other writes: keep it short. If it fails it must not have changed the value.
    ///
    /// ```no_run
    /// # use mesh::{Custom, Dotted, Leader, LeaderError, Merge, ReplicaId, Tick, UpdateError};
    /// # #[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
    /// # struct Poll;
    /// # impl Poll { fn vote(&mut self, tick: Tick<'_>, what: &str) -> Result<(), UpdateError> { Ok(()) } }
    /// # impl Merge for Poll { fn merge(&mut self, other: &Self) -> bool { false } }
    /// # impl Dotted for Poll { fn last_counter(&self, replica: ReplicaId) -> u64 { 0 } }
    /// # impl Custom for Poll { const TYPE: &'static str = "poll"; }
    /// # async fn example(leader: Leader) -> Result<(), LeaderError> {
    /// leader.update::<Poll>("lunch", |poll, tick| poll.vote(tick, "soup")).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`LeaderError::Refused`], also with what `update` returns, [`LeaderError::Reserved`], [`LeaderError::LostMetadata`]:
    /// nothing was changed. [`LeaderError::Stopped`], also if `update` panics, which stops the leader: the value may be
    /// broken, and is not stored.
    pub async fn update<T: Custom>(
        &self,
        name: impl Into<String>,
        update: impl FnOnce(&mut T, Tick<'_>) -> Result<(), UpdateError> + Send + 'static,
    ) -> Result<Receipt, LeaderError> {
        let name = name.into();
        if is_reserved(&name) {
            return Err(LeaderError::Reserved { name });
        }
        let run: Write = Box::new(move |engine, _| {
            engine.update::<T, WriteError>(&name, |value, tick| Ok(update(value, tick)?))
        });
        self.run(run, WRITE_UNIT).await
    }

    async fn run(&self, run: Write, bytes: usize) -> Result<Receipt, LeaderError> {
        let core = &self.core;
        core.check_metadata()?;
        // A write that is larger than the limit waits until it is alone.
        let most = core.config.limits.queued_bytes / WRITE_UNIT;
        let units = u32::try_from((bytes / WRITE_UNIT + 1).min(most.max(1))).unwrap_or(u32::MAX);
        let Ok(room) = Arc::clone(&core.write_room).acquire_many_owned(units).await else {
            return Err(core.stop_error(false).await);
        };
        let (reply, answer) = oneshot::channel();
        core.send(Input::Write { run, reply, room }).await?;
        match answer.await {
            Ok(result) => Ok(result?),
            Err(_) => Err(core.stop_error(true).await),
        }
    }

    /// Adds to a counter.
    ///
    /// # Errors
    ///
    /// As [`write`](Leader::write).
    pub async fn increment(&self, name: impl Into<String>, by: u64) -> Result<Receipt, LeaderError> {
        self.write(name, Op::Increment(by), None).await
    }

    /// Subtracts from a counter.
    ///
    /// # Errors
    ///
    /// As [`write`](Leader::write).
    pub async fn decrement(&self, name: impl Into<String>, by: u64) -> Result<Receipt, LeaderError> {
        self.write(name, Op::Decrement(by), None).await
    }

    /// Adds an element to a set.
    ///
    /// # Errors
    ///
    /// As [`write`](Leader::write).
    pub async fn add(
        &self,
        name: impl Into<String>,
        element: impl Into<Vec<u8>>,
    ) -> Result<Receipt, LeaderError> {
        self.write(name, Op::Add(vec![element.into()]), None).await
    }

    /// Removes what this leader sees of an element from a set.
    ///
    /// # Errors
    ///
    /// As [`write`](Leader::write).
    pub async fn remove(
        &self,
        name: impl Into<String>,
        element: impl Into<Vec<u8>>,
    ) -> Result<Receipt, LeaderError> {
        self.write(name, Op::Remove(vec![element.into()]), None).await
    }

    /// Sets a register.
    ///
    /// # Errors
    ///
    /// As [`write`](Leader::write).
    pub async fn set_register(
        &self,
        name: impl Into<String>,
        value: impl Into<Vec<u8>>,
    ) -> Result<Receipt, LeaderError> {
        self.write(name, Op::Assign(value.into()), None).await
    }

    // ---- reads ----

    /// Reads what is durable: `read` runs between two commits and sees one state of all keys. It waits for the commit under
    /// way, which the methods below for a single key do only if it stores that key.
    ///
    /// It runs on the engine's thread: keep it short. If it panics, so does this call, and nothing else happens.
    ///
    /// # Errors
    ///
    /// [`LeaderError::LostMetadata`]; [`LeaderError::Stopped`].
    pub async fn read<R: Send + 'static>(
        &self,
        read: impl FnOnce(&Engine) -> R + Send + 'static,
    ) -> Result<R, LeaderError> {
        self.core.check_metadata()?;
        // The engine is only lent for reading, so that a panic leaves nothing half done.
        let caught = self.core.view(|view| catch_unwind(AssertUnwindSafe(|| read(view.engine)))).await?;
        Ok(self.counted(caught))
    }

    /// Reads the key `name`, if it is a `kind` or unused.
    pub(crate) async fn read_as<R: Send + 'static>(
        &self,
        kind: Kind,
        name: impl Into<String>,
        read: impl FnOnce(&Engine, &str) -> R + Send + 'static,
    ) -> Result<R, LeaderError> {
        self.core.check_metadata()?;
        let look = move |engine: &Engine, name: &str| match engine.other_kind(name, &kind) {
            Some(held) => Err(WriteError::OtherType { name: name.to_owned(), held, wanted: kind }),
            None => Ok(read(engine, name)),
        };
        let caught = self
            .core
            .look_up(name.into(), move |engine, name| catch_unwind(AssertUnwindSafe(|| look(engine, name))));
        Ok(self.counted(caught.await?)?)
    }

    fn counted<R>(&self, read: thread::Result<R>) -> R {
        self.core.metrics.reads.inc();
        read.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// The value of a counter; 0 if nobody has written it.
    ///
    /// # Errors
    ///
    /// [`LeaderError::Refused`] if the key has another type; [`LeaderError::LostMetadata`]; [`LeaderError::Stopped`].
    pub async fn counter(&self, name: impl Into<String>) -> Result<i128, LeaderError> {
        self.read_as(Kind::PnCounter, name, |engine, name| engine.counter(name).unwrap_or(0)).await
    }

    /// The value of a register and the stamp of its write; `None` if nobody has written it.
    ///
    /// # Errors
    ///
    /// [`LeaderError::Refused`] if the key has another type; [`LeaderError::LostMetadata`]; [`LeaderError::Stopped`].
    pub async fn register(&self, name: impl Into<String>) -> Result<Option<(Vec<u8>, Stamp)>, LeaderError> {
        let read =
            |engine: &Engine, name: &str| engine.register(name).map(|(value, stamp)| (value.to_vec(), stamp));
        self.read_as(Kind::Register, name, read).await
    }

    /// The elements of a set in ascending order.
    ///
    /// # Errors
    ///
    /// [`LeaderError::Refused`] if the key has another type; [`LeaderError::LostMetadata`]; [`LeaderError::Stopped`].
    pub async fn members(&self, name: impl Into<String>) -> Result<Vec<Vec<u8>>, LeaderError> {
        let read =
            |engine: &Engine, name: &str| engine.members(name).into_iter().map(<[u8]>::to_vec).collect();
        self.read_as(Kind::Set, name, read).await
    }

    /// Whether a set has an element.
    ///
    /// # Errors
    ///
    /// [`LeaderError::Refused`] if the key has another type; [`LeaderError::LostMetadata`]; [`LeaderError::Stopped`].
    pub async fn contains(
        &self,
        name: impl Into<String>,
        element: impl Into<Vec<u8>>,
    ) -> Result<bool, LeaderError> {
        let element = element.into();
        self.read_as(Kind::Set, name, move |engine, name| engine.contains(name, &element)).await
    }

    /// A value of the user's own type; bottom if nobody has written it.
    ///
    /// # Errors
    ///
    /// [`LeaderError::Refused`] if the key has another type; [`LeaderError::LostMetadata`]; [`LeaderError::Stopped`].
    pub async fn get<T: Custom>(&self, name: impl Into<String>) -> Result<T, LeaderError> {
        let read = |engine: &Engine, name: &str| engine.get::<T>(name).cloned().unwrap_or_default();
        self.read_as(Kind::from(T::TYPE), name, read).await
    }

    /// The changes of all keys whose names begin with `prefix`: first what changed since the token `since` (with an empty
    /// one: what is there), then each change as it becomes durable. Resume with the last
    /// [`Changes::token`](crate::Changes::token), at this leader or another: nothing is missed.
    pub fn watch(&self, prefix: impl Into<String>, since: VersionVector) -> Watch {
        Watch::new(self.clone(), prefix.into(), since)
    }

    /// Waits until this leader has everything that `token` names: then a read here sees the write whose receipt had the
    /// token, and all that its leader had seen before it.
    ///
    /// # Errors
    ///
    /// [`WaitError::Timeout`] at `deadline`; [`WaitError::Stopped`].
    pub async fn wait_for(&self, token: &VersionVector, deadline: Instant) -> Result<(), WaitError> {
        let mut version = self.core.version.clone();
        let there = version.wait_for(|have| have.covers(token).is_ok());
        // What is seen is let go at once: holding it would hold up the engine.
        let there = timeout_at(deadline.into(), there).await.map(|seen| seen.is_ok());
        match there {
            Ok(true) => Ok(()),
            Ok(false) => Err(WaitError::Stopped { reason: self.core.stop_reason().await }),
            Err(_) => Err(WaitError::Timeout { missing: token.ahead_of(&self.core.version.borrow()) }),
        }
    }

    /// How the leader is: what it has, and how far its peers are.
    ///
    /// # Errors
    ///
    /// [`LeaderError::Stopped`].
    pub async fn status(&self) -> Result<Status, LeaderError> {
        let core = Arc::clone(&self.core);
        self.core.view(move |view: View<'_>| Status::of(&core, &view)).await
    }

    // ---- the mesh ----

    /// How the leaders are connected, and what is wrong with that. **O(leaders + links)**.
    ///
    /// # Errors
    ///
    /// [`LeaderError::Stopped`].
    pub async fn topology(&self) -> Result<TopologyReport, LeaderError> {
        let core = Arc::clone(&self.core);
        self.core.view(move |view: View<'_>| core.topology(&look(&core.config, view.engine))).await
    }

    /// Sets the topology of the whole mesh, while it is running: returns when that is durable here, and every leader takes
    /// it up when it hears of it. Of two that are set at one time, one stays.
    ///
    /// # Errors
    ///
    /// [`LeaderError::Plan`] if it does not join the members, this leader among them; [`LeaderError::Refused`];
    /// [`LeaderError::LostMetadata`]; [`LeaderError::Stopped`].
    pub async fn set_topology(&self, topology: Topology) -> Result<Receipt, LeaderError> {
        self.change(Change::Set(topology)).await
    }

    /// Adds a member to the mesh, or gives it another address or region. Leaders that add different members at one time have
    /// added both.
    ///
    /// # Errors
    ///
    /// [`LeaderError::Plan`] if it is not usable; [`LeaderError::Refused`]; [`LeaderError::LostMetadata`];
    /// [`LeaderError::Stopped`].
    pub async fn add_member(&self, member: Member) -> Result<Receipt, LeaderError> {
        self.change(Change::Add(member)).await
    }

    /// Removes a member: the others dial it no more. It is not shut out, and what it wrote stays.
    ///
    /// # Errors
    ///
    /// [`LeaderError::Plan`] if there is no such member, or the topology names it; [`LeaderError::Refused`];
    /// [`LeaderError::LostMetadata`]; [`LeaderError::Stopped`].
    pub async fn remove_member(&self, name: impl Into<String>) -> Result<Receipt, LeaderError> {
        self.change(Change::Remove(name.into())).await
    }

    async fn change(&self, change: Change) -> Result<Receipt, LeaderError> {
        // The plan is lost with it.
        self.core.check_metadata()?;
        let core = Arc::clone(&self.core);
        let found = self.core.view(move |view: View<'_>| look(&core.config, view.engine)).await?;
        change.check(&found, &self.core.config.name)?;
        let core = Arc::clone(&self.core);
        self.run(Box::new(move |engine, now| change.write(&core.config, engine, now)), WRITE_UNIT).await
    }

    // ---- life ----

    /// The address that connections of peers are taken on; with the actual port, where port 0 was asked for.
    pub fn listen_addr(&self) -> Option<SocketAddr> {
        self.core.listen_addr
    }

    /// Shuts the leader down: what it has taken becomes durable and is answered, connections are closed, the data
    /// folder is let go. All handles are of no further use.
    pub async fn shutdown(&self) {
        self.core.shutdown.cancel();
        self.core.tasks.wait().await;
        self.core.stop_reason().await;
    }

    /// Waits until the leader has stopped, shut down or because it could not go on, and says why.
    pub async fn stopped(&self) -> Arc<str> {
        self.core.stop_reason().await
    }

    /// Why the leader has stopped, if it has.
    pub fn stop_reason(&self) -> Option<Arc<str>> {
        self.core.stopped.borrow().clone()
    }
}
