//! The plan of a mesh: its members and its topology, as every leader finds it in its own data.

use super::{Member, Topology};
use crate::LeaderConfig;
use mesh_proto::{Engine, Now, Op, Receipt, WriteError};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fmt, str,
};

/// What the names of the mesh's own keys begin with. Clients cannot write them, and see them only when they ask for
/// them.
pub const RESERVED: &str = "_mesh/";

/// A register: the topology as text.
const TOPOLOGY: &str = "_mesh/topology";

/// A set: the members as texts. Two leaders that add a member each at one time have added two.
const MEMBERS: &str = "_mesh/members";

/// The most members of a plan; what is beyond, in the order of their texts, counts as absent.
const MAX_MEMBERS: usize = 4_096;

pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED)
}

/// Who belongs to the mesh, and how they are connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// `None`: besides what each leader is configured with, all members to all.
    pub(crate) topology: Option<Topology>,
    pub(crate) members: BTreeMap<String, Member>,
}

/// Where a leader's links come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Source {
    /// From the peers in its configuration alone.
    Peers,
    /// From the topology and the members in its configuration.
    Configured,
    /// From what was set while the mesh was running, which all leaders share.
    Replicated,
}

/// A plan, and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) plan: Plan,
    pub(crate) source: Source,
    /// What is wrong with it, if something is.
    pub(crate) problem: Option<String>,
}

/// The plan that counts for a leader: the replicated one once there is one, else the configured one. **O(members)**.
pub(crate) fn look(config: &LeaderConfig, engine: &Engine) -> Found {
    let text = engine.register(TOPOLOGY).map(|(bytes, _)| bytes.to_vec());
    // Of two entries of one name, added at one time, all leaders take the same.
    let texts = engine.members(MEMBERS).into_iter().take(MAX_MEMBERS);
    let members: BTreeMap<_, _> = texts
        .filter_map(|bytes| str::from_utf8(bytes).ok()?.parse::<Member>().ok())
        .map(|member| (member.name.clone(), member))
        .collect();
    if text.is_none() && members.is_empty() {
        let configured = configured(config);
        let source = if configured == Plan::default() { Source::Peers } else { Source::Configured };
        return Found { plan: configured, source, problem: None };
    }
    let (topology, problem) = match text.map(|bytes| String::from_utf8_lossy(&bytes).parse()) {
        None => (None, None),
        Some(Ok(topology)) => (Some(topology), None),
        // A later version's, as a rule. All to all works whatever the others do.
        Some(Err(why)) => {
            (Some(Topology::AllToAll), Some(format!("the topology that was set is unknown here: {why}")))
        }
    };
    Found { plan: Plan { topology, members }, source: Source::Replicated, problem }
}

/// What a leader is configured with.
pub(crate) fn configured(config: &LeaderConfig) -> Plan {
    let members = config.members.iter().map(|member| (member.name.clone(), member.clone())).collect();
    Plan { topology: config.topology.clone(), members }
}

/// A change of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Set(Topology),
    Add(Member),
    Remove(String),
}

impl Change {
    /// What comes of it, if it can be.
    pub(crate) fn check(&self, found: &Found, me: &str) -> Result<(), PlanError> {
        let Plan { mut topology, mut members } = found.plan.clone();
        match self {
            Change::Set(new) => {
                topology = Some(new.clone());
                if !members.contains_key(me) {
                    return Err(PlanError::NotAMember { name: me.into() });
                }
            }
            Change::Add(member) => {
                if let Some(why) = member.problem() {
                    return Err(PlanError::BadMember { why });
                }
                let other = members
                    .values()
                    .find(|other| other.name != member.name && other.address == member.address);
                if let Some(other) = other {
                    let (name, address) = (other.name.clone(), other.address.clone());
                    return Err(PlanError::AddressTaken { name, address });
                }
                members.insert(member.name.clone(), member.clone());
            }
            Change::Remove(name) => {
                if members.remove(name).is_none() {
                    return Err(PlanError::NotAMember { name: name.clone() });
                }
            }
        }
        Plan { topology, members }.check().map_err(|why| match (self, why) {
            (Change::Remove(gone), PlanError::NotAMember { name }) if *gone == name => {
                PlanError::Needed { name }
            }
            (_, why) => why,
        })
    }

