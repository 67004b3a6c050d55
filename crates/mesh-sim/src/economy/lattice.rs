//! Join-semilattices that come apart: joins, irredundant decompositions and the least difference of two states.
//!
//! Section III of Enes, Almeida, Baquero and Leitão, "Efficient Synchronization of State-based CRDTs" (ICDE 2019). All
//! types here are maps from keys to chains or to further such maps, so every state has exactly one irredundant
//! decomposition: its entries, one by one.

use super::codec::{Malformed, Reader, put_bytes, put_id, put_varint};
use crdt_core::ReplicaId;
use std::{
    collections::{HashMap, hash_map::Entry},
    fmt::Debug,
    hash::{BuildHasherDefault, Hash, Hasher},
    sync::Arc,
};

/// A state that can be joined with others and taken apart. `Default` is bottom.
///
/// # Laws
///
/// `join` is associative, commutative and idempotent, and bottom is its unit. The join of
/// [`decompose`](Lattice::decompose) is the state, and without any one of its parts it is less.
/// [`delta`](Lattice::delta)`(a, b)` is the least state with `join(delta(a, b), b) == join(a, b)`.
pub trait Lattice: Clone + Debug + Default + PartialEq {
    /// Whether this is bottom.
    fn is_bottom(&self) -> bool;

    /// Joins `other`, and returns the least difference of it to what was here before: what it brought. **O(other)**.
    fn absorb(&mut self, other: Self) -> Self;

    /// Joins `other`. **O(other)**.
    fn join(&mut self, other: Self) {
        self.absorb(other);
    }

    /// The least state that has to be joined to `other` to have all of `self` in it. **O(self)**.
    fn delta(&self, other: &Self) -> Self;

    /// The join-irreducible states whose join this is, none of them redundant.
    fn decompose(&self) -> Vec<Self>;

    /// How many they are.
    fn irreducibles(&self) -> usize;

    /// Appends the encoding; returns how many bytes of it are payload: elements, keys that users chose, values and totals,
    /// with their lengths. Ids, stamps, names of objects and counts of entries are not.
    fn encode(&self, out: &mut Vec<u8>) -> usize;

    /// Reads back what [`encode`](Lattice::encode) wrote.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if there is no encoding of such a state here.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed>;
}

/// Present or, as bottom, not: the chain of two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flag(pub bool);

/// The greatest number so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Max(pub u64);

/// The value with the greatest time; at equal times the greater value.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamped {
    /// When it was written; 0 is never.
    pub time: u64,
    /// What was written.
    pub value: Bytes,
}

/// Bytes that are shared, not copied, by the states that hold them.
pub type Bytes = Arc<[u8]>;

/// A chain: of two values one is the join, and what is not bottom is irreducible.
trait Chain: Clone + Debug + Default + PartialEq {
    fn exceeds(&self, other: &Self) -> bool;
    /// Returns how many bytes of it are payload.
    fn write(&self, out: &mut Vec<u8>) -> usize;
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed>;
}

impl Chain for Flag {
    fn exceeds(&self, other: &Self) -> bool {
        self.0 && !other.0
    }

    // That there is an entry says it.
    fn write(&self, _: &mut Vec<u8>) -> usize {
        0
    }

    fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Flag(true))
    }
}

impl Chain for Max {
    fn exceeds(&self, other: &Self) -> bool {
        self.0 > other.0
    }

    fn write(&self, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        put_varint(out, self.0);
        out.len() - start
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.varint().map(Max)
    }
}

impl Chain for Stamped {
    fn exceeds(&self, other: &Self) -> bool {
        self > other
    }

    fn write(&self, out: &mut Vec<u8>) -> usize {
        put_varint(out, self.time);
        let start = out.len();
        put_bytes(out, &self.value);
        out.len() - start
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Stamped { time: reader.varint()?, value: reader.bytes()?.into() })
    }
}

macro_rules! chains {
    ($($chain:ty),*) => {$(
        impl Lattice for $chain {
            fn is_bottom(&self) -> bool {
                *self == Self::default()
            }

            fn absorb(&mut self, other: Self) -> Self {
                if !other.exceeds(self) {
                    return Self::default();
                }
                self.clone_from(&other);
                other
            }

            fn delta(&self, other: &Self) -> Self {
                if self.exceeds(other) { self.clone() } else { Self::default() }
            }

            fn decompose(&self) -> Vec<Self> {
                if self.is_bottom() { Vec::new() } else { vec![self.clone()] }
            }

            fn irreducibles(&self) -> usize {
                usize::from(!self.is_bottom())
            }

            fn encode(&self, out: &mut Vec<u8>) -> usize {
                self.write(out)
            }

            fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
                Self::read(reader)
            }
        }
    )*};
}

chains!(Flag, Max, Stamped);

/// What the keys of a [`GMap`] are.
pub trait Key: Clone + Debug + Eq + Hash {
    /// Whether a key is a part of what the user wrote, like the element of a set, and not a name for where it is.
    const PAYLOAD: bool;

    /// Appends the encoding.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads it back.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if there is no key here.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed>;
}

