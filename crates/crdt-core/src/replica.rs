use crate::{Delta, Dot, Gap, Merge, ReplicaId};
use core::{fmt, ops::Deref};

/// A state that knows how far it has each replica's updates.
///
/// # Law
///
/// An update of replica `r` raises `last_counter(r)` to the counter of its last dot, and merging never lowers it, unless
/// the merge has overwritten that update: a register remembers one write, so it knows the counter of one replica.
pub trait Dotted {
    /// The counter of the last update of `replica` that this state has; 0 for none.
    fn last_counter(&self, replica: ReplicaId) -> u64;
}

/// A state and the only writer of it under one [`ReplicaId`].
///
/// Reading goes through [`Deref`]: a `Replica<S>` can be read as an `S`. Cloning therefore gives an `S`, a value to read,
/// send and merge; the writer stays here. What a second writer under the same id would lose:
///
/// ```
/// # use crdt_core::{Dotted, Merge, ReplicaId, Rows, Replica, Tick, UpdateError};
/// # #[derive(Clone, Debug, Default, PartialEq)]
/// # struct Log(std::collections::BTreeMap<(ReplicaId, u64), &'static str>);
/// # impl Merge for Log {
/// #     fn merge(&mut self, other: &Self) -> bool {
/// #         let before = self.0.len();
/// #         for (k, v) in &other.0 { self.0.entry(*k).or_insert(v); }
/// #         self.0.len() > before
/// #     }
/// # }
/// # impl Dotted for Log {
/// #     fn last_counter(&self, r: ReplicaId) -> u64 {
/// #         self.0.keys().filter(|k| k.0 == r).map(|k| k.1).max().unwrap_or(0)
/// #     }
/// # }
/// # impl Log {
/// #     fn write(&mut self, tick: Tick<'_>, line: &'static str) -> Result<(), UpdateError> {
/// #         let dot = tick.take()?;
/// #         self.0.insert((dot.replica, dot.counter), line);
/// #         Ok(())
/// #     }
/// # }
/// // `Log` maps dots to lines. The wrong way: one id, two writers.
/// let id = ReplicaId::new(1);
/// let mut here = Replica::new(id, Log::default());
/// let mut fork = Replica::new(id, here.clone());
/// here.update(|log, tick| log.write(tick, "from here"))?;
/// fork.update(|log, tick| log.write(tick, "from the fork"))?;
/// here.merge(&fork);
/// assert_eq!(here.0.len(), 1, "both lines are named 1:1; one is lost, and nobody was told");
///
/// // The right way: a copy that writes has an id of its own.
/// let mut copy = Replica::new(ReplicaId::new(2), here.clone());
/// copy.update(|log, tick| log.write(tick, "from the copy"))?;
/// here.merge(&copy);
/// assert_eq!(here.0.len(), 2);
/// # Ok::<(), UpdateError>(())
/// ```
///
/// # Keeping one
///
/// Store the id together with the state, and the state durably before anyone else sees it: then
/// `Replica::new(id, state)` resumes the numbering where it stopped. A replica that cannot prove that it has its last
/// updates (a restored backup, a lost disk) resumes with a *new* id.
#[derive(Debug)]
pub struct Replica<S> {
    writer: Writer,
    state: S,
}

impl<S: Dotted> Replica<S> {
    /// The writer `id` of `state`, numbering on from the last update of `id` in it.
    pub fn new(id: ReplicaId, state: S) -> Self {
        Replica { writer: Writer::resume(id, state.last_counter(id)), state }
    }

    /// Runs one update: lends the state together with the [`Tick`] that names the update.
    ///
    /// Returns what `update` returns. If it does not take the tick, no number is used.
    #[inline]
    pub fn update<T>(&mut self, update: impl FnOnce(&mut S, Tick<'_>) -> T) -> T {
        update(&mut self.state, self.writer.tick())
    }
}

impl<S> Replica<S> {
    /// The id that this replica writes under.
    pub fn id(&self) -> ReplicaId {
        self.writer.id
    }

    /// The state, to read, clone or send.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// Gives the writer up and keeps the state.
    pub fn into_state(self) -> S {
        self.state
    }

    /// Joins another state; true exactly when this one grew. See [`Merge::merge`].
    pub fn merge(&mut self, other: &S) -> bool
    where
        S: Merge,
    {
        self.state.merge(other)
    }

    /// Joins a delta; true exactly when the state grew. See [`Delta::apply`].
    ///
    /// # Errors
    ///
    /// [`Gap`] if the delta builds on updates that are not here; nothing is changed.
    pub fn apply(&mut self, change: &S::Change) -> Result<bool, Gap>
    where
        S: Delta,
    {
        self.state.apply(change)
    }
}

impl<S> Deref for Replica<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.state
    }
}

/// Numbers the updates of one replica: 1, 2, 3, without holes.
///
/// [`Replica`] holds one for one state, and is what most programs want. A writer by itself is for a store that keeps
/// *many* objects under one numbering, such as a leader of a mesh. It is deliberately not `Clone`.
///
/// ```
/// use crdt_core::{Dot, ReplicaId, UpdateError, Writer};
///
/// let id = ReplicaId::new(7);
/// let mut writer = Writer::resume(id, 41);
/// assert_eq!(writer.tick().take()?, Dot::new(id, 42));
/// writer.tick(); // dropped: no number is used
/// assert_eq!(writer.tick().take()?, Dot::new(id, 43));
/// assert_eq!(writer.last(), 43);
/// # Ok::<(), UpdateError>(())
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Writer {
    id: ReplicaId,
    last: u64,
}

impl Writer {
    /// A writer that has issued the counters 1 to `last` before, and goes on after them.
    ///
    /// The caller vouches that `last` is the greatest counter that was ever shown to anybody under this id.
    pub const fn resume(id: ReplicaId, last: u64) -> Self {
        Writer { id, last }
    }

