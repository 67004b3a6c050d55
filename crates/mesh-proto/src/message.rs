//! What leaders say to each other.

use crate::{
    codec::{decode_whole, encode, encode_within},
    lineage::Lineage,
    staging::Taken,
};
use crdt_core::ReplicaId;
use serde::{Deserialize, Serialize};
use std::fmt;
use version_vector::VersionVector;

/// The version of the messages below; leaders of different versions refuse each other by name.
pub const WIRE_VERSION: u16 = 3;

/// The first bytes of every connection, so that a stray client is told apart from a leader of another version.
pub const MAGIC: [u8; 4] = *b"mesh";

/// The greatest encoded message. Deltas that are larger travel in parts.
pub const MAX_MESSAGE: usize = 1 << 20;

/// The greatest length of a leader's or a cluster's name, in bytes.
pub const MAX_LEADER_NAME: usize = 255;

/// The bytes of a delta in one message; the rest of [`MAX_MESSAGE`] is for what surrounds them.
pub(crate) const MAX_PART: usize = MAX_MESSAGE - 64;

/// How each side opens a connection: who it is, and what it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`MAGIC`].
    pub magic: [u8; 4],
    /// [`WIRE_VERSION`]. It stays the second field in all versions, so that it can always be read.
    pub version: u16,
    /// The mesh that the leader belongs to.
    pub cluster: String,
    /// The leader's name in configuration and reports.
    pub name: String,
    /// The id that the leader writes under.
    pub replica: ReplicaId,
    /// What the leader has, durably.
    pub vector: VersionVector,
    /// Which runs made its own updates.
    pub lineage: Lineage,
}

/// Why the other side of a connection is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HelloError {
    /// The bytes are not a leader's greeting.
    NotALeader,
    /// The other side speaks another version of the protocol.
    Version {
        /// What it speaks; this side speaks [`WIRE_VERSION`].
        theirs: u16,
    },
    /// The name of the other side or of its cluster is empty, too long, or has control characters.
    BadName,
    /// The other side belongs to another mesh.
    Cluster {
        /// The cluster of this side.
        ours: String,
        /// The cluster of the other side.
        theirs: String,
    },
    /// The other side writes under this leader's id: it is this leader itself, or runs on a copy of its data.
    SameReplica {
        /// The id in question.
        replica: ReplicaId,
        /// The name the other side goes by.
        name: String,
    },
    /// So many peers are connected that no further one is taken.
    TooManyPeers {
        /// How many are taken.
        limit: usize,
    },
    /// One of the two sides writes under an id under which another run has made other updates.
    Forked {
        /// The id in question.
        replica: ReplicaId,
        /// The first update that there is twice.
        from: u64,
    },
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HelloError::NotALeader => f.write_str("what it sends is not a leader's greeting"),
            HelloError::Version { theirs } => {
                write!(
                    f,
                    "it speaks wire version {theirs}, this leader speaks {WIRE_VERSION}: upgrade the older one"
                )
            }
            HelloError::BadName => {
                write!(
                    f,
                    "its name or its cluster's is empty, longer than {MAX_LEADER_NAME} bytes, or has control characters"
                )
            }
            HelloError::Cluster { ours, theirs } => {
                write!(f, "it belongs to cluster {theirs:?}, this leader to {ours:?}")
            }
            HelloError::SameReplica { replica, name } => write!(
                f,
                "leader {name:?} writes under this leader's own id {replica}: either an address of this leader is among \
                 its peers, or it runs on a copy of its data folder; give the copy an empty folder"
            ),
            HelloError::TooManyPeers { limit } => write!(f, "{limit} peers are connected already"),
            HelloError::Forked { replica, from } => write_forked(f, *replica, *from),
        }
    }
}

impl std::error::Error for HelloError {}

pub(crate) fn write_forked(f: &mut fmt::Formatter<'_>, replica: ReplicaId, from: u64) -> fmt::Result {
    write!(
        f,
        "there are two histories of leader {replica} from its update {from} on: its data was copied, or restored and then \
         written to. Stop the copy, move its folder away and start it with an empty one; what it wrote since is in that \
         folder only"
    )
}

