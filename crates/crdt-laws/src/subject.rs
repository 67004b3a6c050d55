use crdt_core::{Dot, Dotted, Merge, Replica, ReplicaId, Rows};
use quickcheck::Arbitrary;
use std::{error::Error, fmt::Debug};

/// What an update came to: done, or refused with a typed error and without effect.
pub type Outcome = Result<(), Box<dyn Error>>;

/// A type under test: its state, and how to drive it.
///
/// Implement it for the state itself (`type State = Self`), or for an empty struct of your own, which also works where
/// the state's crate is not yours, as from a `tests/` folder.
///
/// Only [`State`](Subject::State), [`Op`](Subject::Op) and [`update`](Subject::update) are required. The other methods
/// say what happens to a replica besides updates; their defaults are right for most types.
pub trait Subject: 'static {
    /// The state that is checked.
    type State: Merge + Dotted + Default + Clone + PartialEq + Debug + 'static;

    /// One update, drawn by quickcheck.
    ///
    /// Draw arguments from few values (four elements, amounts below ten), so that concurrent updates meet on one of
    /// them; bugs live there. A good `shrink` makes counterexamples shorter.
    type Op: Arbitrary + Debug;

    /// Carries `op` out at `replica`.
    ///
    /// `now` is what the replica's clock shows, in any unit: clocks here stand still, run backwards, agree by chance
    /// and are now and then far ahead. Types without clocks ignore it.
    ///
    /// # Errors
    ///
    /// Whatever the type refuses the update with; the law is that nothing has changed then.
    ///
    /// A refused update is no [`Event`], so no model hears of it. An accepted one is, also if it changed nothing (the
    /// removal of what is not there); such an update may take no number. A suite of which nearly all updates are
    /// refused breaks [`Law::Effect`](crate::Law::Effect), for it has checked nothing: draw updates that can be
    /// accepted, or build up in `update` what they need.
    fn update(replica: &mut Replica<Self::State>, op: &Self::Op, now: u64) -> Outcome;

    /// A new replica from a copy of another. By default a clone of the state under the new `id`.
    fn fork(original: &Replica<Self::State>, id: ReplicaId) -> Replica<Self::State> {
        Replica::new(id, original.state().clone())
    }

    /// What is left of the persisted `state` when replica `id` starts again.
    ///
    /// By default all of it. With [`Suite::serde`](crate::Suite::serde) the state has been through bytes before.
    fn restart(_id: ReplicaId, state: Self::State) -> Self::State {
        state
    }

    /// Drops metadata, such as the memory of removals; by default there is none.
    ///
    /// `stable` is what every replica has, durably: for each replica a counter up to which all its updates are
    /// known everywhere. Trimming leaves a state equal to what it was ([`Law::Trimming`](crate::Law::Trimming)).
    ///
    /// With [`Suite::serde`](crate::Suite::serde) equal states must give equal bytes, and a trimmed state equals the
    /// untrimmed one: what trimming drops must stay out of the serialised bytes. A type that keeps it there on purpose
    /// leaves [`Law::CanonicalBytes`](crate::Law::CanonicalBytes) out.
    fn trim(_state: &mut Self::State, _stable: &Rows) {}

    /// What must hold inside every state that is ever reached: entries sorted, none twice, no count below another.
    ///
    /// Checked on every state after a step, and on every merge, delta and decoding that the laws look at, as
    /// [`Law::Invariant`](crate::Law::Invariant). By default nothing is asked. It says of one state what the other laws
    /// say of several; a state that breaks it usually breaks those later and less clearly.
    ///
    /// # Errors
    ///
    /// What is wrong with the state, for the reader of a counterexample.
    ///
    /// ```
    /// # use crdt_core::{Replica, Rows};
    /// # use crdt_laws::{Outcome, Subject};
    /// # struct Visits;
    /// # impl Subject for Visits {
    /// #     type State = Rows;
    /// #     type Op = ();
    /// #     fn update(replica: &mut Replica<Rows>, (): &(), _now: u64) -> Outcome {
    /// #         replica.update(|rows, tick| {
    /// #             let dot = tick.take()?;
    /// #             rows.raise(dot.replica, dot.counter);
    /// #             Ok(())
    /// #         })
    /// #     }
    /// fn invariant(state: &Rows) -> Result<(), String> {
    ///     match state.iter().find(|row| row.1 == 0) {
    ///         None => Ok(()),
    ///         Some((replica, _)) => Err(format!("the row of {replica} is kept though it is 0")),
    ///     }
    /// }
    /// # }
    /// # crdt_laws::check::<Visits>();
    /// ```
    fn invariant(_state: &Self::State) -> Result<(), String> {
        Ok(())
    }
}

/// A naive model of the type: what a reader should see, said from the updates alone.
///
/// Without one, a type that keeps nothing of its updates on every replica alike passes most laws. The best
/// model is a direct transcription of the specification, without any cleverness of the implementation.
pub trait Model: Subject {
    /// What a reader sees.
    type View: PartialEq + Debug;

    /// What `state` shows.
    fn view(state: &Self::State) -> Self::View;

    /// What a replica should show that has seen exactly the updates in `past`.
    ///
    /// They come in an order in which causes are before effects; [`Event::saw`] says which are concurrent.
    fn expected(past: &[&Event<Self::Op>]) -> Self::View;
}

/// An update that was accepted in a generated history; what was refused is none.
#[derive(Clone, Debug)]
pub struct Event<Op> {
    /// The update.
    pub op: Op,
    /// Its name: the replica, and the last counter that the update took there.
    ///
    /// An accepted update that changed nothing may have taken none; then it bears the counter of the one before, or 0.
    pub dot: Dot,
    /// What that replica's clock showed.
    pub now: u64,
    pub(crate) index: usize,
    pub(crate) past: Past,
    /// In a crash, before anybody else learned of it.
    pub(crate) lost: bool,
}

impl<Op> Event<Op> {
    /// Whether the replica that made this update had seen `earlier` by then. No event saw itself.
    pub fn saw(&self, earlier: &Self) -> bool {
        self.past.contains(earlier.index)
    }
}

/// A set of events by their index in the history: what the kit itself knows that a replica has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past(Vec<u64>);

impl Past {
    pub(crate) fn contains(&self, index: usize) -> bool {
        self.0.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    pub(crate) fn insert(&mut self, index: usize) {
        if self.0.len() <= index / 64 {
            self.0.resize(index / 64 + 1, 0);
        }
        self.0[index / 64] |= 1 << (index % 64);
    }

    pub(crate) fn join(&mut self, other: &Past) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine |= theirs;
        }
    }

    pub(crate) fn is_subset(&self, other: &Past) -> bool {
        self.0.iter().enumerate().all(|(at, word)| word & !other.0.get(at).unwrap_or(&0) == 0)
    }
}
