use crate::{PlanError, Token, topology::RESERVED};
use mesh_proto::{Identity, RecoverError, VersionVector, WriteError};
use mesh_store::StoreError;
use std::{error::Error, fmt, io, path::PathBuf, sync::Arc};

/// Why a leader could not be started. Nothing that was stored is changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration contradicts itself.
    Config(String),
    /// The address cannot be listened on.
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The data folder cannot be created or used.
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store does not open, or fails.
    Store(StoreError),
    /// The data belongs to another leader or another cluster.
    OtherLeader {
        /// Where it lies.
        place: String,
        /// Whose it is.
        found: Box<Identity>,
        /// The name that was expected.
        name: String,
        /// The cluster that was expected.
        cluster: String,
    },
    /// The store opens, but what it holds cannot be taken up.
    Data {
        /// Where it lies.
        place: String,
        /// Why.
        source: RecoverError,
    },
    /// The operating system gives no thread.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Config(what) => write!(f, "{what}; change the configuration"),
            StartError::Listen { address, source } if source.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "{address} is in use by another process; stop that one, or listen on another address"
            ),
            StartError::Listen { address, source } => {
                write!(
                    f,
                    "cannot listen on {address:?} ({source}); give an address of this machine as host:port"
                )
            }
            StartError::Folder { path, source } => write!(
                f,
                "the data folder {} cannot be created or used ({source}); check its permissions, or give another one",
                path.display()
            ),
            StartError::Store(error) => error.fmt(f),
            StartError::OtherLeader { place, found, name, cluster } => write!(
                f,
                "{place} belongs to leader {:?} of cluster {:?}, not to leader {name:?} of cluster {cluster:?}; start it \
                 under its own name and cluster, or give this leader a folder of its own",
                found.name, found.cluster
            ),
            StartError::Data { place, source: source @ RecoverError::Corrupt { .. } } => write!(
                f,
                "{place}: {source}; restore it from a backup, or move it away: with an empty folder the leader gets \
                 everything from its peers that it had sent them"
            ),
            StartError::Data { place, source: source @ RecoverError::UnknownType(_) } => {
                write!(f, "{place}: {source}; start it with the registry that has the type")
            }
            StartError::Data { place, source } => write!(f, "{place}: {source}"),
            StartError::Thread(source) => {
                write!(f, "cannot start a thread ({source}); raise the limit of threads")
            }
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            StartError::Listen { source, .. }
            | StartError::Folder { source, .. }
            | StartError::Thread(source) => Some(source),
            StartError::Store(error) => Some(error),
            StartError::Data { source, .. } => Some(source),
            StartError::Config(_) | StartError::OtherLeader { .. } => None,
        }
    }
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        StartError::Store(error)
    }
}

/// Why a leader did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaderError {
    /// The request was refused; nothing was changed.
    Refused(WriteError),
    /// The name is one of the mesh's own; nothing was changed.
    Reserved {
        /// The name.
        name: String,
    },
    /// The topology or the members cannot be changed so; nothing was changed.
    Plan(PlanError),
    /// The leader was started without its causal metadata ([`Metadata::FromPeer`](crate::Metadata)) and has not got it back
    /// from a peer yet; until then it shows nothing and takes nothing. Nothing was changed: try again later.
    LostMetadata {
        /// Updates of which there are traces here and which no connected peer has, if that is what it waits for: the last of
        /// each leader.
        unreachable: VersionVector,
    },
    /// The leader has stopped.
    Stopped {
        /// Why.
        reason: Arc<str>,
        /// Whether the request may have been carried out: it was under way when the leader stopped. A write is found
        /// out about by repeating it under its idempotency key once the leader is back.
        unknown: bool,
    },
}

impl fmt::Display for LeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LeaderError::Refused(error) => error.fmt(f),
            LeaderError::Plan(error) => error.fmt(f),
            LeaderError::Reserved { name } => write!(
                f,
                "the key {name:?} is the mesh's own: names that begin with {RESERVED} are set by changing the topology and \
                 the members"
            ),
            LeaderError::LostMetadata { unreachable } if unreachable.is_empty() => f.write_str(
                "the leader has lost its causal metadata, and shows nothing and takes nothing until it has it back: connect \
                 it to a peer that has its own",
            ),
            LeaderError::LostMetadata { unreachable } => write!(
                f,
                "the leader has lost its causal metadata, and shows nothing and takes nothing until a peer is connected \
                 that has the updates {}: connect one that has, or start the leader so that it gives them up \
                 (--give-up-unreachable)",
                Token::from(unreachable.clone())
            ),
            LeaderError::Stopped { reason, unknown: false } => {
                write!(f, "the leader has stopped: {reason}; nothing was done")
            }
            LeaderError::Stopped { reason, unknown: true } => write!(
                f,
                "the leader has stopped: {reason}; the outcome is unknown: repeat the write under its idempotency key \
                 when the leader is back"
            ),
        }
    }
}

impl Error for LeaderError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            LeaderError::Refused(error) => Some(error),
            LeaderError::Plan(error) => Some(error),
            LeaderError::LostMetadata { .. } | LeaderError::Stopped { .. } | LeaderError::Reserved { .. } => {
                None
            }
        }
    }
}

impl From<WriteError> for LeaderError {
    fn from(error: WriteError) -> Self {
        LeaderError::Refused(error)
    }
}

impl From<PlanError> for LeaderError {
    fn from(error: PlanError) -> Self {
        LeaderError::Plan(error)
    }
}

/// Why a leader could not be waited for any longer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitError {
    /// The deadline passed before the leader had everything.
    Timeout {
        /// How many events it lacked.
        missing: u128,
    },
    /// The leader has stopped.
    Stopped {
        /// Why.
        reason: Arc<str>,
    },
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitError::Timeout { missing } => {
                write!(f, "at the deadline the leader lacked {missing} of the events that were waited for")
            }
            WaitError::Stopped { reason } => write!(f, "the leader has stopped: {reason}"),
        }
    }
}

impl Error for WaitError {}
