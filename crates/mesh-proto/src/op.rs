use crate::{Blob, Kind};
use crdt_core::{ReplicaId, UpdateError};
use lww_register::Stamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use version_vector::VersionVector;

/// The greatest register value or set element, in bytes.
pub const MAX_BLOB: usize = 1 << 20;

/// One write to a value of a built-in type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Adds to a grow-only counter.
    Grow(u64),
    /// Adds to a counter.
    Increment(u64),
    /// Subtracts from a counter.
    Decrement(u64),
    /// Sets a register.
    Assign(Blob),
    /// Adds elements to a set: one event each, in this order.
    Add(Vec<Blob>),
    /// Removes what is seen of these elements from a set: one event for each that is there, in ascending order.
    Remove(Vec<Blob>),
    /// Removes what is seen of all elements: one event, none if the set is empty.
    Clear,
}

impl Op {
    /// The type of the values that this writes to.
    pub fn kind(&self) -> Kind {
        match self {
            Op::Grow(_) => Kind::GCounter,
            Op::Increment(_) | Op::Decrement(_) => Kind::PnCounter,
            Op::Assign(_) => Kind::Register,
            Op::Add(_) | Op::Remove(_) | Op::Clear => Kind::Set,
        }
    }

    pub(crate) fn blobs(&self) -> &[Blob] {
        match self {
            Op::Assign(value) => std::slice::from_ref(value),
            Op::Add(elements) | Op::Remove(elements) => elements,
            _ => &[],
        }
    }
}

/// What a write did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The id the leader wrote under.
    pub replica: ReplicaId,
    /// How many events it made: 0 if there was nothing to do. They are consecutive.
    pub events: u64,
    /// The counter of the last one; 0 if there is none.
    pub last: u64,
    /// Where a register's write stands in the order of all its writes.
    pub stamp: Option<Stamp>,
    /// The leader's vector right after the write: who has at least this much has the write and all it could depend on.
    pub token: VersionVector,
    /// Whether this is the reply of an earlier write under the same idempotency key; nothing was written now.
    pub repeated: bool,
}

/// Why a write was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteError {
    /// The name is in use for another type.
    OtherType {
        /// The name.
        name: String,
        /// The type that the name has here.
        held: Kind,
        /// The type that the write is for.
        wanted: Kind,
    },
    /// A name, value, element or idempotency key is empty or too long.
    Size {
        /// Which of them.
        what: &'static str,
        /// How many bytes it has.
        bytes: usize,
        /// How many it may have.
        limit: usize,
    },
    /// A counter would pass its greatest value.
    Update(UpdateError),
    /// The idempotency key was used for a different write.
    KeyReused,
    /// So many idempotency keys are kept that no further one is taken; write without one, or wait for some to expire.
    KeysExhausted {
        /// How many are kept at most.
        limit: usize,
    },
    /// The type is not registered at this leader.
    UnknownType(Kind),
    /// Another run, on a copy or an older state of this leader's data, has made other updates under its id: this leader
    /// takes no more writes. See [`Event::Forked`](crate::Event::Forked).
    Forked {
        /// The id in question.
        replica: ReplicaId,
        /// The first update that there is twice.
        from: u64,
    },
    /// A peer has updates under this leader's id that it does not have: it takes no writes until it has a new id.
    LostUpdates,
    /// This leader has lost its causal metadata: it takes no writes until it has it back from a peer.
    LostMetadata,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteError::OtherType { name, held, wanted } => {
                write!(f, "key {name:?} has the type {held} here, not {wanted}; choose another name")
            }
            WriteError::Size { what, bytes, limit } => {
                write!(f, "the {what} has {bytes} bytes, it must have 1 to {limit}")
            }
            WriteError::Update(error) => error.fmt(f),
            WriteError::KeyReused => f.write_str("the idempotency key was used before for a different write"),
            WriteError::KeysExhausted { limit } => {
                write!(f, "{limit} idempotency keys are being kept, no more can be taken before some expire")
            }
            WriteError::UnknownType(kind) => write!(f, "no type {kind:?} is registered at this leader"),
            WriteError::Forked { replica, from } => crate::message::write_forked(f, *replica, *from),
            WriteError::LostMetadata => f.write_str(
                "this leader has lost its causal metadata, and takes no writes before it has met a peer that has its own",
            ),
            WriteError::LostUpdates => f.write_str(
                "this leader has lost updates that its peers have from it, and takes no writes before it has a new id",
            ),
        }
    }
}

impl std::error::Error for WriteError {}

impl From<UpdateError> for WriteError {
    fn from(error: UpdateError) -> Self {
        WriteError::Update(error)
    }
}
