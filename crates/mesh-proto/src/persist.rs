//! The rows of a leader's store, and how they are read back.
//!
//! What is stored is joinable state, as everywhere: a key has a base and pieces, and recovery joins them. A commit
//! appends pieces as large as the change; when the pieces outweigh the base, one commit replaces them by a new base, so
//! that writing costs a constant factor and recovery reads at most about twice the state.

use crate::{
    BadPiece, Commit, Identity, Key, Registry,
    codec::{decode_whole, encode},
    idempotency::Replies,
    keyspace::{KeyPiece, Keyspace, Stored},
    lineage::Kept,
    planted::{self, Bug},
    reconcile::Lost,
};
use crdt_core::ReplicaId;
use serde::{Deserialize, Serialize};
use std::fmt;
use version_vector::VersionVector;

/// The version of the rows below.
pub const STORE_VERSION: u16 = 2;

const IDENTITY: &[u8] = b"identity";
const HISTORY: &[u8] = b"history";
const LINEAGES: &[u8] = b"lineages";
const FORMER: &[u8] = b"former";
const PIECES: u8 = b'p';
const REPLIES: &[u8] = b"r";

/// Pieces of at least this many bytes are worth replacing by a base.
const MIN_FOLD: usize = 1024;

#[derive(Serialize, Deserialize)]
struct IdentityRow {
    version: u16,
    identity: Identity,
}

#[derive(Debug, Default, Deserialize)]
struct HistoryRow {
    version: VersionVector,
    floor: VersionVector,
    /// Of the whole keyspace, so that a lost or damaged row is found out.
    fingerprint: u64,
    /// A hash of the row of the lineages, which is written when they change.
    lineages: u64,
}

/// The same row to be written, without a copy of what is in it.
#[derive(Serialize)]
struct HistoryOf<'a> {
    version: &'a VersionVector,
    floor: &'a VersionVector,
    fingerprint: u64,
    lineages: u64,
}

/// Why a store cannot be taken up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoverError {
    /// The store belongs to another leader or another cluster.
    OtherLeader {
        /// Whose it is.
        found: Identity,
    },
    /// The store was written by a newer version of this program.
    Version {
        /// The version of its rows; this program knows [`STORE_VERSION`].
        found: u16,
    },
    /// A row does not decode, or contradicts another.
    Corrupt {
        /// Which row.
        row: String,
        /// What is wrong with it.
        why: String,
    },
    /// A key has a type that is not registered.
    UnknownType(Key),
    /// There are values, but no version vector that says what they are complete for. See [`Recovery::without_metadata`].
    NoMetadata,
    /// The id under which a leader without metadata is to go on is one under which somebody has written.
    UsedReplica(ReplicaId),
}

impl fmt::Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecoverError::OtherLeader { found } => {
                write!(f, "the data belongs to leader {:?} of cluster {:?}", found.name, found.cluster)
            }
            RecoverError::Version { found } => write!(
                f,
                "the data has format {found}, this program knows {STORE_VERSION}: run the newer program that wrote it"
            ),
            RecoverError::Corrupt { row, why } => write!(f, "the data is damaged: {row}: {why}"),
            RecoverError::UnknownType(key) => {
                write!(f, "key {:?} has type {:?}, which is not registered here", key.name, key.kind.as_str())
            }
            RecoverError::NoMetadata => f.write_str(
                "the data is damaged: the version vector is missing although there are values. The leader can be recovered \
                 without it, under a new id, and gets it back from a peer",
            ),
            RecoverError::UsedReplica(replica) => {
                write!(f, "updates under the id {replica} are in the data: give the leader a new id")
            }
        }
    }
}

impl std::error::Error for RecoverError {}

fn corrupt(row: impl Into<String>, why: impl fmt::Display) -> RecoverError {
    RecoverError::Corrupt { row: row.into(), why: why.to_string() }
}

pub(crate) fn write_identity(identity: &Identity, commit: &mut Commit) {
    put(commit, IDENTITY.to_vec(), &IdentityRow { version: STORE_VERSION, identity: identity.clone() });
}

pub(crate) fn write_former(former: &[ReplicaId], commit: &mut Commit) {
    put(commit, FORMER.to_vec(), &former);
}