impl Hello {
    /// The bytes to open a connection with.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads the other side's greeting.
    ///
    /// # Errors
    ///
    /// [`HelloError::NotALeader`] or [`HelloError::Version`].
    pub fn decode(bytes: &[u8]) -> Result<Self, HelloError> {
        let ((magic, theirs), _) =
            postcard::take_from_bytes::<([u8; 4], u16)>(bytes).map_err(|_| HelloError::NotALeader)?;
        if magic != MAGIC {
            return Err(HelloError::NotALeader);
        }
        if theirs != WIRE_VERSION {
            return Err(HelloError::Version { theirs });
        }
        let hello: Hello = decode_whole(bytes).map_err(|_| HelloError::NotALeader)?;
        // Names appear in logs, tables and metrics.
        let is_name =
            |name: &str| (1..=MAX_LEADER_NAME).contains(&name.len()) && !name.contains(char::is_control);
        if is_name(&hello.cluster) && is_name(&hello.name) { Ok(hello) } else { Err(HelloError::BadName) }
    }
}

/// One message between leaders that have accepted each other. Losing, repeating or reordering any of them costs time only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// News, acknowledgements, and what this side wants to hear.
    Frame(Frame),
    /// "I am here": a digest of my vector, the fingerprint of my keyspace, and the time on my wall clock.
    Alive {
        /// A hash of the sender's vector.
        vector: u64,
        /// The fingerprint of the sender's keyspace.
        fingerprint: u64,
        /// The sender's wall clock, in milliseconds since 1970.
        wall: u64,
    },
    /// A part of a delta.
    Part(Part),
    /// How much of a delta has come.
    Taken(Taken),
    /// "These runs made what I have of your updates": the first message of a connection.
    Lineage {
        /// The runs.
        lineage: Lineage,
        /// The last update that the sender has.
        last: u64,
    },
    /// A part of what is said in an exchange by which two leaders find what they differ in.
    Reconcile(StepPart),
}

/// News in the form of a connection: only its two sides can read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    #[serde(with = "crate::codec::bytes")]
    pub(crate) bytes: Vec<u8>,
    #[serde(skip)]
    pub(crate) payload: usize,
}

/// A part of a delta: some bytes of its items, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Tells the parts of one delta from those of another.
    pub(crate) delta: u64,
    /// How many parts come before this one.
    pub(crate) number: u64,
    #[serde(with = "crate::codec::bytes")]
    pub(crate) bytes: Vec<u8>,
    #[serde(skip)]
    pub(crate) payload: usize,
}

/// A part of what is said in one step of an exchange, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepPart {
    /// Tells the parts of one step from those of another.
    pub(crate) number: u64,
    /// How many bytes of it came before this part.
    pub(crate) offset: u64,
    /// Whether it ends here.
    pub(crate) last: bool,
    #[serde(with = "crate::codec::bytes")]
    pub(crate) bytes: Vec<u8>,
    #[serde(skip)]
    pub(crate) payload: usize,
}

impl From<Vec<u8>> for Frame {
    /// A frame of these bytes, whatever they are: whoever hears it finds out.
    fn from(bytes: Vec<u8>) -> Self {
        Frame { bytes, payload: 0 }
    }
}

impl From<Vec<u8>> for StepPart {
    /// A step of these bytes, whatever they are, in one part.
    fn from(bytes: Vec<u8>) -> Self {
        StepPart { number: 1, offset: 0, last: true, bytes, payload: 0 }
    }
}

impl From<Vec<u8>> for Part {
    /// The first part of a delta, of these bytes, whatever they are.
    fn from(bytes: Vec<u8>) -> Self {
        Part { delta: 1, number: 0, bytes, payload: 0 }
    }
}

impl Message {
    /// The bytes of this message, at most [`MAX_MESSAGE`].
    pub fn encode(&self) -> Vec<u8> {
        match self {
            // A tag and a length come before the bytes.
            Message::Frame(frame) => encode_within(self, frame.bytes.len() + 8),
            _ => encode(self),
        }
    }

    /// How many of the bytes are values: elements, registers and totals. The rest says whose they are and who has what.
    /// Where two leaders that differ tell each other what they have, the names of the keys count too.
    /// Known to the sender only; 0 for a message that was decoded.
    pub fn payload(&self) -> usize {
        match self {
            Message::Frame(frame) => frame.payload,
            Message::Part(part) => part.payload,
            Message::Reconcile(step) => step.payload,
            Message::Alive { .. } | Message::Taken(_) | Message::Lineage { .. } => 0,
        }
    }

    /// Reads one message; never panics, and allocates no more than the bytes justify.
    ///
    /// # Errors
    ///
    /// A sentence, if the bytes are not exactly one message.
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        decode_whole(bytes)
    }
}
