use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Which leaders are to be connected with which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topology {
    /// Each with each.
    AllToAll,
    /// Each with the next; the last with the first.
    Ring,
    /// The first with each.
    Star,
    /// Each with some peers drawn at random, which change as time passes.
    Gossip,
    /// Each with each within a region; regions through their first two members.
    Regions,
    /// A random connected graph, as one configured by hand.
    Explicit,
}

impl Topology {
    /// All of them.
    pub const ALL: [Topology; 6] = [
        Topology::AllToAll,
        Topology::Ring,
        Topology::Star,
        Topology::Gossip,
        Topology::Regions,
        Topology::Explicit,
    ];

    /// The links between `leaders` leaders, the smaller number first, in ascending order. **O(links)**.
    ///
    /// What is not fixed by the topology is drawn from `rng`. All but [`Gossip`](Topology::Gossip) are connected; that
    /// one is over time.
    pub fn links(self, leaders: usize, rng: &mut impl Rng) -> Vec<(usize, usize)> {
        let mut links = match self {
            Topology::AllToAll => (0..leaders).flat_map(|a| (a + 1..leaders).map(move |b| (a, b))).collect(),
            Topology::Ring => (0..leaders).map(|a| (a, (a + 1) % leaders)).collect(),
            Topology::Star => (1..leaders).map(|a| (0, a)).collect(),
            Topology::Gossip => {
                let peers = 1 + usize::from(leaders > 5);
                (0..leaders)
                    .flat_map(|a| (0..peers).map(move |_| a))
                    .map(|a| (a, (a + rng.random_range(1..leaders.max(2))) % leaders))
                    .collect()
            }
            Topology::Regions => regions(leaders),
            Topology::Explicit => {
                let mut links: Vec<_> = (1..leaders).map(|a| (rng.random_range(0..a), a)).collect();
                links.extend(
                    (0..leaders / 2).map(|_| (rng.random_range(0..leaders), rng.random_range(0..leaders))),
                );
                links
            }
        };
        normalise(&mut links);
        links
    }

    /// The region of a leader; regions are far from each other.
    pub fn region(self, leader: usize, leaders: usize) -> usize {
        if self == Topology::Regions { leader / region_size(leaders) } else { 0 }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Topology::AllToAll => "all-to-all",
            Topology::Ring => "ring",
            Topology::Star => "star",
            Topology::Gossip => "gossip",
            Topology::Regions => "regions",
            Topology::Explicit => "explicit",
        })
    }
}

fn region_size(leaders: usize) -> usize {
    leaders.div_ceil(3).max(2)
}

fn regions(leaders: usize) -> Vec<(usize, usize)> {
    let size = region_size(leaders);
    let first = |region: usize| region * size;
    let count = leaders.div_ceil(size);
    let mut links = Vec::new();
    for region in 0..count {
        let end = leaders.min(first(region + 1));
        links.extend((first(region)..end).flat_map(|a| (a + 1..end).map(move |b| (a, b))));
        for other in region + 1..count {
            links.push((first(region), first(other)));
            // A second way, so that one leader's crash does not cut a region off.
            links.push(((first(region) + 1).min(end - 1), (first(other) + 1).min(leaders - 1)));
        }
    }
    links
}

fn normalise(links: &mut Vec<(usize, usize)>) {
    for link in links.iter_mut() {
        *link = (link.0.min(link.1), link.0.max(link.1));
    }
    links.retain(|(a, b)| a != b);
    links.sort_unstable();
    links.dedup();
}

/// Adds to `links` what makes the graph connected: the first leader of each part is linked with leader 0. **O(n + m)**.
pub(crate) fn connect_parts(leaders: usize, links: &mut Vec<(usize, usize)>) {
    let distances = distances(leaders, links, 0);
    let mut reached: Vec<bool> = distances.iter().map(Option::is_some).collect();
    for leader in 0..leaders {
        if !reached[leader] {
            let part = self::distances(leaders, links, leader);
            part.iter().zip(&mut reached).for_each(|(distance, reached)| *reached |= distance.is_some());
            links.push((0, leader));
        }
    }
    normalise(links);
}

/// The greatest number of links between two leaders of a connected graph. **O(n (n + m))**.
pub(crate) fn diameter(leaders: usize, links: &[(usize, usize)]) -> u64 {
    (0..leaders).flat_map(|from| distances(leaders, links, from)).flatten().max().unwrap_or(0)
}

fn distances(leaders: usize, links: &[(usize, usize)], from: usize) -> Vec<Option<u64>> {
    let mut distances = vec![None; leaders];
    distances[from] = Some(0);
    let mut frontier = vec![from];
    for distance in 1.. {
        let mut next = Vec::new();
        for &(a, b) in links {
            for (here, there) in [(a, b), (b, a)] {
                if frontier.contains(&here) && distances[there].is_none() {
                    distances[there] = Some(distance);
                    next.push(there);
                }
            }
        }
        if next.is_empty() {
            break;
        }
        frontier = next;
    }
    distances
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::SmallRng};

    #[test]
    fn graphs_are_connected_or_can_be_made_so() {
        let mut rng = SmallRng::seed_from_u64(1);
        for leaders in 2..=16 {
            for topology in Topology::ALL {
                let mut links = topology.links(leaders, &mut rng);
                assert!(links.iter().all(|(a, b)| a < b && *b < leaders), "{topology} {links:?}");
                let before = links.clone();
                connect_parts(leaders, &mut links);
                assert!(
                    topology == Topology::Gossip || links == before,
                    "{topology} of {leaders}: {before:?}"
                );
                assert!(distances(leaders, &links, 0).iter().all(Option::is_some));
            }
        }
    }

    #[test]
    fn diameters_are_those_of_the_textbook() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut of = |topology: Topology| diameter(9, &topology.links(9, &mut rng));
        assert_eq!((of(Topology::AllToAll), of(Topology::Ring), of(Topology::Star)), (1, 4, 2));
        assert_eq!(of(Topology::Regions), 3);
    }
}
