//! The objects of the workloads, by name, as one lattice; and what operations do to them.

use super::{
    codec::{Malformed, Reader},
    lattice::{Bytes, Flag, GCounter, GMap, GSet, Lattice, LwwMap, Max, Name, Stamped},
};
use crdt_core::ReplicaId;

/// An object of one of the workloads' types.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Object {
    /// Never written; bottom for every type.
    #[default]
    Nothing,
    /// A grow-only set.
    Set(GSet),
    /// A grow-only counter.
    Counter(GCounter),
    /// A map in which the latest write of a key wins.
    Map(LwwMap),
}

/// All objects of a node.
pub type Keyspace = GMap<Name, Object>;

/// Applies the same to whichever type it is.
macro_rules! each {
    ($object:expr, $nothing:expr, $value:ident => $do:expr) => {
        match $object {
            Object::Nothing => $nothing,
            Object::Set($value) => $do,
            Object::Counter($value) => $do,
            Object::Map($value) => $do,
        }
    };
}

impl Lattice for Object {
    fn is_bottom(&self) -> bool {
        each!(self, true, value => value.is_bottom())
    }

    /// # Panics
    ///
    /// If the types differ: a name stands for one type.
    fn absorb(&mut self, other: Self) -> Self {
        match (self, other) {
            (_, Object::Nothing) => Object::Nothing,
            (mine @ Object::Nothing, theirs) => {
                mine.clone_from(&theirs);
                theirs
            }
            (Object::Set(mine), Object::Set(theirs)) => Object::Set(mine.absorb(theirs)),
            (Object::Counter(mine), Object::Counter(theirs)) => Object::Counter(mine.absorb(theirs)),
            (Object::Map(mine), Object::Map(theirs)) => Object::Map(mine.absorb(theirs)),
            (mine, theirs) => panic!("{mine:?} and {theirs:?} have one name"),
        }
    }

    /// # Panics
    ///
    /// If the types differ.
    fn join(&mut self, other: Self) {
        match (self, other) {
            (_, Object::Nothing) => {}
            (mine @ Object::Nothing, theirs) => *mine = theirs,
            (Object::Set(mine), Object::Set(theirs)) => mine.join(theirs),
            (Object::Counter(mine), Object::Counter(theirs)) => mine.join(theirs),
            (Object::Map(mine), Object::Map(theirs)) => mine.join(theirs),
            (mine, theirs) => panic!("{mine:?} and {theirs:?} have one name"),
        }
    }

    fn delta(&self, other: &Self) -> Self {
        match (self, other) {
            (Object::Set(mine), Object::Set(theirs)) => Object::Set(mine.delta(theirs)),
            (Object::Counter(mine), Object::Counter(theirs)) => Object::Counter(mine.delta(theirs)),
            (Object::Map(mine), Object::Map(theirs)) => Object::Map(mine.delta(theirs)),
            (mine, _) => mine.clone(),
        }
    }

    fn decompose(&self) -> Vec<Self> {
        match self {
            Object::Nothing => Vec::new(),
            Object::Set(set) => set.decompose().into_iter().map(Object::Set).collect(),
            Object::Counter(counter) => counter.decompose().into_iter().map(Object::Counter).collect(),
            Object::Map(map) => map.decompose().into_iter().map(Object::Map).collect(),
        }
    }

    fn irreducibles(&self) -> usize {
        each!(self, 0, value => value.irreducibles())
    }

    fn encode(&self, out: &mut Vec<u8>) -> usize {
        out.push(match self {
            Object::Nothing => 0,
            Object::Set(_) => 1,
            Object::Counter(_) => 2,
            Object::Map(_) => 3,
        });
        each!(self, 0, value => value.encode(out))
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match reader.byte()? {
            0 => Object::Nothing,
            1 => Object::Set(Lattice::decode(reader)?),
            2 => Object::Counter(Lattice::decode(reader)?),
            3 => Object::Map(Lattice::decode(reader)?),
            _ => return Err(Malformed),
        })
    }
}

/// One irreducible change that an operation makes: what the decomposition of its delta consists of.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// To which object.
    pub object: Name,
    /// What is done to it.
    pub what: What,
}

/// What a [`Change`] does.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// Adds an element to a set.
    Add(Bytes),
    /// Raises a replica's own count to this.
    Count(ReplicaId, u64),
    /// Writes to a key of a map.
    Put(Bytes, Stamped),
}

