//! Who descends from whom: an oracle of its own, without version vectors.

/// How many events of each leader, by its index, an event's history holds; leaders beyond the end have none.
pub(super) type Reach = Box<[usize]>;

/// The ancestry of a history, learned one event at a time.
///
/// A leader's events form a chain, so what an event's history holds of a leader is a prefix of that chain: one length
/// for each leader says exactly which events are ancestors. O(leaders) an event to keep, O(1) to ask.
#[derive(Debug, Default)]
pub(super) struct Ancestry {
    events: Vec<Placed>,
    /// The events of each leader, in order.
    chains: Vec<Vec<usize>>,
}

#[derive(Debug)]
struct Placed {
    leader: usize,
    /// Its number among its leader's events, from 1.
    place: usize,
    /// The event itself included.
    reach: Reach,
}

/// The leader of an event has written an earlier one that is not among its ancestors.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Forked {
    /// That earlier event.
    pub(super) earlier: usize,
}

impl Ancestry {
    /// Adds the next event.
    ///
    /// # Errors
    ///
    /// [`Forked`] if that breaks its leader's chain; nothing is added.
    pub(super) fn push(&mut self, leader: usize, parents: &[usize]) -> Result<(), Forked> {
        let mut reach = self.join(parents).into_vec();
        let known = self.chains.len().max(leader + 1);
        self.chains.resize_with(known, Vec::new);
        reach.resize(reach.len().max(leader + 1), 0);
        let chain = &mut self.chains[leader];
        if let Some(&earlier) = chain.get(reach[leader]) {
            return Err(Forked { earlier });
        }
        chain.push(self.events.len());
        reach[leader] = chain.len();
        self.events.push(Placed { leader, place: chain.len(), reach: reach.into() });
        Ok(())
    }

    /// What the histories of `events` hold together.
    pub(super) fn join(&self, events: &[usize]) -> Reach {
        let mut joined = Vec::new();
        for &event in events {
            let reach = self.reach(event);
            joined.resize(joined.len().max(reach.len()), 0);
            for (most, &held) in joined.iter_mut().zip(reach) {
                *most = held.max(*most);
            }
        }
        joined.into()
    }

    /// What the history of `event` holds, the event included.
    pub(super) fn reach(&self, event: usize) -> &[usize] {
        &self.events[event].reach
    }

    /// Whether the history that reaches so far holds `event`.
    pub(super) fn holds(&self, reach: &[usize], event: usize) -> bool {
        let Placed { leader, place, .. } = self.events[event];
        reach.get(leader).is_some_and(|held| place <= *held)
    }

    /// Whether `earlier` is an ancestor of `later`, and not the same event.
    pub(super) fn is_ancestor(&self, earlier: usize, later: usize) -> bool {
        earlier != later && self.holds(self.reach(later), earlier)
    }

    /// The events of a history that are not in a smaller one.
    pub(super) fn beyond<'a>(
        &'a self,
        small: &'a [usize],
        reach: &'a [usize],
    ) -> impl Iterator<Item = usize> + 'a {
        reach.iter().enumerate().flat_map(|(leader, &held)| {
            let had = small.get(leader).copied().unwrap_or(0);
            self.chains[leader][had..held].iter().copied()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::rng::Rng;
    use std::collections::BTreeSet;

    /// Random histories against the definition: sets of ancestors.
    #[test]
    fn reach_agrees_with_sets_of_ancestors() {
        for seed in 0..20 {
            let mut rng = Rng::new(seed);
            let mut ancestry = Ancestry::default();
            let mut sets: Vec<BTreeSet<usize>> = Vec::new();
            let mut heads = [None; 4];
            for event in 0..60 {
                let leader = rng.below(heads.len());
                let parents: Vec<usize> =
                    [heads[leader], heads[rng.below(heads.len())]].into_iter().flatten().collect();
                let mut set: BTreeSet<usize> = parents.iter().flat_map(|p| sets[*p].clone()).collect();
                set.insert(event);
                assert_eq!(ancestry.push(leader, &parents), Ok(()));
                for (earlier, before) in sets.iter().enumerate() {
                    assert_eq!(ancestry.is_ancestor(earlier, event), set.contains(&earlier));
                    assert!(!ancestry.is_ancestor(event, earlier));
                    let beyond: BTreeSet<usize> =
                        ancestry.beyond(&ancestry.join(&[]), &ancestry.join(&[event, earlier])).collect();
                    assert_eq!(beyond, set.union(before).copied().collect());
                }
                sets.push(set);
                heads[leader] = Some(event);
            }
        }
    }

    #[test]
    fn a_forked_leader_is_refused() {
        let mut ancestry = Ancestry::default();
        for (leader, parents) in [(0, vec![]), (0, vec![0]), (1, vec![0])] {
            assert_eq!(ancestry.push(leader, &parents), Ok(()));
        }
        assert_eq!(ancestry.push(0, &[2]), Err(Forked { earlier: 1 }));
        assert_eq!(ancestry.push(0, &[2, 1]), Ok(()), "the refused one left nothing behind");
    }
}
