use crate::{
    BadPiece, Blob, Config, Custom, Key, Kind, MAX_BLOB, MAX_IDEMPOTENCY_KEY, MAX_NAME, Op, Receipt,
    RecoverError, Recovery, Repair, SessionId, WriteError,
    idempotency::{Known, Replies, request_hash},
    keyspace::Keyspace,
    message,
    peer::{Peer, Session, Timeline},
    persist,
    planted::{self, Bug},
    reconcile::Reconciling,
    relay::Relay,
    value::Value,
};
use crdt_core::{Dot, Dotted, ReplicaId, Tick, UpdateError, Writer};
use lww_register::{HybridTime, Stamp};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
};
use twox_hash::XxHash3_64;
use version_vector::VersionVector;

/// The time of an input, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Since 1970, by the leader's own clock; it may be wrong and may step. Stamps registers and ages idempotency keys.
    pub wall: u64,
    /// Since any fixed moment; never goes back. Times retransmission and lag.
    pub mono: u64,
}

/// Who a leader is. Stored with its data: a folder belongs to one leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The mesh it belongs to. Leaders of different clusters refuse each other.
    pub cluster: String,
    /// Its name in configuration and reports.
    pub name: String,
    /// The id that it writes under.
    pub replica: ReplicaId,
}

/// Rows to make durable in one step: first the deletions, then the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Rows to write, with their values.
    pub puts: Vec<(Vec<u8>, Vec<u8>)>,
    /// Rows to delete.
    pub deletes: Vec<Vec<u8>>,
}

/// What happened, for whoever runs the engine, for logs and for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Close this connection: another one to the same peer has replaced it, or the leader has a new id.
    Close(SessionId),
    /// A delta of a peer was merged and is durable.
    Merged {
        /// Whose.
        peer: ReplicaId,
        /// How many events were new.
        events: u128,
    },
    /// A peer has updates under this leader's id that this leader does not have: its data was lost or set back, or
    /// another process writes under its id. Give it a new id with [`Engine::reincarnate`].
    LostUpdates {
        /// The last own update here.
        have: u64,
        /// The last one that the peer has.
        peer_has: u64,
    },
    /// Another run of this leader's process, on a copy or an older state of its data, has made other updates under its id.
    /// Nothing can merge the two: this leader takes no more writes.
    Forked {
        /// The first update that both have made.
        from: u64,
    },
    /// A peer with an equal vector has a different fingerprint.
    Diverged {
        /// Which.
        peer: ReplicaId,
    },
    /// In these keys this leader and a peer with an equal vector differed; each has taken what it lacked. Data was damaged
    /// on one of the two sides: find out why.
    Reconciled {
        /// The peer.
        peer: ReplicaId,
        /// How many keys.
        keys: usize,
        /// What was done to them, the first 1,000, in their order.
        repairs: Vec<Repair>,
    },
    /// This leader has lost its causal metadata, and there are traces of updates of others that no connected peer has. It
    /// waits for a peer that has them; see [`Engine::go_without_unreachable`].
    Unreachable {
        /// The last such update of each leader.
        updates: VersionVector,
    },
    /// This leader had lost its causal metadata, and has it again, from a peer.
    Restored {
        /// The peer.
        peer: ReplicaId,
        /// In how many keys they differed.
        keys: usize,
        /// How many updates of this leader's own the peer had not seen. They are kept; what they had removed is removed as
        /// far as it is remembered.
        unsent: u128,
        /// Keys for which that was impossible: with them, a counter of the peer's would have passed its greatest value.
        refused: Vec<Key>,
    },
}

/// Why a message of a peer was refused. Nothing was changed; close the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandleError {
    /// There is no such connection.
    NoSession,
    /// On a connection that keeps the order, something came before what it builds on; or a delta begins beyond what is here.
    OutOfOrder,
    /// A value in a delta is larger than this leader takes.
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// With what it has, more replicas would be known than a mesh may have.
    TooManyReplicas {
        /// How many may be known.
        limit: usize,
    },
    /// A delta does not decode.
    Encoding(String),
    /// A key's piece of a delta is bad.
    BadPiece {
        /// Whose.
        key: Key,
        /// What is wrong with it.
        why: BadPiece,
    },
    /// The peer has updates under this leader's id that it does not have. [`Event::LostUpdates`] or [`Event::Forked`] follows
    /// as soon as a peer has said which runs made them: with its first message on the next connection.
    LostUpdates,
    /// The peer makes updates under an id under which this leader has others.
    Forked {
        /// The id in question.
        replica: ReplicaId,
        /// The first update that there is twice.
        from: u64,
    },
}

