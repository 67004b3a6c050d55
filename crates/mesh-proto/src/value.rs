//! The value of one key, and the pieces of it that travel and are stored.

use crate::{
    Kind, Registry,
    batch::{Body, Written},
    codec::{decode_whole, encode},
    custom::Erased,
    planted::{self, Bug},
};
use crdt_core::{Dot, Merge, ReplicaId, Rows, wire::Wire};
use g_counter::GCounter;
use lww_register::LwwRegister;
use or_set::{Change, Kernel, Slice};
use pn_counter::PnCounter;
use std::fmt;
use twox_hash::XxHash3_64;
use version_vector::VersionVector;

/// What registers hold and sets contain: bytes.
pub type Blob = Vec<u8>;

#[derive(Debug)]
pub(crate) enum Value {
    GCounter(GCounter),
    PnCounter(PnCounter),
    Register(LwwRegister<Blob>),
    /// A set without a context of its own: its dots are the leader's, and its context the leader's version vector.
    Set(Kernel<Blob>),
    Custom(Box<dyn Erased>),
}

/// A piece of a value, decoded and valid in itself.
#[derive(Debug)]
pub(crate) enum Piece {
    GCounter(GCounter),
    PnCounter(PnCounter),
    Register(LwwRegister<Blob>),
    Set(Slice<Blob>),
    Custom(Box<dyn Erased>),
}

/// Why the bytes of a piece were refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadPiece {
    /// The bytes are not an encoding of the type.
    Encoding(String),
    /// No type of that name is registered at this leader.
    UnknownType,
    /// A dot lies outside the interval that the piece claims.
    OutsideInterval(Dot),
    /// The piece has more of a leader's own updates than that leader made.
    Forged(ReplicaId),
    /// The piece has a row of a replica of which it says that it wrote nothing.
    Unnamed(ReplicaId),
    /// The update is known as one of another key.
    Taken(Dot),
    /// Joined with what is here, the counter would pass its greatest value.
    Overflow(ReplicaId),
    /// A delta that lists survivors does so for every set, any other for none.
    Survivors,
    /// There is another piece of this key already, or the keys are not in order.
    Repeated,
}

impl fmt::Display for BadPiece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadPiece::Encoding(why) => write!(f, "it does not decode: {why}"),
            BadPiece::UnknownType => f.write_str("no type of that name is registered here"),
            BadPiece::OutsideInterval(dot) => {
                write!(f, "its update {dot} lies outside what it claims to cover")
            }
            BadPiece::Unnamed(id) => {
                write!(f, "it has a row of replica {id}, and says that {id} wrote nothing")
            }
            BadPiece::Taken(dot) => write!(f, "its update {dot} belongs to another key"),
            BadPiece::Overflow(id) => write!(f, "the counts of replica {id} would pass their greatest value"),
            BadPiece::Survivors => {
                f.write_str("it lists survivors where the delta has none, or the other way round")
            }
            BadPiece::Repeated => {
                f.write_str("there are two pieces of this key, or the keys are out of order")
            }
            BadPiece::Forged(id) => write!(f, "it has more updates of replica {id} than that replica made"),
        }
    }
}

impl std::error::Error for BadPiece {}

/// Where a piece comes from and where it goes.
pub(crate) struct Interval<'a> {
    /// The receiver's vector before.
    pub(crate) seen: &'a VersionVector,
    pub(crate) until: &'a VersionVector,
}

static NOTHING: VersionVector = VersionVector::new();

impl<'a> Interval<'a> {
    fn seen_by_sets(&self) -> &'a VersionVector {
        if planted::is(Bug::DeadRevived) { &NOTHING } else { self.seen }
    }
}

impl Value {
    pub(crate) fn bottom(kind: &Kind, registry: &Registry) -> Result<Self, BadPiece> {
        Ok(match kind {
            Kind::GCounter => Value::GCounter(GCounter::new()),
            Kind::PnCounter => Value::PnCounter(PnCounter::new()),
            Kind::Register => Value::Register(LwwRegister::new()),
            Kind::Set => Value::Set(Kernel::new()),
            Kind::Custom(name) => Value::Custom(registry.bottom(name).ok_or(BadPiece::UnknownType)?),
        })
    }

    /// Encodes what happened to the value since `since`; `newest` holds the newest dot of each leader in it.
    ///
    /// Of a counter the rows of the leaders that wrote since then, of a set a slice, of the others the whole.
    pub(crate) fn cut(&self, since: &VersionVector, newest: &VersionVector, survivors: bool) -> Vec<u8> {
        let wrote = |rows: &Rows| -> Rows {
            rows.iter().filter(|(id, _)| newest.get(*id) > since.get(*id)).collect()
        };
        match self {
            Value::GCounter(counter) => encode(&GCounter::from(wrote(counter.rows()))),
            Value::PnCounter(counter) => encode(&(wrote(counter.increments()), wrote(counter.decrements()))),
            Value::Register(register) => encode(register),
            Value::Set(kernel) => {
                let mut slice = kernel.slice_since(since, survivors);
                if since.is_empty() && survivors {
                    slice.drop_deaths();
                }
                slice.to_bytes()
            }
            Value::Custom(value) => value.encode(),
        }
    }