/// Writes what changed in `space` since `durable`.
pub(crate) fn write_space(space: &mut Keyspace, durable: &VersionVector, commit: &mut Commit) {
    let (mut dirty, gone) = space.take_dirty();
    if planted::is(Bug::HeaderFirst) && dirty.len() > 1 {
        dirty.pop_last();
    }
    for (key, stored) in gone {
        delete_pieces(&key, stored, commit);
        commit.deletes.push(row_key(&key, 0));
    }
    for (id, whole) in dirty {
        let entry = space.entry(id);
        let mut stored = entry.stored;
        let piece = (!whole && stored.base_bytes > 0).then(|| encode(&entry.cut(durable, false)));
        let fits = |piece: &Vec<u8>| stored.piece_bytes + piece.len() <= stored.base_bytes.max(MIN_FOLD);
        if let Some(piece) = piece.filter(fits) {
            stored.pieces += 1;
            stored.piece_bytes += piece.len();
            commit.puts.push((row_key(&entry.key, stored.pieces), piece));
        } else {
            let base = encode(&entry.cut(&VersionVector::new(), false));
            delete_pieces(&entry.key, stored, commit);
            stored = Stored { base_bytes: base.len(), ..Stored::default() };
            commit.puts.push((row_key(&entry.key, 0), base));
        }
        space.set_stored(id, stored);
    }
    if let Some(lineages) = space.lineages.take_changed() {
        commit.puts.push((LINEAGES.to_vec(), lineages));
    }
    let (version, floor, lineages) = (space.version(), space.floor(), space.lineages.hash());
    let history = HistoryOf { version, floor, fingerprint: space.fingerprint(), lineages };
    put(commit, HISTORY.to_vec(), &history);
}

pub(crate) fn write_replies(replies: &mut Replies, commit: &mut Commit) {
    replies.write(REPLIES, commit);
}

fn delete_pieces(key: &Key, stored: Stored, commit: &mut Commit) {
    commit.deletes.extend((1..=stored.pieces).map(|sequence| row_key(key, sequence)));
}

fn put(commit: &mut Commit, key: Vec<u8>, value: &impl Serialize) {
    commit.puts.push((key, encode(value)));
}

/// `p`, the type and the name with their lengths in front, and the sequence number, so that a scan yields the rows of
/// one key together and in order.
fn row_key(key: &Key, sequence: u64) -> Vec<u8> {
    let mut row = Vec::with_capacity(1 + 2 * 2 + key.kind.as_str().len() + key.name.len() + 8);
    row.push(PIECES);
    for text in [key.kind.as_str(), &key.name] {
        row.extend(u16::try_from(text.len()).expect("types and names are short").to_be_bytes());
        row.extend(text.as_bytes());
    }
    row.extend(sequence.to_be_bytes());
    row
}

/// Reads the rows of a store in ascending order of their keys, then gives the leader's state.
#[derive(Debug)]
pub struct Recovery {
    space: Keyspace,
    replies: Replies,
    run: u64,
    identity: Option<Identity>,
    former: Vec<ReplicaId>,
    history: Option<HistoryRow>,
    lineages: Kept,
    /// The new id of a leader that does not rely on its metadata.
    without_metadata: Option<ReplicaId>,
    failed: Option<RecoverError>,
}

pub(crate) struct Recovered {
    pub(crate) space: Keyspace,
    pub(crate) replies: Replies,
    pub(crate) run: u64,
    pub(crate) identity: Option<Identity>,
    pub(crate) former: Vec<ReplicaId>,
    pub(crate) lost: Option<Lost>,
}

impl Recovery {
    /// Begins with nothing; `registry` has the user's own types.
    ///
    /// `run` is drawn at random for every run of the leader's process: it tells the updates of this run from those of
    /// another one that has gone on from a copy, or an older state, of the same data.
    pub fn new(registry: Registry, run: u64) -> Self {
        let (space, replies) = (Keyspace::new(registry), Replies::default());
        Recovery {
            space,
            replies,
            run,
            identity: None,
            former: Vec::new(),
            history: None,
            lineages: Kept::default(),
            without_metadata: None,
            failed: None,
        }
    }

    /// For a leader whose values are there and whose causal metadata (its version vector, and what belongs to it) is lost or
    /// must not be relied on: the row with it is ignored, whatever it is. Call it before the first row.
    ///
    /// The leader goes on under the new id `replica`. It shows nothing and takes no writes until it has met a peer that has
    /// its own metadata. Then, in one commit, it becomes a copy of that peer, which costs bytes in proportion to what they
    /// differ in, and joins what it had written itself and the peer has not seen. Updates of others that the peer has not
    /// seen come again from those who have them; it waits until one of these is connected, and says which they are
    /// ([`Event::Unreachable`](crate::Event::Unreachable)). No add that was acknowledged is lost. What can be undone is a
    /// removal that this leader alone knew of.
    pub fn without_metadata(mut self, replica: ReplicaId) -> Self {
        self.without_metadata = Some(replica);
        self
    }