    /// Who writes.
    pub const fn id(&self) -> ReplicaId {
        self.id
    }

    /// The last counter issued; 0 for none.
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// Lends the right to name one update.
    #[inline]
    pub const fn tick(&mut self) -> Tick<'_> {
        Tick { writer: self }
    }
}

/// The right to name one update, lent by a [`Replica`] or a [`Writer`]; neither `Copy` nor `Clone`.
///
/// A mutator first checks that the tick follows what its state has ([`follows`](Tick::follows)), then all that can fail, and
/// takes the number last ([`take`](Tick::take)): an update that fails changes nothing and uses no number.
#[derive(Debug)]
pub struct Tick<'a> {
    writer: &'a mut Writer,
}

impl Tick<'_> {
    /// Who writes.
    #[inline]
    pub fn replica(&self) -> ReplicaId {
        self.writer.id
    }

    /// Checks that the update numbered next directly follows the last one of this replica that `state` has.
    ///
    /// # Errors
    ///
    /// [`UpdateError::Stale`] if the state already has an update with that number: someone else wrote under this id.
    /// [`UpdateError::Gap`] if the state lacks earlier ones: it is not the copy that this writer writes.
    #[inline]
    pub fn follows<S: Dotted>(self, state: &S) -> Result<Self, UpdateError> {
        let last = state.last_counter(self.writer.id);
        self.follows_counter(last)
    }

    /// As [`follows`](Tick::follows), of a state whose last counter of this replica is `last`.
    ///
    /// # Errors
    ///
    /// As [`follows`](Tick::follows).
    #[inline]
    pub fn follows_counter(self, last: u64) -> Result<Self, UpdateError> {
        let (replica, issued) = (self.writer.id, self.writer.last);
        match issued.cmp(&last) {
            core::cmp::Ordering::Equal => Ok(self),
            core::cmp::Ordering::Less => Err(UpdateError::Stale { replica, issued, last }),
            core::cmp::Ordering::Greater => Err(UpdateError::Gap { replica, issued, last }),
        }
    }

    /// Takes the number: the dot of this update.
    ///
    /// # Errors
    ///
    /// [`UpdateError::Overflow`] when all 2⁶⁴ − 1 numbers are used.
    #[inline]
    pub fn take(self) -> Result<Dot, UpdateError> {
        self.take_many(1)
    }

    /// Takes `count` consecutive numbers and returns the dot of the *last*; `count` 0 takes none.
    ///
    /// # Errors
    ///
    /// [`UpdateError::Overflow`] when fewer than `count` are left; none is taken.
    #[inline]
    pub fn take_many(self, count: u64) -> Result<Dot, UpdateError> {
        let last = self.writer.last.checked_add(count).ok_or(UpdateError::Overflow)?;
        self.writer.last = last;
        Ok(Dot::new(self.writer.id, last))
    }
}

/// Why an update was refused; the state and the numbering are unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpdateError {
    /// The state has updates under this id that this writer did not issue: the id has, or had, a second writer. Go on
    /// under a new id.
    Stale {
        /// The id in question.
        replica: ReplicaId,
        /// The last counter that this writer issued.
        issued: u64,
        /// The last counter of that id in the state.
        last: u64,
    },
    /// The state lacks updates that this writer issued: it is not the copy that the writer writes.
    Gap {
        /// The id in question.
        replica: ReplicaId,
        /// The last counter that this writer issued.
        issued: u64,
        /// The last counter of that id in the state.
        last: u64,
    },
    /// A counter would pass its greatest value.
    Overflow,
}

impl fmt::Display for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UpdateError::Stale { replica, issued, last } => write!(
                f,
                "the state has update {last} of replica {replica}, its writer issued only {issued}: another writer \
                 uses this id"
            ),
            UpdateError::Gap { replica, issued, last } => write!(
                f,
                "the state ends at update {last} of replica {replica}, its writer issued {issued}: this is not the \
                 writer's copy"
            ),
            UpdateError::Overflow => f.write_str("the counter would pass its greatest value"),
        }
    }
}

impl core::error::Error for UpdateError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rows;

    fn id() -> ReplicaId {
        ReplicaId::new(1)
    }

    #[test]
    fn a_dropped_tick_uses_no_number() {
        let mut writer = Writer::resume(id(), 0);
        let _ = writer.tick();
        assert_eq!(writer.tick().take(), Ok(Dot::new(id(), 1)));
    }

    #[test]
    fn overflow_takes_nothing() {
        let mut writer = Writer::resume(id(), u64::MAX - 1);
        assert_eq!(writer.tick().take_many(2), Err(UpdateError::Overflow));
        assert_eq!(writer.last(), u64::MAX - 1);
        assert!(writer.tick().take().is_ok());
        assert_eq!(writer.tick().take(), Err(UpdateError::Overflow));
    }

    #[test]
    fn a_tick_knows_its_own_copy() {
        let mut writer = Writer::resume(id(), 5);
        let mut follows = |last| {
            let state: Rows = [(1, last)].into_iter().collect();
            writer.tick().follows(&state).err()
        };
        assert_eq!(follows(6), Some(UpdateError::Stale { replica: id(), issued: 5, last: 6 }));
        assert_eq!(follows(4), Some(UpdateError::Gap { replica: id(), issued: 5, last: 4 }));
        assert_eq!(follows(5), None);
    }

    #[test]
    fn numbering_resumes_from_the_state() {
        let rows: Rows = [(1, 9)].into_iter().collect();
        let mut replica = Replica::new(id(), rows);
        assert_eq!(replica.update(|_, tick| tick.take()), Ok(Dot::new(id(), 10)));
    }
}