impl Change {
    /// The least state that has the change in it.
    pub fn delta(&self) -> Keyspace {
        let object = match &self.what {
            What::Add(element) => Object::Set(GMap::entry(element.clone(), Flag(true))),
            What::Count(replica, count) => Object::Counter(GMap::entry(*replica, Max(*count))),
            What::Put(key, stamped) => Object::Map(GMap::entry(key.clone(), stamped.clone())),
        };
        GMap::entry(self.object.clone(), object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

    fn change(rng: &mut impl Rng) -> Change {
        let key = || -> Bytes { [b'a'].into() };
        let some = |rng: &mut _| -> Bytes { vec![b'a' + RngExt::random_range(rng, 0..5u8)].into() };
        let n = rng.random_range(0..3);
        let what = match rng.random_range(0..3) {
            0 => What::Add(some(rng)),
            1 => What::Count(ReplicaId::new(rng.random_range(1..5)), rng.random_range(1..6)),
            _ => {
                let key = if rng.random() { key() } else { some(rng) };
                What::Put(key, Stamped { time: rng.random_range(1..6), value: some(rng) })
            }
        };
        let kind = match what {
            What::Add(_) => "set",
            What::Count(..) => "counter",
            What::Put(..) => "map",
        };
        Change { object: format!("{kind}-{n}").into(), what }
    }

    fn state(rng: &mut impl Rng) -> Keyspace {
        let changes = rng.random_range(0..40);
        joined((0..changes).map(|_| change(rng).delta()))
    }

    fn joined(states: impl IntoIterator<Item = Keyspace>) -> Keyspace {
        states.into_iter().fold(Keyspace::default(), join)
    }

    fn join(mut a: Keyspace, b: Keyspace) -> Keyspace {
        a.absorb(b);
        a
    }

    fn for_states(check: impl Fn(&mut StdRng, Keyspace, Keyspace, Keyspace)) {
        let mut rng = StdRng::seed_from_u64(4);
        for _ in 0..2_000 {
            let (a, b, c) = (state(&mut rng), state(&mut rng), state(&mut rng));
            check(&mut rng, a, b, c);
        }
    }

    #[test]
    fn join_is_a_join() {
        for_states(|_, a, b, c| {
            let ab = join(a.clone(), b.clone());
            assert_eq!(ab, join(b.clone(), a.clone()));
            assert_eq!(join(ab, c.clone()), join(a.clone(), join(b, c)));
            assert_eq!(join(a.clone(), a.clone()), a);
            assert_eq!(join(a.clone(), Keyspace::default()), a);
        });
    }

    #[test]
    fn a_decomposition_makes_the_whole_and_no_part_is_redundant() {
        for_states(|_, a, _, _| {
            let parts = a.decompose();
            assert_eq!(parts.len(), a.irreducibles());
            assert_eq!(joined(parts.clone()), a);
            for n in 0..parts.len() {
                let others = parts.iter().enumerate().filter(|(m, _)| *m != n).map(|(_, part)| part.clone());
                assert_ne!(joined(others), a, "{:?} is redundant", parts[n]);
            }
        });
    }

    #[test]
    fn parts_are_irreducible() {
        for_states(|_, a, b, _| {
            for part in a.decompose() {
                assert_eq!(part.decompose(), std::slice::from_ref(&part));
                // Whatever is below it and joins with something below it to it, is it.
                let shared = part.delta(&part.delta(&b));
                assert!(shared == part || part.delta(&b) == part || shared.is_bottom());
            }
        });
    }

    #[test]
    fn delta_is_the_least_difference() {
        for_states(|_, a, b, _| {
            let delta = a.delta(&b);
            assert_eq!(join(delta.clone(), b.clone()), join(a.clone(), b.clone()));
            // The parts of `a` that `b` does not have in it, and no others.
            let strict = a.decompose().into_iter().filter(|part| join(part.clone(), b.clone()) != b);
            assert_eq!(delta, joined(strict));
            let mut joined = b.clone();
            joined.join(a.clone());
            let mut grown = b.clone();
            assert_eq!(grown.absorb(a.clone()), delta);
            assert_eq!(grown, join(a, b));
            assert_eq!(grown, joined);
        });
    }

    #[test]
    fn encodings_are_read_back_and_damaged_ones_are_refused() {
        for_states(|rng, a, _, _| {
            let mut bytes = Vec::new();
            let payload = a.encode(&mut bytes);
            assert!(payload < bytes.len());
            let read = |bytes: &[u8]| {
                let mut reader = Reader::new(bytes);
                let state = Keyspace::decode(&mut reader)?;
                if reader.is_empty() { Ok(state) } else { Err(Malformed) }
            };
            assert_eq!(read(&bytes), Ok(a));
            let end = rng.random_range(0..bytes.len());
            assert_eq!(read(&bytes[..end]), Err(Malformed));
            let at = rng.random_range(0..bytes.len());
            bytes[at] ^= 1 << rng.random_range(0..8);
            // Whatever it is now, reading it neither panics nor reserves what is claimed.
            drop(read(&bytes));
        });
    }

    #[test]
    fn payload_is_elements_keys_and_values_with_their_lengths() {
        let payload = |what| Change { object: "some name".into(), what }.delta().encode(&mut Vec::new());
        assert_eq!(payload(What::Add(vec![7; 20].into())), 21);
        assert_eq!(payload(What::Count(ReplicaId::new(9), 300)), 2);
        let put = Stamped { time: 128, value: vec![7; 270].into() };
        assert_eq!(payload(What::Put(vec![7; 31].into(), put)), 32 + 2 + 270);
    }
}