    /// Writes it, and first what was only configured so far: a plan is replicated as a whole.
    pub(crate) fn write(
        self,
        config: &LeaderConfig,
        engine: &mut Engine,
        now: Now,
    ) -> Result<Receipt, WriteError> {
        let Found { plan, source, .. } = look(config, engine);
        if source == Source::Configured {
            if let Some(topology) = plan.topology {
                engine.write(TOPOLOGY, &Op::Assign(topology.to_string().into_bytes()), None, now)?;
            }
            let members = plan.members.values().map(|member| member.to_string().into_bytes()).collect();
            engine.write(MEMBERS, &Op::Add(members), None, now)?;
        }
        match self {
            Change::Set(topology) => {
                engine.write(TOPOLOGY, &Op::Assign(topology.to_string().into_bytes()), None, now)
            }
            Change::Add(member) => {
                remove(engine, &member.name, now)?;
                engine.write(MEMBERS, &Op::Add(vec![member.to_string().into_bytes()]), None, now)
            }
            Change::Remove(name) => remove(engine, &name, now),
        }
    }
}

/// Removes all entries of one name.
fn remove(engine: &mut Engine, name: &str, now: Now) -> Result<Receipt, WriteError> {
    let of_name =
        |entry: &&[u8]| entry.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="));
    let entries = engine.members(MEMBERS).into_iter().filter(of_name).map(<[u8]>::to_vec).collect();
    engine.write(MEMBERS, &Op::Remove(entries), None, now)
}

impl Plan {
    /// Whether the topology makes one mesh of the members.
    pub(crate) fn check(&self) -> Result<(), PlanError> {
        if self.members.len() > MAX_MEMBERS {
            return Err(PlanError::TooManyMembers { limit: MAX_MEMBERS });
        }
        let known = |name: &String| {
            let found = self.members.get(name).map(drop);
            found.ok_or_else(|| PlanError::NotAMember { name: name.clone() })
        };
        match &self.topology {
            Some(Topology::Star { hubs }) => hubs.iter().try_for_each(known),
            Some(Topology::Explicit { edges }) => {
                edges.iter().try_for_each(|(a, b)| known(a).and_then(|()| known(b)))?;
                self.check_connected(edges)
            }
            _ => Ok(()),
        }
    }

    fn check_connected(&self, edges: &BTreeSet<(String, String)>) -> Result<(), PlanError> {
        let Some(first) = self.members.keys().next() else { return Ok(()) };
        let (mut reached, mut next) = (BTreeSet::from([first]), vec![first]);
        while let Some(name) = next.pop() {
            let ends = edges.iter().filter_map(|(a, b)| match name {
                name if name == a => Some(b),
                name if name == b => Some(a),
                _ => None,
            });
            next.extend(ends.filter(|end| reached.insert(*end)));
        }
        match self.members.keys().find(|name| !reached.contains(name)) {
            Some(name) => Err(PlanError::Unconnected { from: first.clone(), to: name.clone() }),
            None => Ok(()),
        }
    }
}

/// Why the topology or the members cannot be changed so. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanError {
    /// A leader would be needed that is not among the members.
    NotAMember {
        /// Its name.
        name: String,
    },
    /// The topology names the member that should go.
    Needed {
        /// Its name.
        name: String,
    },
    /// A member's name, address or region is not usable.
    BadMember {
        /// A sentence.
        why: String,
    },
    /// The address is that of another member.
    AddressTaken {
        /// The other's name.
        name: String,
        /// The address.
        address: String,
    },
    /// No chain of links would join two of the members.
    Unconnected {
        /// One of them.
        from: String,
        /// The other.
        to: String,
    },
    /// There are more members than a plan holds.
    TooManyMembers {
        /// How many it holds.
        limit: usize,
    },
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::NotAMember { name } => {
                write!(
                    f,
                    "{name:?} is no member of the mesh: `mesh topology show` names those who are, and `mesh peer add \
                     {name}=HOST:PORT` makes it one"
                )
            }
            PlanError::Needed { name } => {
                write!(f, "the topology names {name:?}; set one that does without it first")
            }
            PlanError::BadMember { why } => f.write_str(why),
            PlanError::AddressTaken { name, address } => write!(
                f,
                "{address} is the address of the member {name:?}, and two leaders cannot have one: give another, or remove \
                 that one first with `mesh peer remove {name}`"
            ),
            PlanError::Unconnected { from, to } => write!(
                f,
                "no chain of links would join {from:?} and {to:?}; set a topology that joins all that remain, then \
                 change this"
            ),
            PlanError::TooManyMembers { limit } => write!(f, "a mesh has at most {limit} members"),
        }
    }
}

impl Error for PlanError {}