impl fmt::Display for HandleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandleError::NoSession => f.write_str("there is no such connection"),
            HandleError::OutOfOrder => f.write_str("what it says builds on something that has not come"),
            HandleError::TooLarge { limit } => {
                write!(f, "a value in its delta is larger than the limit of {limit} bytes")
            }
            HandleError::TooManyReplicas { limit } => {
                write!(f, "with it more than {limit} replicas would be known")
            }
            HandleError::Encoding(why) => write!(f, "its delta does not decode: {why}"),
            HandleError::BadPiece { key, why } => write!(f, "its state of {key} is refused: {why}"),
            HandleError::Forked { replica, from } => message::write_forked(f, *replica, *from),
            HandleError::LostUpdates => {
                f.write_str("it has updates of this leader that this leader does not have")
            }
        }
    }
}

impl std::error::Error for HandleError {}

/// One leader: its keyspace, what it knows of its peers, and what it has to say to them.
#[derive(Debug)]
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    identity_dirty: bool,
    pub(crate) writer: Writer,
    /// The ids that it wrote under before.
    former: Vec<ReplicaId>,
    /// Names this run of the process among all that wrote under the id.
    pub(crate) run: u64,
    pub(crate) lost_updates: bool,
    /// From which own update on another run has made others under this id.
    pub(crate) forked: Option<u64>,
    pub(crate) space: Keyspace,
    pub(crate) replies: Replies,
    /// What the last commit made durable: all that others may hear of.
    pub(crate) durable: VersionVector,
    /// The names of the keys in the commit under way, as hashes, ascending.
    committing: Option<Vec<u64>>,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    pub(crate) peers: BTreeMap<ReplicaId, Peer>,
    pub(crate) timeline: Timeline,
    pub(crate) events: VecDeque<Event>,
    pub(crate) next_delta: u64,
    pub(crate) relay: Relay,
    pub(crate) reconciling: Reconciling,
}

impl Engine {
    /// Takes up the state that `recovery` has read, or begins afresh where it has read nothing.
    ///
    /// `identity.replica` counts for a fresh start only; a leader that has data keeps its id.
    ///
    /// # Errors
    ///
    /// [`RecoverError`] if the data is damaged or not this leader's.
    pub fn recover(config: Config, identity: Identity, recovery: Recovery) -> Result<Self, RecoverError> {
        let mut recovered = recovery.finish()?;
        let fresh = recovered.identity.is_none();
        let found = match recovered.identity {
            Some(found) if (&found.cluster, &found.name) != (&identity.cluster, &identity.name) => {
                return Err(RecoverError::OtherLeader { found });
            }
            Some(found) => found,
            None => identity,
        };
        let durable = recovered.space.version().clone();
        let relay = Relay::new(&durable);
        recovered.space.begin_writing(found.replica);
        let forgotten = u64::from(planted::is(Bug::DotsReused));
        let last = durable.get(found.replica).saturating_sub(forgotten);
        Ok(Engine {
            config,
            writer: Writer::resume(found.replica, last),
            identity: found,
            identity_dirty: fresh,
            former: recovered.former,
            run: recovered.run,
            lost_updates: false,
            forked: None,
            space: recovered.space,
            replies: recovered.replies,
            durable,
            committing: None,
            sessions: BTreeMap::new(),
            peers: BTreeMap::new(),
            timeline: Timeline::default(),
            events: VecDeque::new(),
            next_delta: 0,
            relay,
            reconciling: Reconciling::new(recovered.lost),
        })
    }

    /// Who this leader is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Takes a new id: what this leader writes from now on is named under it. Close all connections and greet anew.
    ///
    /// For a leader that cannot prove that it still has all updates it ever issued; see [`Event::LostUpdates`].
    pub fn reincarnate(&mut self, replica: ReplicaId) {
        let former = std::mem::replace(&mut self.identity.replica, replica);
        if former != replica && self.space.version().get(former) > 0 && !self.former.contains(&former) {
            self.former.push(former);
        }
        self.identity_dirty = true;
        self.writer = Writer::resume(replica, self.space.version().get(replica));
        self.lost_updates = false;
        for session in std::mem::take(&mut self.sessions).into_keys() {
            self.relay.disconnect(session);
            self.events.push_back(Event::Close(session));
        }
        self.peers.values_mut().for_each(|peer| peer.session = None);
        self.drop_overdue();
        self.space.begin_writing(replica);
        self.relay.begin(self.space.version());
    }

