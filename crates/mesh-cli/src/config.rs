//! What `mesh serve` is told: flags, or one TOML file, or both.

use crate::Usage;
use anyhow::{Context, Result};
use mesh::{MAX_LEADER_NAME, Member, Metadata, Topology};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    str::FromStr,
};

/// A host and a port, as `127.0.0.1:7001` or `eu.example.org:7001`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Address(String);

impl Address {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        host_and_port(text)?;
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.0
    }
}

/// Splits `host:port`; an IPv6 address stands in brackets.
pub(crate) fn host_and_port(text: &str) -> Result<(&str, u16), String> {
    let form = || format!("`{text}` is not HOST:PORT, as in 127.0.0.1:7001");
    let (host, port) = text.rsplit_once(':').ok_or_else(form)?;
    let port = port.parse().map_err(|_| format!("the port of `{text}` is not a number up to 65535"))?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"/?#@[]:".contains(c);
    if host.is_empty() || !(bracketed || host.chars().all(plain)) {
        return Err(form());
    }
    Ok((host, port))
}

/// A leader's or a cluster's name. It stands in the line that programs read when the leader is ready, so it is visible.
fn name(text: &str) -> Result<String, String> {
    let hidden = |c: char| c.is_control() || c.is_whitespace();
    if text.is_empty() || text.len() > MAX_LEADER_NAME || text.contains(hidden) {
        return Err(format!("{text:?} is not a name: 1 to {MAX_LEADER_NAME} bytes, without spaces"));
    }
    Ok(text.into())
}

/// Another leader, as `name=host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedPeer {
    name: String,
    address: Address,
}

impl FromStr for NamedPeer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (peer, address) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` is not NAME=HOST:PORT, as in us=127.0.0.1:7002"))?;
        Ok(Self { name: name(peer)?, address: address.parse()? })
    }
}

/// Run one leader: take writes through its API, keep them durably, exchange them with its peers.
///
/// When it is ready it prints one line on stdout, with the actual ports where 0 was given: `leader eu (00000000000000a1)
/// ready: peers on 127.0.0.1:7001, api on 127.0.0.1:7101`.
///
/// It runs until SIGINT or SIGTERM, and then exits with 0; with 1 if it cannot start, or has to stop because what it
/// acknowledges would not be durable.
///
/// Neither the peer port nor the API is encrypted or asks who is there: give them addresses that only machines you trust
/// can reach.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The leader's name, which its peers' `status` shows
    #[arg(long, value_parser = name)]
    name: Option<String>,

    /// The folder of this leader's store, made if it is not there; it belongs to this leader alone
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// The address that peers connect to; port 0 takes any free one
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<Address>,

    /// The address of the HTTP API; port 0 takes any free one
    #[arg(long, value_name = "HOST:PORT")]
    api: Option<Address>,

    /// Another leader to keep a connection to; once for each
    #[arg(long = "peer", value_name = "NAME=HOST:PORT")]
    peers: Vec<NamedPeer>,

    /// How the members are connected: all-to-all, ring, star:HUB[,STAND-IN], gossip:K[,EVERY], regions, explicit:A=B[,C=D]
    ///
    /// The same for all leaders. Counts until `mesh topology set` or `mesh peer` says otherwise.
    #[arg(long, value_name = "TOPOLOGY")]
    topology: Option<Topology>,

    /// A leader of the mesh, this one included, for --topology; once for each
    #[arg(long = "member", value_name = "NAME=HOST:PORT[@REGION]")]
    members: Vec<Member>,

    /// The cluster's name, the same for all leaders: those of another cluster are refused [default: default]
    #[arg(long, value_parser = name)]
    cluster: Option<String>,

    /// Take up the values without the version vector, if that is missing or damaged: a peer gives it back
    ///
    /// For one start. The leader goes on under a new id, and shows nothing and takes no writes until it has met a leader of
    /// its mesh. What it had written and nobody else has seen it keeps, but for removals that it does not remember.
    #[arg(long)]
    without_metadata: bool,

    /// With --without-metadata: give up updates of others that there are traces of and that no connected leader has
    ///
    /// Otherwise the leader waits for one that has them, and logs which they are.
    #[arg(long, requires = "without_metadata")]
    give_up_unreachable: bool,

    /// For tests: this leader's clock is ahead by so many milliseconds, or behind if negative
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    clock_offset: Option<i64>,

    /// A TOML file with the same settings; flags win
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Three leaders on one machine, each in a terminal of its own:
  mesh serve --name eu --data eu --listen 127.0.0.1:7001 --api 127.0.0.1:7101 \\
      --peer us=127.0.0.1:7002 --peer ap=127.0.0.1:7003
  mesh serve --name us --data us --listen 127.0.0.1:7002 --api 127.0.0.1:7102 \\
      --peer eu=127.0.0.1:7001 --peer ap=127.0.0.1:7003
  mesh serve --name ap --data ap --listen 127.0.0.1:7003 --api 127.0.0.1:7103 \\
      --peer eu=127.0.0.1:7001 --peer us=127.0.0.1:7002

