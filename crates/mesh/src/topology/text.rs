//! The text forms of topologies and members.

use super::{Member, Topology};
use mesh_proto::MAX_LEADER_NAME;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr, time::Duration};

/// How often gossip draws if nothing is said, in ms: often enough that news is everywhere within seconds, seldom enough
/// that greetings do not matter.
const GOSSIP_MS: u64 = 2_000;

/// Gossip that draws more often than this, in ms, would do nothing else.
const MIN_GOSSIP_MS: u64 = 100;

/// The longest address or region, in bytes.
const MAX_TEXT: usize = 255;

/// What a topology may look like, for messages.
const FORMS: &str =
    "all-to-all, ring, star:HUB[,STAND-IN…], gossip:K[,EVERY], regions, or explicit:A=B[,C=D…]";

impl FromStr for Topology {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, rest) = text.split_once(':').map_or((text, None), |(kind, rest)| (kind, Some(rest)));
        let parts = || rest.into_iter().flat_map(|rest| rest.split(','));
        match (kind, rest) {
            ("all-to-all", None) => Ok(Topology::AllToAll),
            ("ring", None) => Ok(Topology::Ring),
            ("regions", None) => Ok(Topology::Regions),
            ("star", Some(_)) => {
                let hubs: Vec<String> = parts().map(name).collect::<Result<_, _>>()?;
                match (1..hubs.len()).find(|&n| hubs[..n].contains(&hubs[n])) {
                    Some(n) => Err(format!("the hub {:?} is there twice", hubs[n])),
                    None => Ok(Topology::Star { hubs }),
                }
            }
            ("gossip", Some(rest)) => {
                let (count, every) =
                    rest.split_once(',').map_or((rest, None), |(count, every)| (count, Some(every)));
                let peers = count.parse().ok().filter(|peers| *peers > 0);
                let peers =
                    peers.ok_or_else(|| format!("{count:?} is not how many peers to draw: 1 or more"))?;
                let every = every.map_or(Ok(Duration::from_millis(GOSSIP_MS)), parse_duration)?;
                let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
                if every_ms < MIN_GOSSIP_MS {
                    return Err(format!("gossip draws every {MIN_GOSSIP_MS} ms at most"));
                }
                Ok(Topology::Gossip { peers, every_ms })
            }
            ("explicit", Some(_)) => {
                let edges = parts().map(|edge| {
                    let (a, b) = edge
                        .split_once('=')
                        .ok_or_else(|| format!("{edge:?} is not a pair of names, as in eu=us"))?;
                    let (a, b) = (name(a)?, name(b)?);
                    if a == b {
                        return Err(format!("{a:?} needs no link to itself"));
                    }
                    Ok(if a < b { (a, b) } else { (b, a) })
                });
                Ok(Topology::Explicit { edges: edges.collect::<Result<_, _>>()? })
            }
            _ => Err(format!("{text:?} is not a topology: {FORMS}")),
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Topology::AllToAll => f.write_str("all-to-all"),
            Topology::Ring => f.write_str("ring"),
            Topology::Regions => f.write_str("regions"),
            Topology::Star { hubs } => write!(f, "star:{}", hubs.join(",")),
            Topology::Gossip { peers, every_ms } if every_ms % 1_000 == 0 => {
                write!(f, "gossip:{peers},{}s", every_ms / 1_000)
            }
            Topology::Gossip { peers, every_ms } => write!(f, "gossip:{peers},{every_ms}ms"),
            Topology::Explicit { edges } => {
                let edges: Vec<_> = edges.iter().map(|(a, b)| format!("{a}={b}")).collect();
                write!(f, "explicit:{}", edges.join(","))
            }
        }
    }
}

impl Member {
    /// The leader `name` at `address`, in no region in particular.
    pub fn new(name: impl Into<String>, address: impl Into<String>) -> Self {
        Member { name: name.into(), address: address.into(), region: String::new() }
    }

