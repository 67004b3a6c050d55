//! Which paths there are after each event, found from the events alone.
//!
//! A path is present when some add of it in the event's ancestry has been seen by no remove, and by no later add, of
//! that path in that ancestry. No set is merged here: a merge re-evaluates this sentence for the paths that the other
//! parents' events touch, everything else stands as it stood after the first parent.

use super::ancestry::{Ancestry, Reach};

/// A growing history and the paths present after each of its events; paths are numbers below a bound.
#[derive(Debug)]
pub(super) struct Oracle {
    ancestry: Ancestry,
    /// For each path, by leader, the events that added or removed it, in the order of the leader's chain.
    touches: Vec<Vec<(usize, Vec<Touch>)>>,
    /// For each event the paths that it touched.
    touched: Vec<Vec<usize>>,
    present: Vec<Paths>,
}

#[derive(Clone, Copy, Debug)]
struct Touch {
    event: usize,
    adds: bool,
}

/// What a new event finds before its own updates: the join of its parents.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) parents: Vec<usize>,
    pub(super) present: Paths,
}

/// A set of numbers, one bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Paths(Box<[u64]>);

impl Paths {
    fn none(bound: usize) -> Self {
        Paths(vec![0; bound.div_ceil(64)].into())
    }

    pub(super) fn contains(&self, path: usize) -> bool {
        self.0[path / 64] >> (path % 64) & 1 == 1
    }

    fn set(&mut self, path: usize, present: bool) {
        let bit = 1 << (path % 64);
        if present {
            self.0[path / 64] |= bit;
        } else {
            self.0[path / 64] &= !bit;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// In ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(at, &word)| {
            let rest = std::iter::successors(Some(word), |left| Some(left & left.wrapping_sub(1)));
            rest.take_while(|left| *left != 0).map(move |left| at * 64 + left.trailing_zeros() as usize)
        })
    }
}

impl Oracle {
    /// An empty history over the paths 0 to `paths` - 1.
    pub(super) fn new(paths: usize) -> Self {
        Oracle {
            ancestry: Ancestry::default(),
            touches: vec![Vec::new(); paths],
            touched: Vec::new(),
            present: Vec::new(),
        }
    }

    pub(super) fn ancestry(&self) -> &Ancestry {
        &self.ancestry
    }

    /// What an event with these parents finds.
    pub(super) fn join(&self, parents: Vec<usize>) -> Joined {
        let Some((&first, others)) = parents.split_first() else {
            let present = Paths::none(self.touches.len());
            return Joined { parents, present };
        };
        let mut present = self.present[first].clone();
        if !others.is_empty() {
            let reach = self.ancestry.join(&parents);
            let news = self.ancestry.beyond(self.ancestry.reach(first), &reach);
            let mut paths: Vec<usize> = news.flat_map(|event| &self.touched[event]).copied().collect();
            paths.sort_unstable();
            paths.dedup();
            for path in paths {
                present.set(path, self.is_present(path, &reach));
            }
        }
        Joined { parents, present }
    }

    /// Adds the next event; returns the paths present after it.
    ///
    /// # Panics
    ///
    /// If it breaks its leader's chain.
    pub(super) fn push(&mut self, leader: usize, joined: Joined, add: &[usize], remove: &[usize]) -> &Paths {
        let event = self.touched.len();
        self.ancestry.push(leader, &joined.parents).expect("an event builds on its leader's last one");
        let mut present = joined.present;
        for (paths, adds) in [(add, true), (remove, false)] {
            for &path in paths {
                // Nothing is later than this event, and it has seen all that is in its ancestry.
                present.set(path, adds);
                let chains = &mut self.touches[path];
                let touch = Touch { event, adds };
                match chains.iter_mut().find(|(of, _)| *of == leader) {
                    Some((_, chain)) => chain.push(touch),
                    None => chains.push((leader, vec![touch])),
                }
            }
        }
        self.touched.push([add, remove].concat());
        self.present.push(present);
        &self.present[event]
    }

    /// The definition, for a history that reaches so far. Of each leader only the last touch in it counts: that one
    /// has seen the leader's earlier ones, and whatever those had seen.
    fn is_present(&self, path: usize, reach: &Reach) -> bool {
        let last: Vec<Touch> = self.touches[path]
            .iter()
            .filter_map(|(_, chain)| {
                let held = chain.partition_point(|touch| self.ancestry.holds(reach, touch.event));
                chain[..held].last().copied()
            })
            .collect();
        let seen = |add: &Touch| last.iter().any(|by| self.ancestry.is_ancestor(add.event, by.event));
        last.iter().any(|touch| touch.adds && !seen(touch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::rng::Rng;

    /// The definition word for word, over all pairs of events, on histories where everything contends.
    #[test]
    fn presence_agrees_with_the_definition() {
        const PATHS: usize = 3;
        for seed in 0..30 {
            let mut rng = Rng::new(seed);
            let mut oracle = Oracle::new(PATHS);
            let mut events: Vec<(Vec<usize>, Vec<usize>)> = Vec::new();
            let mut heads = [None; 4];
            for event in 0..60 {
                let leader = rng.below(heads.len());
                let parents = [heads[leader], heads[rng.below(heads.len())]];
                let joined = oracle.join(parents.into_iter().flatten().collect());
                let kinds: Vec<usize> = (0..PATHS).map(|_| rng.below(4)).collect();
                let pick = |kind| (0..PATHS).filter(|path| kinds[*path] == kind).collect::<Vec<_>>();
                let (add, remove) = (pick(0), pick(1));
                let present = oracle.push(leader, joined, &add, &remove).clone();
                events.push((add, remove));
                heads[leader] = Some(event);

                let past = |e: usize| e == event || oracle.ancestry.is_ancestor(e, event);
                let alive = |path: usize, add: usize| {
                    !(0..=event).any(|by| {
                        let touches = events[by].0.contains(&path) || events[by].1.contains(&path);
                        touches && past(by) && oracle.ancestry.is_ancestor(add, by)
                    })
                };
                let expected: Vec<usize> = (0..PATHS)
                    .filter(|path| {
                        (0..=event).any(|e| past(e) && events[e].0.contains(path) && alive(*path, e))
                    })
                    .collect();
                assert_eq!(present.iter().collect::<Vec<_>>(), expected, "seed {seed}, event {event}");
                assert_eq!(present.len(), expected.len());
            }
        }
    }

    #[test]
    fn paths_iterate_in_order_across_words() {
        let mut paths = Paths::none(200);
        for path in [199, 0, 64, 63] {
            paths.set(path, true);
        }
        paths.set(64, false);
        assert_eq!(paths.iter().collect::<Vec<_>>(), [0, 63, 199]);
        assert!(paths.contains(63) && !paths.contains(64));
    }
}