    /// What `origin`, whose state this is, did to the value after its update `since`; `before` is a vector of all that is
    /// here but those.
    pub(crate) fn cut_own(&self, origin: ReplicaId, since: u64, before: &VersionVector) -> Body {
        match self {
            Value::GCounter(counter) => Body::GCounter(counter.get(origin)),
            Value::PnCounter(counter) => {
                let (up, down) = rows_of(counter, origin);
                Body::PnCounter(up, if planted::is(Bug::SplitCounter) && up > 0 { 0 } else { down })
            }
            Value::Register(register) => Body::Register(match (register.stamp(), register.get()) {
                (Some(stamp), Some(value)) if stamp.replica == origin && stamp.counter > since => {
                    Some(Written { time: stamp.time, counter: stamp.counter, value: value.clone() })
                }
                _ => None,
            }),
            Value::Set(kernel) => {
                let slice = kernel.slice_since(before, false);
                let births = slice.births().iter().map(|(dot, element)| (dot.counter, element.clone()));
                let deaths = slice.deaths().iter().map(|(event, killed)| (event.counter, *killed));
                Body::Set { births: births.collect(), deaths: deaths.collect() }
            }
            Value::Custom(value) => Body::Custom(value.encode()),
        }
    }

    /// Joins a piece; true exactly when the value changed. `hash` is kept equal to [`Value::hash`].
    pub(crate) fn apply(&mut self, piece: Piece, at: &Interval<'_>, seed: u64, hash: &mut u64) -> bool {
        let grew = match (&mut *self, piece) {
            (Value::Set(kernel), Piece::Set(slice)) => {
                let mut watch = |change: Change<'_, Blob>| hash_change(hash, seed, &change);
                return kernel.apply(slice, at.seen_by_sets(), at.until, &mut watch);
            }
            (Value::GCounter(mine), Piece::GCounter(theirs)) => {
                let again = |(id, n)| (id, if theirs.get(id) == n { n + n } else { n });
                if planted::is(Bug::CountedTwice) {
                    *mine = GCounter::from(mine.rows().iter().map(again).collect::<Rows>());
                }
                mine.merge_owned(theirs)
            }
            (Value::PnCounter(mine), Piece::PnCounter(theirs)) => mine.merge_owned(theirs),
            (Value::Register(mine), Piece::Register(theirs))
                if planted::is(Bug::TieKept)
                    && mine.stamp().map(|stamp| stamp.time) == theirs.stamp().map(|stamp| stamp.time) =>
            {
                false
            }
            (Value::Register(mine), Piece::Register(theirs)) => mine.merge_owned(theirs),
            (Value::Custom(mine), Piece::Custom(theirs)) => mine.merge_erased(&*theirs),
            // The kind of a piece is the kind of its key, and so is the value's.
            _ => unreachable!("a piece is decoded by the kind of its key"),
        };
        if grew {
            *hash = self.hash(seed);
        }
        grew
    }

    /// As [`apply`](Value::apply) of a piece of a set with these births, ascending, and nothing else.
    pub(crate) fn apply_births<'a>(
        &mut self,
        births: impl Iterator<Item = (Dot, &'a Blob)>,
        at: &Interval<'_>,
        seed: u64,
        hash: &mut u64,
    ) -> bool {
        let Value::Set(kernel) = self else { unreachable!("a piece is of the kind of its key") };
        kernel.apply_births(births, at.seen_by_sets(), &mut |change| hash_change(hash, seed, &change))
    }

    /// A hash of the content that is the same on every machine; of a set the sum over its live dots, so that it can be
    /// kept up to date at the cost of what changes.
    pub(crate) fn hash(&self, seed: u64) -> u64 {
        match self {
            Value::GCounter(counter) => hash_rows(seed, 0, counter.rows()),
            Value::PnCounter(counter) => hash_rows(seed, 1, counter.increments()).wrapping_add(hash_rows(
                seed,
                2,
                counter.decrements(),
            )),
            Value::Register(register) => match (register.stamp(), register.get()) {
                (Some(stamp), Some(value)) => {
                    let dot = Dot::new(stamp.replica, stamp.counter);
                    XxHash3_64::oneshot_with_seed(hash_dot(seed ^ stamp.time.to_bits(), dot), value)
                }
                _ => 0,
            },
            Value::Set(kernel) => kernel.live().fold(0, |sum: u64, (dot, element)| {
                sum.wrapping_add(XxHash3_64::oneshot_with_seed(hash_dot(seed, dot), element))
            }),
            Value::Custom(value) => XxHash3_64::oneshot_with_seed(seed, &value.encode()),
        }
    }
}