    /// Forgets what has expired, and once a [heartbeat](Config::heartbeat) looks for batches that every peer has. Call it about
    /// once a second, besides what [`poll`](Engine::poll) asks for. **O(p r log r)** for p peers and r replicas.
    pub fn tick(&mut self, now: Now) {
        self.replies.expire(now.wall);
        let Engine { relay, peers, durable, config, .. } = self;
        if relay.forget_at <= now.mono && !peers.is_empty() {
            relay.forget_at = now.mono + config.heartbeat;
            let everywhere = |id| {
                let known = peers.values().map(|peer| peer.known.get(id)).min();
                (id, known.map_or(0, |known| known.min(durable.get(id))))
            };
            let known = relay.log.origins().map(everywhere).collect();
            relay.log.forget_known(known);
        }
    }

    // ---- durability ----

    /// The rows that must become durable before anything else happens; `None` if nothing changed. **O(change)**.
    ///
    /// After this the engine says nothing to anybody until [`committed`](Engine::committed). If the rows cannot be
    /// written, drop the engine and recover another one from the store: what became of them is not known.
    pub fn take_commit(&mut self) -> Option<Commit> {
        if !self.is_dirty() {
            return None;
        }
        let mut commit = Commit::default();
        if std::mem::take(&mut self.identity_dirty) {
            persist::write_identity(&self.identity, &mut commit);
            if !self.former.is_empty() {
                persist::write_former(&self.former, &mut commit);
            }
        }
        for sending in self.sessions.values_mut().filter_map(|session| session.sending.as_mut()) {
            self.space.gone().for_each(|key| sending.note_gone(key));
        }
        let mut names: Vec<u64> = self.space.unstored().map(|key| name_hash(&key.name)).collect();
        names.sort_unstable();
        self.committing = Some(names);
        if self.space.is_dirty() || self.space.version() != &self.durable {
            persist::write_space(&mut self.space, &self.durable, &mut commit);
        }
        persist::write_replies(&mut self.replies, &mut commit);
        if planted::is(Bug::ReplyNotStored) {
            commit.puts.retain(|(key, _)| key[0] != b'r');
        }
        Some(commit)
    }

    /// The rows of the last [`take_commit`](Engine::take_commit) are durable.
    pub fn committed(&mut self, now: Now) {
        self.committing = None;
        let news: Vec<ReplicaId> = self.space.version().difference(&self.durable).map(|(id, _)| id).collect();
        if !news.is_empty() {
            self.durable.clone_from(self.space.version());
            self.sessions.values_mut().for_each(|session| session.inn.is_unsettled = true);
            self.note_news(&news, now);
        }
        self.timeline.note(now.mono, &self.durable);
    }

    /// Whether everything is durable, so that it may be read and sent.
    pub fn is_durable(&self) -> bool {
        self.committing.is_none() && !self.is_dirty()
    }

    /// Whether what the keys named `name` show, of whatever type, is durable: after a [`take_commit`](Engine::take_commit)
    /// that is so of all but the keys that it stores. They may be read before it is [`committed`](Engine::committed), as of
    /// the [`version`](Engine::version), which stays until then. **O(log n)**.
    ///
    /// A key that the commit leaves alone may be taken for one that it stores: by a collision of hashes, and while nothing
    /// is durable, since what a commit makes of lost metadata it shows for the first time.
    pub fn is_key_durable(&self, name: &str) -> bool {
        match &self.committing {
            Some(names) => !self.durable.is_empty() && names.binary_search(&name_hash(name)).is_err(),
            None => !self.is_dirty(),
        }
    }

    fn is_dirty(&self) -> bool {
        self.identity_dirty
            || self.replies.is_dirty()
            || self.space.is_dirty()
            || self.space.version() != &self.durable
    }