The first of them with `mesh serve --config eu.toml`:
  name = \"eu\"
  data = \"eu\"                  # relative to the file's folder
  listen = \"127.0.0.1:7001\"
  api = \"127.0.0.1:7101\"
  cluster = \"default\"
  clock_offset_ms = 0

  [peers]
  us = \"127.0.0.1:7002\"
  ap = \"127.0.0.1:7003\"

A ring, in the same file on all three but for `name`, `data`, `listen` and `api`; instead of [peers]:
  topology = \"ring\"             # above the first line in brackets

  [members]
  eu = \"127.0.0.1:7001\"         # or \"127.0.0.1:7001@REGION\"
  us = \"127.0.0.1:7002\"
  ap = \"127.0.0.1:7003\"";

/// The TOML file. What is missing may come from flags.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Option<Name>,
    data: Option<PathBuf>,
    listen: Option<Address>,
    api: Option<Address>,
    cluster: Option<Name>,
    clock_offset_ms: Option<i64>,
    topology: Option<Topology>,
    #[serde(default)]
    peers: BTreeMap<Name, Address>,
    #[serde(default)]
    members: BTreeMap<Name, String>,
}

#[derive(Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String")]
struct Name(String);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        name(&text).map(Self)
    }
}

/// Everything that `mesh serve` needs to know.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) data: PathBuf,
    pub(crate) metadata: Metadata,
    pub(crate) listen: Address,
    pub(crate) api: Address,
    pub(crate) cluster: String,
    /// Milliseconds that are added to the clock.
    pub(crate) clock_offset: i64,
    /// By name.
    pub(crate) peers: BTreeMap<String, Address>,
    pub(crate) topology: Option<Topology>,
    pub(crate) members: Vec<Member>,
}

impl Config {
    /// Puts flags and file together. A flag wins over the file's field; a `--peer` over the file's peer of that name.
    ///
    /// # Errors
    ///
    /// A file that cannot be read; a field that is unknown or does not fit, named with its line; a setting that neither
    /// gives.
    pub(crate) fn gather(args: Args) -> Result<Self> {
        let (file, folder) = match &args.config {
            Some(path) => (read(path)?, path.parent()),
            None => (File::default(), None),
        };
        let missing = |what: &str, flag: &str| {
            Usage(match &args.config {
                Some(path) => format!("no {what}: give --{flag}, or `{flag}` in {}", path.display()),
                None => format!(
                    "no {what}: give --{flag}, or a file with --config; `mesh serve --help` shows both"
                ),
            })
        };
        let mut peers: BTreeMap<_, _> =
            file.peers.into_iter().map(|(Name(name), address)| (name, address)).collect();
        let mut given = BTreeMap::new();
        for NamedPeer { name, address } in args.peers {
            if given.insert(name.clone(), address).is_some() {
                return Err(Usage(format!("--peer names `{name}` twice")).into());
            }
        }
        peers.extend(given);
        let members = members(file.members, args.members)?;
        let config = Self {
            name: args.name.or(file.name.map(|Name(name)| name)).ok_or_else(|| missing("name", "name"))?,
            data: args
                .data
                .or(file.data.map(|data| folder.map_or(data.clone(), |folder| folder.join(data))))
                .ok_or_else(|| missing("data folder", "data"))?,
            metadata: if args.without_metadata {
                Metadata::FromPeer { gives_up_unreachable: args.give_up_unreachable }
            } else {
                Metadata::Stored
            },
            listen: args.listen.or(file.listen).ok_or_else(|| missing("address for peers", "listen"))?,
            api: args.api.or(file.api).ok_or_else(|| missing("address for the API", "api"))?,
            cluster: args.cluster.or(file.cluster.map(|Name(name)| name)).unwrap_or_else(|| "default".into()),
            clock_offset: args.clock_offset.or(file.clock_offset_ms).unwrap_or(0),
            peers,
            topology: args.topology.or(file.topology),
            members,
        };
        if config.peers.contains_key(&config.name) {
            return Err(Usage(format!("the leader `{}` is given as a peer of itself", config.name)).into());
        }
        Ok(config)
    }
}

/// The members of the file, with those of the flags put in place of their namesakes.
fn members(file: BTreeMap<Name, String>, flags: Vec<Member>) -> Result<Vec<Member>> {
    let mut members = BTreeMap::new();
    for (Name(name), rest) in file {
        let member: Member = format!("{name}={rest}").parse().map_err(Usage)?;
        members.insert(name, member);
    }
    let mut given = BTreeMap::new();
    for member in flags {
        if let Some(twice) = given.insert(member.name.clone(), member) {
            return Err(Usage(format!("--member names `{}` twice", twice.name)).into());
        }
    }
    members.extend(given);
    Ok(members.into_values().collect())
}

fn read(path: &Path) -> Result<File> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Usage(format!("the file {} cannot be read: {error}", path.display())))?;
    toml::from_str(&text)
        .map_err(|error| Usage(error.to_string().trim_end().into()))
        .with_context(|| path.display().to_string())
}