    /// Takes one row. After the first bad one the rest is ignored; [`Engine::recover`](crate::Engine::recover) reports it.
    pub fn row(&mut self, key: &[u8], value: &[u8]) {
        if self.failed.is_none() {
            self.failed = self.take(key, value).err();
        }
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), RecoverError> {
        match key {
            IDENTITY => {
                // The version comes first in every format, whatever follows.
                let (version, _) =
                    postcard::take_from_bytes::<u16>(value).map_err(|why| corrupt("the identity", why))?;
                if version != STORE_VERSION {
                    return Err(RecoverError::Version { found: version });
                }
                let row: IdentityRow = decode_whole(value).map_err(|why| corrupt("the identity", why))?;
                self.identity = Some(row.identity);
            }
            FORMER => {
                self.former = decode_whole(value).map_err(|why| corrupt("the former ids", why))?;
            }
            HISTORY | LINEAGES if self.without_metadata.is_some() => {}
            LINEAGES => {
                self.lineages = Kept::stored(value).map_err(|why| corrupt("the runs of leaders", why))?;
            }
            HISTORY => {
                let row: HistoryRow =
                    decode_whole(value).map_err(|why| corrupt("the version vector", why))?;
                row.version.covers(&row.floor).map_err(|gap| corrupt("the version vector", gap))?;
                self.history = Some(row);
            }
            [PIECES, ..] => {
                let piece: KeyPiece = decode_whole(value).map_err(|why| corrupt("a value", why))?;
                let key_of = piece.key.clone();
                let sequence = key.last_chunk().map_or(0, |sequence| u64::from_be_bytes(*sequence));
                let expected = row_key(&key_of, 0);
                if key.len() != expected.len() || key[..key.len() - 8] != expected[..expected.len() - 8] {
                    return Err(corrupt(format!("key {key_of}"), "it is stored under another key's row"));
                }
                // What a lost row said may be in later ones too, but the next piece must not take the place of one of them.
                let next = self.space.get(&key_of).map_or(0, |entry| entry.stored.pieces + 1);
                if sequence != next && self.without_metadata.is_none() {
                    return Err(corrupt(format!("key {key_of}"), "a row of it is missing"));
                }
                self.space.restore(piece, value.len(), sequence).map_err(|why| match why {
                    BadPiece::UnknownType => RecoverError::UnknownType(key_of),
                    why => corrupt(format!("key {key_of}"), why),
                })?;
            }
            [b'r', key @ ..] => {
                self.replies.restore(key, value).map_err(|why| corrupt("an idempotency key", why))?;
            }
            other => return Err(corrupt(format!("row {other:02x?}"), "no such row is known")),
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<Recovered, RecoverError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.identity.is_none() && self.space.len() > 0 {
            return Err(corrupt("the identity", "it is missing although there are values"));
        }
        if let Some(replica) = self.without_metadata {
            return self.finish_without_metadata(replica);
        }
        if self.history.is_none() && self.space.len() > 0 {
            return Err(RecoverError::NoMetadata);
        }
        let HistoryRow { version, floor, fingerprint, lineages } = self.history.unwrap_or_default();
        self.space.check_covered(&version).map_err(|(key, gap)| corrupt(format!("key {key}"), gap))?;
        if self.space.fingerprint() != fingerprint {
            return Err(corrupt("the values", "they do not have the fingerprint that was stored with them"));
        }
        if self.lineages.hash() != lineages {
            return Err(corrupt(
                "the runs of leaders",
                "they do not have the hash that was stored with the vector",
            ));
        }
        self.space.restored(version, floor, self.lineages);
        let Recovery { space, replies, run, identity, former, .. } = self;
        Ok(Recovered { space, replies, run, identity, former, lost: None })
    }

    fn finish_without_metadata(self, replica: ReplicaId) -> Result<Recovered, RecoverError> {
        let Recovery { space, replies, run, identity, mut former, .. } = self;
        let Some(mut identity) = identity else {
            // There is nothing yet.
            return Ok(Recovered { space, replies, run, identity, former, lost: None });
        };
        let old = std::mem::replace(&mut identity.replica, replica);
        former.retain(|id| *id != old);
        former.push(old);
        if former.contains(&replica) || space.traces().get(replica) > 0 {
            return Err(RecoverError::UsedReplica(replica));
        }
        let shown = space.without_values();
        let lost = Lost::new(space, former.iter().copied().collect());
        Ok(Recovered { space: shown, replies, run, identity: Some(identity), former, lost: Some(lost) })
    }
}