impl Piece {
    pub(crate) fn decode(kind: &Kind, bytes: &[u8], registry: &Registry) -> Result<Self, BadPiece> {
        let why = |error: postcard::Error| BadPiece::Encoding(error.to_string());
        Ok(match kind {
            Kind::GCounter => Piece::GCounter(decode_whole(bytes).map_err(why)?),
            Kind::PnCounter => {
                let (increments, decrements) = decode_whole(bytes).map_err(why)?;
                let counter = PnCounter::from_rows(increments, decrements);
                Piece::PnCounter(counter.map_err(|error| BadPiece::Encoding(error.to_string()))?)
            }
            Kind::Register => Piece::Register(decode_whole(bytes).map_err(why)?),
            Kind::Set => {
                let slice = Slice::from_bytes(bytes);
                Piece::Set(slice.map_err(|why| BadPiece::Encoding(why.to_string()))?)
            }
            Kind::Custom(name) => {
                Piece::Custom(registry.decode(name, bytes).ok_or(BadPiece::UnknownType)?.map_err(why)?)
            }
        })
    }

    /// The piece that says "nothing of this key is alive any more".
    pub(crate) fn no_survivors() -> Self {
        Piece::Set(Kernel::new().slice_since(&VersionVector::new(), true))
    }

    /// Checks a piece that came from outside against what it claims and against the value that `me` has.
    ///
    /// What passes can be joined, stored and recovered.
    pub(crate) fn check(
        &self,
        at: &Interval<'_>,
        newest: &[(ReplicaId, u64)],
        me: ReplicaId,
        mine: Option<&Value>,
    ) -> Result<(), BadPiece> {
        // Rows are stored and sent on by who wrote since; a row that nobody wrote would stay in memory.
        let named = |rows: &Rows| match rows
            .iter()
            .find(|(id, _)| newest.binary_search_by_key(id, |row| row.0).is_err())
        {
            Some((id, _)) => Err(BadPiece::Unnamed(id)),
            None => Ok(()),
        };
        let within =
            |dot: Dot| if at.until.contains(dot) { Ok(()) } else { Err(BadPiece::OutsideInterval(dot)) };
        match self {
            Piece::Set(slice) => {
                slice.births().iter().try_for_each(|(dot, _)| within(*dot))?;
                slice
                    .deaths()
                    .iter()
                    .try_for_each(|(event, killed)| within(*event).and_then(|()| within(*killed)))
            }
            Piece::Register(register) => {
                register.stamp().map_or(Ok(()), |s| within(Dot::new(s.replica, s.counter)))
            }
            Piece::GCounter(counter) => {
                named(counter.rows())?;
                let known = if let Some(Value::GCounter(mine)) = mine { mine.get(me) } else { 0 };
                if counter.get(me) > known { Err(BadPiece::Forged(me)) } else { Ok(()) }
            }
            Piece::PnCounter(counter) => {
                named(counter.increments())?;
                named(counter.decrements())?;
                if let Some(Value::PnCounter(mine)) = mine {
                    for (id, _) in newest.iter().copied() {
                        let (theirs, ours) = (rows_of(counter, id), rows_of(mine, id));
                        let joined = theirs.0.max(ours.0).checked_add(theirs.1.max(ours.1));
                        joined.ok_or(BadPiece::Overflow(id))?;
                    }
                }
                let known = if let Some(Value::PnCounter(mine)) = mine { rows_of(mine, me) } else { (0, 0) };
                let (plus, minus) = rows_of(counter, me);
                if plus > known.0 || minus > known.1 { Err(BadPiece::Forged(me)) } else { Ok(()) }
            }
            Piece::Custom(_) => Ok(()),
        }
    }
}

fn rows_of(counter: &PnCounter, id: ReplicaId) -> (u64, u64) {
    (counter.increments().get(id), counter.decrements().get(id))
}

/// Keeps a set's hash, the sum over its live dots, up to date.
pub(crate) fn hash_change(hash: &mut u64, seed: u64, change: &Change<'_, Blob>) {
    *hash = match *change {
        Change::Born(dot, element) => {
            hash.wrapping_add(XxHash3_64::oneshot_with_seed(hash_dot(seed, dot), element))
        }
        Change::Died(dot, element) => {
            hash.wrapping_sub(XxHash3_64::oneshot_with_seed(hash_dot(seed, dot), element))
        }
    };
}

fn hash_dot(seed: u64, dot: Dot) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&dot.replica.get().to_le_bytes());
    bytes[8..].copy_from_slice(&dot.counter.to_le_bytes());
    XxHash3_64::oneshot_with_seed(seed, &bytes)
}

fn hash_rows(seed: u64, column: u64, rows: &Rows) -> u64 {
    rows.iter()
        .fold(0, |sum: u64, (id, value)| sum.wrapping_add(hash_dot(seed ^ column, Dot::new(id, value))))
}