    pub(crate) fn forget_deaths(&mut self) {
        let bound = self.config.min_deaths.max(self.space.len());
        // What differs is judged by what is remembered, so then more is.
        let is_diverged = self.peers.values().any(|peer| peer.diverged && peer.session.is_some());
        if self.space.deaths() <= if is_diverged { bound.saturating_mul(4) } else { bound } {
            return;
        }
        // What is not stored yet must be stored with its removals. Of the rest, first what every peer has seen; if that
        // is not enough, whatever is remembered.
        // What is yet to be cut into a batch must be cut with its removals too.
        let me = self.identity.replica;
        let is_mine = |id| id == me && !planted::is(Bug::UncutRemovalsForgotten);
        let cut: VersionVector = self
            .durable
            .iter()
            .map(|(id, n)| (id, if is_mine(id) { n.min(self.space.cut_until()) } else { n }))
            .collect();
        let common = |one: &VersionVector, other: &VersionVector| -> VersionVector {
            one.zip(other).map(|(id, one, other)| (id, one.min(other))).collect()
        };
        let everywhere = self.peers.values().fold(cut.clone(), |all, peer| common(&all, &peer.known));
        self.space.forget_deaths(&everywhere);
        if self.space.deaths() > bound / 2 {
            self.space.forget_deaths(&cut);
        }
    }

    /// How many bytes of batches wait for something that they depend on; bounded by [`Config::max_early`].
    pub fn early_bytes(&self) -> usize {
        self.relay.early.bytes()
    }

    // ---- writes ----

    /// Writes to the key `name` of the type that `op` writes to. **O(change)**.
    ///
    /// The reply may be given once the next commit is durable. With an idempotency key, the reply of the first such write
    /// is kept for a bounded time in the same commit, and a repetition gets it and writes nothing.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; nothing is changed.
    pub fn write(&mut self, name: &str, op: &Op, key: Option<&str>, now: Now) -> Result<Receipt, WriteError> {
        size("name", name.len(), MAX_NAME)?;
        for blob in op.blobs() {
            // An empty value or element is a value like any other.
            size("value", blob.len().max(1), MAX_BLOB)?;
        }
        let Some(key) = key else { return self.perform(name, op, now) };
        size("idempotency key", key.len(), MAX_IDEMPOTENCY_KEY)?;
        let request = request_hash(name, op);
        match self.replies.find(key, request) {
            Known::Repeated(receipt) => return Ok(Receipt { repeated: true, ..receipt }),
            Known::OtherRequest => return Err(WriteError::KeyReused),
            Known::No => {}
        }
        if self.replies.len() >= self.config.idempotency_max {
            return Err(WriteError::KeysExhausted { limit: self.config.idempotency_max });
        }
        let receipt = self.perform(name, op, now)?;
        self.replies.keep(
            key,
            request,
            now.wall.saturating_add(self.config.idempotency_ttl),
            receipt.clone(),
        );
        Ok(receipt)
    }

    fn perform(&mut self, name: &str, op: &Op, now: Now) -> Result<Receipt, WriteError> {
        let key = self.usable(op.kind(), name)?;
        let before = self.writer.last();
        let (writer, mut stamp) = (&mut self.writer, None);
        self.space.update::<WriteError>(&key, |value, mut watch| match (value, op) {
            (_, Op::Grow(0) | Op::Increment(0) | Op::Decrement(0)) => Ok(None),
            (Value::GCounter(counter), Op::Grow(by)) => {
                Ok(within(writer, counter, |counter, tick| counter.increment(tick, *by))?)
            }
            (Value::PnCounter(counter), Op::Increment(by)) => {
                Ok(within(writer, counter, |counter, tick| counter.increment(tick, *by))?)
            }
            (Value::PnCounter(counter), Op::Decrement(by)) => {
                Ok(within(writer, counter, |counter, tick| counter.decrement(tick, *by))?)
            }
            (Value::Register(register), Op::Assign(bytes)) => {
                let time = HybridTime::from_millis(now.wall);
                let set = if planted::is(Bug::LocalClock) {
                    let set = Stamp::new(time, writer.tick().take()?);
                    register.set_at(set, bytes.clone());
                    set
                } else {
                    register.set(writer.tick(), time, bytes.clone())?
                };
                stamp = Some(set);
                Ok(Some(Dot::new(set.replica, set.counter)))
            }
            (Value::Set(set), Op::Add(elements)) => {
                let Some(dots) = take_for(writer, elements.len())? else { return Ok(None) };
                for (element, dot) in elements.iter().zip(dots) {
                    set.add(dot, element.clone(), &mut watch);
                }
                Ok(Some(Dot::new(writer.id(), writer.last())))
            }
            (Value::Set(set), Op::Remove(elements)) => {
                let present: BTreeSet<&Blob> =
                    elements.iter().filter(|element| set.contains(element.as_slice())).collect();
                let Some(dots) = take_for(writer, present.len())? else { return Ok(None) };
                for (element, dot) in present.into_iter().zip(dots) {
                    set.remove(dot, element.as_slice(), &mut watch);
                }
                Ok(Some(Dot::new(writer.id(), writer.last())))
            }
            (Value::Set(set), Op::Clear) => {
                if set.is_empty() {
                    return Ok(None);
                }
                let dot = writer.tick().take()?;
                set.clear(dot, &mut watch);
                Ok(Some(dot))
            }
            _ => unreachable!("the key has the kind of the write"),
        })?;
        self.forget_deaths();
        self.note_run(before);
        Ok(self.receipt(before, stamp))
    }