    /// What is wrong with it, as a sentence.
    pub(crate) fn problem(&self) -> Option<String> {
        let Member { name: given, address, region } = self;
        let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        let plain = |text: &str| {
            text.len() <= MAX_TEXT
                && !text.contains(|c: char| c.is_control() || c.is_whitespace() || c == '@')
        };
        if let Err(why) = name(given) {
            Some(why)
        } else if !plain(address) || port.is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
            Some(format!("the address {address:?} of {given:?} is not HOST:PORT"))
        } else if !plain(region) {
            Some(format!(
                "the region {region:?} of {given:?} must have at most {MAX_TEXT} bytes, without spaces or @"
            ))
        } else {
            None
        }
    }
}

impl FromStr for Member {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("{text:?} is not NAME=HOST:PORT or NAME=HOST:PORT@REGION");
        let (name, rest) = text.split_once('=').ok_or_else(form)?;
        let (address, region) = rest.rsplit_once('@').unwrap_or((rest, ""));
        let member = Member { region: region.into(), ..Member::new(name, address) };
        member.problem().map_or(Ok(member), Err)
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.address)?;
        if self.region.is_empty() { Ok(()) } else { write!(f, "@{}", self.region) }
    }
}

/// A name that stands in lists.
fn name(text: &str) -> Result<String, String> {
    if !(1..=MAX_LEADER_NAME).contains(&text.len()) {
        return Err(format!("a member's name has 1 to {MAX_LEADER_NAME} bytes, {text:?} has {}", text.len()));
    }
    if text.contains(|c: char| c.is_control() || c == ',' || c == '=') {
        return Err(format!(
            "a member's name has no commas, equals signs or control characters, unlike {text:?}"
        ));
    }
    Ok(text.into())
}

/// Reads a length of time: `500ms`, `2s` or `1m`.
///
/// ```
/// assert_eq!(mesh::parse_duration("1500ms"), Ok(std::time::Duration::from_millis(1500)));
/// assert!(mesh::parse_duration("soon").is_err());
/// ```
///
/// # Errors
///
/// A sentence.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000)];
    units
        .iter()
        .find_map(|(unit, ms)| text.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(*ms))
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is not a length of time, as in 500ms, 2s or 1m"))
}

macro_rules! serde_as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

serde_as_text!(Topology);
serde_as_text!(Member);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_written_alike() {
        for text in [
            "all-to-all",
            "ring",
            "star:eu",
            "star:eu,us-1",
            "gossip:3,2s",
            "gossip:1,250ms",
            "regions",
            "explicit:ap=eu,eu=us",
        ] {
            assert_eq!(text.parse::<Topology>().unwrap().to_string(), text);
        }
        assert_eq!("gossip:3".parse::<Topology>().unwrap().to_string(), "gossip:3,2s");
        assert_eq!("explicit:us=eu".parse::<Topology>().unwrap().to_string(), "explicit:eu=us");
        for text in ["eu=127.0.0.1:7001", "eu=[::1]:7001@europe", "us-1=us.internal:7001@us"] {
            assert_eq!(text.parse::<Member>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, words) in [
            ("", "is not a topology"),
            ("torus", "gossip:K"),
            ("ring:eu", "is not a topology"),
            ("star", "is not a topology"),
            ("star:", "1 to 255 bytes"),
            ("star:eu,eu", "twice"),
            ("gossip:0", "1 or more"),
            ("gossip:3,soon", "length of time"),
            ("gossip:3,99ms", "every 100 ms"),
            ("explicit:eu", "pair of names"),
            ("explicit:eu=eu", "itself"),
            ("explicit:eu=us=ap", "equals signs"),
        ] {
            let why = text.parse::<Topology>().unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
        }
        for (text, words) in [
            ("eu", "NAME=HOST:PORT"),
            ("=127.0.0.1:1", "1 to 255 bytes"),
            ("a,b=127.0.0.1:1", "commas"),
            ("eu=127.0.0.1", "HOST:PORT"),
            ("eu=:7001", "HOST:PORT"),
            ("eu=127.0.0.1:70000", "HOST:PORT"),
            ("eu=127.0.0.1:1@a b", "region"),
        ] {
            let why = text.parse::<Member>().unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
        }
        for bad in ["", "s", "5", "-1s", "1h", "18446744073709551615m"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
