use crate::{history::History, subject::Subject, world::World};
use quickcheck::{Arbitrary, Gen};
use std::{fmt, ops::Deref};

/// `N` states of one history, for quickcheck properties of one's own: replicas that have updated, merged, forked,
/// crashed and lost messages, but never shared an id.
///
/// Arbitrary *states* would give one dot to two updates and break every CRDT; these are reachable together. They
/// shrink through their history. Reads as `[S::State; N]`.
///
/// ```
/// use crdt_core::{Merge, Replica, Rows};
/// use crdt_laws::{Forks, Outcome, Subject};
/// use quickcheck::QuickCheck;
///
/// struct Visits;
///
/// impl Subject for Visits {
///     type State = Rows;
///     type Op = ();
///
///     fn update(replica: &mut Replica<Rows>, (): &(), _now: u64) -> Outcome {
///         replica.update(|rows, tick| {
///             let dot = tick.take()?;
///             rows.raise(dot.replica, dot.counter);
///             Ok(())
///         })
///     }
/// }
///
/// fn merging_adds_no_more_than_both(forks: Forks<Visits, 2>) -> bool {
///     let [a, b] = &*forks;
///     let mut joined = a.clone();
///     joined.merge(b);
///     joined.sum() <= a.sum() + b.sum()
/// }
/// QuickCheck::new().quickcheck(merging_adds_no_more_than_both as fn(Forks<Visits, 2>) -> bool);
/// ```
pub struct Forks<S: Subject, const N: usize> {
    history: History<S::Op>,
    states: [S::State; N],
}

impl<S: Subject, const N: usize> Forks<S, N> {
    fn play(mut history: History<S::Op>) -> Self {
        history.replicas = N;
        let mut world = World::<S>::new(None, false);
        world.play(&history);
        let mut nodes = world.nodes.into_iter();
        Forks {
            states: std::array::from_fn(|_| {
                nodes.next().expect("the first N are there").replica.into_state()
            }),
            history,
        }
    }

    /// The states, to keep.
    pub fn into_states(self) -> [S::State; N] {
        self.states
    }
}

impl<S: Subject, const N: usize> Deref for Forks<S, N> {
    type Target = [S::State; N];

    fn deref(&self) -> &[S::State; N] {
        &self.states
    }
}

impl<S: Subject, const N: usize> Arbitrary for Forks<S, N> {
    fn arbitrary(g: &mut Gen) -> Self {
        Forks::play(History::arbitrary(g))
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        // The number of replicas is N, whatever the history says.
        let smaller = self.history.shrink().filter(|history| history.replicas == N);
        Box::new(smaller.map(Forks::play))
    }
}

impl<S: Subject, const N: usize> Clone for Forks<S, N> {
    fn clone(&self) -> Self {
        Forks { history: self.history.clone(), states: self.states.clone() }
    }
}

/// The history, one line a step, and the states that it led to.
impl<S: Subject, const N: usize> fmt::Debug for Forks<S, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut world = World::<S>::new(None, true);
        world.play(&self.history);
        for line in world.trace.unwrap_or_default() {
            writeln!(f, "{line}")?;
        }
        f.debug_list().entries(&self.states).finish()
    }
}
