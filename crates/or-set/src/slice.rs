use alloc::vec::Vec;
use crdt_core::{Dot, ReplicaId};

/// What a [`Kernel`](crate::Kernel) gathered since some version: what was born and still lives, and what died.
///
/// It has no context of its own: the version that it starts from and the one that it reaches travel beside it, as in
/// [`OrSetDelta`](crate::OrSetDelta), or once for many kernels that share a numbering.
///
/// # Invariant
///
/// Births are strictly ascending by dot, deaths strictly ascending by event and then by the dot that died; counters are
/// not 0. Deserialising checks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice<E> {
    pub(crate) births: Vec<(Dot, E)>,
    pub(crate) deaths: Vec<(Dot, Dot)>,
    /// As ranges: a few bytes from a peer may claim that 2⁶⁰ dots live, and must not become a list of them.
    pub(crate) survivors: Option<Vec<Run>>,
}

/// The dots `first ..= last` of one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) replica: ReplicaId,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl<E> Slice<E> {
    /// The adds whose dots live, ascending by dot.
    pub fn births(&self) -> &[(Dot, E)] {
        &self.births
    }

    /// The dots that died, each as `(event, killed)`, ascending: `event` is the remove, the clear, or the newer add
    /// of the same element that ended `killed`.
    pub fn deaths(&self) -> &[(Dot, Dot)] {
        &self.deaths
    }

    /// Whether the slice also says which older dots still live, because not all deaths since then are remembered.
    pub fn has_survivors(&self) -> bool {
        self.survivors.is_some()
    }

    /// Whether there is nothing to apply.
    pub fn is_empty(&self) -> bool {
        self.births.is_empty() && self.deaths.is_empty() && self.survivors.is_none()
    }
}

impl<E> Default for Slice<E> {
    /// Nothing.
    fn default() -> Self {
        Slice { births: Vec::new(), deaths: Vec::new(), survivors: None }
    }
}

/// The runs of consecutive counters in ascending dots.
pub(crate) fn runs(dots: impl Iterator<Item = Dot>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for Dot { replica, counter } in dots {
        match runs.last_mut() {
            Some(run) if run.replica == replica && run.last + 1 == counter => run.last = counter,
            _ => runs.push(Run { replica, first: counter, last: counter }),
        }
    }
    runs
}

/// Whether a dot lies in ascending runs, to be asked about ascending dots: all questions together take one pass.
pub(crate) fn within(mut runs: impl Iterator<Item = Run>) -> impl FnMut(Dot) -> bool {
    let mut current = runs.next();
    move |dot| {
        while current.is_some_and(|run| (run.replica, run.last) < (dot.replica, dot.counter)) {
            current = runs.next();
        }
        current.is_some_and(|run| run.replica == dot.replica && run.first <= dot.counter)
    }
}

impl From<Dot> for Run {
    fn from(dot: Dot) -> Self {
        Run { replica: dot.replica, first: dot.counter, last: dot.counter }
    }
}
