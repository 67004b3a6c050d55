//! The bytes in which news travels on a connection.
//!
//! A frame is two columns: small numbers that say how things lie, by their odds (see [`entropy`](crate::entropy)), and
//! bytes for values, names and large numbers. Replicas are named by their places in a list that both sides of a
//! connection keep: at first it has those of the sender's greeting in ascending order. Where no frame can be lost or
//! overtaken, each builds on those before it: see [`Said`].

use crate::{Kind, batch::Batch};
use crdt_core::{
    ReplicaId,
    wire::{DecodeError, Reader},
};
use std::sync::Arc;

mod read;
mod write;

pub(crate) use read::decode;

/// What one side of a connection tells the other at a time.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Frames with anything but acknowledgements are numbered from 1; 0 for the others.
    pub(crate) number: u64,
    /// Whether the receiver is known to have all frames before this one.
    pub(crate) relative: bool,
    pub(crate) received: Received,
    /// From which place on the list of replicas is told, and what stands there.
    pub(crate) names_from: u64,
    pub(crate) names: Vec<ReplicaId>,
    /// Of which origins the sender wants batches on this connection, and of which only to hear, by place.
    pub(crate) modes: Vec<(usize, bool)>,
    /// Asks for updates of these replicas, by place, with up to where they have come. If they cannot be sent as they are,
    /// it asks for all that the sender, as far as it has told in this frame and before, does not have.
    pub(crate) pulls: Vec<(usize, u64)>,
    /// How far the sender has the updates of some replicas, durably, by place.
    pub(crate) told: Vec<(usize, u64)>,
    /// Ascending by the places of their origins.
    pub(crate) batches: Vec<Passed>,
}

/// A batch on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    /// The place of its origin.
    pub(crate) place: usize,
    pub(crate) batch: Arc<Batch>,
    /// The sender lacks something that the batch depends on. If not, the batch also tells that the sender has it.
    pub(crate) early: bool,
    /// How many connections lie between the origin and the sender, on the way by which the sender gets its batches.
    pub(crate) hops: u64,
}

/// What one side has received of the other's frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// The greatest number.
    pub(crate) last: u64,
    /// Which of the 64 numbers before it are missing, the next one in the lowest bit.
    pub(crate) missing: u64,
    /// Up to this frame everything that was told, or was in a batch, is durable here.
    pub(crate) durable: u64,
}

const KINDS: [Kind; 4] = [Kind::GCounter, Kind::PnCounter, Kind::Register, Kind::Set];
/// A type of the user's own, by its name.
const CUSTOM: u8 = 4;

/// A frame is full when the batches in it take so much memory, and a batch that takes more than twice that is not passed
/// on as one: a frame with both is below [`MAX_MESSAGE`](crate::MAX_MESSAGE), and what takes more memory is none.
pub(crate) const FULL: usize = 128 << 10;

/// Writes one as none and none as one, and reads them so: one is what is expected.
fn or_one(count: u64) -> u64 {
    if count < 2 { 1 - count } else { count }
}

/// So much of its number does a frame carry that builds on those before it.
const TURN: u64 = 64;

/// The number of a frame, if the latest that came has the number `last`: read by itself, for a frame that came before must
/// not be read again. Says also whether it builds on those before it.
pub(crate) fn number(bytes: &[u8], last: u64) -> Result<(u64, bool), DecodeError> {
    let header = Reader::new(bytes).varint()?;
    if header % 2 == 0 {
        return Ok((header / 2, false));
    }
    // The nearest one.
    let ahead = (header / 2).wrapping_sub(last + 1) % TURN;
    let number =
        if ahead < TURN / 2 || last + 1 + ahead <= TURN { last + 1 + ahead } else { last + 1 + ahead - TURN };
    Ok((number, true))
}