    /// Updates a value of the user's own type: `update` gets the value and the tick that names its update.
    ///
    /// # Errors
    ///
    /// [`WriteError`], or what `update` returns, which then must not have changed the value.
    ///
    /// # Panics
    ///
    /// If another type is registered under the name of `T`.
    pub fn update<T: Custom, E: From<WriteError> + From<UpdateError>>(
        &mut self,
        name: &str,
        update: impl FnOnce(&mut T, Tick<'_>) -> Result<(), E>,
    ) -> Result<Receipt, E> {
        size("name", name.len(), MAX_NAME)?;
        let key = self.usable(Kind::from(T::TYPE), name)?;
        if !self.space.knows(&key.kind) {
            return Err(WriteError::UnknownType(key.kind).into());
        }
        let before = self.writer.last();
        let writer = &mut self.writer;
        self.space.update(&key, |value, _| {
            let Value::Custom(value) = value else { unreachable!("the key has a custom kind") };
            let value = value.as_any_mut().downcast_mut::<T>().expect("a type name stands for one type");
            within(writer, value, update)
        })?;
        self.note_run(before);
        Ok(self.receipt(before, None))
    }

    fn usable(&self, kind: Kind, name: &str) -> Result<Key, WriteError> {
        if let Some(from) = self.forked {
            return Err(WriteError::Forked { replica: self.identity.replica, from });
        }
        if self.lost_updates {
            return Err(WriteError::LostUpdates);
        }
        if self.has_lost_metadata() {
            return Err(WriteError::LostMetadata);
        }
        let key = Key::new(kind, name);
        match self.space.other_kind(&key.kind, name) {
            Some(held) => Err(WriteError::OtherType { name: name.to_owned(), held, wanted: key.kind }),
            None => Ok(key),
        }
    }

    fn note_run(&mut self, before: u64) {
        if self.writer.last() > before {
            self.space.begin_run(self.identity.replica, before + 1, self.run);
        }
    }

    fn receipt(&self, before: u64, stamp: Option<Stamp>) -> Receipt {
        let last = self.writer.last();
        Receipt {
            replica: self.identity.replica,
            events: last - before,
            last: if last > before { last } else { 0 },
            stamp,
            token: self.space.version().clone(),
            repeated: false,
        }
    }
}

/// Updates a value that numbers its updates by itself, as one event of the leader; if it fails, no number is used.
fn within<S: Dotted, E: From<UpdateError>>(
    writer: &mut Writer,
    value: &mut S,
    update: impl FnOnce(&mut S, Tick<'_>) -> Result<(), E>,
) -> Result<Option<Dot>, E> {
    let before = writer.last();
    let dot = writer.tick().take()?;
    let mut own = Writer::resume(dot.replica, value.last_counter(dot.replica));
    if let Err(error) = update(value, own.tick()) {
        *writer = Writer::resume(dot.replica, before);
        return Err(error);
    }
    Ok(Some(dot))
}

/// The dots of `count` consecutive events; `None` for no events.
fn take_for(
    writer: &mut Writer,
    count: usize,
) -> Result<Option<impl Iterator<Item = Dot> + use<>>, UpdateError> {
    if count == 0 {
        return Ok(None);
    }
    let before = writer.last();
    let end = writer.tick().take_many(u64::try_from(count).map_err(|_| UpdateError::Overflow)?)?;
    Ok(Some((before + 1..=end.counter).map(move |counter| Dot::new(end.replica, counter))))
}

fn name_hash(name: &str) -> u64 {
    XxHash3_64::oneshot(name.as_bytes())
}

fn size(what: &'static str, bytes: usize, limit: usize) -> Result<(), WriteError> {
    if (1..=limit).contains(&bytes) { Ok(()) } else { Err(WriteError::Size { what, bytes, limit }) }
}