impl Key for Bytes {
    const PAYLOAD: bool = true;

    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(reader.bytes()?.into())
    }
}

impl Key for ReplicaId {
    const PAYLOAD: bool = false;

    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, *self);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.id()
    }
}

/// The name of an object.
pub type Name = Arc<str>;

impl Key for Name {
    const PAYLOAD: bool = false;

    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.as_bytes());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        std::str::from_utf8(reader.bytes()?).map(Into::into).map_err(|_| Malformed)
    }
}

/// A grow-only map to another lattice: joined key by key; a key without an entry has bottom.
///
/// Its decomposition is, for each key, that key with each part of its value.
#[derive(Clone, Debug, PartialEq)]
pub struct GMap<K: Key, V: Lattice>(HashMap<K, V, BuildHasherDefault<Mixer>>);

/// A grow-only set of bytes.
pub type GSet = GMap<Bytes, Flag>;
/// A grow-only counter: each replica's own count.
pub type GCounter = GMap<ReplicaId, Max>;
/// A map in which the latest write of a key wins.
pub type LwwMap = GMap<Bytes, Stamped>;

impl<K: Key, V: Lattice> Default for GMap<K, V> {
    fn default() -> Self {
        GMap(HashMap::default())
    }
}

impl<K: Key, V: Lattice> GMap<K, V> {
    /// The map with this one entry; bottom if the value is.
    pub fn entry(key: K, value: V) -> Self {
        let mut map = Self::default();
        if !value.is_bottom() {
            map.0.insert(key, value);
        }
        map
    }

    /// The value of a key; `None` for bottom.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key)
    }

    /// The entries, in an order that depends on the history of the map only.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter()
    }

    /// How many keys have a value.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Key, V: Lattice> IntoIterator for GMap<K, V> {
    type Item = (K, V);
    type IntoIter = std::collections::hash_map::IntoIter<K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<K: Key, V: Lattice> Lattice for GMap<K, V> {
    fn is_bottom(&self) -> bool {
        self.0.is_empty()
    }

    fn absorb(&mut self, other: Self) -> Self {
        let mut news = Self::default();
        for (key, value) in other.0 {
            match self.0.entry(key) {
                Entry::Vacant(free) => {
                    news.0.insert(free.key().clone(), value.clone());
                    free.insert(value);
                }
                Entry::Occupied(mut held) => {
                    let brought = held.get_mut().absorb(value);
                    if !brought.is_bottom() {
                        news.0.insert(held.key().clone(), brought);
                    }
                }
            }
        }
        news
    }

    fn join(&mut self, other: Self) {
        if self.is_bottom() {
            *self = other;
            return;
        }
        for (key, value) in other.0 {
            match self.0.entry(key) {
                Entry::Vacant(free) => drop(free.insert(value)),
                Entry::Occupied(mut held) => held.get_mut().join(value),
            }
        }
    }

    fn delta(&self, other: &Self) -> Self {
        let differs = |(key, value): (&K, &V)| {
            let delta = other.0.get(key).map_or_else(|| value.clone(), |held| value.delta(held));
            (!delta.is_bottom()).then(|| (key.clone(), delta))
        };
        GMap(self.0.iter().filter_map(differs).collect())
    }

    fn decompose(&self) -> Vec<Self> {
        let parts = |(key, value): (&K, &V)| {
            let key = key.clone();
            value.decompose().into_iter().map(move |part| Self::entry(key.clone(), part))
        };
        self.0.iter().flat_map(parts).collect()
    }

    fn irreducibles(&self) -> usize {
        self.0.values().map(Lattice::irreducibles).sum()
    }

    fn encode(&self, out: &mut Vec<u8>) -> usize {
        put_varint(out, self.0.len() as u64);
        let mut payload = 0;
        for (key, value) in &self.0 {
            let start = out.len();
            key.encode(out);
            payload += if K::PAYLOAD { out.len() - start } else { 0 };
            payload += value.encode(out);
        }
        payload
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = reader.count()?;
        let mut map = Self::default();
        for _ in 0..count {
            let (key, value) = (K::decode(reader)?, V::decode(reader)?);
            if value.is_bottom() || map.0.insert(key, value).is_some() {
                return Err(Malformed);
            }
        }
        Ok(map)
    }
}

/// Hashes the keys of the simulation: the same on every run, and fast on short keys. Not for keys of strangers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mixer(u64);

impl Mixer {
    fn mix(&mut self, word: u64) {
        // Fibonacci hashing, folded so that the low bits depend on the high ones.
        let product = u128::from(self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let (low, high) = (product & u128::from(u64::MAX), product >> 64);
        self.0 = u64::try_from(low ^ high).expect("64 bits each");
    }
}

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        let mut last = [0xff; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.mix(u64::from_le_bytes(last));
    }

    fn write_u64(&mut self, number: u64) {
        self.mix(number);
    }

    // The length of what follows, which the padding tells already.
    fn write_usize(&mut self, _: usize) {}

    fn write_u8(&mut self, byte: u8) {
        self.mix(u64::from(byte));
    }
}
