//! What a leader knows of the mesh beyond its own connections: who is connected to whom.
//!
//! Each leader announces its own connections, numbered, and passes on the announcements of others that are new to it: link
//! state flooding, as in OSPF (RFC 2328, section 13). So each can tell at once, without asking, whom it can reach and
//! over how many steps, also while nothing is written. A mesh in which no connection opens or closes floods nothing.
//!
//! It is soft state: never stored, never merged with what is, and believed only as far as both ends of a link announce
//! it.

use mesh_proto::MAX_LEADER_NAME;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
};

/// The first byte of a frame of announcements. No message begins with it: it would be of the 128th kind or above.
pub(crate) const MARK: u8 = 0xff;

/// About the most bytes of announcements in one frame.
const FRAME: usize = 64 << 10;

/// The most names in all announcements that are held: what 256 leaders have to say that are connected all to all.
const MAX_NAMES: usize = 1 << 16;

/// The most links that one leader announces.
const MAX_LINKS: usize = 2_048;

/// The longest address of an API.
const MAX_ADDRESS: usize = 300;

/// How long a leader that cannot be reached is remembered, in ms.
const KEEP: u64 = 24 * 60 * 60 * 1_000;

/// How often a leader contradicts what others say of it, in ms at least: two that go by one name must not shout.
const CONTRADICT: u64 = 1_000;

/// What a leader says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Announcement {
    pub(crate) name: String,
    /// Of two, the greater counts.
    pub(crate) version: u64,
    /// Where its API is served.
    pub(crate) api: Option<String>,
    /// Whom it is connected to.
    pub(crate) links: BTreeSet<String>,
}

impl Announcement {
    fn is_sound(&self) -> bool {
        // Names appear in logs, tables and metrics.
        let is_name =
            |name: &String| (1..=MAX_LEADER_NAME).contains(&name.len()) && !name.contains(char::is_control);
        let is_address = |api: &String| {
            api.len() <= MAX_ADDRESS && !api.contains(|c: char| c.is_control() || c.is_whitespace())
        };
        is_name(&self.name)
            && self.links.len() <= MAX_LINKS
            && self.links.iter().all(is_name)
            && self.api.iter().all(is_address)
    }
}

/// Who is connected to whom, as far as it is known here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Graph {
    /// For each leader that can be reached, this one included, its neighbours.
    pub(crate) links: BTreeMap<String, BTreeSet<String>>,
    /// How many steps each of them is away.
    pub(crate) hops: BTreeMap<String, u32>,
    /// Since when the others that were heard of cannot be reached, on the clock that never goes back.
    pub(crate) lost: BTreeMap<String, u64>,
    /// Where APIs are served.
    pub(crate) apis: BTreeMap<String, String>,
}

impl Graph {
    pub(crate) fn are_linked(&self, a: &str, b: &str) -> bool {
        self.links.get(a).is_some_and(|links| links.contains(b))
    }

    pub(crate) fn reaches(&self, name: &str) -> bool {
        self.hops.contains_key(name)
    }
}

/// All announcements that count.
#[derive(Debug)]
pub(crate) struct Map {
    own: Announcement,
    others: BTreeMap<String, Announcement>,
    graph: Graph,
    contradicted: Option<u64>,
}

