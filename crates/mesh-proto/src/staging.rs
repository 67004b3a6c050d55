//! The receiving side of a delta: its parts are put in order, and its pieces are held until all are there.

use crate::{
    Key, Part,
    keyspace::Keyspace,
    stream::{End, Item, WINDOW, WINDOW_BYTES},
    value::Piece,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use version_vector::VersionVector;

/// Where nothing is lost, the sender is told after so many parts: a quarter of those that may be under way.
const MANY: usize = 16;

/// "So far your delta has come": what is missing is sent again, and what follows may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    pub(crate) delta: u64,
    /// The number of the first part that has not come; [`Taken::ALL`] if nothing more is wanted.
    pub(crate) next: u64,
    /// Which of the 64 parts after that one have come, the next one in the lowest bit.
    pub(crate) ahead: u64,
}

impl Taken {
    pub(crate) const ALL: u64 = u64::MAX;

    /// "Nothing more of this delta is wanted": it is complete, or another one has taken its place.
    pub(crate) fn all(delta: u64) -> Self {
        Taken { delta, next: Taken::ALL, ahead: 0 }
    }
}

/// A piece that is good in itself, with the newest dots of those who wrote it.
pub(crate) type StagedPiece = (VersionVector, Piece);

/// A delta that is not complete yet.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) delta: u64,
    /// The number of the first part that has not come.
    next: u64,
    /// Parts that came before one with a lower number.
    ahead: BTreeMap<u64, Vec<u8>>,
    /// The beginning of an item.
    rest: Vec<u8>,
    pub(crate) since: Option<VersionVector>,
    /// What the leader will hold once the delta is complete: as large as it will be then.
    pub(crate) pieces: BTreeMap<Key, StagedPiece>,
    /// What has come since the sender was last told of it.
    untold: usize,
    untold_bytes: usize,
}

/// What has become of a part.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Others are missing.
    Going,
    /// That was the last one.
    Complete(End),
}

/// Why a part was not taken.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// It is not what should come at this place.
    Malformed(String),
    /// A piece is bad in itself.
    Piece(Key, crate::BadPiece),
}

impl Staged {
    pub(crate) fn new(delta: u64) -> Self {
        Staged {
            delta,
            next: 0,
            ahead: BTreeMap::new(),
            rest: Vec::new(),
            since: None,
            pieces: BTreeMap::new(),
            untold: 0,
            untold_bytes: 0,
        }
    }

    /// How many bytes are held that could not be decoded yet.
    pub(crate) fn undecoded(&self) -> usize {
        self.rest.len() + self.ahead.values().map(Vec::len).sum::<usize>()
    }

    /// Whether a part comes before others that have not come.
    pub(crate) fn is_early(&self, part: &Part) -> bool {
        part.number > self.next
    }

    /// Takes a part in, whatever came before. **O(part)**.
    pub(crate) fn take(&mut self, part: Part, space: &Keyspace) -> Result<Progress, Unfit> {
        (self.untold, self.untold_bytes) = (self.untold + 1, self.untold_bytes + part.bytes.len());
        if part.number > self.next {
            if part.number - self.next <= WINDOW {
                self.ahead.entry(part.number).or_insert(part.bytes);
            }
            return Ok(Progress::Going);
        }
        if part.number < self.next {
            return Ok(Progress::Going);
        }
        let mut bytes = part.bytes;
        loop {
            self.next += 1;
            if let Some(end) = self.read(bytes, space)? {
                return Ok(Progress::Complete(end));
            }
            let Some(next) = self.ahead.remove(&self.next) else { return Ok(Progress::Going) };
            bytes = next;
        }
    }

    fn read(&mut self, bytes: Vec<u8>, space: &Keyspace) -> Result<Option<End>, Unfit> {
        if self.rest.is_empty() {
            self.rest = bytes;
        } else {
            self.rest.extend(bytes);
        }
        let mut at = 0;
        let mut end = None;
        while let Some((len, after)) = length(&self.rest[at..])? {
            if after.len() < len {
                break;
            }
            if end.is_some() {
                return Err(Unfit::Malformed("it goes on after its end".into()));
            }
            at = self.rest.len() - after.len() + len;
            let item = crate::codec::decode_whole(&after[..len]);
            end = self.put(item.map_err(|why| Unfit::Malformed(why.to_string()))?, space)?;
        }
        if end.is_some() && at < self.rest.len() {
            return Err(Unfit::Malformed("it goes on after its end".into()));
        }
        self.rest.drain(..at);
        if self.rest.is_empty() {
            self.rest = Vec::new();
        }
        Ok(end)
    }

    fn put(&mut self, item: Item, space: &Keyspace) -> Result<Option<End>, Unfit> {
        let has_begun = self.since.is_some();
        match item {
            Item::Begin { since } if !has_begun => self.since = Some(since),
            Item::Piece(piece) if has_begun => {
                let key = piece.key.clone();
                let piece = space.decode(piece).map_err(|why| Unfit::Piece(key.clone(), why))?;
                self.pieces.insert(key, piece);
            }
            Item::Gone(key) if has_begun => drop(self.pieces.remove(&key)),
            Item::End(end) if has_begun => return Ok(Some(end)),
            _ => return Err(Unfit::Malformed("it does not begin with what it builds on".into())),
        }
        Ok(None)
    }

    /// What to tell the sender now. Where nothing is lost, only what lets it go on.
    pub(crate) fn tells(&mut self, ordered: bool) -> Option<Taken> {
        let enough = if ordered { MANY } else { 1 };
        if self.untold < enough && self.untold_bytes < WINDOW_BYTES / 4 {
            return None;
        }
        (self.untold, self.untold_bytes) = (0, 0);
        let ahead = self.ahead.keys().fold(0, |bits, number| bits | 1 << (number - self.next - 1));
        Some(Taken { delta: self.delta, next: self.next, ahead })
    }
}

/// The length of the next item and what comes after that; `None` if it is not all there.
fn length(bytes: &[u8]) -> Result<Option<(usize, &[u8])>, Unfit> {
    match postcard::take_from_bytes::<u64>(bytes) {
        Ok((len, after)) => Ok(Some((usize::try_from(len).unwrap_or(usize::MAX), after))),
        Err(postcard::Error::DeserializeUnexpectedEnd) => Ok(None),
        Err(why) => Err(Unfit::Malformed(why.to_string())),
    }
}
