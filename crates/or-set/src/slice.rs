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
    /// A slice without survivors, from its parts; `None` if they are not strictly ascending or a counter is 0. **O(s)**
    /// for what is in it.
    pub fn from_parts(births: Vec<(Dot, E)>, deaths: Vec<(Dot, Dot)>) -> Option<Self> {
        let is_dot = |dot: Dot| dot.counter > 0;
        let is_valid = births.is_sorted_by(|a, b| a.0 < b.0)
            && deaths.is_sorted_by(|a, b| a < b)
            && births.iter().all(|(dot, _)| is_dot(*dot))
            && deaths.iter().all(|(event, killed)| is_dot(*event) && is_dot(*killed));
        is_valid.then_some(Slice { births, deaths, survivors: None })
    }

    /// Takes in what another slice gathered, of the same or of other replicas: what was born in either and died in neither.
    /// **O(s log s)** for what is in both.
    ///
    /// Slices of several origins that a receiver takes at once have to be joined first: a birth in one may have died in
    /// another, and [`apply`](crate::Kernel::apply) takes the births of a slice for living.
    ///
    /// # Panics
    ///
    /// If either has survivors.
    pub fn join(&mut self, other: Self) {
        assert!(!self.has_survivors() && !other.has_survivors(), "slices with survivors cannot be joined");
        self.births.extend(other.births);
        self.deaths.extend(other.deaths);
        self.births.sort_by_key(|birth| birth.0);
        self.births.dedup_by_key(|birth| birth.0);
        self.deaths.sort_unstable();
        self.deaths.dedup();
        let mut killed: Vec<Dot> = self.deaths.iter().map(|death| death.1).collect();
        killed.sort_unstable();
        self.births.retain(|birth| killed.binary_search(&birth.0).is_err());
    }

    /// Leaves out what died, for a receiver that has nothing of it: the version that the slice reaches becomes its floor.
    pub fn drop_deaths(&mut self) {
        self.deaths.clear();
    }

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

impl Run {
    /// What is in it with a counter up to `last`.
    pub(crate) fn up_to(self, last: u64) -> Option<Run> {
        (self.first <= last).then(|| Run { last: self.last.min(last), ..self })
    }

    /// The dots in it, ascending.
    pub(crate) fn dots(self) -> impl Iterator<Item = Dot> {
        (self.first..=self.last).map(move |counter| Dot::new(self.replica, counter))
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

/// The dots that are in `runs` and not in `others`, both ascending. **O(runs)** on both sides.
pub(crate) fn without(
    runs: impl Iterator<Item = Run>,
    others: impl Iterator<Item = Run>,
) -> impl Iterator<Item = Run> {
    let (mut runs, mut others) = (runs, others.peekable());
    let mut rest: Option<Run> = None;
    core::iter::from_fn(move || {
        loop {
            let run = rest.take().or_else(|| runs.next())?;
            while others.next_if(|other| (other.replica, other.last) < (run.replica, run.first)).is_some() {}
            let overlap =
                others.peek().filter(|other| other.replica == run.replica && other.first <= run.last);
            let Some(other) = overlap else { return Some(run) };
            if other.last < run.last {
                rest = Some(Run { first: other.last + 1, ..run });
            }
            if run.first < other.first {
                return Some(Run { last: other.first - 1, ..run });
            }
        }
    })
}

impl From<Dot> for Run {
    fn from(dot: Dot) -> Self {
        Run { replica: dot.replica, first: dot.counter, last: dot.counter }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of each of two replicas.
    const COUNTERS: u64 = 4;

    /// The dots in a set of bits, ascending; counters begin after `base`.
    fn dots(bits: u32, base: u64) -> impl Iterator<Item = Dot> + Clone {
        let all = (1..=2).flat_map(move |replica| {
            (1..=COUNTERS).map(move |counter| Dot::new(ReplicaId::new(replica), base + counter))
        });
        all.enumerate().filter(move |(at, _)| bits >> at & 1 == 1).map(|(_, dot)| dot)
    }

    /// As long as they can be, but not across the counters in `cuts`.
    fn joined(dots: impl Iterator<Item = Dot>, cuts: u32) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for dot in dots {
            match runs.last_mut() {
                Some(run)
                    if run.replica == dot.replica
                        && run.last + 1 == dot.counter
                        && cuts >> (dot.counter % COUNTERS) & 1 == 0 =>
                {
                    run.last += 1;
                }
                _ => runs.push(Run::from(dot)),
            }
        }
        runs
    }

    #[test]
    fn slices_are_made_of_ascending_parts_and_lose_the_dead_when_joined() {
        let dot = |replica, counter| Dot::new(ReplicaId::new(replica), counter);
        let born = |dots: &[Dot]| dots.iter().map(|dot| (*dot, dot.counter)).collect::<Vec<_>>();
        assert!(Slice::from_parts(born(&[dot(1, 2), dot(1, 1)]), Vec::new()).is_none());
        assert!(Slice::from_parts(born(&[dot(1, 0)]), Vec::new()).is_none());
        assert!(Slice::from_parts(born(&[dot(1, 1), dot(2, 0)]), Vec::new()).is_none());
        assert!(Slice::<u64>::from_parts(Vec::new(), [(dot(2, 1), dot(1, 0))].into()).is_none());
        let mut one = Slice::from_parts(born(&[dot(1, 1), dot(1, 3)]), Vec::new()).unwrap();
        let other =
            Slice::from_parts(born(&[dot(1, 3), dot(2, 9)]), [(dot(2, 8), dot(1, 1))].into()).unwrap();
        let mut reverse = other.clone();
        reverse.join(one.clone());
        one.join(other);
        assert_eq!(one, reverse);
        assert_eq!(one.births, born(&[dot(1, 3), dot(2, 9)]));
        assert_eq!(one.deaths, [(dot(2, 8), dot(1, 1))]);
    }

    #[test]
    fn without_is_the_difference_of_sets() {
        for base in [0, u64::MAX - COUNTERS] {
            for all in 0..1 << (2 * COUNTERS) {
                for gone in 0..1 << (2 * COUNTERS) {
                    let expected = dots(all & !gone, base);
                    // Whole on both sides; cut on the one or the other, or into single dots.
                    for (cuts, other_cuts) in [(0, 0), (0, u32::MAX), (u32::MAX, 0), (0b0100, 0b1000)] {
                        let runs = joined(dots(all, base), cuts).into_iter();
                        let others = joined(dots(gone, base), other_cuts).into_iter();
                        assert!(without(runs, others).flat_map(Run::dots).eq(expected.clone()));
                    }
                }
            }
        }
    }

    #[test]
    fn a_run_up_to_some_counter() {
        let run = Run { replica: ReplicaId::new(1), first: 3, last: 5 };
        for last in 0..=7 {
            let expected = (3..=5).filter(|counter| *counter <= last);
            let dots = run.up_to(last).into_iter().flat_map(Run::dots);
            assert!(dots.map(|dot| dot.counter).eq(expected));
        }
        assert_eq!(run.up_to(2), None);
    }

    #[cfg(feature = "serde")]
    #[test]
    fn runs_are_as_long_as_can_be() {
        for bits in 0..1 << (2 * COUNTERS) {
            assert_eq!(runs(dots(bits, 0)), joined(dots(bits, 0), 0));
        }
        // Where a counter has no next one.
        let last = u64::MAX - COUNTERS;
        assert_eq!(runs(dots(0xf8, last)), joined(dots(0xf8, last), 0));
    }
}