impl Map {
    /// Knows only this leader, which has no connections. `version` should be greater than that of an earlier run.
    pub(crate) fn new(name: &str, version: u64) -> Self {
        let own = Announcement { name: name.into(), version, api: None, links: BTreeSet::new() };
        let mut map = Map { own, others: BTreeMap::new(), graph: Graph::default(), contradicted: None };
        map.draw(0);
        map
    }

    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Whose announcements there are.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.others.keys().chain([&self.own.name])
    }

    /// This leader's connections and API now; true if that is news.
    pub(crate) fn set_own(
        &mut self,
        links: impl Iterator<Item = String>,
        api: Option<String>,
        now: u64,
    ) -> bool {
        let links: BTreeSet<_> = links.take(MAX_LINKS).collect();
        if links == self.own.links && api == self.own.api {
            return false;
        }
        (self.own.links, self.own.api) = (links, api);
        self.own.version += 1;
        self.draw(now);
        true
    }

    /// An announcement has come; gives the name whose announcement is to be passed on, if any.
    pub(crate) fn take(&mut self, said: Announcement, now: u64) -> Option<String> {
        if said.name == self.own.name {
            // What an earlier run of this leader has said, on a clock that was ahead.
            let calm = self.contradicted.is_none_or(|at| now >= at + CONTRADICT);
            if said.version < self.own.version || said == self.own || !calm {
                return None;
            }
            self.contradicted = Some(now);
            self.own.version = said.version.saturating_add(1);
            return Some(said.name);
        }
        let known = self.others.get(&said.name);
        if known.is_some_and(|known| known.version >= said.version) {
            return None;
        }
        let held: usize = self.others.values().map(|other| 1 + other.links.len()).sum();
        if held - known.map_or(0, |known| 1 + known.links.len()) + 1 + said.links.len() > MAX_NAMES {
            return None;
        }
        let name = said.name.clone();
        self.others.insert(name.clone(), said);
        self.draw(now);
        Some(name)
    }

    /// A frame with announcements of as many of `names` as fit; takes those out.
    pub(crate) fn frame(&self, names: &mut BTreeSet<String>) -> Vec<u8> {
        let mut frame = vec![MARK];
        while frame.len() < FRAME
            && let Some(name) = names.pop_first()
        {
            let said = if name == self.own.name { Some(&self.own) } else { self.others.get(&name) };
            if let Some(said) = said {
                let bytes = postcard::to_allocvec(said).expect("memory can be written");
                frame.extend(u32::try_from(bytes.len()).expect("announcements are short").to_be_bytes());
                frame.extend(bytes);
            }
        }
        frame
    }

    /// Finds out who can be reached.
    fn draw(&mut self, now: u64) {
        let Map { own, others, graph, .. } = self;
        let mut drawn = Graph::default();
        drawn.hops.insert(own.name.clone(), 0);
        let mut next = VecDeque::from([&*own]);
        while let Some(at) = next.pop_front() {
            let steps = drawn.hops[&at.name] + 1;
            let says = |name: &String| others.get(name).is_some_and(|other| other.links.contains(&at.name));
            // What this leader sees itself needs no confirmation.
            let links =
                at.links.iter().filter(|name| at.name == own.name || **name == own.name || says(name));
            let links: BTreeSet<String> = links.cloned().collect();
            for name in &links {
                if !drawn.hops.contains_key(name) {
                    drawn.hops.insert(name.clone(), steps);
                    next.extend(others.get(name));
                }
            }
            drawn.links.insert(at.name.clone(), links);
        }
        let old = mem::take(graph);
        let lost = others.keys().filter(|name| !drawn.hops.contains_key(*name));
        drawn.lost = lost.map(|name| (name.clone(), old.lost.get(name).copied().unwrap_or(now))).collect();
        drawn.lost.retain(|_, since| now.saturating_sub(*since) <= KEEP);
        others.retain(|name, _| drawn.hops.contains_key(name) || drawn.lost.contains_key(name));
        let apis = others.values().chain([&*own]).filter(|other| drawn.hops.contains_key(&other.name));
        drawn.apis = apis.filter_map(|other| Some((other.name.clone(), other.api.clone()?))).collect();
        *graph = drawn;
    }
}

