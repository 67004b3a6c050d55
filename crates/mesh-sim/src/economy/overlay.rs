//! Who is connected to whom.

use std::collections::VecDeque;

/// An undirected graph of nodes 0..n, by the neighbours of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay(Vec<Vec<usize>>);

impl Overlay {
    /// The graph with these neighbours.
    ///
    /// # Panics
    ///
    /// If a node is its own neighbour, or not its neighbour's neighbour, or not there, or if not all are connected.
    pub fn new(neighbours: Vec<Vec<usize>>) -> Self {
        for (node, linked) in neighbours.iter().enumerate() {
            assert!(linked.iter().all(|other| *other != node && neighbours[*other].contains(&node)));
        }
        let overlay = Overlay(neighbours);
        assert!(overlay.parents(0).iter().filter(|parent| parent.is_none()).count() <= 1, "it is connected");
        overlay
    }

    /// All nodes on a circle, each linked to those at these distances on it: `[1, 4]` with 15, 16, 32, 50 or 64 nodes
    /// gives the partial meshes of Enes et al., ICDE 2019.
    pub fn circulant(nodes: usize, distances: &[usize]) -> Self {
        let neighbours = |node: usize| {
            let both =
                distances.iter().flat_map(|by| [(node + by) % nodes, (node + nodes - by % nodes) % nodes]);
            let mut linked: Vec<usize> = both.filter(|other| *other != node).collect();
            linked.sort_unstable();
            linked.dedup();
            linked
        };
        Overlay::new((0..nodes).map(neighbours).collect())
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.0.len()
    }

    /// The neighbours of a node.
    pub fn neighbours(&self, node: usize) -> &[usize] {
        &self.0[node]
    }

    /// The links, each once.
    pub fn links(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let linked = |(node, linked)| {
            let linked: &Vec<usize> = linked;
            linked.iter().filter(move |other| node < **other).map(move |other| (node, *other))
        };
        self.0.iter().enumerate().flat_map(linked)
    }

    /// The next hop of each node on a shortest path to `root`; `None` for the root itself.
    pub fn parents(&self, root: usize) -> Vec<Option<usize>> {
        let mut parents = vec![None; self.nodes()];
        let mut queue = VecDeque::from([root]);
        while let Some(node) = queue.pop_front() {
            for other in self.neighbours(node) {
                if *other != root && parents[*other].is_none() {
                    parents[*other] = Some(node);
                    queue.push_back(*other);
                }
            }
        }
        parents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_parents() {
        let square = Overlay::circulant(4, &[1]);
        assert_eq!(square.links().collect::<Vec<_>>(), [(0, 1), (0, 3), (1, 2), (2, 3)]);
        assert_eq!(square.parents(0), [None, Some(0), Some(1), Some(0)]);
        assert_eq!(Overlay::circulant(15, &[1, 4]).links().count(), 30);
    }

    #[test]
    #[should_panic(expected = "connected")]
    fn islands_are_refused() {
        Overlay::new(vec![vec![1], vec![0], vec![3], vec![2]]);
    }
}