/// Reads a frame of announcements, the mark left out.
///
/// Never panics, and allocates no more than the bytes justify.
///
/// # Errors
///
/// A sentence, if they are not exactly that.
pub(crate) fn decode(mut bytes: &[u8]) -> Result<Vec<Announcement>, String> {
    let mut announcements = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (one, rest) = rest.split_at_checked(length).ok_or("an announcement is cut off")?;
        let (said, left): (Announcement, _) = postcard::take_from_bytes(one)
            .map_err(|why| format!("an announcement does not decode: {why}"))?;
        if !left.is_empty() || !said.is_sound() {
            return Err("an announcement is out of bounds".into());
        }
        announcements.push(said);
        bytes = rest;
    }
    if bytes.is_empty() { Ok(announcements) } else { Err("an announcement is cut off".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(name: &str, version: u64, links: &[&str]) -> Announcement {
        let links = links.iter().map(|&link| link.to_owned()).collect();
        Announcement { name: name.into(), version, api: None, links }
    }

    fn map(links: &[&str], others: &[Announcement]) -> Map {
        let mut map = Map::new("a", 100);
        map.set_own(links.iter().map(|&link| link.to_owned()), None, 0);
        for other in others {
            map.take(other.clone(), 0);
        }
        map
    }

    #[test]
    fn a_link_counts_when_both_ends_say_so_or_it_is_ones_own() {
        let map = map(&["b"], &[says("b", 1, &["a", "c", "d"]), says("c", 1, &["b"]), says("d", 1, &["x"])]);
        let hops: Vec<_> = map.graph().hops.iter().map(|(name, steps)| (name.as_str(), *steps)).collect();
        assert_eq!(hops, [("a", 0), ("b", 1), ("c", 2)]);
        assert!(map.graph().are_linked("b", "c") && !map.graph().are_linked("b", "d"));
    }

    #[test]
    fn who_was_reached_is_lost_when_the_last_way_is_gone_and_found_again() {
        let mut map =
            map(&["b"], &[says("b", 1, &["a", "c"]), says("c", 1, &["b", "d"]), says("d", 1, &["c"])]);
        assert_eq!(map.take(says("b", 2, &["a"]), 70), Some("b".into()));
        assert_eq!(map.graph().lost, [("c".into(), 70), ("d".into(), 70)].into());
        map.take(says("e", 1, &[]), 80);
        assert_eq!(map.graph().lost["c"], 70, "it has been lost for as long as it was");
        map.take(says("b", 3, &["a", "c"]), 90);
        assert_eq!(map.graph().hops["d"], 3);
        assert_eq!(map.graph().lost, [("e".into(), 80)].into());
        map.take(says("b", 4, &["a", "c", "f"]), 81 + KEEP);
        assert!(map.names().all(|name| name != "e"), "it is forgotten in the end");
    }

    #[test]
    fn old_news_is_not_passed_on() {
        let mut map = map(&["b"], &[says("b", 5, &["a"])]);
        for version in [1, 5] {
            assert_eq!(map.take(says("b", version, &["x"]), 0), None);
        }
        assert!(map.graph().are_linked("b", "a"));
        assert!(!map.set_own(["b".to_owned()].into_iter(), None, 0), "nothing has changed");
    }

    #[test]
    fn a_leader_contradicts_what_an_earlier_run_of_it_said_but_does_not_shout() {
        let mut map = map(&["b"], &[]);
        assert_eq!(map.take(says("a", 700, &["z"]), 5), Some("a".into()));
        let own = |map: &Map| decode(&map.frame(&mut ["a".into()].into())[1..]).unwrap().remove(0);
        assert_eq!((own(&map).version, own(&map).links), (701, ["b".into()].into()));
        assert_eq!(map.take(own(&map), 6), None, "its own echo");
        assert_eq!(map.take(says("a", 900, &["z"]), 6), None, "another one goes by this name");
        assert_eq!(map.take(says("a", 900, &["z"]), 5 + CONTRADICT), Some("a".into()));
    }

    #[test]
    fn frames_are_read_as_they_were_written_and_nothing_else_is() {
        let others: Vec<_> =
            (0..300).map(|n| says(&format!("leader {n} {}", "x".repeat(240)), n, &["a"])).collect();
        let map = map(&["b"], &others);
        let mut names: BTreeSet<_> = map.names().cloned().collect();
        let (mut read, mut frames) = (Vec::new(), 0);
        while !names.is_empty() {
            let frame = map.frame(&mut names);
            assert!(frame[0] == MARK && frame.len() < FRAME + 1_024);
            read.extend(decode(&frame[1..]).unwrap());
            frames += 1;
        }
        assert!(frames > 1);
        assert_eq!(read.iter().filter(|said| others.contains(said)).count(), 300);

        let good = map.frame(&mut ["a".into()].into());
        for cut in 2..good.len() {
            assert!(decode(&good[1..cut]).is_err(), "cut at {cut}");
        }
        for bad in [says("", 1, &[]), says("a\n", 1, &[]), says("a", 1, &[""])] {
            assert!(!bad.is_sound(), "{bad:?}");
        }
        let huge = [&u32::MAX.to_be_bytes()[..], &[0; 9]].concat();
        assert!(decode(&huge).is_err());
    }

    #[test]
    fn what_others_say_is_held_within_a_bound() {
        let mut map = Map::new("a", 1);
        for n in 0..100 {
            let links = (0..MAX_LINKS).map(|link| format!("{n}/{link}")).collect();
            map.take(Announcement { name: n.to_string(), version: 1, api: None, links }, 0);
        }
        let held: usize = map.others.values().map(|other| 1 + other.links.len()).sum();
        assert!(held <= MAX_NAMES && held > MAX_NAMES - 2 * MAX_LINKS, "{held}");
    }
}
